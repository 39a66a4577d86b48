import Runtime

/// What a convolution does with a finished output before it is stored:
/// `act( sum·scale + shift + residual ) · [mask > 0]`.
public struct ConvolutionEpilogue {
    /// Added to the output (same shape); may be the output itself, to accumulate.
    public var residual: UnsafePointer<Float>?
    /// ReLU after everything else.
    public var rectify: Bool
    /// The output is zero where this (same shape) is not positive: the gradient of a ReLU whose output this is.
    public var mask: UnsafePointer<Float>?
    /// Per output channel; set by the convolution.
    var scale: UnsafePointer<Float>?
    var shift: UnsafePointer<Float>?

    public init(
        residual: UnsafePointer<Float>? = nil, rectify: Bool = false, mask: UnsafePointer<Float>? = nil
    ) {
        self.residual = residual
        self.rectify = rectify
        self.mask = mask
    }

    /// What is left to do for a kernel that has no epilogue of its own.
    @inline(__always)
    func finish(_ sum: Float, at offset: Int) -> Float {
        var value = sum
        if let residual { value += residual[offset] }
        if rectify && value < 0 { value = 0 }
        if let mask, !(mask[offset] > 0) { value = 0 }
        return value
    }
}

/// Rows of the indirect product that make one chunk of work: their pointers and inputs stay in the first-level cache.
private let rowsPerChunk = 96

/// y = act( conv(x) + bias + residual ) · [mask > 0].
///
/// - y: (count, H', W', K); x: (count, H, W, C), channels innermost, both with readable slack behind the end.
public func convolutionForward(
    _ y: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, count: Int, _ weights: PreparedWeights,
    _ epilogue: ConvolutionEpilogue = ConvolutionEpilogue()
) {
    let g = weights.geometry
    switch weights.form {
    case .winograd(let form):
        var epilogue = epilogue
        epilogue.scale = weights.isScaled ? UnsafePointer(form.scale.pointer) : nil
        epilogue.shift = UnsafePointer(weights.bias.pointer)
        winogradConvolution(
            y, x, count: count, tiles: form.forward, panels: form.filters.forward, table: weights.table,
            zeros: weights.zeros.pointer, scale: nil, epilogue)
    case .panels(let form):
        product(
            y, x, count: count, weights, table: form.forwardRows, panels: form.forward, depth: g.depth,
            inputSample: g.input.count, outputSample: g.output.count, epilogue)
    case .matrix(let matrix, let rows):
        blasForward(y, x, count: count, weights, matrix.pointer, rows, epilogue)
    case .depthwise(let form):
        var epilogue = epilogue
        epilogue.shift = UnsafePointer(weights.bias.pointer)
        depthwiseConvolution(
            y, x, count: count, filters: form.filters.pointer, rows: form.forwardRows, inputSample: g.input.count,
            outputSample: g.output.count, weights, epilogue)
    }
}

/// dx = (gradient of the input for the output gradient dy + residual) · [mask > 0].
///
/// - epilogue: residual and mask have the shape of the input; residual may be dx, to accumulate.
public func convolutionInputGradient(
    _ dx: UnsafeMutablePointer<Float>, _ dy: UnsafePointer<Float>, count: Int, _ weights: PreparedWeights,
    _ epilogue: ConvolutionEpilogue = ConvolutionEpilogue()
) {
    let g = weights.geometry
    switch weights.form {
    case .winograd(let form):
        guard let panels = form.filters.backward else { return }
        winogradConvolution(
            dx, dy, count: count, tiles: form.backward, panels: panels, table: weights.table,
            zeros: weights.zeros.pointer, scale: weights.isScaled ? UnsafePointer(form.scale.pointer) : nil, epilogue)
    case .panels(let form):
        for table in form.backwardRows {
            product(
                dx, dy, count: count, weights, table: table, panels: form.backward, depth: g.groupColumns,
                inputSample: g.output.count, outputSample: g.input.count, epilogue)
        }
    case .matrix(let matrix, let rows):
        blasInputGradient(dx, dy, count: count, weights, matrix.pointer, rows, epilogue)
    case .depthwise(let form):
        for table in form.backwardRows {
            depthwiseConvolution(
                dx, dy, count: count, filters: form.filters.pointer, rows: table, inputSample: g.output.count,
                outputSample: g.input.count, weights, epilogue)
        }
    }
}

/// dw += gradient of the weights. dw is OIHW. `scratch` holds at least `geometry.weightCount` floats.
public func convolutionWeightGradient(
    _ dw: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, _ dy: UnsafePointer<Float>, count: Int,
    _ weights: PreparedWeights, scratch: UnsafeMutablePointer<Float>
) {
    let g = weights.geometry
    switch weights.form {
    case .winograd(let form):
        winogradWeightGradient(
            dw, x, dy, count: count, tiles: form.forward, table: weights.table, zeros: weights.zeros.pointer)
    case .depthwise(let form):
        depthwiseWeightGradient(dw, x, dy, count: count, rows: form.forwardRows, weights)
    case .panels(let form):
        scratch.update(repeating: 0, count: g.weightCount)
        indirectWeightGradients(scratch, x, dy, count: count, weights, form.forwardRows)
        addFilters(scratch, to: dw, g)
    case .matrix(_, let rows):
        scratch.update(repeating: 0, count: g.weightCount)
        blasWeightGradient(scratch, x, dy, count: count, weights, rows)
        addFilters(scratch, to: dw, g)
    }
}

/// Adds sums [group][tap][depth][column] to OIHW filters.
private func addFilters(
    _ sums: UnsafePointer<Float>, to dw: UnsafeMutablePointer<Float>, _ g: ConvolutionGeometry
) {
    let taps = g.taps
    let depth = g.depth
    let columns = g.groupColumns
    WorkerPool.parallelFor(g.outputChannels) { filter in
        let group = filter / columns
        let source = sums + group * taps * depth * columns + filter % columns
        let target = dw + filter * depth * taps
        for channel in 0..<depth {
            for tap in 0..<taps { target[channel * taps + tap] += source[(tap * depth + channel) * columns] }
        }
    }
}

/// The indirect product over all rows of all samples, cut into chunks that do not depend on the number of threads.
private func product(
    _ out: UnsafeMutablePointer<Float>, _ input: UnsafePointer<Float>, count: Int, _ weights: PreparedWeights,
    table: RowTable, panels: PackedPanels, depth: Int, inputSample: Int, outputSample: Int,
    _ epilogue: ConvolutionEpilogue
) {
    let total = count * table.rows
    let tile = weights.table.rowsPerTile
    let taps = table.taps
    let chunks = (total + rowsPerChunk - 1) / rowsPerChunk
    let zeros = UnsafePointer(weights.zeros.pointer)
    let kernel = weights.table.indirectProduct
    WorkerPool.parallelFor(chunks) { chunk in
        let first = chunk * rowsPerChunk
        let rows = min(rowsPerChunk, total - first)
        let tiles = (rows + tile - 1) / tile
        let pointerCount = tiles * tile * max(taps, 1)
        let memory = Scratch.take((pointerCount + rowsPerChunk) * MemoryLayout<Int>.stride)
        let pointers = memory.bindMemory(to: UnsafePointer<Float>.self, capacity: pointerCount)
        let rowOffsets = (memory + pointerCount * MemoryLayout<Int>.stride)
            .bindMemory(to: Int.self, capacity: rowsPerChunk)
        for group in 0..<panels.groups {
            let base = input + group * depth
            for row in 0..<(tiles * tile) {
                // Rows that only fill up the last tile repeat its last real row.
                let m = first + min(row, rows - 1)
                let sample = m / table.rows
                let local = m % table.rows
                let start = base + sample * inputSample
                if row < rows { rowOffsets[row] = sample * outputSample + table.outputs[local] }
                var target = pointers + (row / tile) * tile * taps + row % tile
                table.offsets.withUnsafeBufferPointer { offsets in
                    let own = offsets.baseAddress.map { $0 + local * taps }
                    for tap in 0..<taps {
                        let offset = Int(own?[tap] ?? -1)
                        target.pointee = offset < 0 ? zeros : start + offset
                        target += tile
                    }
                }
            }
            table.tapBlocks.withUnsafeBufferPointer { blocks in
                withUnsafePointer(to: 0) { none in
                    kernel(
                        pointers, rows, taps, depth, panels.panels(group), panels.rows, blocks.baseAddress ?? none,
                        panels.columns, panels.bias(group), epilogue.residual.map { $0 + group * panels.columns },
                        epilogue.mask.map { $0 + group * panels.columns }, epilogue.rectify,
                        out + group * panels.columns, rowOffsets)
                }
            }
        }
    }
}

/// One item of work per (group, tap, tile of input channels): it runs over all pixels, so that no partial sums of
/// several threads have to be added up.
private func indirectWeightGradients(
    _ sums: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, _ dy: UnsafePointer<Float>, count: Int,
    _ weights: PreparedWeights, _ table: RowTable
) {
    let g = weights.geometry
    let tile = weights.table.weightRows
    let kernel = weights.table.indirectWeightGradient
    let tilesPerTap = (g.depth + tile - 1) / tile
    let total = count * table.rows
    let zeros = UnsafePointer(weights.zeros.pointer)
    WorkerPool.parallelFor(g.groups * g.taps * tilesPerTap) { item in
        let group = item / (g.taps * tilesPerTap)
        let tap = item / tilesPerTap % g.taps
        let channel = item % tilesPerTap * tile
        let base = x + group * g.depth + channel
        let pixels = Scratch.take(2 * rowsPerChunk * MemoryLayout<Int>.stride)
            .bindMemory(to: UnsafePointer<Float>.self, capacity: 2 * rowsPerChunk)
        table.offsets.withUnsafeBufferPointer { offsets in
            var first = 0
            while first < total {
                let rows = min(2 * rowsPerChunk, total - first)
                var sample = first / table.rows
                var local = first % table.rows
                for row in 0..<rows {
                    let offset = Int(offsets[local * g.taps + tap])
                    pixels[row] = offset < 0 ? zeros : base + sample * g.input.count + offset
                    local += 1
                    if local == table.rows {
                        local = 0
                        sample += 1
                    }
                }
                kernel(
                    pixels, rows, min(tile, g.depth - channel),
                    dy + first * g.outputChannels + group * g.groupColumns, g.outputChannels, g.groupColumns,
                    sums + ((group * g.taps + tap) * g.depth + channel) * g.groupColumns, g.groupColumns)
                first += rows
            }
        }
    }
}
