import Runtime

/// Tiles that are computed together while the filters stream past, from the second or third-level cache: enough to be
/// worth the stream, few enough for their transforms to stay close.
private let blockSizes = 16...32
/// The most tiles whose transforms all threads share at a time.
private let largestRound = 256
/// Output channels of one piece of work where the filters are there already.
private let columnsPerPiece = 64
/// Rows of the filters that are transformed at a time: with 2·laneCount columns half of a second-level cache at most.
private let rowsAtATime = 64

/// A 3×3 convolution of stride 1 or 2, or its input gradient, by Winograd's algorithm.
///
/// - out: (count, output shape of `tiles`); x: (count, input shape).
/// - scale: per input channel, a factor of x; nil = 1.
func winogradConvolution(
    _ out: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, count: Int, tiles: WinogradTiles,
    filters: WinogradOperand, zeros: UnsafePointer<Float>, scale: UnsafePointer<Float>?,
    _ epilogue: ConvolutionEpilogue
) {
    let job = WinogradJob(
        out: out, x: x, total: count * tiles.count, tiles: tiles, filters: filters, zeros: zeros, scale: scale,
        epilogue: epilogue)
    if let panels = filters.panels, job.total >= 4 * blockSizes.lowerBound {
        job.runByBlocks(panels)
    } else {
        job.runInRounds()
    }
}

/// One convolution, cut into blocks of tiles. Every output is computed by the same operations in the same order
/// however the work is cut.
private struct WinogradJob {
    let out: UnsafeMutablePointer<Float>
    let x: UnsafePointer<Float>
    /// Tiles of all samples.
    let total: Int
    let tiles: WinogradTiles
    let filters: WinogradOperand
    let zeros: UnsafePointer<Float>
    let scale: UnsafePointer<Float>?
    let epilogue: ConvolutionEpilogue

    var table: KernelTable { filters.table }
    var positions: Int { tiles.positions }

    /// Whole register tiles.
    private func padded(_ tileCount: Int) -> Int {
        (tileCount + table.rowsPerTile - 1) / table.rowsPerTile * table.rowsPerTile
    }

    /// Many tiles, and filters that are there already: each piece of work takes a block of tiles from the input to the
    /// output.
    func runByBlocks(_ panels: UnsafePointer<Float>) {
        let block = padded(
            min(max((total + 7) / 8, blockSizes.lowerBound), blockSizes.upperBound * 36 / positions))
        // A row has more floats than channels, a plane more than rows, lest powers of two fall on the same cache lines.
        let inputRow = (filters.depth + table.laneCount - 1) / table.laneCount * table.laneCount + 16
        let inputPlane = block * inputRow + 16
        let outputRow = min(filters.paddedColumns, columnsPerPiece) + 16
        let outputPlane = block * outputRow + 16
        WorkerPool.parallelFor((total + block - 1) / block) { index in
            let first = index * block
            let count = min(block, total - first)
            let memory = TileMemory(
                positions: positions, tiles: block, floats: positions * (inputPlane + outputPlane))
            let output = memory.floats
            let input = output + positions * outputPlane
            transform(first, count, 0..<filters.depth, into: input, plane: inputPlane, row: inputRow, memory)
            for column in stride(from: 0, to: filters.paddedColumns, by: columnsPerPiece) {
                let width = min(columnsPerPiece, filters.paddedColumns - column)
                multiply(
                    output, outputPlane, outputRow, input, inputPlane, inputRow, panels + column * filters.depth,
                    filters.plane, count, filters.depth, width, accumulate: false)
                finish(first, count, output, outputPlane, outputRow, column, width, memory)
            }
        }
    }

    /// Few tiles or deep filters: in each round all inputs first, then each piece of work takes some of the output channels.
    func runInRounds() {
        let most = max(largestRound * 36 / positions / table.rowsPerTile, 1) * table.rowsPerTile
        let rounds = (total + most - 1) / most
        let size = padded((total + rounds - 1) / rounds)
        for first in stride(from: 0, to: total, by: size) { runRound(first, min(size, total - first)) }
    }

    private func runRound(_ first: Int, _ count: Int) {
        let rows = padded(count)
        let lanes = table.laneCount
        let depthStep = filters.panels == nil ? rowsAtATime : (filters.depth + lanes - 1) / lanes * lanes
        // The products read the transforms in the order in which they lie.
        let inputPlane = rows * depthStep + 16
        let inputPart = positions * inputPlane
        let parts = (filters.depth + depthStep - 1) / depthStep
        let input = Scratch.floats(parts * inputPart, .shared)
        func channels(_ part: Int) -> Range<Int> {
            part * depthStep..<min((part + 1) * depthStep, filters.depth)
        }
        let few = table.rowsPerTile
        WorkerPool.parallelFor(rows / few * parts) { item in
            let start = item / parts * few
            let part = item % parts
            transform(
                first + start, min(few, count - start), channels(part),
                into: input + part * inputPart + start * depthStep, plane: inputPlane, row: depthStep,
                TileMemory(positions: positions, tiles: few, floats: 0))
        }

        let columns = filters.panels == nil ? 2 * lanes : columnsPerPiece
        let filterPlane = rowsAtATime * columns + 16
        let filterFloats = filters.panels == nil ? 36 * filterPlane + table.winogradScratch : 0
        let outputRow = min(filters.paddedColumns, columns)
        let outputPlane = rows * outputRow + 16
        WorkerPool.parallelFor((filters.paddedColumns + columns - 1) / columns) { piece in
            let column = piece * columns
            let width = min(columns, filters.paddedColumns - column)
            let memory = TileMemory(
                positions: positions, tiles: rows, floats: positions * outputPlane + filterFloats)
            let output = memory.floats
            let transformed = output + positions * outputPlane
            for part in 0..<parts {
                let channels = channels(part)
                if filters.panels == nil {
                    filters.transform(
                        rows: channels, column: column, into: transformed, plane: filterPlane,
                        scratch: transformed + 36 * filterPlane)
                }
                multiply(
                    output, outputPlane, outputRow, input + part * inputPart, inputPlane, depthStep,
                    filters.panels.map { $0 + column * filters.depth } ?? UnsafePointer(transformed),
                    filters.panels == nil ? filterPlane : filters.plane, count, channels.count, width,
                    accumulate: part > 0)
            }
            finish(first, count, output, outputPlane, outputRow, column, width, memory)
        }
    }

    private func transform(
        _ first: Int, _ count: Int, _ channels: Range<Int>, into v: UnsafeMutablePointer<Float>, plane: Int, row: Int,
        _ memory: TileMemory
    ) {
        tiles.pointers(
            memory.pointers, to: x, tiles.inputs, positions, tiles.input, first: first, count: count, zeros)
        tiles.transform(
            table, v, plane: plane, row: row, UnsafePointer(memory.pointers), tiles: count, channels: channels,
            scale: scale)
    }

    private func multiply(
        _ m: UnsafeMutablePointer<Float>, _ mPlane: Int, _ mRow: Int, _ v: UnsafePointer<Float>, _ vPlane: Int,
        _ vRow: Int, _ u: UnsafePointer<Float>, _ uPlane: Int, _ rows: Int, _ depth: Int, _ width: Int,
        accumulate: Bool
    ) {
        tiles.planes.withUnsafeBufferPointer { planes in
            guard let planes = planes.baseAddress else { return }
            table.denseProducts(
                m, mPlane, mRow, v, vPlane, vRow, u, uPlane, planes, positions, rows, depth, width, accumulate)
        }
    }

    /// The outputs of some tiles, from `column` on, out of their products.
    private func finish(
        _ first: Int, _ count: Int, _ m: UnsafePointer<Float>, _ mPlane: Int, _ mRow: Int, _ column: Int, _ width: Int,
        _ memory: TileMemory
    ) {
        for tile in 0..<count {
            let sample = (first + tile) / tiles.count
            let local = (first + tile) % tiles.count
            memory.origins[tile] = sample * tiles.output.count + tiles.origins[local]
            memory.heights[tile] = tiles.heights[local]
            memory.widths[tile] = tiles.widths[local]
        }
        let shape = tiles.output
        let columns = min(width, filters.columns - column)
        let lineStride = shape.width * shape.channels
        let residual = epilogue.residual.map { $0 + column }
        let mask = epilogue.mask.map { $0 + column }
        if case .stridedGradient(let oddTop, let oddLeft) = tiles.form {
            table.stridedGradientOutput(
                m, mPlane, mRow, count, columns, oddTop, oddLeft, UnsafePointer(memory.origins),
                UnsafePointer(memory.heights), UnsafePointer(memory.widths), shape.channels, lineStride, residual, mask,
                out + column)
        } else {
            let kernel = positions == 36 ? table.winogradOutput : table.stridedOutput
            kernel(
                m, mPlane, mRow, count, columns, UnsafePointer(memory.origins), UnsafePointer(memory.heights),
                UnsafePointer(memory.widths), shape.channels, lineStride, epilogue.scale.map { $0 + column },
                epilogue.shift.map { $0 + column }, residual, mask, epilogue.rectify,
                epilogue.signs.map { $0 + column }, out + column)
        }
    }
}

/// A thread's working memory for some tiles.
private struct TileMemory {
    let pointers: UnsafeMutablePointer<UnsafePointer<Float>>
    let origins: UnsafeMutablePointer<Int>
    let heights: UnsafeMutablePointer<Int>
    let widths: UnsafeMutablePointer<Int>
    let floats: UnsafeMutablePointer<Float>

    init(positions: Int, tiles: Int, floats count: Int) {
        let pointerCount = positions * tiles
        let words = pointerCount + 3 * tiles
        // Whole cache lines before the floats.
        let bytes = (words * MemoryLayout<Int>.stride + 63) / 64 * 64
        let memory = Scratch.take(bytes + count * MemoryLayout<Float>.stride)
        pointers = memory.bindMemory(to: UnsafePointer<Float>.self, capacity: pointerCount)
        let integers = (memory + pointerCount * MemoryLayout<Int>.stride)
            .bindMemory(to: Int.self, capacity: 3 * tiles)
        origins = integers
        heights = integers + tiles
        widths = integers + 2 * tiles
        floats = (memory + bytes).bindMemory(to: Float.self, capacity: count)
    }
}
