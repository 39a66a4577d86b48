import Runtime

// Images as sequences of tokens: a pixel is a token, its channels are the token's numbers, and the order is that of the
// pixels, row by row (Dosovitskiy et al., "An Image is Worth 16x16 Words", arXiv 2010.11929).

/// y = token, then the pixels of x. y: (count, T + 1, C).
public func prependTokenForward(
    _ y: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, count: Int, _ shape: ImageShape,
    token: UnsafePointer<Float>
) {
    let stride = shape.count + shape.channels
    WorkerPool.parallelFor(count) { sample in
        (y + sample * stride).update(from: token, count: shape.channels)
        (y + sample * stride + shape.channels).update(from: x + sample * shape.count, count: shape.count)
    }
}

/// dx = or += the pixels' part of dy.
public func prependTokenBackward(
    _ dx: UnsafeMutablePointer<Float>, gradient dy: UnsafePointer<Float>, count: Int, _ shape: ImageShape,
    accumulate: Bool
) {
    let stride = shape.count + shape.channels
    WorkerPool.parallelFor(count) { sample in
        copy(dx + sample * shape.count, dy + sample * stride + shape.channels, shape.count, accumulate)
    }
}

/// target += the sum over the samples of their first `length` numbers of dy, samples `stride` apart: the gradient of what
/// all samples share.
public func addSampleSums(
    _ target: UnsafeMutablePointer<Float>, _ dy: UnsafePointer<Float>, count: Int, length: Int, stride: Int
) {
    let slice = 1024
    WorkerPool.parallelFor((length + slice - 1) / slice) { item in
        for i in (item * slice)..<min((item + 1) * slice, length) {
            var sum = 0.0
            for sample in 0..<count { sum += Double(dy[sample * stride + i]) }
            target[i] += Float(sum)
        }
    }
}

/// y = x + table, the same table for every sample; y may be x.
public func positionEmbeddingForward(
    _ y: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, count: Int, _ shape: ImageShape,
    table: UnsafePointer<Float>
) {
    WorkerPool.parallelFor(count) { sample in
        let (source, target) = (x + sample * shape.count, y + sample * shape.count)
        for i in 0..<shape.count { target[i] = source[i] + table[i] }
    }
}

/// y = pixel `index` of x. y: (count, C).
public func selectTokenForward(
    _ y: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, count: Int, _ shape: ImageShape, index: Int
) {
    WorkerPool.parallelFor(count) { sample in
        (y + sample * shape.channels).update(
            from: x + sample * shape.count + index * shape.channels, count: shape.channels)
    }
}

/// dx = or += dy in its pixel, 0 in all others.
public func selectTokenBackward(
    _ dx: UnsafeMutablePointer<Float>, gradient dy: UnsafePointer<Float>, count: Int, _ shape: ImageShape, index: Int,
    accumulate: Bool
) {
    WorkerPool.parallelFor(count) { sample in
        let target = dx + sample * shape.count
        if !accumulate { target.update(repeating: 0, count: shape.count) }
        copy(target + index * shape.channels, dy + sample * shape.channels, shape.channels, accumulate)
    }
}

@inline(__always)
private func copy(
    _ target: UnsafeMutablePointer<Float>, _ source: UnsafePointer<Float>, _ count: Int, _ accumulate: Bool
) {
    guard accumulate else { return target.update(from: source, count: count) }
    for i in 0..<count { target[i] += source[i] }
}
