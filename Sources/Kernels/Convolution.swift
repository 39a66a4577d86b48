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
    func forward(_ tables: [RowTable], _ panels: PackedPanels) {
        for table in tables {
            product(
                y, x, count: count, weights, table: table, panels: panels, depth: g.depth,
                inputSample: g.input.count, outputSample: g.output.count, epilogue)
        }
    }
    switch weights.form {
    case .winograd(let form):
        var epilogue = epilogue
        epilogue.scale = weights.isScaled ? UnsafePointer(form.scale.pointer) : nil
        epilogue.shift = UnsafePointer(weights.bias.pointer)
        winogradConvolution(
            y, x, count: count, tiles: form.forward, filters: form.filters.forward, zeros: weights.zeros.pointer,
            scale: nil, epilogue)
    case .thin(let form): forward(form.forwardTables, form.forward)
    case .panels(let form): forward(form.forwardTables, form.forward)
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
        for table in form.backwardTables {
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
            table.find(
                pointers, tile: tile, rowOffsets, first: first, count: rows, base, inputSample, outputSample, zeros)
            table.tapBlocks.withUnsafeBufferPointer { blocks in
                withUnsafePointer(to: 0) { none in
                    kernel(
                        pointers, rows, taps, depth * table.run, panels.panels(group), panels.rows,
                        blocks.baseAddress ?? none,
                        panels.columns, panels.bias(group), epilogue.residual.map { $0 + group * panels.columns },
                        epilogue.mask.map { $0 + group * panels.columns }, epilogue.rectify,
                        epilogue.signs.map { $0 + group * panels.columns }, out + group * panels.columns, rowOffsets)
                }
            }
        }
    }
}
