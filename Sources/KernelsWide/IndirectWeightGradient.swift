// The gradient of a convolution's weights: for one filter tap, sums over pixels of the outer product of an input
// pixel (up to `weightRows` of its channels) and an output gradient. Rows are found through pointers, as in
// IndirectProduct.swift.

/// Input channels that a register tile of `indirectWeightGradient` holds.
public let weightRows = rowsPerTile

/// sums[r][n] += Σ_m pointers[m][r] · gradient[m][n],  r < rows (<= weightRows), n < columns, m < count
///
/// - pixels: the `count` input pixels under the tap, each pointing at the first of its channels of this tile. Channels
///   up to weightRows are read (memory behind a pixel is readable), those beyond `rows` are not used.
/// - gradient: output gradients, row m at m·gradientStride. Memory is readable to whole vectors behind each row.
/// - sums: row r at r·sumStride.
public func indirectWeightGradient(
    pixels: UnsafePointer<UnsafePointer<Float>>, count: Int, rows: Int,
    gradient: UnsafePointer<Float>, gradientStride: Int, columns: Int,
    sums: UnsafeMutablePointer<Float>, sumStride: Int
) {
    let half = laneCount / 2
    var column = 0
    while column < columns {
        let remaining = columns - column
        @inline(always)
        func sumTile<Left: TileVector, Right: TileVector>(_: Left.Type, _: Right.Type) {
            var left = TileSums<Left>()
            var right = TileSums<Right>()
            var row = gradient + column
            for m in 0..<count {
                let pixel = pixels[m]
                let first = Left.read(row)
                let second = Right.read(row + laneCount)
                left.add(first) { pixel[$0] }
                right.add(second) { pixel[$0] }
                row += gradientStride
            }
            let target = sums + column
            left.eachRow { row, sum in
                if row < rows { sum.addTo(target + row * sumStride, remaining) }
            }
            right.eachRow { row, sum in
                if row < rows { sum.addTo(target + row * sumStride + laneCount, remaining - laneCount) }
            }
        }
        switch remaining {
        case half: sumTile(HalfLanes.self, NoLanes.self)
        case ...laneCount: sumTile(Lanes.self, NoLanes.self)
        case laneCount + half: sumTile(Lanes.self, HalfLanes.self)
        default: sumTile(Lanes.self, Lanes.self)
        }
        column += 2 * laneCount
    }
}
