import Runtime

/// A square pooling window without padding.
public struct PoolingGeometry: Equatable, Sendable {
    public var input: ImageShape
    public var window: Int
    public var stride: Int

    public init(input: ImageShape, window: Int, stride: Int) {
        self.input = input
        self.window = window
        self.stride = stride
    }

    public var output: ImageShape {
        ImageShape(input.channels, (input.height - window) / stride + 1, (input.width - window) / stride + 1)
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

/// Calls `body(output pixel, input pixel)` for every pixel of every window.
@inline(__always)
private func eachWindowPixel(_ g: PoolingGeometry, _ body: (Int, Int) -> Void) {
    let output = g.output
    for y in 0..<output.height {
        for x in 0..<output.width {
            for r in 0..<g.window {
                for s in 0..<g.window {
                    body(y * output.width + x, (y * g.stride + r) * g.input.width + x * g.stride + s)
                }
            }
        }
    }
}
