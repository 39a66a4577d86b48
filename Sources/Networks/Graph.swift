import Kernels

/// A weight, bias or running statistic, under the name that the field's PyTorch definitions use.
public struct Parameter: Sendable {
    /// How a parameter is initialised.
    public enum Role: Sendable {
        /// Convolution (OIHW) or linear (out, in) weights, or a linear layer's bias, with the inputs of one output.
        case weight(fanIn: Int)
        case one
        case zero
    }

    public let name: String
    public let shape: [Int]
    public let trainable: Bool
    public let role: Role
    /// Start in `Network.weights` if trainable, else in `Network.statistics`.
    public let offset: Int
    public var count: Int { shape.reduce(1, *) }
}

/// What a node of the layer graph computes. Numbers are indices into the graph's parameters.
enum Operation: Sendable {
    /// The image, normalised.
    case input
    case convolution(ConvolutionGeometry, weight: Int, bias: Int?)
    case batchNorm(NormParameters)
    case relu
    case add
    /// Of an image of one pixel.
    case linear(weight: Int, bias: Int?)
    /// The same linear layer for each pixel: a 1×1 convolution whose weights have two dimensions.
    case tokenLinear(ConvolutionGeometry, weight: Int, bias: Int?)
    case layer(any Layer)
}

/// A BatchNorm layer: its parameters and constants.
public struct NormParameters: Sendable {
    public let weight: Int
    public let bias: Int
    public let mean: Int
    public let variance: Int
    /// Added to the variance.
    public let epsilon: Float
    /// The part of a batch's statistics in the running ones after it.
    public let momentum: Float
}

/// A layer graph in order of execution: the inputs of a node come before it. Node 0 is the input, the last one gives
/// the logits.
public struct Graph: Sendable {
    public struct Node: Sendable {
        /// Unique in the graph; the parameters of the node have it before the dot.
        public let name: String
        let operation: Operation
        public let inputs: [Int]
        /// Of one sample.
        public let shape: ImageShape
    }

    /// BatchNorm's ε and momentum, the same in all architectures of the field.
    public static let batchNormEpsilon: Float = 1e-5
    public static let batchNormMomentum: Float = 0.1

    public private(set) var nodes: [Node] = []
    /// In state_dict order: the order of declaration.
    public private(set) var parameters: [Parameter] = []
    /// Numbers in the trainable parameters.
    public private(set) var trainableCount = 0
    private var statisticsCount = 0
    /// The first thing that does not fit (an image too small for a window, sizes beyond memory), reported by `validate`.
    private(set) var problem: String?
    /// How many nodes of a type have been given a name; by type.
    private var unnamed: [String: Int] = [:]
    /// Pixels times filter taps of all convolutions.
    private(set) var tableEntries = 0

    /// A value of the graph: the output of a node.
    public struct Value: Sendable {
        let node: Int
        public let shape: ImageShape
    }

    /// No tensor of one sample and no weight may be larger: kernels address them with 32 bits.
    static let largestTensor = 1 << 30

    /// No convolution may have more pixels times filter taps: each has a table of them.
    static let largestTable = 1 << 26

    init(input: ImageShape) {
        _ = append(.input, [], input, name: "input")
    }

    var input: Value { Value(node: 0, shape: nodes[0].shape) }

    /// Convolution, by default without bias, the field's usual: BatchNorm follows or precedes.
    mutating func convolution(
        _ name: String, _ x: Value, channels: Int, kernel: Int, stride: Int = 1, padding: Padding = 0, groups: Int = 1,
        bias: Bool = false
    ) -> Value {
        var geometry = ConvolutionGeometry(
            input: x.shape, outputChannels: channels, kernelHeight: kernel, kernelWidth: kernel, stride: stride,
            groups: groups)
        (geometry.padTop, geometry.padLeft) = (padding.top, padding.left)
        (geometry.padBottom, geometry.padRight) = (padding.bottom, padding.right)
        if x.shape.height + padding.top + padding.bottom < kernel
            || x.shape.width + padding.left + padding.right < kernel
        {
            note("\(name): the image has shrunk to \(x.shape), too small for a \(kernel)x\(kernel) window")
            geometry = ConvolutionGeometry(input: x.shape, outputChannels: channels, kernelHeight: 1, kernelWidth: 1)
        }
        if max(x.shape.pixels, geometry.output.pixels) * geometry.taps > Self.largestTable {
            note("\(name): images of \(x.shape.height)x\(x.shape.width) pixels are too large")
        }
        return convolution(name, x, geometry, bias: bias)
    }

    /// A convolution of any geometry that fits the image.
    mutating func convolution(_ name: String, _ x: Value, _ g: ConvolutionGeometry, bias: Bool) -> Value {
        let fanIn = g.depth * g.taps
        let shape = [g.outputChannels, g.depth, g.kernelHeight, g.kernelWidth]
        let weight = parameter(name + ".weight", shape, .weight(fanIn: fanIn))
        let bias = bias ? parameter(name + ".bias", [g.outputChannels], .weight(fanIn: fanIn)) : nil
        return append(.convolution(g, weight: weight, bias: bias), [x], g.output, name: name)
    }

    mutating func batchNorm(
        _ name: String, _ x: Value, epsilon: Float = batchNormEpsilon, momentum: Float = batchNormMomentum
    ) -> Value {
        let channels = [x.shape.channels]
        let weight = parameter(name + ".weight", channels, .one)
        let bias = parameter(name + ".bias", channels, .zero)
        let mean = parameter(name + ".running_mean", channels, .zero, trainable: false)
        let variance = parameter(name + ".running_var", channels, .one, trainable: false)
        let norm = NormParameters(
            weight: weight, bias: bias, mean: mean, variance: variance, epsilon: epsilon, momentum: momentum)
        return append(.batchNorm(norm), [x], x.shape, name: name)
    }

    mutating func relu(_ x: Value, name: String? = nil) -> Value { append(.relu, [x], x.shape, name: name) }

    mutating func add(_ a: Value, _ b: Value, name: String? = nil) -> Value {
        if a.shape != b.shape { note("add: shapes \(a.shape) and \(b.shape) differ") }
        return append(.add, [a, b], a.shape, name: name)
    }

    mutating func linear(_ name: String, _ x: Value, outputs: Int, bias: Bool = true) -> Value {
        if x.shape.pixels != 1 { note("linear: got an image of shape \(x.shape), want one pixel: flatten or pool it") }
        let fanIn = x.shape.count
        let weight = parameter(name + ".weight", [outputs, fanIn], .weight(fanIn: fanIn))
        let bias = bias ? parameter(name + ".bias", [outputs], .weight(fanIn: fanIn)) : nil
        return append(.linear(weight: weight, bias: bias), [x], ImageShape(outputs, 1, 1), name: name)
    }

    mutating func tokenLinear(_ name: String, _ x: Value, outputs: Int, bias: Bool = true) -> Value {
        let geometry = ConvolutionGeometry(input: x.shape, outputChannels: outputs, kernelHeight: 1, kernelWidth: 1)
        let fanIn = x.shape.channels
        let weight = parameter(name + ".weight", [outputs, fanIn], .weight(fanIn: fanIn))
        let bias = bias ? parameter(name + ".bias", [outputs], .weight(fanIn: fanIn)) : nil
        return append(.tokenLinear(geometry, weight: weight, bias: bias), [x], geometry.output, name: name)
    }

    /// Multiply-adds of convolutions and linear layers for one sample.
    public var multiplyAdds: Int {
        nodes.reduce(0) { sum, node in
            switch node.operation {
            case .convolution(let geometry, _, _), .tokenLinear(let geometry, _, _):
                return sum + geometry.multiplyAdds
            case .layer(let layer): return sum + layer.multiplyAdds
            case .linear: return sum + nodes[node.inputs[0]].shape.count * node.shape.count
            default: return sum
            }
        }
    }

    mutating func append(_ operation: Operation, _ inputs: [Value], _ shape: ImageShape, name: String? = nil) -> Value {
        if shape.count > Self.largestTensor { note("a tensor of shape \(shape) is too large") }
        switch operation {
        case .convolution(let geometry, _, _), .tokenLinear(let geometry, _, _):
            tableEntries += max(geometry.input.pixels, geometry.output.pixels) * geometry.taps
        default: break
        }
        let name = name ?? automaticName(operation.typeName)
        nodes.append(Node(name: name, operation: operation, inputs: inputs.map(\.node), shape: shape))
        return Value(node: nodes.count - 1, shape: shape)
    }

    /// `relu_1`, `relu_2`, ...: what a layer without parameters is called that nobody has named.
    private mutating func automaticName(_ type: String) -> String {
        unnamed[type, default: 0] += 1
        return "\(type)_\(unnamed[type, default: 0])"
    }

    mutating func parameter(
        _ name: String, _ shape: [Int], _ role: Parameter.Role, trainable: Bool = true
    ) -> Int {
        let offset = trainable ? trainableCount : statisticsCount
        let parameter = Parameter(name: name, shape: shape, trainable: trainable, role: role, offset: offset)
        // Sizes are bounded by NetworkOptions.validate, so that the product of four dimensions fits an Int.
        if parameter.count > Self.largestTensor { note("\(name): \(parameter.count) weights are too many") }
        if trainable { trainableCount += parameter.count } else { statisticsCount += parameter.count }
        parameters.append(parameter)
        return parameters.count - 1
    }

    mutating func note(_ text: String) {
        if problem == nil { problem = text }
    }
}
