import JSON
import Kernels

/// Layer normalisation over the channels of each pixel.
struct LayerNorm: Layer {
    let weight: Int
    let bias: Int
    /// Added to the variance.
    let epsilon: Float

    var typeName: String { "layer_norm" }
    var parameters: [Int] { [weight, bias] }
    var readsInputs: Bool { true }
    var worksInPlace: Bool { true }

    func forward(_ run: LayerForward) {
        layerNormForward(
            run.output, run.input(), pixels: run.count * run.shape.pixels, channels: run.shape.channels,
            gamma: run.parameter(weight), beta: run.parameter(bias), epsilon: epsilon)
    }

    func backward(_ run: LayerBackward) {
        let pixels = run.count * run.shape.pixels
        // Before the gradient of the input, which may take the place of the output's.
        run.addTo(weight) { dgamma in
            run.addTo(bias) { dbeta in
                layerNormParameterGradients(
                    dgamma: dgamma, dbeta: dbeta, gradient: run.gradient, run.input(), pixels: pixels,
                    channels: run.shape.channels, epsilon: epsilon)
            }
        }
        run.write { target, accumulate in
            layerNormBackward(
                target, gradient: run.gradient, run.input(), pixels: pixels, channels: run.shape.channels,
                gamma: run.parameter(weight), epsilon: epsilon, accumulate: accumulate)
        }
    }
}

extension Graph {
    mutating func layerNorm(_ name: String, _ x: Value, epsilon: Float) -> Value {
        let channels = [x.shape.channels]
        let weight = parameter(name + ".weight", channels, .one)
        let bias = parameter(name + ".bias", channels, .zero)
        return append(
            .layer(LayerNorm(weight: weight, bias: bias, epsilon: epsilon)), [x], x.shape, name: name)
    }
}

extension LayerType {
    static let layerNorm = LayerType(
        name: "layer_norm", inputs: 1...1,
        attributes: [LayerAttribute(name: "epsilon", kind: epsilon, fallback: .number(1e-5))],
        parameters: "`.weight`, `.bias`", meaning: "Layer normalisation over the channels of each pixel.",
        build: { graph, name, x, values in graph.layerNorm(name, x[0], epsilon: values.float("epsilon")) },
        describe: { node in
            guard case .layer(let layer as LayerNorm) = node.operation else { return [] }
            return [JSON(layer.epsilon)]
        })
}
