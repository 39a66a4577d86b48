import JSON
import Kernels

/// Any nonlinearity but ReLU.
struct ActivationLayer: Layer {
    let function: Activation

    var typeName: String { function.typeName }
    var readsInputs: Bool { true }
    var worksInPlace: Bool { true }

    func forward(_ run: LayerForward) {
        activationForward(function, run.output, run.input(), count: run.count * run.shape.count)
    }

    func backward(_ run: LayerBackward) {
        run.write { target, accumulate in
            activationBackward(
                function, target, gradient: run.gradient, input: run.input(), count: run.count * run.shape.count,
                accumulate: accumulate)
        }
    }
}

extension Graph {
    mutating func activation(_ function: Activation, _ x: Value, name: String? = nil) -> Value {
        append(.layer(ActivationLayer(function: function)), [x], x.shape, name: name)
    }
}

extension Activation {
    var typeName: String {
        switch self {
        case .silu: "silu"
        case .gelu: "gelu"
        case .sigmoid: "sigmoid"
        case .tanh: "tanh"
        case .leakyReLU: "leaky_relu"
        case .relu6: "relu6"
        case .hardSigmoid: "hard_sigmoid"
        case .hardSwish: "hard_swish"
        }
    }
}

extension LayerType {
    static let silu = activation(.silu, "x·σ(x).")
    static let gelu = activation(.gelu, "x·Φ(x), exact: Φ by the error function.")
    static let sigmoid = activation(.sigmoid, "σ(x) = 1/(1 + e⁻ˣ).")
    static let tanh = activation(.tanh, "The hyperbolic tangent.")
    static let relu6 = activation(.relu6, "min(max(x, 0), 6).")
    static let hardSigmoid = activation(.hardSigmoid, "min(max(x + 3, 0), 6)/6.")
    static let hardSwish = activation(.hardSwish, "x·min(max(x + 3, 0), 6)/6.")

    static let leakyReLU = LayerType(
        name: "leaky_relu", inputs: 1...1,
        attributes: [LayerAttribute(name: "slope", kind: .number(0...1), fallback: .number(0.01))],
        meaning: "x where it is positive, else `slope`·x.",
        build: { graph, name, x, values in
            graph.activation(.leakyReLU(slope: values.float("slope")), x[0], name: name)
        },
        describe: { node in
            guard case .layer(let layer as ActivationLayer) = node.operation,
                case .leakyReLU(let slope) = layer.function
            else { return [] }
            return [JSON(slope)]
        })

    private static func activation(_ function: Activation, _ meaning: String) -> LayerType {
        plain(function.typeName, meaning) { graph, name, x in graph.activation(function, x[0], name: name) }
    }
}
