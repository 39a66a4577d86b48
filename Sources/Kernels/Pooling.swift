import Runtime

/// A square pooling window. Padding counts as zeros in a mean and is no candidate for a maximum, PyTorch's defaults.
public struct PoolingGeometry: Equatable, Sendable {
    public var input: ImageShape
    public var window: Int
    public var stride: Int
    public var padding: Int

    /// The caller has seen to it that every window has a pixel of the image, as it has where padding <= window / 2.
    public init(input: ImageShape, window: Int, stride: Int, padding: Int = 0) {
        self.input = input
        self.window = window
        self.stride = stride
        self.padding = padding
    }

    public var output: ImageShape {
        ImageShape(
            input.channels, (input.height + 2 * padding - window) / stride + 1,
            (input.width + 2 * padding - window) / stride + 1)
    }

    /// The lines of a window that lie inside an image of so many lines.
    @inline(__always)
    func lines(_ output: Int, of size: Int) -> Range<Int> {
        let first = output * stride - padding
        return max(0, -first)..<min(window, size - first)
    }
}

/// y = mean over each window. y: (count, H', W', C).
public func averagePoolForward(
    _ y: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, count: Int, _ g: PoolingGeometry
) {
    let channels = g.input.channels
    let scale = 1 / Float(g.window * g.window)
    WorkerPool.parallelFor(count) { sample in
        let target = y + sample * g.output.count
        target.update(repeating: 0, count: g.output.count)
        eachWindowPixel(g) { output, input in
            let source = x + sample * g.input.count + input * channels
            let out = target + output * channels
            for c in 0..<channels { out[c] += source[c] }
        }
        for i in 0..<g.output.count { target[i] *= scale }
    }
}

/// dx += or = the mean's gradient spread over its window.
public func averagePoolBackward(
    _ dx: UnsafeMutablePointer<Float>, gradient dy: UnsafePointer<Float>, count: Int, _ g: PoolingGeometry,
    accumulate: Bool
) {
    let channels = g.input.channels
    let scale = 1 / Float(g.window * g.window)
    WorkerPool.parallelFor(count) { sample in
        let target = dx + sample * g.input.count
        if !accumulate { target.update(repeating: 0, count: g.input.count) }
        eachWindowPixel(g) { output, input in
            let source = dy + sample * g.output.count + output * channels
            let out = target + input * channels
            for c in 0..<channels { out[c] += source[c] * scale }
        }
    }
}

/// y = mean over all pixels of each channel. y: (count, C).
public func globalAveragePoolForward(
    _ y: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, count: Int, _ shape: ImageShape
) {
    let scale = 1 / Float(shape.pixels)
    WorkerPool.parallelFor(count) { sample in
        let out = y + sample * shape.channels
        out.update(repeating: 0, count: shape.channels)
        for pixel in 0..<shape.pixels {
            let source = x + sample * shape.count + pixel * shape.channels
            for c in 0..<shape.channels { out[c] += source[c] }
        }
        for c in 0..<shape.channels { out[c] *= scale }
    }
}

/// dx = or += the gradient of the mean.
public func globalAveragePoolBackward(
    _ dx: UnsafeMutablePointer<Float>, gradient dy: UnsafePointer<Float>, count: Int, _ shape: ImageShape,
    accumulate: Bool
) {
    let scale = 1 / Float(shape.pixels)
    WorkerPool.parallelFor(count) { sample in
        let source = dy + sample * shape.channels
        for pixel in 0..<shape.pixels {
            let out = dx + sample * shape.count + pixel * shape.channels
            for c in 0..<shape.channels { out[c] = (accumulate ? out[c] : 0) + source[c] * scale }
        }
    }
}

/// Calls `body(output pixel, input pixel)` for every pixel of every window that lies inside the image.
@inline(__always)
private func eachWindowPixel(_ g: PoolingGeometry, _ body: (Int, Int) -> Void) {
    let output = g.output
    for y in 0..<output.height {
        for x in 0..<output.width {
            for r in g.lines(y, of: g.input.height) {
                let line = (y * g.stride - g.padding + r) * g.input.width + x * g.stride - g.padding
                for s in g.lines(x, of: g.input.width) { body(y * output.width + x, line + s) }
            }
        }
    }
}
