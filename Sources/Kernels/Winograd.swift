import Runtime

/// Tiles that are computed together while the filters stream past, from the third-level cache or from memory: enough to be
/// worth the stream, few enough for their transforms to stay close.
private let blockSizes = 16...32
/// The same where all threads share the transforms.
private let largestSharedBlock = 64
/// Output channels of one piece of work where there are too few tiles to go round.
private let columnsPerPiece = 64

/// A 3×3 convolution of stride 1 or 2, or its input gradient, by Winograd's algorithm.
///
/// - out: (count, output shape of `tiles`); x: (count, input shape).
/// - scale: per input channel, a factor of x; nil = 1.
func winogradConvolution(
    _ out: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, count: Int, tiles: WinogradTiles,
    panels: WinogradPanels, table: KernelTable, zeros: UnsafePointer<Float>, scale: UnsafePointer<Float>?,
    _ epilogue: ConvolutionEpilogue
) {
    let job = WinogradJob(
        out: out, x: x, total: count * tiles.count, tiles: tiles, panels: panels, table: table, zeros: zeros,
        scale: scale,
        epilogue: epilogue)
    if job.isShared { job.runInStages() } else { job.runByBlocks() }
}

/// One convolution, cut into blocks of tiles. Every output is computed by the same operations in the same order
/// however the work is cut.
private struct WinogradJob {
    let out: UnsafeMutablePointer<Float>
    let x: UnsafePointer<Float>
    /// Tiles of all samples.
    let total: Int
    let tiles: WinogradTiles
    let panels: WinogradPanels
    let table: KernelTable
    let zeros: UnsafePointer<Float>
    let scale: UnsafePointer<Float>?
    let epilogue: ConvolutionEpilogue

    /// Too few tiles to give each thread some of its own.
    var isShared: Bool { total < 6 * blockSizes.lowerBound }
    /// Tiles of a block, whole register tiles.
    var block: Int {
        let wanted =
            isShared
            ? min(total, largestSharedBlock)
            : min(max((total + 7) / 8, blockSizes.lowerBound), blockSizes.upperBound * 36 / positions)
        return (wanted + table.rowsPerTile - 1) / table.rowsPerTile * table.rowsPerTile
    }
    var blocks: Int { (total + block - 1) / block }

    // A row has more floats than channels, a plane more than rows, lest powers of two fall on the same cache lines.
    var inputRow: Int { (panels.depth + table.laneCount - 1) / table.laneCount * table.laneCount + 16 }
    var outputRow: Int { min(panels.paddedColumns, columnsPerPiece) + 16 }
    var positions: Int { tiles.positions }
    var inputPlane: Int { block * inputRow + 16 }
    var outputPlane: Int { block * outputRow + 16 }

    /// Many tiles: each piece of work takes a block from the input to the output.
    func runByBlocks() {
        WorkerPool.parallelFor(blocks) { index in
            let memory = BlockMemory(self, withInput: true)
            transform(index * block, min(block, total - index * block), into: memory.input, memory)
            for column in stride(from: 0, to: panels.paddedColumns, by: columnsPerPiece) {
                multiply(index, from: memory.input, column: column, memory)
            }
        }
    }

    /// Few tiles, thus deep filters: all inputs first, then each piece of work takes some of the output channels.
    func runInStages() {
        let floats = blocks * positions * inputPlane
        let input = Scratch.floats(floats, .shared)
        let few = table.rowsPerTile
        WorkerPool.parallelFor((total + few - 1) / few) { item in
            let first = item * few
            transform(
                first, min(few, total - first),
                into: input + first / block * positions * inputPlane + first % block * inputRow,
                BlockMemory(self, withInput: false))
        }
        let pieces = (panels.paddedColumns + columnsPerPiece - 1) / columnsPerPiece
        // Blocks innermost: the filters of a piece, from memory once, serve all its blocks.
        WorkerPool.parallelFor(pieces) { piece in
            let memory = BlockMemory(self, withInput: false)
            for index in 0..<blocks {
                multiply(index, from: input + index * positions * inputPlane, column: piece * columnsPerPiece, memory)
            }
        }
    }

    private func transform(_ first: Int, _ count: Int, into v: UnsafeMutablePointer<Float>, _ memory: BlockMemory) {
        tiles.pointers(
            memory.pointers, to: x, tiles.inputs, positions, tiles.input, first: first, count: count, zeros)
        tiles.transform(
            table, v, plane: inputPlane, row: inputRow, UnsafePointer(memory.pointers), tiles: count,
            channels: panels.depth, scale: scale)
    }

    private func multiply(_ index: Int, from v: UnsafePointer<Float>, column: Int, _ memory: BlockMemory) {
        let first = index * block
        let count = min(block, total - first)
        let padded = min(columnsPerPiece, panels.paddedColumns - column)
        tiles.planes.withUnsafeBufferPointer { planes in
            guard let planes = planes.baseAddress else { return }
            table.denseProducts(
                memory.output, outputPlane, outputRow, v, inputPlane, inputRow, panels.panels(from: column),
                panels.plane,
                planes, positions, count, panels.depth, padded)
        }
        for tile in 0..<count {
            let sample = (first + tile) / tiles.count
            let local = (first + tile) % tiles.count
            memory.origins[tile] = sample * tiles.output.count + tiles.origins[local]
            memory.heights[tile] = tiles.heights[local]
            memory.widths[tile] = tiles.widths[local]
        }
        let shape = tiles.output
        let columns = min(padded, panels.columns - column)
        let lineStride = shape.width * shape.channels
        let residual = epilogue.residual.map { $0 + column }
        let mask = epilogue.mask.map { $0 + column }
        if case .stridedGradient(let oddTop, let oddLeft) = tiles.form {
            table.stridedGradientOutput(
                memory.output, outputPlane, outputRow, count, columns, oddTop, oddLeft, UnsafePointer(memory.origins),
                UnsafePointer(memory.heights), UnsafePointer(memory.widths), shape.channels, lineStride, residual, mask,
                out + column)
        } else {
            let kernel = positions == 36 ? table.winogradOutput : table.stridedOutput
            kernel(
                memory.output, outputPlane, outputRow, count, columns, UnsafePointer(memory.origins),
                UnsafePointer(memory.heights), UnsafePointer(memory.widths), shape.channels, lineStride,
                epilogue.scale.map { $0 + column }, epilogue.shift.map { $0 + column }, residual, mask,
                epilogue.rectify, epilogue.signs.map { $0 + column }, out + column)
        }
    }
}

/// A thread's working memory for one block.
private struct BlockMemory {
    let pointers: UnsafeMutablePointer<UnsafePointer<Float>>
    let origins: UnsafeMutablePointer<Int>
    let heights: UnsafeMutablePointer<Int>
    let widths: UnsafeMutablePointer<Int>
    let output: UnsafeMutablePointer<Float>
    let input: UnsafeMutablePointer<Float>

    init(_ job: WinogradJob, withInput: Bool) {
        let pointerCount = job.positions * job.block
        let words = pointerCount + 3 * job.block
        let floats = job.positions * (job.outputPlane + (withInput ? job.inputPlane : 0))
        let memory = Scratch.take(words * MemoryLayout<Int>.stride + floats * MemoryLayout<Float>.stride)
        pointers = memory.bindMemory(to: UnsafePointer<Float>.self, capacity: pointerCount)
        let integers = (memory + pointerCount * MemoryLayout<Int>.stride)
            .bindMemory(to: Int.self, capacity: 3 * job.block)
        origins = integers
        heights = integers + job.block
        widths = integers + 2 * job.block
        output = (memory + words * MemoryLayout<Int>.stride).bindMemory(to: Float.self, capacity: floats)
        input = output + job.positions * job.outputPlane
    }
}
