import Runtime

// Depthwise convolution: every channel has its own filter, so a product would be all padding. Filters are [tap][channel].

/// A depthwise convolution's filters and where its rows find their pixels.
struct DepthwiseForm {
    let filters: FloatBuffer
    let forwardRows: RowTable
    let backwardRows: [RowTable]
}

extension ConvolutionGeometry {
    /// Whether `depthwiseLines` can take it.
    var goesByLines: Bool {
        kernelHeight == 3 && kernelWidth == 3 && plainStride == 1 && padTop <= 2 && padLeft <= 2
    }
}

/// Output pixels of one chunk of work.
private let rowsPerChunk = 64

/// out = epilogue( Σ over taps ), for all rows of all samples: the convolution, or with the tables of its backward
/// pass its input gradient.
func depthwiseConvolution(
    _ out: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, count: Int, filters: UnsafePointer<Float>,
    rows table: RowTable, inputSample: Int, outputSample: Int, _ weights: PreparedWeights,
    _ epilogue: ConvolutionEpilogue
) {
    let total = count * table.rows
    let kernel = weights.table.depthwiseProduct
    WorkerPool.parallelFor((total + rowsPerChunk - 1) / rowsPerChunk) { chunk in
        let first = chunk * rowsPerChunk
        let rows = min(rowsPerChunk, total - first)
        let memory = Scratch.take(rowsPerChunk * (table.taps + 1) * MemoryLayout<Int>.stride)
        let offsets = memory.bindMemory(to: Int.self, capacity: rowsPerChunk)
        let pointers = (memory + rowsPerChunk * MemoryLayout<Int>.stride)
            .bindMemory(to: UnsafePointer<Float>.self, capacity: rowsPerChunk * table.taps)
        table.find(
            pointers, tile: 1, offsets, first: first, count: rows, x, inputSample, outputSample, weights.zeros.pointer)
        table.tapBlocks.withUnsafeBufferPointer { blocks in
            withUnsafePointer(to: 0) { none in
                kernel(
                    UnsafePointer(pointers), rows, table.taps, filters, blocks.baseAddress ?? none,
                    weights.geometry.outputChannels, epilogue.shift, epilogue.residual, epilogue.mask, epilogue.rectify,
                    epilogue.signs, out, UnsafePointer(offsets))
            }
        }
    }
}

/// The same for 3×3 filters of stride 1, line by line: for the convolution (`rotate` false) or its input gradient.
func depthwiseLines(
    _ out: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, count: Int, filters: UnsafePointer<Float>,
    rotate: Bool, _ weights: PreparedWeights, _ epilogue: ConvolutionEpilogue
) {
    let g = weights.geometry
    let input = rotate ? g.output : g.input
    let output = rotate ? g.input : g.output
    let top = rotate ? 2 - g.padTop : g.padTop
    let left = rotate ? 2 - g.padLeft : g.padLeft
    let zeros = UnsafePointer(weights.zeros.pointer)
    let width = output.width + 2
    WorkerPool.parallelFor(count * output.height) { item in
        let sample = x + item / output.height * input.count
        let y = item % output.height
        let lines = Scratch.take(3 * width * MemoryLayout<Int>.stride)
            .bindMemory(to: UnsafePointer<Float>.self, capacity: 3 * width)
        for r in 0..<3 {
            let row = y + r - top
            for s in 0..<width {
                let column = s - left
                let isInside = row >= 0 && row < input.height && column >= 0 && column < input.width
                lines[r * width + s] = isInside ? sample + (row * input.width + column) * input.channels : zeros
            }
        }
        let start = item * output.width * output.channels
        weights.table.depthwiseLine(
            UnsafePointer(lines), output.width, filters, rotate, output.channels, epilogue.shift,
            epilogue.residual.map { $0 + start }, epilogue.mask.map { $0 + start }, epilogue.rectify,
            epilogue.signs.map { $0 + start }, out + start)
    }
}

/// sums [tap][channel] += the filter gradient of some rows (output pixels) of the batch.
func depthwiseWeightGradient(
    _ sums: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, _ dy: UnsafePointer<Float>, rows range: Range<Int>,
    _ table: RowTable, _ weights: PreparedWeights
) {
    let g = weights.geometry
    let channels = g.outputChannels
    let memory = Scratch.take(rowsPerChunk * (g.taps + 1) * MemoryLayout<Int>.stride)
    let offsets = memory.bindMemory(to: Int.self, capacity: rowsPerChunk)
    let pointers = (memory + rowsPerChunk * MemoryLayout<Int>.stride)
        .bindMemory(to: UnsafePointer<Float>.self, capacity: rowsPerChunk * g.taps)
    var first = range.lowerBound
    while first < range.upperBound {
        let rows = min(rowsPerChunk, range.upperBound - first)
        table.find(
            pointers, tile: 1, offsets, first: first, count: rows, x, g.input.count, g.output.count,
            weights.zeros.pointer)
        weights.table.depthwiseGradient(
            sums, UnsafePointer(pointers), rows, g.taps, dy + first * channels, channels, channels)
        first += rows
    }
}
