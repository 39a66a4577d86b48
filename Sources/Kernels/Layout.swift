import Runtime

/// CHW samples to the engine's HWC, each channel normalised: y = (x − mean)/std. mean and std nil: as it is.
public func importImages(
    _ y: UnsafeMutablePointer<Float>, _ images: UnsafePointer<Float>, count: Int, _ shape: ImageShape,
    mean: [Float], std: [Float]
) {
    WorkerPool.parallelFor(count) { sample in
        for c in 0..<shape.channels {
            let source = images + sample * shape.count + c * shape.pixels
            let target = y + sample * shape.count + c
            if mean.isEmpty {
                for pixel in 0..<shape.pixels { target[pixel * shape.channels] = source[pixel] }
            } else {
                for pixel in 0..<shape.pixels {
                    target[pixel * shape.channels] = (source[pixel] - mean[c]) / std[c]
                }
            }
        }
    }
}

/// The gradient of `importImages`: HWC to CHW, divided by std.
public func exportInputGradient(
    _ images: UnsafeMutablePointer<Float>, _ gradient: UnsafePointer<Float>, count: Int, _ shape: ImageShape,
    std: [Float]
) {
    WorkerPool.parallelFor(count) { sample in
        for c in 0..<shape.channels {
            let source = gradient + sample * shape.count + c
            let target = images + sample * shape.count + c * shape.pixels
            let divisor = std.isEmpty ? 1 : std[c]
            for pixel in 0..<shape.pixels { target[pixel] = source[pixel * shape.channels] / divisor }
        }
    }
}

/// y = the samples of x in CHW order. y: (count, C·H·W).
public func flattenForward(
    _ y: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, count: Int, _ shape: ImageShape
) {
    WorkerPool.parallelFor(count) { sample in
        for pixel in 0..<shape.pixels {
            let source = x + sample * shape.count + pixel * shape.channels
            let target = y + sample * shape.count + pixel
            for c in 0..<shape.channels { target[c * shape.pixels] = source[c] }
        }
    }
}

/// dx = or += the gradient back in the order of pixels.
public func flattenBackward(
    _ dx: UnsafeMutablePointer<Float>, gradient dy: UnsafePointer<Float>, count: Int, _ shape: ImageShape,
    accumulate: Bool
) {
    WorkerPool.parallelFor(count) { sample in
        for pixel in 0..<shape.pixels {
            let source = dy + sample * shape.count + pixel
            let target = dx + sample * shape.count + pixel * shape.channels
            for c in 0..<shape.channels {
                target[c] = (accumulate ? target[c] : 0) + source[c * shape.pixels]
            }
        }
    }
}
