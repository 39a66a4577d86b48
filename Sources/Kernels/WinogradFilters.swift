import Runtime

/// The filters of a 3×3 convolution for Winograd's algorithm, in both directions. They are the weights alone, without a
/// folded BatchNorm, so that training and inference share them.
public final class WinogradFilters {
    private let geometry: ConvolutionGeometry
    private let table: KernelTable
    /// Transformed filters where these are small enough to be kept.
    private let forwardPanels: FloatBuffer?
    /// Once somebody wants input gradients.
    private var backwardPanels: FloatBuffer?
    /// OIHW, and where in the buffer they begin.
    private var weights: (buffer: FloatBuffer, offset: Int)?

    init(_ geometry: ConvolutionGeometry, table: KernelTable) throws {
        self.geometry = geometry
        self.table = table
        forwardPanels =
            geometry.transformsFiltersInPieces
            ? nil
            : try FloatBuffer(
                WinogradOperand.floats(geometry.input.channels, geometry.outputChannels, laneCount: table.laneCount))
    }

    /// Makes room for the rotated filters, to be filled by the next `set`; true if there was none.
    public func needBackward() throws -> Bool {
        guard backwardPanels == nil, !geometry.transformsFiltersInPieces else { return false }
        backwardPanels = try FloatBuffer(
            WinogradOperand.floats(geometry.outputChannels, geometry.input.channels, laneCount: table.laneCount))
        return true
    }

    /// Takes the OIHW weights that begin at `offset`; to be called again when they have changed.
    public func set(weights: FloatBuffer, from offset: Int) {
        self.weights = (weights, offset)
        if let forwardPanels { forward.transform(into: forwardPanels.pointer) }
        if let backwardPanels { backward.transform(into: backwardPanels.pointer) }
    }

    private var taps: UnsafePointer<Float>? { weights.map { UnsafePointer($0.buffer.pointer + $0.offset) } }

    var forward: WinogradOperand {
        let channels = geometry.input.channels
        return WinogradOperand(
            depth: channels, columns: geometry.outputChannels, stride: geometry.strideHeight, table: table,
            weights: taps,
            rowStride: 9, columnStride: 9 * channels, rotate: false,
            panels: forwardPanels.map { UnsafePointer($0.pointer) })
    }

    var backward: WinogradOperand {
        let channels = geometry.input.channels
        return WinogradOperand(
            depth: geometry.outputChannels, columns: channels, stride: geometry.strideHeight, table: table,
            weights: taps,
            rowStride: 9 * channels, columnStride: 9, rotate: true,
            panels: backwardPanels.map { UnsafePointer($0.pointer) })
    }
}

extension ConvolutionGeometry {
    /// Whether Winograd's algorithm can take the convolution and is worth it: enough channels to fill vectors, and clearly
    /// fewer multiplications.
    public var fitsWinograd: Bool {
        guard kernelHeight == 3, kernelWidth == 3, let stride = plainStride, stride <= 2, groups == 1,
            input.channels >= 16, outputChannels >= 16,
            [padTop, padLeft, padBottom, padRight].allSatisfy({ (0...2).contains($0) })
        else { return false }
        let tiles = ((output.height + 3) / 4) * ((output.width + 3) / 4)
        return Double(tiles * (stride == 1 ? 36 : 81)) < 0.8 * Double(9 * output.pixels)
    }

    /// Whether Winograd's filters, four times as large as the weights, would not stay in a cache between two uses. Then
    /// each product transforms them anew, piece by piece: less work than fetching them from memory, and no room.
    public var transformsFiltersInPieces: Bool { fitsWinograd && input.channels * outputChannels >= 1 << 15 }
}

/// The right operand of the products in one direction: 3×3 filters as a matrix of `depth` rows (channels of the
/// product's input) and `columns` (of its output).
struct WinogradOperand {
    let depth: Int
    let columns: Int
    let stride: Int
    let table: KernelTable
    /// The nine taps of (row, column) are at `row · rowStride + column · columnStride`.
    let weights: UnsafePointer<Float>?
    let rowStride: Int
    let columnStride: Int
    /// Filters turned by 180°.
    let rotate: Bool
    /// All of it transformed: [position][panel][depth][column], panels of 2·laneCount columns, a last one of laneCount
    /// where that is enough. nil: it is transformed in pieces.
    let panels: UnsafePointer<Float>?

    static func floats(_ depth: Int, _ columns: Int, laneCount: Int) -> Int {
        36 * depth * ((columns + laneCount - 1) / laneCount * laneCount)
    }

    var paddedColumns: Int { (columns + table.laneCount - 1) / table.laneCount * table.laneCount }

    /// Floats from one position of `panels` to the next.
    var plane: Int { depth * paddedColumns }

    /// All panels.
    func transform(into target: UnsafeMutablePointer<Float>) {
        let wide = 2 * table.laneCount
        WorkerPool.parallelFor((paddedColumns + wide - 1) / wide) { panel in
            transform(
                rows: 0..<depth, column: panel * wide, into: target + panel * wide * depth, plane: plane,
                scratch: Scratch.floats(table.winogradScratch))
        }
    }

    /// Some rows of the panel at `column`: [position][row][column].
    func transform(
        rows: Range<Int>, column: Int, into target: UnsafeMutablePointer<Float>, plane: Int,
        scratch: UnsafeMutablePointer<Float>
    ) {
        guard let weights else { return }
        let kernel = stride == 1 ? table.winogradFilters : table.stridedFilters
        let width = min(2 * table.laneCount, paddedColumns - column)
        kernel(
            target, plane, rows.count, width, weights + rows.lowerBound * rowStride + column * columnStride, rowStride,
            columnStride, min(width, columns - column), rotate, scratch)
    }
}
