import Runtime

/// What a convolution does with a finished output before it is stored:
/// `act( sum·scale + shift + residual )`, and 0 where the mask is 0.
public struct ConvolutionEpilogue {
    /// Added to the output (same shape); may be the output itself, to accumulate.
    public var residual: UnsafePointer<Float>?
    /// ReLU after everything else.
    public var rectify: Bool
    /// The output is 0 where this (same shape) is: the gradient of a ReLU whose signs these are.
    public var mask: UnsafePointer<UInt8>?
    /// Set to 1 where the output is positive, else to 0 (same shape).
    public var signs: UnsafeMutablePointer<UInt8>?
    /// Per output channel; set by the convolution.
    var scale: UnsafePointer<Float>?
    var shift: UnsafePointer<Float>?

    public init(
        residual: UnsafePointer<Float>? = nil, rectify: Bool = false, mask: UnsafePointer<UInt8>? = nil,
        signs: UnsafeMutablePointer<UInt8>? = nil
    ) {
        self.residual = residual
        self.rectify = rectify
        self.mask = mask
        self.signs = signs
    }

    /// What is left to do for a kernel that has no epilogue of its own.
    @inline(__always)
    func finish(_ sum: Float, at offset: Int) -> Float {
        var value = sum
        if let residual { value += residual[offset] }
        if rectify && value < 0 { value = 0 }
        if let mask, mask[offset] == 0 { value = 0 }
        signs?[offset] = value > 0 ? 1 : 0
        return value
    }
}

/// Rows of the indirect product that make one chunk of work: their pointers and inputs stay in the first-level cache.
private let rowsPerChunk = 96

/// y = epilogue( conv(x) + bias ).
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
            y, x, count: count, tiles: form.forward, filters: form.filters.forward, zeros: weights.zeros.pointer,
            scale: nil, epilogue)
    case .thin(let form):
        thinForward(y, x, count: count, weights, form, epilogue)
    case .panels(let form):
        product(
            y, x, count: count, weights, table: form.forwardRows, panels: form.forward, depth: g.depth,
            inputSample: g.input.count, outputSample: g.output.count, epilogue)
    case .matrix(let matrix, let rows):
        blasForward(y, x, count: count, weights, matrix.pointer, rows, epilogue)
    case .depthwise(let form):
        var epilogue = epilogue
        epilogue.shift = UnsafePointer(weights.bias.pointer)
        if g.goesByLines {
            return depthwiseLines(
                y, x, count: count, filters: form.filters.pointer, rotate: false, weights, epilogue)
        }
        depthwiseConvolution(
            y, x, count: count, filters: form.filters.pointer, rows: form.forwardRows, inputSample: g.input.count,
            outputSample: g.output.count, weights, epilogue)
    }
}

/// dx = epilogue( gradient of the input for the output gradient dy ).
///
/// - epilogue: residual and mask have the shape of the input; residual may be dx, to accumulate.
public func convolutionInputGradient(
    _ dx: UnsafeMutablePointer<Float>, _ dy: UnsafePointer<Float>, count: Int, _ weights: PreparedWeights,
    _ epilogue: ConvolutionEpilogue = ConvolutionEpilogue()
) {
    let g = weights.geometry
    switch weights.form {
    case .winograd(let form):
        winogradConvolution(
            dx, dy, count: count, tiles: form.backward, filters: form.filters.backward, zeros: weights.zeros.pointer,
            scale: weights.isScaled ? UnsafePointer(form.scale.pointer) : nil, epilogue)
    case .thin(let form):
        thinInputGradient(dx, dy, count: count, weights, form, epilogue)
    case .panels(let form):
        for table in form.backwardRows {
            product(
                dx, dy, count: count, weights, table: table, panels: form.backward, depth: g.groupColumns,
                inputSample: g.output.count, outputSample: g.input.count, epilogue)
        }
    case .matrix(let matrix, let rows):
        blasInputGradient(dx, dy, count: count, weights, matrix.pointer, rows, epilogue)
    case .depthwise(let form):
        if g.goesByLines {
            return depthwiseLines(
                dx, dy, count: count, filters: form.filters.pointer, rotate: true, weights, epilogue)
        }
        for table in form.backwardRows {
            depthwiseConvolution(
                dx, dy, count: count, filters: form.filters.pointer, rows: table, inputSample: g.output.count,
                outputSample: g.input.count, weights, epilogue)
        }
    }
}

/// dw += gradient of the weights. dw is OIHW.
public func convolutionWeightGradient(
    _ dw: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, _ dy: UnsafePointer<Float>, count: Int,
    _ weights: PreparedWeights
) {
    let g = weights.geometry
    switch weights.form {
    case .winograd(let form):
        winogradWeightGradient(
            dw, x, dy, count: count, tiles: form.forward, table: weights.table, zeros: weights.zeros.pointer)
    case .depthwise(let form):
        depthwiseWeightGradient(dw, x, dy, count: count, rows: form.forwardRows, weights)
    case .thin(let form):
        let total = count * form.rows.rows
        inParts((total + rowsPerPart - 1) / rowsPerPart, g, into: dw) { part, parts, sums in
            thinWeightGradient(
                sums, x, dy, rows: total * part / parts..<total * (part + 1) / parts, weights, form)
        }
    case .panels(let form):
        indirectWeightGradients(dw, x, dy, count: count, weights, form.forwardRows)
    case .matrix(_, let rows):
        let sums = Scratch.floats(g.weightCount, .shared)
        sums.update(repeating: 0, count: g.weightCount)
        blasWeightGradient(sums, x, dy, count: count, weights, rows)
        addFilters(sums, to: dw, g)
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
                        epilogue.signs.map { $0 + group * panels.columns }, out + group * panels.columns, rowOffsets)
                }
            }
        }
    }
}

/// Rows of the batch that are worth a part of their own, and the most parts.
private let rowsPerPart = 1024
private let largestParts = 16

/// Weight gradients of up to `wanted` parts of the batch side by side, each into sums of its own that begin as zeros
/// ([group][tap][depth][column]), which are then added to dw (OIHW) in order.
private func inParts(
    _ wanted: Int, _ g: ConvolutionGeometry, into dw: UnsafeMutablePointer<Float>,
    _ body: (_ part: Int, _ parts: Int, _ sums: UnsafeMutablePointer<Float>) -> Void
) {
    let parts = max(1, min(wanted, largestParts))
    let partial = Scratch.floats(parts * g.weightCount, .shared)
    WorkerPool.parallelFor(parts) { part in
        let sums = partial + part * g.weightCount
        sums.update(repeating: 0, count: g.weightCount)
        body(part, parts, sums)
    }
    addParts(partial, parts, g, to: dw)
}

private func addParts(
    _ partial: UnsafeMutablePointer<Float>, _ parts: Int, _ g: ConvolutionGeometry, to dw: UnsafeMutablePointer<Float>
) {
    let slice = 4096
    WorkerPool.parallelFor(parts == 1 ? 0 : (g.weightCount + slice - 1) / slice) { item in
        let first = item * slice
        let end = min(first + slice, g.weightCount)
        for part in 1..<parts {
            let other = partial + part * g.weightCount
            for i in first..<end { partial[i] += other[i] }
        }
    }
    addFilters(partial, to: dw, g)
}

/// Input channels of one item of work of a weight gradient.
private let channelsPerItem = 32

/// One item of work per (group, tap, block of input channels), and where these are few per part of the batch. An item
/// takes pixels in runs whose output gradients stay in the second-level cache for all of its channels.
private func indirectWeightGradients(
    _ dw: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, _ dy: UnsafePointer<Float>, count: Int,
    _ weights: PreparedWeights, _ table: RowTable
) {
    let g = weights.geometry
    let blocks = (g.depth + channelsPerItem - 1) / channelsPerItem
    let items = g.groups * g.taps * blocks
    let total = count * table.rows
    let parts = max(1, min((largestParts + items - 1) / items, (total + rowsPerPart - 1) / rowsPerPart))
    let partial = Scratch.floats(parts * g.weightCount, .shared)
    WorkerPool.parallelFor(parts * items) { piece in
        let part = piece / items
        let item = piece % items
        let channel = item % blocks * channelsPerItem
        indirectWeightGradient(
            partial + part * g.weightCount, x, dy, rows: total * part / parts..<total * (part + 1) / parts,
            group: item / (g.taps * blocks), tap: item / blocks % g.taps,
            channels: channel..<min(channel + channelsPerItem, g.depth), weights, table)
    }
    addParts(partial, parts, g, to: dw)
}

/// Sums of one item over rows of the batch.
private func indirectWeightGradient(
    _ sums: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, _ dy: UnsafePointer<Float>, rows range: Range<Int>,
    group: Int, tap: Int, channels: Range<Int>, _ weights: PreparedWeights, _ table: RowTable
) {
    let g = weights.geometry
    let tile = weights.table.weightRows
    let kernel = weights.table.indirectWeightGradient
    let zeros = UnsafePointer(weights.zeros.pointer)
    let run = max(32, min(192, (1 << 16) / g.outputChannels))
    let target = sums + (group * g.taps + tap) * g.depth * g.groupColumns
    (target + channels.lowerBound * g.groupColumns).update(repeating: 0, count: channels.count * g.groupColumns)
    let pixels = Scratch.take(run * MemoryLayout<Int>.stride).bindMemory(
        to: UnsafePointer<Float>.self, capacity: run)
    table.offsets.withUnsafeBufferPointer { offsets in
        var first = range.lowerBound
        while first < range.upperBound {
            let rows = min(run, range.upperBound - first)
            for channel in stride(from: channels.lowerBound, to: channels.upperBound, by: tile) {
                let base = x + group * g.depth + channel
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
                    UnsafePointer(pixels), rows, min(tile, channels.upperBound - channel),
                    dy + first * g.outputChannels + group * g.groupColumns, g.outputChannels, g.groupColumns,
                    target + channel * g.groupColumns, g.groupColumns)
            }
            first += rows
        }
    }
}
