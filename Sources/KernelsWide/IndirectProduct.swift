// Convolution as a matrix product whose left-hand rows are found through pointers instead of being copied (Dukhan,
// "The Indirect Convolution Algorithm", arXiv 1907.02129). A row is an output pixel; for each filter tap it has a
// pointer to the `depth` channels of the input pixel under that tap, or to zeros where the tap lies in the padding.
// The register tile holds `rowsPerTile` rows × 2 vectors, or less where fewer columns are left.
//
// Every output element is summed in the same order (taps, then channels) wherever it lies in a tile: results do not
// depend on the batch or on how work is cut.

/// output[m][n] = epilogue( Σ_t Σ_c row(m, t)[c] · W[t][c][n] ),  m < count, n < columns
///
/// - pointers: [tile][tap][rowsPerTile]; rows of the last tile beyond `count` repeat a valid pointer.
/// - panels: W in panels of 2·laneCount columns, [panel][tap][depth][column], zero-padded; a last panel of at most
///   laneCount columns is laneCount wide.
/// - tapOffsets: start of each tap's block within a panel, in units of one panel row (multiply by the panel's width).
/// - panelDepth: rows of a whole panel (taps of the full filter × depth).
/// - rowOffsets: start of output row m, in floats, in `output`, `residual`, `mask` and `signs`.
/// - shift, residual, mask, rectify, signs: of the epilogue (Epilogue.swift).
public func indirectProduct(
    pointers: UnsafePointer<UnsafePointer<Float>>, count: Int, taps: Int, depth: Int,
    panels: UnsafePointer<Float>, panelDepth: Int, tapOffsets: UnsafePointer<Int>, columns: Int,
    shift: UnsafePointer<Float>?, residual: UnsafePointer<Float>?, mask: UnsafePointer<UInt8>?, rectify: Bool,
    signs: UnsafeMutablePointer<UInt8>?, output: UnsafeMutablePointer<Float>, rowOffsets: UnsafePointer<Int>
) {
    let epilogue = Epilogue(
        scale: nil, shift: shift, residual: residual, mask: mask, rectify: rectify, signs: signs,
        output: output)
    let half = laneCount / 2
    var column = 0
    while column < columns {
        let panel = panels + column * panelDepth
        let remaining = columns - column
        var row = 0
        var tile = pointers
        while row < count {
            let target = TargetRows(
                epilogue: epilogue, offsets: rowOffsets + row, rows: min(rowsPerTile, count - row), channel: column,
                channels: columns)
            switch remaining {
            case half: sumTile(HalfLanes.self, NoLanes.self, tile, taps, depth, panel, tapOffsets, target)
            case ...laneCount: sumTile(Lanes.self, NoLanes.self, tile, taps, depth, panel, tapOffsets, target)
            case laneCount + half: sumTile(Lanes.self, HalfLanes.self, tile, taps, depth, panel, tapOffsets, target)
            default: sumTile(Lanes.self, Lanes.self, tile, taps, depth, panel, tapOffsets, target)
            }
            row += rowsPerTile
            tile += taps * rowsPerTile
        }
        column += remaining > laneCount ? 2 * laneCount : laneCount
    }
}

/// Where a finished tile goes.
private struct TargetRows {
    let epilogue: Epilogue
    let offsets: UnsafePointer<Int>
    let rows: Int
    let channel: Int
    let channels: Int

    /// Stores vector `vector` of each row.
    @inline(always)
    func finish<Vector: TileVector>(_ vector: Int, _ sums: TileSums<Vector>) {
        let first = channel + vector * laneCount
        let remaining = channels - first
        guard remaining > 0 else { return }
        sums.eachRow { row, sum in
            guard row < rows else { return }
            sum.finish(epilogue, first, at: offsets[row] + first, channels: remaining)
        }
    }
}

@inline(always)
private func sumTile<Left: TileVector, Right: TileVector>(
    _: Left.Type, _: Right.Type, _ pointers: UnsafePointer<UnsafePointer<Float>>, _ taps: Int, _ depth: Int,
    _ panel: UnsafePointer<Float>, _ tapOffsets: UnsafePointer<Int>, _ target: TargetRows
) {
    let width = Right.self == NoLanes.self ? laneCount : 2 * laneCount
    var left = TileSums<Left>()
    var right = TileSums<Right>()
    for tap in 0..<taps {
        var weights = panel + tapOffsets[tap] * width
        let rows = pointers + tap * rowsPerTile
        let (row0, row1, row2) = (rows[0], rows[1], rows[2])
        let (row3, row4, row5) = (rows[3], rows[4], rows[5])
        #if AVX512
            let (row6, row7) = (rows[6], rows[7])
        #endif
        for channel in 0..<depth {
            let first = Left.read(weights)
            let second = Right.read(weights + laneCount)
            @inline(always)
            func add(_ a: inout Left, _ b: inout Right, _ row: UnsafePointer<Float>) {
                let x = row[channel]
                a.add(x, times: first)
                b.add(x, times: second)
            }
            add(&left.r0, &right.r0, row0)
            add(&left.r1, &right.r1, row1)
            add(&left.r2, &right.r2, row2)
            add(&left.r3, &right.r3, row3)
            add(&left.r4, &right.r4, row4)
            add(&left.r5, &right.r5, row5)
            #if AVX512
                add(&left.r6, &right.r6, row6)
                add(&left.r7, &right.r7, row7)
            #endif
            weights += width
        }
    }
    target.finish(0, left)
    target.finish(1, right)
}
