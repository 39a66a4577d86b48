import Kernels

/// The layers of vision transformers. A pixel is a token, so that an image of T pixels is a sequence of T tokens; the
/// shape (C, T, 1) is one without another order.
extension Graph {
    mutating func layerNorm(_ name: String, _ x: Value, epsilon: Float) -> Value {
        let channels = [x.shape.channels]
        let weight = parameter(name + ".weight", channels, .one)
        let bias = parameter(name + ".bias", channels, .zero)
        return append(.layerNorm(weight: weight, bias: bias, epsilon: epsilon), [x], x.shape, name: name)
    }

    mutating func tokenLinear(_ name: String, _ x: Value, outputs: Int, bias: Bool = true) -> Value {
        let geometry = ConvolutionGeometry(input: x.shape, outputChannels: outputs, kernelHeight: 1, kernelWidth: 1)
        let fanIn = x.shape.channels
        let weight = parameter(name + ".weight", [outputs, fanIn], .weight(fanIn: fanIn))
        let bias = bias ? parameter(name + ".bias", [outputs], .weight(fanIn: fanIn)) : nil
        return append(.tokenLinear(geometry, weight: weight, bias: bias), [x], geometry.output, name: name)
    }

    /// `heads` divides a third of the channels, and there are not more than `AttentionGeometry.mostTokens` pixels.
    mutating func attention(_ x: Value, heads: Int, name: String? = nil) -> Value {
        let channels = x.shape.channels / 3
        let geometry = AttentionGeometry(tokens: x.shape.pixels, channels: channels, heads: heads)
        return append(.attention(geometry), [x], ImageShape(channels, x.shape.height, x.shape.width), name: name)
    }

    mutating func classToken(_ name: String, _ x: Value) -> Value {
        let token = parameter(name, [1, 1, x.shape.channels], .zero)
        return append(.classToken(token), [x], ImageShape(x.shape.channels, x.shape.pixels + 1, 1), name: name)
    }

    mutating func positionEmbedding(_ name: String, _ x: Value) -> Value {
        let table = parameter(name, [1, x.shape.pixels, x.shape.channels], .zero)
        return append(.positionEmbedding(table), [x], x.shape, name: name)
    }

    /// `index` is below the number of pixels.
    mutating func selectToken(_ x: Value, index: Int, name: String? = nil) -> Value {
        append(.selectToken(index), [x], ImageShape(x.shape.channels, 1, 1), name: name)
    }
}
