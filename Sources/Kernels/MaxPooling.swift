import Runtime

/// The largest window, down and across: positions in a window are kept in one byte.
public let maxPoolLargestWindow = 15

/// y = maximum of each window, of the pixels inside the image. y: (count, H', W', C).
///
/// `positions` (shape of y): which pixel of its window each maximum is, row by row, the first of equals. A NaN is larger
/// than anything, as in PyTorch.
public func maxPoolForward(
    _ y: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, count: Int, _ g: PoolingGeometry,
    positions: UnsafeMutablePointer<UInt8>? = nil
) {
    let channels = g.input.channels
    let output = g.output
    WorkerPool.parallelFor(count * output.height) { line in
        let row = line % output.height
        let rows = g.rows(row)
        let sample = x + line / output.height * g.input.count
        for column in 0..<output.width {
            let start = (line * output.width + column) * channels
            let best = y + start
            let place = positions.map { $0 + start }
            best.update(repeating: -.infinity, count: channels)
            let columns = g.columns(column)
            // A window full of -∞ has its maximum at its first pixel.
            place?.update(repeating: UInt8(rows.lowerBound * g.windowWidth + columns.lowerBound), count: channels)
            for r in rows {
                for s in columns {
                    let pixel = (g.top(row) + r) * g.input.width + g.left(column) + s
                    take(best, place, sample + pixel * channels, UInt8(r * g.windowWidth + s), channels)
                }
            }
        }
    }
}

/// Puts the values at `x` where they exceed the best so far.
@inline(__always)
private func take(
    _ best: UnsafeMutablePointer<Float>, _ place: UnsafeMutablePointer<UInt8>?, _ x: UnsafePointer<Float>,
    _ position: UInt8, _ channels: Int
) {
    guard let place else {
        for c in 0..<channels { best[c] = x[c] > best[c] || x[c].isNaN ? x[c] : best[c] }
        return
    }
    for c in 0..<channels {
        let isBetter = x[c] > best[c] || x[c].isNaN
        best[c] = isBetter ? x[c] : best[c]
        place[c] = isBetter ? position : place[c]
    }
}

/// dx = or += the gradient of each maximum, at the pixel that it was.
public func maxPoolBackward(
    _ dx: UnsafeMutablePointer<Float>, gradient dy: UnsafePointer<Float>, positions: UnsafePointer<UInt8>, count: Int,
    _ g: PoolingGeometry, accumulate: Bool
) {
    let channels = g.input.channels
    let output = g.output
    WorkerPool.parallelFor(count) { sample in
        let target = dx + sample * g.input.count
        if !accumulate { target.update(repeating: 0, count: g.input.count) }
        for row in 0..<output.height {
            for column in 0..<output.width {
                let corner = g.top(row) * g.input.width + g.left(column)
                let start = sample * output.count + (row * output.width + column) * channels
                for c in 0..<channels {
                    let position = Int(positions[start + c])
                    let pixel = corner + position / g.windowWidth * g.input.width + position % g.windowWidth
                    target[pixel * channels + c] += dy[start + c]
                }
            }
        }
    }
}
