// Convolution as a matrix product whose left-hand rows are found through pointers instead of being copied (Dukhan,
// "The Indirect Convolution Algorithm", arXiv 1907.02129). A row is an output pixel; for each filter tap it has a
// pointer to the `depth` channels of the input pixel under that tap, or to zeros where the tap lies in the padding.
// The register tile holds `rowsPerTile` rows × 2 vectors.
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
            let target = TargetRows(
                epilogue: epilogue, offsets: rowOffsets + row, rows: valid, channel: column, channels: columns)
            if width == wide {
                wideTile(tile, taps, depth, panel, tapOffsets, target)
            } else {
                narrowTile(tile, taps, depth, panel, tapOffsets, target)
            }
            row += rowsPerTile
            tile += taps * rowsPerTile
        }
        column += width
    }
}

/// Where a finished tile goes.
private struct TargetRows {
    let epilogue: Epilogue
    let offsets: UnsafePointer<Int>
    let rows: Int
    let channel: Int
    let channels: Int

    /// Stores vector `vector` of each row, of which sum(row) gives one; written out, so that the sums stay in registers.
    @inline(always)
    func finish(_ vector: Int, _ sum: (_ row: Int) -> Lanes) {
        let first = channel + vector * laneCount
        guard first < channels else { return }
        let parameters = epilogue.parameters(first)
        let isWhole = first + laneCount <= channels
        @inline(always)
        func finish(_ row: Int) {
            guard row < rows else { return }
            if isWhole {
                epilogue.finish(sum(row), parameters, at: offsets[row] + first)
            } else {
                epilogue.finishPart(sum(row), parameters, at: offsets[row] + first, channels: channels - first)
            }
        }
        finish(0)
        finish(1)
        finish(2)
        finish(3)
        finish(4)
        finish(5)
        #if AVX512
            finish(6)
            finish(7)
        #endif
    }
}

@inline(always)
private func wideTile(
    _ pointers: UnsafePointer<UnsafePointer<Float>>, _ taps: Int, _ depth: Int, _ panel: UnsafePointer<Float>,
    _ tapOffsets: UnsafePointer<Int>, _ target: TargetRows
) {
    var sums = wideZeros()
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
            @inline(always)
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
    target.finish(0) { sums[2 * $0] }
    target.finish(1) { sums[2 * $0 + 1] }
}

@inline(always)
private func narrowTile(
    _ pointers: UnsafePointer<UnsafePointer<Float>>, _ taps: Int, _ depth: Int, _ panel: UnsafePointer<Float>,
    _ tapOffsets: UnsafePointer<Int>, _ target: TargetRows
) {
    var sums = narrowZeros()
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
            @inline(always)
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
    target.finish(0) { sums[$0] }
}
