import Kernels

/// What a pass over a network is for.
enum PassMode {
    /// Logits only, running statistics.
    case inference
    /// Logits and the gradient of the input, running statistics: what an attack needs. No weight gradients.
    case inputGradient
    /// Batch statistics and the gradients of all parameters.
    case training
}

/// One kernel call. Values are named by the graph node that gives them.
struct Step {
    enum Kind {
        case importImages
        /// A convolution or linear layer, in inference mode with the BatchNorm that follows folded in.
        case convolution(ConvolutionGeometry, weight: Int, bias: Int?, foldedNorm: NormParameters?)
        /// BatchNorm in inference mode where no convolution could take it up.
        case channelAffine(NormParameters)
        /// BatchNorm with batch statistics.
        case batchNorm(NormParameters)
        case relu
        case add
        case layer(any Layer)
    }

    var kind: Kind
    /// What it is computed of, but for the residual.
    let operands: [Int]
    /// The second operand of an addition, its own or one that was taken up.
    var residual: Int?
    /// ReLU taken up as the last thing.
    var rectify = false
    var output: Int
    /// Of one sample of the output.
    let shape: ImageShape

    /// Whether the output is that of a ReLU.
    var isRectified: Bool {
        if case .relu = kind { return true }
        return rectify
    }

    var isConvolution: Bool {
        if case .convolution = kind { return true }
        return false
    }

    var hasParameters: Bool {
        switch kind {
        case .convolution, .channelAffine, .batchNorm: true
        case .layer(let layer): !layer.parameters.isEmpty
        case .importImages, .relu, .add: false
        }
    }

    /// Bytes that the gradient wants for each number of the output: the signs of a ReLU, the positions of maxima.
    var bytesPerOutput: Int {
        if case .layer(let layer) = kind { return layer.bytesPerOutput }
        return isRectified ? 1 : 0
    }

    var input: Int { operands[0] }
    var inputs: [Int] { residual.map { operands + [$0] } ?? operands }
}

/// A graph as a list of kernel calls. Additions and ReLUs are taken up by the step before them; in inference so is
/// BatchNorm.
struct Program {
    let graph: Graph
    let training: Bool
    private(set) var steps: [Step] = []

    init(_ graph: Graph, training: Bool) {
        self.graph = graph
        self.training = training
        var consumers = [[Int]](repeating: [], count: graph.nodes.count)
        for (index, node) in graph.nodes.enumerated() {
            for input in node.inputs { consumers[input].append(index) }
        }
        // A node may be taken up by the step that gives its input, if nothing else uses that value and all other
        // operands are there already.
        var stepOf: [Int: Int] = [:]
        for (index, node) in graph.nodes.enumerated() {
            if let host = Self.host(for: node, training, steps: steps, stepOf: stepOf, consumers: consumers) {
                take(node, at: index, into: host)
                stepOf[index] = host
            } else {
                steps.append(Self.step(for: node, at: index, in: graph, training: training))
                stepOf[index] = steps.count - 1
            }
        }
    }

    /// The step that can take up `node` as part of its epilogue.
    private static func host(
        for node: Graph.Node, _ training: Bool, steps: [Step], stepOf: [Int: Int], consumers: [[Int]]
    ) -> Int? {
        // An addition goes to the step of its later operand, if the other operand exists when that runs.
        guard let value = node.inputs.max(), consumers[value].count == 1, let host = stepOf[value],
            steps[host].output == value, !steps[host].rectify
        else { return nil }
        switch (node.operation, steps[host].kind) {
        case (.batchNorm, .convolution(_, _, _, foldedNorm: nil)):
            return !training && steps[host].residual == nil ? host : nil
        case (.add, .convolution), (.add, .batchNorm):
            guard steps[host].residual == nil, let other = node.inputs.min(), let before = stepOf[other] else {
                return nil
            }
            return before < host ? host : nil
        case (.relu, .convolution), (.relu, .channelAffine), (.relu, .add),
            (.relu, .batchNorm):
            return host
        default:
            return nil
        }
    }

    private mutating func take(_ node: Graph.Node, at index: Int, into host: Int) {
        switch (node.operation, steps[host].kind) {
        case (.batchNorm(let norm), .convolution(let g, let w, let b, _)):
            steps[host].kind = .convolution(g, weight: w, bias: b, foldedNorm: norm)
        case (.add, _): steps[host].residual = node.inputs.min()
        default: steps[host].rectify = true
        }
        steps[host].output = index
    }

    private static func step(for node: Graph.Node, at index: Int, in graph: Graph, training: Bool) -> Step {
        var operands = node.inputs.isEmpty ? [index] : node.inputs
        var residual: Int?
        let kind: Step.Kind
        switch node.operation {
        case .input: kind = .importImages
        case .convolution(let geometry, let weight, let bias), .tokenLinear(let geometry, let weight, let bias):
            kind = .convolution(geometry, weight: weight, bias: bias, foldedNorm: nil)
        case .linear(let weight, let bias):
            // A linear layer is a 1×1 convolution of a 1×1 image.
            let geometry = ConvolutionGeometry(
                input: graph.nodes[node.inputs[0]].shape, outputChannels: node.shape.channels, kernelHeight: 1,
                kernelWidth: 1)
            kind = .convolution(geometry, weight: weight, bias: bias, foldedNorm: nil)
        case .batchNorm(let norm): kind = training ? .batchNorm(norm) : .channelAffine(norm)
        case .relu: kind = .relu
        case .add:
            kind = .add
            operands = [node.inputs[0]]
            residual = node.inputs[1]
        case .layer(let layer): kind = .layer(layer)
        }
        return Step(kind: kind, operands: operands, residual: residual, output: index, shape: node.shape)
    }
}
