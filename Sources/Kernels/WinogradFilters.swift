import Runtime

/// The transformed filters of a 3×3 convolution (KernelsWide/Winograd.swift, WinogradStrided.swift), one set in each direction. They hold the
/// weights alone, without a folded BatchNorm, so that training and inference share them: made once per weight update.
public final class WinogradFilters {
    let forward: WinogradPanels
    /// Once somebody wants input gradients.
    private(set) var backward: WinogradPanels?
    private let geometry: ConvolutionGeometry
    private let table: KernelTable

    init(_ geometry: ConvolutionGeometry, table: KernelTable) throws {
        self.geometry = geometry
        self.table = table
        forward = try WinogradPanels(
            depth: geometry.input.channels, columns: geometry.outputChannels, table: table)
    }

    /// Makes room for the rotated filters, to be filled by the next `set`; true if there was none.
    public func needBackward() throws -> Bool {
        guard backward == nil else { return false }
        backward = try WinogradPanels(
            depth: geometry.outputChannels, columns: geometry.input.channels, table: table)
        return true
    }

    /// `weights`: OIHW.
    public func set(weights: UnsafePointer<Float>) {
        let channels = geometry.input.channels
        forward.fill(weights, rowStride: 9, columnStride: 9 * channels, rotate: false, geometry.stride)
        backward?.fill(weights, rowStride: 9 * channels, columnStride: 9, rotate: true, geometry.stride)
    }
}

extension ConvolutionGeometry {
    /// Whether Winograd's algorithm can take the convolution and is worth it: enough channels to fill vectors, and clearly
    /// fewer multiplications.
    public var fitsWinograd: Bool {
        guard kernelHeight == 3, kernelWidth == 3, stride <= 2, groups == 1, input.channels >= 16, outputChannels >= 16,
            [padTop, padLeft, padBottom, padRight].allSatisfy({ (0...2).contains($0) })
        else { return false }
        let tiles = ((output.height + 3) / 4) * ((output.width + 3) / 4)
        return Double(tiles * (stride == 1 ? 36 : 81)) < 0.8 * Double(9 * output.pixels)
    }
}

/// Transformed filters in one direction: [position][panel][depth][column], panels of 2·laneCount columns, a last one of
/// laneCount where that is enough.
final class WinogradPanels {
    let depth: Int
    let columns: Int
    let paddedColumns: Int
    private let table: KernelTable
    private let buffer: FloatBuffer

    init(depth: Int, columns: Int, table: KernelTable) throws {
        self.depth = depth
        self.columns = columns
        self.table = table
        paddedColumns = (columns + table.laneCount - 1) / table.laneCount * table.laneCount
        buffer = try FloatBuffer(36 * depth * paddedColumns)
    }

    /// Floats from one position to the next.
    var plane: Int { depth * paddedColumns }

    /// The panels from `column` on, a multiple of 2·laneCount.
    func panels(from column: Int) -> UnsafePointer<Float> { UnsafePointer(buffer.pointer + column * depth) }

    /// `weights` has the nine taps of (row, column) at `row · rowStride + column · columnStride`.
    func fill(_ weights: UnsafePointer<Float>, rowStride: Int, columnStride: Int, rotate: Bool, _ stride: Int) {
        let wide = 2 * table.laneCount
        let transform = stride == 1 ? table.winogradFilter : table.stridedFilter
        WorkerPool.parallelFor((paddedColumns + wide - 1) / wide) { panel in
            let scratch = Scratch.floats(table.winogradScratch)
            let column = panel * wide
            let width = min(wide, paddedColumns - column)
            for row in 0..<depth {
                transform(
                    buffer.pointer + column * depth + row * width, plane, width,
                    weights + row * rowStride + column * columnStride, columnStride, min(width, columns - column),
                    rotate, scratch)
            }
        }
    }
}
