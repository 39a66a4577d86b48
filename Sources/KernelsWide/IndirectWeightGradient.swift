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
    var column = 0
    while column < columns {
        var acc = wideZeros()
        var right = gradient + column
        for m in 0..<count {
            let pixel = pixels[m]
            let first = load(right)
            let second = load(right + laneCount)
            @inline(always)
            func add(_ row: Int) {
                let x = Lanes(repeating: pixel[row])
                acc[2 * row] = multiplyAdd(acc[2 * row], x, first)
                acc[2 * row + 1] = multiplyAdd(acc[2 * row + 1], x, second)
            }
            add(0)
            add(1)
            add(2)
            add(3)
            add(4)
            add(5)
            #if AVX512
                add(6)
                add(7)
            #endif
            right += gradientStride
        }
        for row in 0..<weightRows where row < rows {
            accumulate(acc[2 * row], sums + row * sumStride + column, columns - column)
            accumulate(acc[2 * row + 1], sums + row * sumStride + column + laneCount, columns - column - laneCount)
        }
        column += 2 * laneCount
    }
}
