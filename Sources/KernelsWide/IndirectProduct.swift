// Convolution as a matrix product whose left-hand rows are found through pointers instead of being copied (Dukhan,
// "The Indirect Convolution Algorithm", arXiv 1907.02129). A row is an output pixel; for each filter tap it has a
// pointer to the `depth` channels of the input pixel under that tap, or to zeros where the tap lies in the padding.
// The register tile holds `rowsPerTile` rows × 2 vectors.
//
// Every output element is summed in the same order (taps, then channels) wherever it lies in a tile: results do not
// depend on the batch or on how work is cut.

/// output[m][n] = act( Σ_t Σ_c row(m, t)[c] · W[t][c][n] + bias[n] + residual[m][n] ),  m < count, n < columns
///
/// - pointers: [tile][tap][rowsPerTile]; rows of the last tile beyond `count` repeat a valid pointer.
/// - panels: W in panels of 2·laneCount columns, [panel][tap][depth][column], zero-padded; a last panel of at most
///   laneCount columns is laneCount wide.
/// - tapOffsets: start of each tap's block within a panel, in units of one panel row (multiply by the panel's width).
/// - panelDepth: rows of a whole panel (taps of the full filter × depth).
/// - rowOffsets: start of output row m, in floats, in `output` and in `residual`.
/// - bias: padded to whole panels.
/// - residual: added before the activation where not nil; may be `output` itself, to accumulate.
public func indirectProduct(
    pointers: UnsafePointer<UnsafePointer<Float>>, count: Int, taps: Int, depth: Int,
    panels: UnsafePointer<Float>, panelDepth: Int, tapOffsets: UnsafePointer<Int>, columns: Int,
    bias: UnsafePointer<Float>, residual: UnsafePointer<Float>?, rectify: Bool,
    output: UnsafeMutablePointer<Float>, rowOffsets: UnsafePointer<Int>
) {
    let wide = 2 * laneCount
    var column = 0
    while column < columns {
        let panel = panels + column * panelDepth
        let remaining = columns - column
        let width = remaining > laneCount ? wide : laneCount
        var row = 0
        var tile = pointers
        while row < count {
            let valid = min(rowsPerTile, count - row)
            let epilogue = Epilogue(
                bias: bias + column, residual: residual.map { $0 + column }, rectify: rectify,
                output: output + column, rowOffsets: rowOffsets + row, rows: valid, columns: min(remaining, width))
            if width == wide {
                wideTile(tile, taps, depth, panel, tapOffsets, epilogue)
            } else {
                narrowTile(tile, taps, depth, panel, tapOffsets, epilogue)
            }
            row += rowsPerTile
            tile += taps * rowsPerTile
        }
        column += width
    }
}

/// What happens to a finished tile.
private struct Epilogue {
    let bias: UnsafePointer<Float>
    let residual: UnsafePointer<Float>?
    let rectify: Bool
    let output: UnsafeMutablePointer<Float>
    let rowOffsets: UnsafePointer<Int>
    let rows: Int
    let columns: Int

    @inline(__always)
    func finish(_ sum: Lanes, row: Int, column: Int) {
        guard row < rows, column < columns else { return }
        let offset = rowOffsets[row] + column
        let value = sum + load(bias + column)
        if column + laneCount <= columns {
            var whole = value
            if let residual { whole += load(residual + offset) }
            if rectify { whole = rectified(whole) }
            store(whole, output + offset)
        } else {
            finishPart(value, offset, columns - column)
        }
    }

    /// The last columns, fewer than a vector: half a vector where it fits (small networks have 8 channels), then one
    /// by one.
    @inline(__always)
    private func finishPart(_ value: Lanes, _ offset: Int, _ columns: Int) {
        var lane = 0
        if columns >= laneCount / 2 {
            var half = value.lowHalf
            if let residual { half += UnsafeRawPointer(residual + offset).loadUnaligned(as: HalfLanes.self) }
            if rectify { half = half.replacing(with: HalfLanes.zero, where: half .< HalfLanes.zero) }
            UnsafeMutableRawPointer(output + offset).storeBytes(of: half, as: HalfLanes.self)
            lane = laneCount / 2
        }
        while lane < columns {
            var scalar = value[lane]
            if let residual { scalar += residual[offset + lane] }
            output[offset + lane] = rectify && scalar < 0 ? 0 : scalar
            lane += 1
        }
    }
}

#if AVX512
private typealias WideTile = InlineArray<16, Lanes>
private typealias NarrowTile = InlineArray<8, Lanes>
#else
private typealias WideTile = InlineArray<12, Lanes>
private typealias NarrowTile = InlineArray<6, Lanes>
#endif

@inline(__always)
private func wideTile(
    _ pointers: UnsafePointer<UnsafePointer<Float>>, _ taps: Int, _ depth: Int, _ panel: UnsafePointer<Float>,
    _ tapOffsets: UnsafePointer<Int>, _ epilogue: Epilogue
) {
    var sums = WideTile(repeating: .zero)
    for tap in 0..<taps {
        var weights = panel + tapOffsets[tap] * (2 * laneCount)
        let rows = pointers + tap * rowsPerTile
        let row0 = rows[0]
        let row1 = rows[1]
        let row2 = rows[2]
        let row3 = rows[3]
        let row4 = rows[4]
        let row5 = rows[5]
        #if AVX512
        let row6 = rows[6]
        let row7 = rows[7]
        #endif
        for channel in 0..<depth {
            let left = load(weights)
            let right = load(weights + laneCount)
            @inline(__always)
            func add(_ row: Int, _ pointer: UnsafePointer<Float>) {
                let x = Lanes(repeating: pointer[channel])
                sums[2 * row] = multiplyAdd(sums[2 * row], x, left)
                sums[2 * row + 1] = multiplyAdd(sums[2 * row + 1], x, right)
            }
            add(0, row0)
            add(1, row1)
            add(2, row2)
            add(3, row3)
            add(4, row4)
            add(5, row5)
            #if AVX512
            add(6, row6)
            add(7, row7)
            #endif
            weights += 2 * laneCount
        }
    }
    for row in 0..<rowsPerTile {
        epilogue.finish(sums[2 * row], row: row, column: 0)
        epilogue.finish(sums[2 * row + 1], row: row, column: laneCount)
    }
}

@inline(__always)
private func narrowTile(
    _ pointers: UnsafePointer<UnsafePointer<Float>>, _ taps: Int, _ depth: Int, _ panel: UnsafePointer<Float>,
    _ tapOffsets: UnsafePointer<Int>, _ epilogue: Epilogue
) {
    var sums = NarrowTile(repeating: .zero)
    for tap in 0..<taps {
        var weights = panel + tapOffsets[tap] * laneCount
        let rows = pointers + tap * rowsPerTile
        let row0 = rows[0]
        let row1 = rows[1]
        let row2 = rows[2]
        let row3 = rows[3]
        let row4 = rows[4]
        let row5 = rows[5]
        #if AVX512
        let row6 = rows[6]
        let row7 = rows[7]
        #endif
        for channel in 0..<depth {
            let column = load(weights)
            @inline(__always)
            func add(_ row: Int, _ pointer: UnsafePointer<Float>) {
                sums[row] = multiplyAdd(sums[row], Lanes(repeating: pointer[channel]), column)
            }
            add(0, row0)
            add(1, row1)
            add(2, row2)
            add(3, row3)
            add(4, row4)
            add(5, row5)
            #if AVX512
            add(6, row6)
            add(7, row7)
            #endif
            weights += laneCount
        }
    }
    for row in 0..<rowsPerTile { epilogue.finish(sums[row], row: row, column: 0) }
}
