import Runtime

/// A pooling window. Padding is no candidate for a maximum, and zeros in a mean or no part of it.
public struct PoolingGeometry: Equatable, Sendable {
    public var input: ImageShape
    public var windowHeight: Int
    public var windowWidth: Int
    public var strideHeight: Int
    public var strideWidth: Int
    public var padTop: Int
    public var padLeft: Int
    public var padBottom: Int
    public var padRight: Int

    /// Everything the same down and across. The caller has seen to it that every window has a pixel of the image, as it has
    /// where the padding of each side is less than the window.
    public init(input: ImageShape, window: Int, stride: Int, padding: Int = 0) {
        self.input = input
        (windowHeight, windowWidth) = (window, window)
        (strideHeight, strideWidth) = (stride, stride)
        (padTop, padLeft, padBottom, padRight) = (padding, padding, padding, padding)
    }

    public var output: ImageShape {
        ImageShape(
            input.channels, (input.height + padTop + padBottom - windowHeight) / strideHeight + 1,
            (input.width + padLeft + padRight - windowWidth) / strideWidth + 1)
    }

    /// The first line of the image that a window looks at; negative in the padding.
    @inline(__always)
    func top(_ row: Int) -> Int { row * strideHeight - padTop }
    @inline(__always)
    func left(_ column: Int) -> Int { column * strideWidth - padLeft }

    /// The lines of a window that lie inside the image.
    @inline(__always)
    func rows(_ row: Int) -> Range<Int> { max(0, -top(row))..<min(windowHeight, input.height - top(row)) }
    @inline(__always)
    func columns(_ column: Int) -> Range<Int> {
        max(0, -left(column))..<min(windowWidth, input.width - left(column))
    }
}

/// y = mean over each window, padding counted as zeros or, without `countsPadding`, left out. y: (count, H', W', C).
public func averagePoolForward(
    _ y: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, count: Int, _ g: PoolingGeometry,
    countsPadding: Bool = true
) {
    let channels = g.input.channels
    WorkerPool.parallelFor(count) { sample in
        let source = x + sample * g.input.count
        let target = y + sample * g.output.count
        target.update(repeating: 0, count: g.output.count)
        eachWindow(g, countsPadding) { output, scale, pixels in
            let out = target + output * channels
            pixels { pixel in
                for c in 0..<channels { out[c] += source[pixel * channels + c] }
            }
            for c in 0..<channels { out[c] *= scale }
        }
    }
}

/// dx += or = the mean's gradient spread over its window.
public func averagePoolBackward(
    _ dx: UnsafeMutablePointer<Float>, gradient dy: UnsafePointer<Float>, count: Int, _ g: PoolingGeometry,
    countsPadding: Bool = true, accumulate: Bool
) {
    let channels = g.input.channels
    WorkerPool.parallelFor(count) { sample in
        let target = dx + sample * g.input.count
        if !accumulate { target.update(repeating: 0, count: g.input.count) }
        eachWindow(g, countsPadding) { output, scale, pixels in
            let source = dy + sample * g.output.count + output * channels
            pixels { pixel in
                for c in 0..<channels { target[pixel * channels + c] += source[c] * scale }
            }
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

/// Calls `body(output pixel, what a pixel counts in the mean, its pixels)` for every window; the last one calls its own
/// body for every pixel of the window that lies inside the image.
@inline(__always)
private func eachWindow(
    _ g: PoolingGeometry, _ countsPadding: Bool, _ body: (Int, Float, (_ pixels: (Int) -> Void) -> Void) -> Void
) {
    let output = g.output
    for row in 0..<output.height {
        let rows = g.rows(row)
        for column in 0..<output.width {
            let columns = g.columns(column)
            let size = countsPadding ? g.windowHeight * g.windowWidth : rows.count * columns.count
            body(row * output.width + column, 1 / Float(size)) { pixel in
                for r in rows {
                    let line = (g.top(row) + r) * g.input.width + g.left(column)
                    for s in columns { pixel(line + s) }
                }
            }
        }
    }
}
