// Matrix products of Winograd's transformed tiles: many small ones with the same shapes, one per position of the tile.
// Every element is one chain of multiply-adds over the depth, wherever it lies: results do not depend on the batch.

/// m[position][row][column] = Σ_c v[position][row][c] · u[plane(position)][c][column]
///
/// - v, m: rows `vRow` and `mRow` floats apart, positions `vPlane` and `mPlane`. v has whole tiles of rows
///   (`rowsPerTile`), of which `rows` are wanted; m has room for whole tiles and whole vectors.
/// - u: per position panels of 2·laneCount columns [panel][depth][column], a last panel of at most laneCount columns
///   being laneCount wide; planes `uPlane` apart.
/// - planes: which plane of u a position uses.
/// - columns: multiple of laneCount.
/// - accumulate: the sums go on from what is in m, so that a product over a part of the depth at a time rounds like the
///   whole.
public func denseProducts(
    _ m: UnsafeMutablePointer<Float>, mPlane: Int, mRow: Int, v: UnsafePointer<Float>, vPlane: Int, vRow: Int,
    u: UnsafePointer<Float>, uPlane: Int, planes: UnsafePointer<Int>, positions: Int, rows: Int, depth: Int,
    columns: Int, accumulate: Bool
) {
    for position in 0..<positions {
        let left = v + position * vPlane
        let right = u + planes[position] * uPlane
        let out = m + position * mPlane
        var column = 0
        while column < columns {
            let wide = columns - column > laneCount
            var row = 0
            while row < rows {
                if wide {
                    wideProduct(
                        out + row * mRow + column, mRow, left + row * vRow, vRow, right + column * depth, depth,
                        accumulate)
                } else {
                    narrowProduct(
                        out + row * mRow + column, mRow, left + row * vRow, vRow, right + column * depth, depth,
                        accumulate)
                }
                row += rowsPerTile
            }
            column += wide ? 2 * laneCount : laneCount
        }
    }
}

@inline(always)
private func wideProduct(
    _ out: UnsafeMutablePointer<Float>, _ outRow: Int, _ rows: UnsafePointer<Float>, _ rowStride: Int,
    _ panel: UnsafePointer<Float>, _ depth: Int, _ accumulate: Bool
) {
    var left = accumulate ? TileSums { load(out + $0 * outRow) } : TileSums<Lanes>()
    var right = accumulate ? TileSums { load(out + $0 * outRow + laneCount) } : TileSums<Lanes>()
    var weights = panel
    for channel in 0..<depth {
        let first = load(weights)
        let second = load(weights + laneCount)
        left.add(first) { rows[$0 * rowStride + channel] }
        right.add(second) { rows[$0 * rowStride + channel] }
        weights += 2 * laneCount
    }
    left.eachRow { row, sum in store(sum, out + row * outRow) }
    right.eachRow { row, sum in store(sum, out + row * outRow + laneCount) }
}

@inline(always)
private func narrowProduct(
    _ out: UnsafeMutablePointer<Float>, _ outRow: Int, _ rows: UnsafePointer<Float>, _ rowStride: Int,
    _ panel: UnsafePointer<Float>, _ depth: Int, _ accumulate: Bool
) {
    var sums = accumulate ? TileSums { load(out + $0 * outRow) } : TileSums<Lanes>()
    var weights = panel
    for channel in 0..<depth {
        sums.add(load(weights)) { rows[$0 * rowStride + channel] }
        weights += laneCount
    }
    sums.eachRow { row, sum in store(sum, out + row * outRow) }
}

/// sums[plane(position)][r][n] += Σ_m left[position][m][r] · right[position][m][n], r < channels, n < columns: the summed
/// outer products of the filter's gradient.
///
/// - left, right: rows `leftRow` and `rightRow` floats apart, positions `leftPlane` and `rightPlane`.
/// - planes: which sums a position adds to. `fresh`: they begin as zero, each with its first position.
/// - channels: multiple of rowsPerTile; columns: multiple of laneCount.
public func denseOuterProducts(
    _ sums: UnsafeMutablePointer<Float>, sumPlane: Int, sumRow: Int, left: UnsafePointer<Float>, leftPlane: Int,
    leftRow: Int, right: UnsafePointer<Float>, rightPlane: Int, rightRow: Int, planes: UnsafePointer<Int>,
    positions: Int,
    rows: Int, channels: Int, columns: Int, fresh: Bool
) {
    // Positions that share sums may come at any time: which were met is one bit each.
    var met: UInt64 = fresh ? 0 : .max
    for position in 0..<positions {
        let plane = planes[position]
        let accumulate = met >> UInt64(plane) & 1 == 1
        met |= 1 << UInt64(plane)
        var column = 0
        while column < columns {
            // A last single vector is computed twice as wide: what is behind it is room, and not looked at.
            var channel = 0
            while channel < channels {
                outerProduct(
                    sums + plane * sumPlane + channel * sumRow + column, sumRow,
                    left + position * leftPlane + channel, leftRow, right + position * rightPlane + column, rightRow,
                    rows,
                    accumulate)
                channel += rowsPerTile
            }
            column += 2 * laneCount
        }
    }
}

@inline(always)
private func outerProduct(
    _ sums: UnsafeMutablePointer<Float>, _ sumRow: Int, _ pixels: UnsafePointer<Float>, _ pixelRow: Int,
    _ gradients: UnsafePointer<Float>, _ gradientRow: Int, _ rows: Int, _ accumulate: Bool
) {
    var left = TileSums<Lanes>()
    var right = TileSums<Lanes>()
    var pixel = pixels
    var gradient = gradients
    for _ in 0..<rows {
        let first = load(gradient)
        let second = load(gradient + laneCount)
        left.add(first) { pixel[$0] }
        right.add(second) { pixel[$0] }
        pixel += pixelRow
        gradient += gradientRow
    }
    @inline(always)
    func put(_ sum: Lanes, _ target: UnsafeMutablePointer<Float>) {
        store(accumulate ? load(target) + sum : sum, target)
    }
    left.eachRow { row, sum in put(sum, sums + row * sumRow) }
    right.eachRow { row, sum in put(sum, sums + row * sumRow + laneCount) }
}
