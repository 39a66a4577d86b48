import Runtime

// Concatenation along channels: each operand is a range of the channels of the result. Channels are innermost, so that
// this copies, pixel by pixel.

/// Channels `first` ..< `first + channels` of y = x. y: (pixels, total); x: (pixels, channels).
public func putChannels(
    _ y: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, pixels: Int, channels: Int, first: Int, of total: Int
) {
    eachRun(pixels, total) { pixel in
        (y + pixel * total + first).update(from: x + pixel * channels, count: channels)
    }
}

/// The way back: x = or += channels `first` ..< `first + channels` of y.
public func takeChannels(
    _ x: UnsafeMutablePointer<Float>, _ y: UnsafePointer<Float>, pixels: Int, channels: Int, first: Int, of total: Int,
    accumulate: Bool
) {
    eachRun(pixels, total) { pixel in
        let (target, source) = (x + pixel * channels, y + pixel * total + first)
        if accumulate {
            for c in 0..<channels { target[c] += source[c] }
        } else {
            target.update(from: source, count: channels)
        }
    }
}

private func eachRun(_ pixels: Int, _ channels: Int, _ body: (_ pixel: Int) -> Void) {
    let run = max(1, (1 << 14) / channels)
    WorkerPool.parallelFor((pixels + run - 1) / run) { chunk in
        for pixel in (chunk * run)..<min((chunk + 1) * run, pixels) { body(pixel) }
    }
}
