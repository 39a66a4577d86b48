import Runtime

// The gradients of convolutions of few input channels, such as the first one of a network: a tap's channels do not fill a
// vector, so the taps of a pixel are gathered in one row, a patch, and the products run over patches.

/// The weights of a thin convolution: [tap][channel] rows × filters, and its transpose.
struct ThinForm {
    let forward: PackedPanels
    let backward: PackedPanels
    let rows: RowTable
    /// Of the forward product.
    let forwardTables: [RowTable]

    /// A row of taps has to be a run of pixels.
    static func fits(_ g: ConvolutionGeometry) -> Bool {
        g.groups == 1 && g.depth < 8 && g.taps > 1 && g.dilationWidth == 1
    }
}

private let rowsPerChunk = 96

/// dx = epilogue( input gradient ); each output pixel's patch of gradients is added to the pixels under its taps.
func thinInputGradient(
    _ dx: UnsafeMutablePointer<Float>, _ dy: UnsafePointer<Float>, count: Int, _ weights: PreparedWeights,
    _ form: ThinForm, _ epilogue: ConvolutionEpilogue
) {
    let g = weights.geometry
    let stride = form.backward.paddedColumns
    WorkerPool.parallelFor(count) { sample in
        let memory = ThinMemory(weights.table, floats: rowsPerChunk * stride + g.input.count)
        let patches = memory.floats
        let sums = patches + rowsPerChunk * stride
        sums.update(repeating: 0, count: g.input.count)
        var first = 0
        while first < form.rows.rows {
            let rows = min(rowsPerChunk, form.rows.rows - first)
            memory.point(
                at: dy + sample * g.output.count + first * g.outputChannels, stride: g.outputChannels, rows: rows)
            for row in 0..<rows { memory.offsets[row] = row * stride }
            memory.product(rows, depth: g.outputChannels, form.backward, shift: nil, nil, nil, false, nil, patches)
            form.rows.eachRun(first, rows, g) { row, element, length, offset in
                guard offset >= 0 else { return }
                let source = patches + row * stride + element
                let target = sums + offset
                for i in 0..<length { target[i] += source[i] }
            }
            first += rows
        }
        let start = sample * g.input.count
        for i in 0..<g.input.count { dx[start + i] = epilogue.finish(sums[i], at: start + i) }
    }
}

/// sums [tap][channel][filter] += the weight gradient of some rows (output pixels) of the batch.
func thinWeightGradient(
    _ sums: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, _ dy: UnsafePointer<Float>, rows range: Range<Int>,
    _ weights: PreparedWeights, _ form: ThinForm
) {
    let g = weights.geometry
    let length = g.taps * g.depth
    let tile = weights.table.weightRows
    // A last tile reads whole register tiles.
    let stride = (length + tile - 1) / tile * tile
    let memory = ThinMemory(weights.table, floats: rowsPerChunk * stride)
    var first = range.lowerBound
    while first < range.upperBound {
        let rows = min(rowsPerChunk, range.upperBound - first)
        gather(memory.floats, stride, x, weights, form, first: first, count: rows)
        for channel in Swift.stride(from: 0, to: length, by: tile) {
            for row in 0..<rows { memory.pointers[row] = UnsafePointer(memory.floats + row * stride + channel) }
            weights.table.indirectWeightGradient(
                UnsafePointer(memory.pointers), rows, min(tile, length - channel), dy + first * g.outputChannels,
                g.outputChannels, g.outputChannels, sums + channel * g.outputChannels, g.outputChannels)
        }
        first += rows
    }
}

/// patches[row][tap][channel] of `count` output pixels from `first` of the batch on; rows `stride` floats apart.
private func gather(
    _ patches: UnsafeMutablePointer<Float>, _ stride: Int, _ x: UnsafePointer<Float>, _ weights: PreparedWeights,
    _ form: ThinForm, first: Int, count: Int
) {
    let g = weights.geometry
    var row = first
    while row < first + count {
        let sample = row / form.rows.rows
        let local = row % form.rows.rows
        let rows = min(first + count - row, form.rows.rows - local)
        let base = x + sample * g.input.count
        let own = patches + (row - first) * stride
        form.rows.eachRun(local, rows, g) { row, element, length, offset in
            let target = own + row * stride + element
            if offset >= 0 {
                let source = base + offset
                for i in 0..<length { target[i] = source[i] }
            } else {
                for i in 0..<length { target[i] = 0 }
            }
        }
        row += rows
    }
}

extension RowTable {
    /// Calls `body(row, element of its patch, length, offset in the sample)` for the runs of patches that are contiguous
    /// in the image, a filter row at a time where it lies inside; offset -1: padding.
    @inline(__always)
    fileprivate func eachRun(
        _ first: Int, _ count: Int, _ g: ConvolutionGeometry, _ body: (Int, Int, Int, Int) -> Void
    ) {
        let width = g.kernelWidth
        offsets.withUnsafeBufferPointer { offsets in
            for row in 0..<count {
                for tap in Swift.stride(from: 0, to: taps, by: width) {
                    let start = (first + row) * taps + tap
                    let left = Int(offsets[start])
                    if left >= 0, offsets[start + width - 1] >= 0 {
                        body(row, tap * g.depth, width * g.depth, left)
                    } else {
                        for x in 0..<width { body(row, (tap + x) * g.depth, g.depth, Int(offsets[start + x])) }
                    }
                }
            }
        }
    }
}

/// A thread's working memory: pointers to rows, where their results go, and floats.
private struct ThinMemory {
    let table: KernelTable
    let pointers: UnsafeMutablePointer<UnsafePointer<Float>>
    let offsets: UnsafeMutablePointer<Int>
    let floats: UnsafeMutablePointer<Float>

    init(_ table: KernelTable, floats count: Int) {
        self.table = table
        let words = 2 * (rowsPerChunk + table.rowsPerTile)
        let bytes = words * MemoryLayout<Int>.stride
        // Kernels read whole vectors and register tiles behind the last row.
        let memory = Scratch.take(bytes + (count + FloatBuffer.slack) * MemoryLayout<Float>.stride)
        pointers = memory.bindMemory(to: UnsafePointer<Float>.self, capacity: words / 2)
        offsets = (memory + bytes / 2).bindMemory(to: Int.self, capacity: words / 2)
        floats = (memory + bytes).bindMemory(to: Float.self, capacity: count + FloatBuffer.slack)
    }

    /// Rows beyond the last, which fill up its register tile, repeat it.
    func point(at base: UnsafePointer<Float>, stride: Int, rows: Int) {
        let padded = (rows + table.rowsPerTile - 1) / table.rowsPerTile * table.rowsPerTile
        for row in 0..<padded { pointers[row] = base + min(row, rows - 1) * stride }
    }

    func product(
        _ rows: Int, depth: Int, _ panels: PackedPanels, shift: UnsafePointer<Float>?,
        _ residual: UnsafePointer<Float>?,
        _ mask: UnsafePointer<UInt8>?, _ rectify: Bool, _ signs: UnsafeMutablePointer<UInt8>?,
        _ out: UnsafeMutablePointer<Float>
    ) {
        withUnsafePointer(to: 0) { start in
            table.indirectProduct(
                UnsafePointer(pointers), rows, 1, depth, panels.panels(0), panels.rows, start, panels.columns, shift,
                residual,
                mask, rectify, signs, out, UnsafePointer(offsets))
        }
    }
}
