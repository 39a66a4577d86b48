/// The shapes of a two-dimensional convolution (cross-correlation, as in every framework of the field).
public struct ConvolutionGeometry: Equatable, Sendable {
    public var input: ImageShape
    public var outputChannels: Int
    public var kernelHeight: Int
    public var kernelWidth: Int
    public var strideHeight: Int
    public var strideWidth: Int
    /// Pixels from one tap of the kernel to the next.
    public var dilationHeight = 1
    public var dilationWidth = 1
    public var padTop: Int
    public var padLeft: Int
    public var padBottom: Int
    public var padRight: Int
    public var groups: Int

    /// Everything the same down and across; the caller has seen to it that groups divides both channel counts and the output
    /// is not empty.
    public init(
        input: ImageShape, outputChannels: Int, kernelHeight: Int, kernelWidth: Int, stride: Int = 1,
        padding: Int = 0, groups: Int = 1
    ) {
        self.input = input
        self.outputChannels = outputChannels
        self.kernelHeight = kernelHeight
        self.kernelWidth = kernelWidth
        strideHeight = stride
        strideWidth = stride
        padTop = padding
        padLeft = padding
        padBottom = padding
        padRight = padding
        self.groups = groups
    }

    public var output: ImageShape {
        ImageShape(
            outputChannels, (input.height + padTop + padBottom - reachHeight) / strideHeight + 1,
            (input.width + padLeft + padRight - reachWidth) / strideWidth + 1)
    }

    /// Pixels from the first tap of the kernel to the last one, both included.
    public var reachHeight: Int { dilationHeight * (kernelHeight - 1) + 1 }
    public var reachWidth: Int { dilationWidth * (kernelWidth - 1) + 1 }
    /// 1 or more where neither dilation nor direction makes a difference: what the algorithms for single shapes want.
    var plainStride: Int? {
        dilationHeight == 1 && dilationWidth == 1 && strideHeight == strideWidth ? strideHeight : nil
    }

    public var taps: Int { kernelHeight * kernelWidth }
    /// Input channels of one group: the depth of each filter.
    public var depth: Int { input.channels / groups }
    /// Output channels of one group.
    public var groupColumns: Int { outputChannels / groups }
    public var weightCount: Int { outputChannels * depth * taps }
    public var isDepthwise: Bool { groups > 1 && depth == 1 && groupColumns == 1 }

    /// Multiply-adds for one sample.
    public var multiplyAdds: Int { output.pixels * weightCount }
}

/// Where each row of an indirect product finds its taps: the same for every sample, made once.
///
/// `offsets[row · taps + tap]` is the first channel of the pixel under the tap, in floats from the start of a sample, or
/// -1 in the padding. `tapBlocks[tap]` says which filter tap that is (times the depth: the start of its panel rows).
/// `outputs[row]` is where the row's result goes, in floats from the start of a sample.
struct RowTable: Sendable {
    let taps: Int
    let offsets: [Int32]
    let tapBlocks: [Int]
    let outputs: [Int]
    /// How many pixels, one behind the other in memory, a tap stands for.
    var run = 1

    var rows: Int { outputs.count }

    /// Bytes that all tables of a convolution take at most while they are made: offsets of both directions, once as they come, in
    /// arrays that grow, and once joined or in reverse order; and the places of their rows.
    static func largestMemory(_ g: ConvolutionGeometry) -> Int {
        let pixels = max(g.input.pixels, g.output.pixels)
        return 2 * pixels * (4 * g.taps * MemoryLayout<Int32>.stride + 4 * MemoryLayout<Int>.stride)
    }

    /// Writes pointers [tile of `tile` rows][tap][row], with tiles of one row [row][tap], and output offsets of `count` rows, from
    /// row `first` of the batch on. Taps in the padding point to `zeros`; rows that only fill up the last tile repeat the last
    /// real one. Its cost is felt in small networks: no divisions, no bounds checks.
    func find(
        _ pointers: UnsafeMutablePointer<UnsafePointer<Float>>, tile: Int, _ targets: UnsafeMutablePointer<Int>,
        first: Int, count: Int, _ base: UnsafePointer<Float>, _ inputSample: Int, _ outputSample: Int,
        _ zeros: UnsafePointer<Float>
    ) {
        let (taps, rows) = (taps, rows)
        offsets.withUnsafeBufferPointer { offsets in
            outputs.withUnsafeBufferPointer { outputs in
                var sample = first / rows
                var local = first % rows
                var block = pointers
                for start in Swift.stride(from: 0, to: count, by: tile) {
                    for row in 0..<tile {
                        if start + row < count { targets[start + row] = sample &* outputSample &+ outputs[local] }
                        let input = base + sample &* inputSample
                        var target = block + row
                        for tap in local &* taps..<local &* taps &+ taps {
                            let offset = Int(offsets[tap])
                            target.pointee = offset < 0 ? zeros : input + offset
                            target += tile
                        }
                        if start + row < count - 1 {
                            local += 1
                            if local == rows { (sample, local) = (sample + 1, 0) }
                        }
                    }
                    block += tile &* taps
                }
            }
        }
    }

    /// The same product with fewer and deeper taps: rows for which the taps of each filter row lie side by side in memory (or all
    /// in the padding), each filter row as one tap; and a table of the other rows, those at the left and right border.
    ///
    /// - Parameters:
    ///   - width: of the filter; depth: panel rows of a tap. In a group of several pixels are further apart, so that none fit.
    func joined(width: Int, depth: Int) -> [RowTable] {
        let filterRows = Swift.stride(from: 0, to: taps, by: max(width, 1))
        func areSideBySide(_ values: some Collection<Int>, by step: Int) -> Bool {
            zip(values, values.dropFirst()).allSatisfy { $1 == $0 + step }
        }
        guard width > 1, taps % width == 0,
            filterRows.allSatisfy({ areSideBySide(tapBlocks[$0..<$0 + width], by: depth) })
        else { return [self] }
        var (inner, border) = ((offsets: [Int32](), outputs: [Int]()), (offsets: [Int32](), outputs: [Int]()))
        for row in 0..<rows {
            let own = offsets[row * taps..<(row + 1) * taps]
            let fits = filterRows.allSatisfy { first in
                let part = own.dropFirst(first).prefix(width)
                return part.allSatisfy { $0 < 0 }
                    || part.allSatisfy { $0 >= 0 } && areSideBySide(part.map(Int.init), by: depth)
            }
            if fits {
                inner.offsets += filterRows.map { offsets[row * taps + $0] }
                inner.outputs.append(outputs[row])
            } else {
                border.offsets += own
                border.outputs.append(outputs[row])
            }
        }
        guard inner.outputs.count > border.outputs.count else { return [self] }
        let joined = RowTable(
            taps: taps / width, offsets: inner.offsets, tapBlocks: filterRows.map { tapBlocks[$0] },
            outputs: inner.outputs, run: width)
        guard !border.outputs.isEmpty else { return [joined] }
        return [joined, RowTable(taps: taps, offsets: border.offsets, tapBlocks: tapBlocks, outputs: border.outputs)]
    }

    /// The taps in reverse order, for panels whose taps are in reverse order: their last one begins at row `last`.
    func rotated(last: Int) -> RowTable {
        RowTable(
            taps: taps, offsets: (0..<rows).flatMap { offsets[$0 * taps..<($0 + 1) * taps].reversed() },
            tapBlocks: tapBlocks.reversed().map { last - $0 }, outputs: outputs)
    }

    /// Forward: one row per output pixel, one tap per filter element.
    static func forward(_ g: ConvolutionGeometry) -> RowTable {
        let output = g.output
        var offsets: [Int32] = []
        offsets.reserveCapacity(output.pixels * g.taps)
        for y in 0..<output.height {
            for x in 0..<output.width {
                for r in 0..<g.kernelHeight {
                    for s in 0..<g.kernelWidth {
                        let iy = y * g.strideHeight + r * g.dilationHeight - g.padTop
                        let ix = x * g.strideWidth + s * g.dilationWidth - g.padLeft
                        let inside = iy >= 0 && iy < g.input.height && ix >= 0 && ix < g.input.width
                        offsets.append(inside ? Int32((iy * g.input.width + ix) * g.input.channels) : -1)
                    }
                }
            }
        }
        return RowTable(
            taps: g.taps, offsets: offsets, tapBlocks: (0..<g.taps).map { $0 * g.depth },
            outputs: (0..<output.pixels).map { $0 * g.outputChannels })
    }

    /// Input gradient: rows are input pixels, taps the output pixels that each contributed to. With strides s and t,
    /// the pixels fall into s·t phases that see different taps; each phase is a table of its own.
    static func backward(_ g: ConvolutionGeometry) -> [RowTable] {
        var tables: [RowTable] = []
        for phaseY in 0..<min(g.strideHeight, g.input.height) {
            for phaseX in 0..<min(g.strideWidth, g.input.width) {
                tables.append(backward(g, phaseY: phaseY, phaseX: phaseX))
            }
        }
        return tables
    }

    private static func backward(_ g: ConvolutionGeometry, phaseY: Int, phaseX: Int) -> RowTable {
        let output = g.output
        var reachable: [(r: Int, s: Int)] = []
        for r in 0..<g.kernelHeight where (phaseY + g.padTop - r * g.dilationHeight) % g.strideHeight == 0 {
            for s in 0..<g.kernelWidth where (phaseX + g.padLeft - s * g.dilationWidth) % g.strideWidth == 0 {
                reachable.append((r, s))
            }
        }
        var offsets: [Int32] = []
        var outputs: [Int] = []
        for iy in Swift.stride(from: phaseY, to: g.input.height, by: g.strideHeight) {
            for ix in Swift.stride(from: phaseX, to: g.input.width, by: g.strideWidth) {
                outputs.append((iy * g.input.width + ix) * g.input.channels)
                for (r, s) in reachable {
                    // Exact divisions, by the choice of taps; floor matters for negative numerators only, which are out.
                    let top = iy + g.padTop - r * g.dilationHeight
                    let left = ix + g.padLeft - s * g.dilationWidth
                    let y = top / g.strideHeight
                    let x = left / g.strideWidth
                    let inside = top >= 0 && left >= 0 && y < output.height && x < output.width
                    offsets.append(inside ? Int32((y * output.width + x) * g.outputChannels) : -1)
                }
            }
        }
        return RowTable(
            taps: reachable.count, offsets: offsets,
            tapBlocks: reachable.map { ($0.r * g.kernelWidth + $0.s) * g.groupColumns }, outputs: outputs)
    }
}
