import Kernels
import Runtime

/// Multi-head self-attention between all pixels.
struct Attention: Layer {
    let geometry: AttentionGeometry

    var typeName: String { "attention" }
    var readsInputs: Bool { true }
    var multiplyAdds: Int { geometry.multiplyAdds }

    func forward(_ run: LayerForward) { attentionForward(run.output, run.input(), count: run.count, geometry) }

    func backward(_ run: LayerBackward) {
        run.write { target, accumulate in
            attentionBackward(
                target, gradient: run.gradient, run.input(), count: run.count, geometry, accumulate: accumulate)
        }
    }
}

extension Graph {
    /// `heads` divides a third of the channels, and there are not more than `AttentionGeometry.mostTokens` pixels.
    mutating func attention(_ x: Value, heads: Int, name: String? = nil) -> Value {
        let channels = x.shape.channels / 3
        let geometry = AttentionGeometry(tokens: x.shape.pixels, channels: channels, heads: heads)
        let shape = ImageShape(channels, x.shape.height, x.shape.width)
        return append(.layer(Attention(geometry: geometry)), [x], shape, name: name)
    }
}

extension LayerType {
    static let attention = LayerType(
        name: "attention", inputs: 1...1, attributes: [LayerAttribute(name: "heads", kind: channels)],
        meaning:
            "Multi-head self-attention between all pixels, at most \(AttentionGeometry.mostTokens). The channels of the "
            + "input are queries, keys and values, each with its heads one after the other; a third of them comes out.",
        build: { graph, name, x, values in
            let shape = x[0].shape
            let heads = values.integer("heads")
            guard shape.channels % (3 * heads) == 0 else {
                throw EngineError.invalid(
                    "heads", got: heads, want: "a divisor of a third of the \(shape.channels) channels")
            }
            guard shape.pixels <= AttentionGeometry.mostTokens else {
                throw EngineError.invalid(
                    "inputs", got: "\(shape.pixels) pixels", want: "at most \(AttentionGeometry.mostTokens)")
            }
            return graph.attention(x[0], heads: heads, name: name)
        },
        describe: { node in
            guard case .layer(let layer as Attention) = node.operation else { return [] }
            return [.integer(layer.geometry.heads)]
        })
}
