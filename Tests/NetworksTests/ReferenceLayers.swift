import Kernels
import Testing

@testable import Networks

/// Every `Layer` in double precision and plain loops; CHW samples.
extension ReferenceForward {
    func layer(_ layer: any Layer, _ inputs: [[Double]], _ count: Int, _ shape: ImageShape) -> [Double] {
        let x = inputs[0]
        switch layer {
        case let layer as ActivationLayer: return x.map { activation(layer.function, $0) }
        case let layer as Multiply:
            return x.enumerated().map { i, v in v * inputs[1][layer.hasGate ? i / shape.pixels : i] }
        case let layer as Concat:
            var y: [Double] = []
            for n in 0..<count {
                for (values, channels) in zip(inputs, layer.channels) {
                    let size = channels * shape.pixels
                    y += values[(n * size)..<((n + 1) * size)]
                }
            }
            return y
        case let layer as AveragePool:
            return windows(x, count, layer.geometry) { inside in
                let g = layer.geometry
                let size = layer.countsPadding ? g.windowHeight * g.windowWidth : inside.count
                return inside.reduce(0, +) / Double(size)
            }
        case let layer as MaxPool:
            return windows(x, count, layer.geometry) { $0.max() ?? -.infinity }
        case let layer as GlobalAveragePool:
            let pixels = layer.input.pixels
            return (0..<(count * shape.channels)).map { i in
                x[(i * pixels)..<((i + 1) * pixels)].reduce(0, +) / Double(pixels)
            }
        case is Flatten: return x
        case let layer as LayerNorm: return layerNorm(x, count, shape, layer)
        case let layer as Attention: return attention(x, count, layer.geometry)
        case let layer as ClassToken:
            return (0..<(count * shape.count)).map { i in
                let (plane, pixel) = (i / shape.pixels, i % shape.pixels)
                let c = plane % shape.channels
                return pixel == 0 ? value(layer.token, c) : x[plane * (shape.pixels - 1) + pixel - 1]
            }
        case let layer as PositionEmbedding:
            return x.enumerated().map { i, v in
                let (c, pixel) = (i / shape.pixels % shape.channels, i % shape.pixels)
                return v + value(layer.table, pixel * shape.channels + c)
            }
        case let layer as SelectToken:
            return (0..<(count * shape.channels)).map { x[$0 * layer.input.pixels + layer.index] }
        default:
            Issue.record("no reference for \(layer.typeName)")
            return [Double](repeating: .nan, count: count * shape.count)
        }
    }

    private func activation(_ function: Activation, _ x: Double) -> Double {
        func sigmoid(_ x: Double) -> Double { 1 / (1 + exponential(-x)) }
        let step = min(max(x + 3, 0), 6) / 6
        switch function {
        case .gelu: return x / 2 * complementaryError(-x / 2.0.squareRoot())
        case .silu: return x * sigmoid(x)
        case .sigmoid: return sigmoid(x)
        case .tanh: return 2 * sigmoid(2 * x) - 1
        case .leakyReLU(let slope): return max(x, 0) + Double(slope) * min(x, 0)
        case .relu6: return min(max(x, 0), 6)
        case .hardSigmoid: return step
        case .hardSwish: return x * step
        }
    }

    /// What `body` makes of the pixels of each window that lie inside the image.
    private func windows(
        _ x: [Double], _ count: Int, _ g: PoolingGeometry, _ body: ([Double]) -> Double
    ) -> [Double] {
        let out = g.output
        return (0..<(count * out.count)).map { i in
            let plane = i / out.pixels
            let (top, left) = (i % out.pixels / out.width, i % out.width)
            var inside: [Double] = []
            for r in 0..<g.windowHeight {
                for s in 0..<g.windowWidth {
                    let y = top * g.strideHeight + r - g.padTop
                    let x0 = left * g.strideWidth + s - g.padLeft
                    guard y >= 0, y < g.input.height, x0 >= 0, x0 < g.input.width else { continue }
                    inside.append(x[plane * g.input.pixels + y * g.input.width + x0])
                }
            }
            return body(inside)
        }
    }

    private func layerNorm(
        _ x: [Double], _ count: Int, _ shape: ImageShape, _ layer: LayerNorm
    ) -> [Double] {
        var y = x
        for n in 0..<count {
            for pixel in 0..<shape.pixels {
                let places = (0..<shape.channels).map { (n * shape.channels + $0) * shape.pixels + pixel }
                let mean = places.reduce(0) { $0 + x[$1] } / Double(places.count)
                let variance = places.reduce(0) { $0 + (x[$1] - mean) * (x[$1] - mean) } / Double(places.count)
                for (c, i) in places.enumerated() {
                    y[i] =
                        (x[i] - mean) / (variance + Double(layer.epsilon)).squareRoot() * value(layer.weight, c)
                        + value(layer.bias, c)
                }
            }
        }
        return y
    }

    private func attention(_ x: [Double], _ count: Int, _ g: AttentionGeometry) -> [Double] {
        let depth = g.channels / g.heads
        var y = [Double](repeating: 0, count: count * g.channels * g.tokens)
        for n in 0..<count {
            func part(_ which: Int, _ channel: Int, _ token: Int) -> Double {
                x[((n * 3 + which) * g.channels + channel) * g.tokens + token]
            }
            for head in 0..<g.heads {
                let channels = (head * depth)..<((head + 1) * depth)
                for query in 0..<g.tokens {
                    let scores = (0..<g.tokens).map { key in
                        channels.reduce(0) { $0 + part(0, $1, query) * part(1, $1, key) } / Double(depth).squareRoot()
                    }
                    let weights = scores.map { exponential($0) }
                    let sum = weights.reduce(0, +)
                    for c in channels {
                        let value = (0..<g.tokens).reduce(0) { $0 + weights[$1] * part(2, c, $1) }
                        y[(n * g.channels + c) * g.tokens + query] = value / sum
                    }
                }
            }
        }
        return y
    }
}
