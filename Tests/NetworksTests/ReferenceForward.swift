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

    func value(_ index: Int, _ i: Int) -> Double {
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
            case .relu: values.append(x.map { max($0, 0) })
            case .add: values.append(zip(x, values[node.inputs[1]]).map { $0 + $1 })
            case .tokenLinear(let g, let weight, let bias): values.append(convolution(x, count, g, weight, bias))
            case .layer(let layer):
                values.append(self.layer(layer, node.inputs.map { values[$0] }, count, shape))
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
                        let iy = row * g.strideHeight + r * g.dilationHeight - g.padTop
                        let ix = column * g.strideWidth + s * g.dilationWidth - g.padLeft
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
