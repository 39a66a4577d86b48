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
                        return (0..<inputs).reduce(value(bias, k)) {
                            $0 + x[n * inputs + $1] * value(weight, k * inputs + $1)
                        }
                    })
            case .batchNorm(let gamma, let beta, let mean, let variance):
                let perChannel = (0..<shape.channels).map { c -> (Double, Double) in
                    guard training else { return (value(mean, c), value(variance, c)) }
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
                        return (v - mu) / (sigma2 + Double(Graph.batchNormEpsilon)).squareRoot() * value(gamma, c)
                            + value(beta, c)
                    })
            case .activation(.relu): values.append(x.map { max($0, 0) })
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
                                sum +=
                                    x[
                                        plane * g.input.pixels + (y * g.stride + r) * g.input.width + x0 * g.stride + s]
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
