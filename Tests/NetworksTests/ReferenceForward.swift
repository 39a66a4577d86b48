import Kernels

@testable import Networks

/// The graph, node by node, in double precision and plain loops: what the passes are compared with, and what finite
/// differences are taken of. CHW samples.
struct ReferenceForward {
    let network: Network
    var weights: [Double]
    var statistics: [Double]

    init(_ network: Network) {
        self.network = network
        weights = (0..<network.weights.count).map { Double(network.weights.pointer[$0]) }
        statistics = (0..<network.statistics.count).map { Double(network.statistics.pointer[$0]) }
    }

    private func value(_ index: Int, _ i: Int) -> Double {
        let parameter = network.parameters[index]
        return (parameter.trainable ? weights : statistics)[parameter.offset + i]
    }

    /// logits, (count, classes).
    func logits(_ images: [Double], count: Int, training: Bool) -> [Double] {
        var values: [[Double]] = []
        for node in network.graph.nodes {
            let x = node.inputs.first.map { values[$0] } ?? images
            let shape = node.shape
            switch node.operation {
            case .input:
                let options = network.options
                values.append(
                    x.enumerated().map { i, v in
                        guard !options.mean.isEmpty else { return v }
                        let c = i / shape.pixels % shape.channels
                        return (v - Double(options.mean[c])) / Double(options.std[c])
                    })
            case .convolution(let g, let weight, let bias):
                values.append(convolution(x, count, g, weight, bias))
            case .linear(let weight, let bias):
                let inputs = x.count / count
                values.append(
                    (0..<(count * shape.channels)).map { i in
                        let (n, k) = (i / shape.channels, i % shape.channels)
                        let start = bias.map { value($0, k) } ?? 0
                        return (0..<inputs).reduce(start) { $0 + x[n * inputs + $1] * value(weight, k * inputs + $1) }
                    })
            case .batchNorm(let norm):
                let perChannel = (0..<shape.channels).map { c -> (Double, Double) in
                    guard training else { return (value(norm.mean, c), value(norm.variance, c)) }
                    let all = (0..<count).flatMap { n in
                        (0..<shape.pixels).map { x[(n * shape.channels + c) * shape.pixels + $0] }
                    }
                    let mu = all.reduce(0, +) / Double(all.count)
                    return (mu, all.reduce(0) { $0 + ($1 - mu) * ($1 - mu) } / Double(all.count))
                }
                values.append(
                    x.enumerated().map { i, v in
                        let c = i / shape.pixels % shape.channels
                        let (mu, sigma2) = perChannel[c]
                        let deviation = (sigma2 + Double(norm.epsilon)).squareRoot()
                        return (v - mu) / deviation * value(norm.weight, c) + value(norm.bias, c)
                    })
            case .activation(.relu): values.append(x.map { max($0, 0) })
            case .activation(.gelu): values.append(x.map { $0 / 2 * complementaryError(-$0 / 2.0.squareRoot()) })
            case .activation(.silu): values.append(x.map { $0 / (1 + exponential(-$0)) })
            case .add: values.append(zip(x, values[node.inputs[1]]).map { $0 + $1 })
            case .averagePool(let g):
                values.append(
                    (0..<(count * shape.count)).map { i in
                        let plane = i / shape.pixels
                        let (y, x0) = (i % shape.pixels / shape.width, i % shape.width)
                        var sum = 0.0
                        for r in 0..<g.window {
                            for s in 0..<g.window {
                                let iy = y * g.stride + r - g.padding
                                let ix = x0 * g.stride + s - g.padding
                                guard iy >= 0, iy < g.input.height, ix >= 0, ix < g.input.width else { continue }
                                sum += x[plane * g.input.pixels + iy * g.input.width + ix]
                            }
                        }
                        return sum / Double(g.window * g.window)
                    })
            case .maxPool(let g):
                values.append(
                    (0..<(count * shape.count)).map { i in
                        let plane = i / shape.pixels
                        let (top, left) = (i % shape.pixels / shape.width, i % shape.width)
                        var best = -Double.infinity
                        for r in 0..<g.window {
                            for s in 0..<g.window {
                                let y = top * g.stride + r - g.padding
                                let x0 = left * g.stride + s - g.padding
                                guard y >= 0, y < g.input.height, x0 >= 0, x0 < g.input.width else { continue }
                                best = max(best, x[plane * g.input.pixels + y * g.input.width + x0])
                            }
                        }
                        return best
                    })
            case .flatten: values.append(x)
            case .tokenLinear(let g, let weight, let bias): values.append(convolution(x, count, g, weight, bias))
            case .layerNorm(let gamma, let beta, let epsilon):
                values.append(layerNorm(x, count, shape, gamma, beta, Double(epsilon)))
            case .attention(let g): values.append(attention(x, count, g))
            case .classToken(let token):
                values.append(
                    (0..<(count * shape.count)).map { i in
                        let (plane, pixel) = (i / shape.pixels, i % shape.pixels)
                        let c = plane % shape.channels
                        return pixel == 0 ? value(token, c) : x[plane * (shape.pixels - 1) + pixel - 1]
                    })
            case .positionEmbedding(let table):
                values.append(
                    x.enumerated().map { i, v in
                        let (c, pixel) = (i / shape.pixels % shape.channels, i % shape.pixels)
                        return v + value(table, pixel * shape.channels + c)
                    })
            case .selectToken(let index):
                let pixels = x.count / (count * shape.channels)
                values.append((0..<(count * shape.channels)).map { x[$0 * pixels + index] })
            case .globalAveragePool:
                let pixels = x.count / (count * shape.channels)
                values.append(
                    (0..<(count * shape.channels)).map { i in
                        x[(i * pixels)..<((i + 1) * pixels)].reduce(0, +) / Double(pixels)
                    })
            }
        }
        return values[values.count - 1]
    }

    private func layerNorm(
        _ x: [Double], _ count: Int, _ shape: ImageShape, _ gamma: Int, _ beta: Int, _ epsilon: Double
    ) -> [Double] {
        var y = x
        for n in 0..<count {
            for pixel in 0..<shape.pixels {
                let places = (0..<shape.channels).map { (n * shape.channels + $0) * shape.pixels + pixel }
                let mean = places.reduce(0) { $0 + x[$1] } / Double(places.count)
                let variance = places.reduce(0) { $0 + (x[$1] - mean) * (x[$1] - mean) } / Double(places.count)
                for (c, i) in places.enumerated() {
                    y[i] = (x[i] - mean) / (variance + epsilon).squareRoot() * value(gamma, c) + value(beta, c)
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

    private func convolution(
        _ x: [Double], _ count: Int, _ g: ConvolutionGeometry, _ weight: Int, _ bias: Int?
    ) -> [Double] {
        let out = g.output
        var y = [Double](repeating: 0, count: count * out.count)
        for i in y.indices {
            let (n, k) = (i / out.count, i / out.pixels % out.channels)
            let (row, column) = (i % out.pixels / out.width, i % out.width)
            var sum = bias.map { value($0, k) } ?? 0
            for c in 0..<g.depth {
                for r in 0..<g.kernelHeight {
                    for s in 0..<g.kernelWidth {
                        let iy = row * g.stride + r - g.padTop
                        let ix = column * g.stride + s - g.padLeft
                        guard iy >= 0, iy < g.input.height, ix >= 0, ix < g.input.width else { continue }
                        let channel = k / g.groupColumns * g.depth + c
                        sum +=
                            x[n * g.input.count + channel * g.input.pixels + iy * g.input.width + ix]
                            * value(weight, ((k * g.depth + c) * g.kernelHeight + r) * g.kernelWidth + s)
                    }
                }
            }
            y[i] = sum
        }
        return y
    }
}
