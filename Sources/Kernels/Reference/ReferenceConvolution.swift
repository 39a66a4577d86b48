// Plain loops that say what the fast kernels compute. Channels innermost, weights OIHW, sums in double.

/// y = conv(x) + bias.
public func referenceConvolutionForward(
    x: [Float], weights: [Float], bias: [Float], count: Int, _ g: ConvolutionGeometry
) -> [Float] {
    var y = [Float](repeating: 0, count: count * g.output.count)
    eachOutput(count, g) { n, output, pixel, k in
        var sum = Double(bias[k])
        eachTerm(g, pixel, k) { input, weight in
            sum += Double(x[n * g.input.count + input]) * Double(weights[weight])
        }
        y[output] = Float(sum)
    }
    return y
}

/// dx for the output gradient dy.
public func referenceConvolutionInputGradient(
    dy: [Float], weights: [Float], count: Int, _ g: ConvolutionGeometry
) -> [Float] {
    var dx = [Double](repeating: 0, count: count * g.input.count)
    eachOutput(count, g) { n, output, pixel, k in
        eachTerm(g, pixel, k) { input, weight in
            dx[n * g.input.count + input] += Double(dy[output]) * Double(weights[weight])
        }
    }
    return dx.map { Float($0) }
}

/// dw (OIHW) for the output gradient dy.
public func referenceConvolutionWeightGradient(
    x: [Float], dy: [Float], count: Int, _ g: ConvolutionGeometry
) -> [Float] {
    var dw = [Double](repeating: 0, count: g.weightCount)
    eachOutput(count, g) { n, output, pixel, k in
        eachTerm(g, pixel, k) { input, weight in
            dw[weight] += Double(dy[output]) * Double(x[n * g.input.count + input])
        }
    }
    return dw.map { Float($0) }
}

/// Calls `body(sample, index into y, output pixel, output channel)` for every output.
private func eachOutput(_ count: Int, _ g: ConvolutionGeometry, _ body: (Int, Int, Int, Int) -> Void) {
    for n in 0..<count {
        for pixel in 0..<g.output.pixels {
            for k in 0..<g.outputChannels {
                body(n, n * g.output.count + pixel * g.outputChannels + k, pixel, k)
            }
        }
    }
}

/// Calls `body(index into the sample's input, index into the weights)` for every term of one output.
private func eachTerm(_ g: ConvolutionGeometry, _ pixel: Int, _ k: Int, _ body: (Int, Int) -> Void) {
    let group = k / g.groupColumns
    for r in 0..<g.kernelHeight {
        for s in 0..<g.kernelWidth {
            let y = pixel / g.output.width * g.strideHeight + r * g.dilationHeight - g.padTop
            let x = pixel % g.output.width * g.strideWidth + s * g.dilationWidth - g.padLeft
            guard y >= 0, y < g.input.height, x >= 0, x < g.input.width else { continue }
            for c in 0..<g.depth {
                body(
                    (y * g.input.width + x) * g.input.channels + group * g.depth + c,
                    (k * g.depth + c) * g.taps + r * g.kernelWidth + s)
            }
        }
    }
}
