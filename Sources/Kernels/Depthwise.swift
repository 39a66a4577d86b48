import Runtime

// Depthwise convolution: every channel has its own filter, so a product would be all padding; these run over the
// channels of a pixel instead. Weights are [tap][channel].

/// y = act( depthwise(x) + bias + residual ); shapes as in `convolutionForward`.
func depthwiseForward(
    _ y: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, count: Int, _ weights: PreparedWeights,
    _ epilogue: ConvolutionEpilogue
) {
    let g = weights.geometry
    guard let matrix = weights.matrix?.pointer else { return }
    let channels = g.outputChannels
    let bias = weights.bias.pointer
    eachOutputRow(count, g) { start, sample, row in
        for column in 0..<g.output.width {
            let out = y + start + column * channels
            for c in 0..<channels { out[c] = bias[c] }
            eachTap(g, row, column) { tap, pixel in
                let source = x + sample * g.input.count + pixel * channels
                let filter = matrix + tap * channels
                for c in 0..<channels { out[c] += source[c] * filter[c] }
            }
            if let residual = epilogue.residual {
                let other = residual + start + column * channels
                for c in 0..<channels { out[c] += other[c] }
            }
            if epilogue.rectify {
                for c in 0..<channels where out[c] < 0 { out[c] = 0 }
            }
        }
    }
}

func depthwiseInputGradient(
    _ dx: UnsafeMutablePointer<Float>, _ dy: UnsafePointer<Float>, count: Int, _ weights: PreparedWeights,
    accumulate: Bool
) {
    let g = weights.geometry
    guard let matrix = weights.matrix?.pointer else { return }
    let channels = g.outputChannels
    WorkerPool.parallelFor(count) { sample in
        let target = dx + sample * g.input.count
        if !accumulate { target.update(repeating: 0, count: g.input.count) }
        for row in 0..<g.output.height {
            for column in 0..<g.output.width {
                let gradient = dy + sample * g.output.count + (row * g.output.width + column) * channels
                eachTap(g, row, column) { tap, pixel in
                    let out = target + pixel * channels
                    let filter = matrix + tap * channels
                    for c in 0..<channels { out[c] += gradient[c] * filter[c] }
                }
            }
        }
    }
}

/// dw += gradient; dw is OIHW with I = 1: [channel][tap]. One chunk per block of channels, each over all samples.
func depthwiseWeightGradient(
    _ dw: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, _ dy: UnsafePointer<Float>, count: Int,
    _ weights: PreparedWeights
) {
    let g = weights.geometry
    let channels = g.outputChannels
    let block = 16
    WorkerPool.parallelFor((channels + block - 1) / block) { item in
        let first = item * block
        let width = min(block, channels - first)
        let bytes = g.taps * block * MemoryLayout<Float>.stride
        let sums = Scratch.take(bytes).bindMemory(to: Float.self, capacity: g.taps * block)
        for sample in 0..<count {
            // Sums of one sample first, then across samples: shorter chains of float additions.
            sums.update(repeating: 0, count: g.taps * block)
            for row in 0..<g.output.height {
                for column in 0..<g.output.width {
                    let pixelOut = row * g.output.width + column
                    let gradient = dy + sample * g.output.count + pixelOut * channels + first
                    eachTap(g, row, column) { tap, pixel in
                        let source = x + sample * g.input.count + pixel * channels + first
                        let sum = sums + tap * block
                        for c in 0..<width { sum[c] += source[c] * gradient[c] }
                    }
                }
            }
            for tap in 0..<g.taps {
                for c in 0..<width { dw[(first + c) * g.taps + tap] += sums[tap * block + c] }
            }
        }
    }
}

/// Calls `body(start of the output row in floats, sample, row)` for each row of each sample, in parallel.
@inline(__always)
private func eachOutputRow(_ count: Int, _ g: ConvolutionGeometry, _ body: (Int, Int, Int) -> Void) {
    let output = g.output
    WorkerPool.parallelFor(count * output.height) { item in
        body(item * output.width * output.channels, item / output.height, item % output.height)
    }
}

/// Calls `body(tap, input pixel)` for the taps of an output pixel that lie inside the image.
@inline(__always)
private func eachTap(_ g: ConvolutionGeometry, _ row: Int, _ column: Int, _ body: (Int, Int) -> Void) {
    for r in 0..<g.kernelHeight {
        let y = row * g.stride + r - g.padTop
        guard y >= 0, y < g.input.height else { continue }
        for s in 0..<g.kernelWidth {
            let x = column * g.stride + s - g.padLeft
            guard x >= 0, x < g.input.width else { continue }
            body(r * g.kernelWidth + s, y * g.input.width + x)
        }
    }
}
