import Runtime

// Products of tensors, elementwise: of the same shape, or of an image and a gate, one number for each channel of a sample
// (squeeze-and-excitation; Hu et al., arXiv 1709.01507, eq. 4). The gradient of a factor is the product of the output's
// gradient and the other factor; for the gate, summed over the pixels.

/// out = or += a·b; out may be a or b.
public func multiply(
    _ out: UnsafeMutablePointer<Float>, _ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, count: Int,
    accumulate: Bool = false
) {
    eachChunk(count) { start, n in
        for i in start..<(start + n) {
            let value = a[i] * b[i]
            out[i] = accumulate ? out[i] + value : value
        }
    }
}

/// out = or += x·gate, x and out (count, H, W, C), gate (count, C); out may be x.
public func multiplyByGate(
    _ out: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, gate: UnsafePointer<Float>, count: Int,
    _ shape: ImageShape, accumulate: Bool = false
) {
    let length = shape.width * shape.channels
    WorkerPool.parallelFor(count * shape.height) { line in
        let own = gate + line / shape.height * shape.channels
        for pixel in 0..<shape.width {
            let start = line * length + pixel * shape.channels
            for c in 0..<shape.channels {
                let value = x[start + c] * own[c]
                out[start + c] = accumulate ? out[start + c] + value : value
            }
        }
    }
}

/// dgate = or += Σ over pixels of dy·x. dgate: (count, C).
public func gateGradient(
    _ dgate: UnsafeMutablePointer<Float>, gradient dy: UnsafePointer<Float>, _ x: UnsafePointer<Float>, count: Int,
    _ shape: ImageShape, accumulate: Bool
) {
    let channels = shape.channels
    WorkerPool.parallelFor(count) { sample in
        let sums = Scratch.take(channels * MemoryLayout<Double>.stride).bindMemory(to: Double.self, capacity: channels)
        sums.update(repeating: 0, count: channels)
        for pixel in 0..<shape.pixels {
            let start = sample * shape.count + pixel * channels
            for c in 0..<channels { sums[c] += Double(dy[start + c] * x[start + c]) }
        }
        let target = dgate + sample * channels
        for c in 0..<channels { target[c] = (accumulate ? target[c] : 0) + Float(sums[c]) }
    }
}
