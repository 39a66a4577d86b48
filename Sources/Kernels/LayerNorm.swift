import Runtime

// LayerNorm over the channels of each pixel (Ba, Kiros, Hinton, "Layer Normalization", arXiv 1607.06450):
//
//     y = (x − μ)/√(σ² + ε)·γ + β,   μ and σ² the mean and variance of the pixel's channels.
//
// Sums are in double: they are short, and the backward pass makes them again instead of keeping them.

/// Pixels in one chunk of work.
private let pixelsPerChunk = 32

/// y: (pixels, channels); may be x.
public func layerNormForward(
    _ y: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, pixels: Int, channels: Int,
    gamma: UnsafePointer<Float>, beta: UnsafePointer<Float>, epsilon: Float
) {
    eachPixel(pixels) { pixel in
        let source = x + pixel * channels
        let target = y + pixel * channels
        let (mean, scale) = statistics(source, channels, epsilon)
        for c in 0..<channels { target[c] = Float((Double(source[c]) - mean) * scale) * gamma[c] + beta[c] }
    }
}

/// dx = or += the gradient of the input, for the input x and the output's gradient dy; dx may be dy.
public func layerNormBackward(
    _ dx: UnsafeMutablePointer<Float>, gradient dy: UnsafePointer<Float>, _ x: UnsafePointer<Float>, pixels: Int,
    channels: Int, gamma: UnsafePointer<Float>, epsilon: Float, accumulate: Bool
) {
    eachPixel(pixels) { pixel in
        let source = x + pixel * channels
        let g = dy + pixel * channels
        let target = dx + pixel * channels
        let (mean, scale) = statistics(source, channels, epsilon)
        // dx = scale·(h − mean(h) − z·mean(h·z)),  h = dy·γ, z = (x − μ)·scale
        var (sum, product) = (0.0, 0.0)
        for c in 0..<channels {
            let h = Double(g[c] * gamma[c])
            sum += h
            product += h * (Double(source[c]) - mean)
        }
        sum /= Double(channels)
        product *= scale * scale / Double(channels)
        for c in 0..<channels {
            let value = Float(scale * (Double(g[c] * gamma[c]) - sum - (Double(source[c]) - mean) * product))
            target[c] = accumulate ? target[c] + value : value
        }
    }
}

/// dgamma += Σ dy·z, dbeta += Σ dy over all pixels. Chunks of pixels are summed side by side and added up in order.
public func layerNormParameterGradients(
    dgamma: UnsafeMutablePointer<Float>, dbeta: UnsafeMutablePointer<Float>, gradient dy: UnsafePointer<Float>,
    _ x: UnsafePointer<Float>, pixels: Int, channels: Int, epsilon: Float
) {
    let parts = max(1, min(16, (pixels + pixelsPerChunk - 1) / pixelsPerChunk))
    let sums = Scratch.take(parts * 2 * channels * MemoryLayout<Double>.stride, .shared)
        .bindMemory(to: Double.self, capacity: parts * 2 * channels)
    sums.update(repeating: 0, count: parts * 2 * channels)
    WorkerPool.parallelFor(parts) { part in
        let own = sums + part * 2 * channels
        for pixel in (pixels * part / parts)..<(pixels * (part + 1) / parts) {
            let source = x + pixel * channels
            let g = dy + pixel * channels
            let (mean, scale) = statistics(source, channels, epsilon)
            for c in 0..<channels {
                own[c] += Double(g[c]) * (Double(source[c]) - mean) * scale
                own[channels + c] += Double(g[c])
            }
        }
    }
    for part in 1..<max(parts, 1) {
        for i in 0..<(2 * channels) { sums[i] += sums[part * 2 * channels + i] }
    }
    for c in 0..<channels {
        dgamma[c] += Float(sums[c])
        dbeta[c] += Float(sums[channels + c])
    }
}

private func eachPixel(_ pixels: Int, _ body: (Int) -> Void) {
    WorkerPool.parallelFor((pixels + pixelsPerChunk - 1) / pixelsPerChunk) { chunk in
        for pixel in (chunk * pixelsPerChunk)..<min((chunk + 1) * pixelsPerChunk, pixels) { body(pixel) }
    }
}

/// Mean and 1/√(variance + ε) of a pixel's channels.
@inline(__always)
private func statistics(
    _ x: UnsafePointer<Float>, _ channels: Int, _ epsilon: Float
) -> (mean: Double, scale: Double) {
    var sum = 0.0
    for c in 0..<channels { sum += Double(x[c]) }
    let mean = sum / Double(channels)
    var squares = 0.0
    for c in 0..<channels {
        let distance = Double(x[c]) - mean
        squares += distance * distance
    }
    return (mean, 1 / (squares / Double(channels) + Double(epsilon)).squareRoot())
}
