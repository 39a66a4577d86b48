import Runtime

/// Weights of a convolution laid out for `indirectProduct`: packed once per weight update and reused by every attack
/// step. Layout: groups one after the other; within a group panels of 2·laneCount columns, [panel][tap][depth][column].
final class PackedPanels {
    let buffer: FloatBuffer
    let bias: FloatBuffer
    let groups: Int
    /// Rows of the product: taps × depth.
    let rows: Int
    let columns: Int
    /// Columns of a group after padding to whole vectors.
    let paddedColumns: Int

    init(groups: Int, rows: Int, columns: Int, laneCount: Int) throws {
        self.groups = groups
        self.rows = rows
        self.columns = columns
        paddedColumns = (columns + laneCount - 1) / laneCount * laneCount
        buffer = try FloatBuffer(groups * rows * paddedColumns)
        bias = try FloatBuffer(groups * (paddedColumns + laneCount))
        biasStride = paddedColumns + laneCount
    }

    let biasStride: Int

    func panels(_ group: Int) -> UnsafeMutablePointer<Float> { buffer.pointer + group * rows * paddedColumns }
    func bias(_ group: Int) -> UnsafeMutablePointer<Float> { bias.pointer + group * biasStride }

    /// Fills group `group` from `value(row, column)`.
    @inline(__always)
    func fill(_ group: Int, laneCount: Int, _ value: (_ row: Int, _ column: Int) -> Float) {
        let wide = 2 * laneCount
        var column = 0
        while column < columns {
            let width = columns - column > laneCount ? wide : laneCount
            let valid = min(width, columns - column)
            var target = panels(group) + column * rows
            for row in 0..<rows {
                for c in 0..<valid { target[c] = value(row, column + c) }
                target += width
            }
            column += width
        }
    }
}

/// The weights of one convolution, ready for the kernels of one CPU path. One of five forms:
///
/// - 3×3 filters of stride 1 or 2, on the wide paths: Winograd's, shared between programs, with the scale of a folded
///   BatchNorm kept beside them;
/// - few input channels, there: panels, for the gradients over gathered patches;
/// - any other convolution there: panels for the forward product and, rotated, for the input gradient;
/// - the baseline path: plain matrices for OpenBLAS, [group][tap][depth][column];
/// - depthwise, on every path: [tap][channel].
public final class PreparedWeights {
    public let geometry: ConvolutionGeometry
    let path: CPUPath
    let table: KernelTable
    /// Zeros that pixels in the padding point to, as long as the deepest row.
    let zeros: FloatBuffer
    /// Added to every output pixel.
    let bias: FloatBuffer
    let form: Form
    /// Whether a folded BatchNorm scales the output channels.
    private(set) var isScaled = false

    enum Form {
        case winograd(WinogradForm)
        case thin(ThinForm)
        case panels(PanelForm)
        case matrix(FloatBuffer, rows: RowTable)
        case depthwise(DepthwiseForm)
    }

    struct WinogradForm {
        let filters: WinogradFilters
        let forward: WinogradTiles
        let backward: WinogradTiles
        /// A factor of each output channel, where `isScaled`.
        let scale: FloatBuffer
    }

    struct PanelForm {
        let forward: PackedPanels
        /// Taps in reverse order: those of a filter row then meet pixels in the order of memory.
        let backward: PackedPanels
        let forwardRows: RowTable
        /// Of the two products.
        let forwardTables: [RowTable]
        let backwardTables: [RowTable]
    }

    /// - Parameter filters: from `makeFilters`, kept up to date by the caller; nil = without Winograd.
    public convenience init(_ geometry: ConvolutionGeometry, filters: WinogradFilters?) throws {
        try self.init(geometry, filters: filters, path: CPUPath.active)
    }

    /// With the path of choice: for tests, which compare them.
    init(_ g: ConvolutionGeometry, filters: WinogradFilters?, path: CPUPath) throws {
        geometry = g
        self.path = path
        table = KernelTable.table(for: path)
        zeros = try FloatBuffer(max(g.input.channels, g.outputChannels) * g.kernelWidth)
        bias = try FloatBuffer(g.outputChannels)
        // Tables are arrays, which end the process where memory runs out: with this much left it does not.
        _ = try Buffer<UInt8>(RowTable.largestMemory(g))
        if g.isDepthwise {
            form = .depthwise(
                DepthwiseForm(
                    filters: try FloatBuffer(g.weightCount), forwardRows: RowTable.forward(g),
                    backwardRows: RowTable.backward(g)))
        } else if path == .baseline {
            form = .matrix(try FloatBuffer(g.weightCount), rows: RowTable.forward(g))
        } else if let filters {
            form = .winograd(
                WinogradForm(
                    filters: filters, forward: WinogradTiles.forward(g), backward: WinogradTiles.backward(g),
                    scale: try FloatBuffer(g.outputChannels)))
        } else if ThinForm.fits(g) {
            let length = g.taps * g.depth
            let rows = RowTable.forward(g)
            form = .thin(
                ThinForm(
                    forward: try PackedPanels(
                        groups: 1, rows: length, columns: g.outputChannels, laneCount: table.laneCount),
                    backward: try PackedPanels(
                        groups: 1, rows: g.outputChannels, columns: length, laneCount: table.laneCount),
                    rows: rows, forwardTables: rows.joined(width: g.kernelWidth, depth: g.depth)))
        } else {
            let rows = RowTable.forward(g)
            form = .panels(
                PanelForm(
                    forward: try PackedPanels(
                        groups: g.groups, rows: g.taps * g.depth, columns: g.groupColumns, laneCount: table.laneCount),
                    backward: try PackedPanels(
                        groups: g.groups, rows: g.taps * g.groupColumns, columns: g.depth, laneCount: table.laneCount),
                    forwardRows: rows,
                    forwardTables: rows.joined(width: g.kernelWidth, depth: g.depth),
                    backwardTables: RowTable.backward(g).flatMap { table in
                        table.rotated(last: (g.taps - 1) * g.groupColumns)
                            .joined(width: g.kernelWidth, depth: g.groupColumns)
                    }))
        }
    }

    /// Winograd's filters for the convolution, still to be filled; nil where the algorithm does not fit.
    public static func makeFilters(_ geometry: ConvolutionGeometry) throws -> WinogradFilters? {
        try makeFilters(geometry, path: CPUPath.active)
    }

    static func makeFilters(_ geometry: ConvolutionGeometry, path: CPUPath) throws -> WinogradFilters? {
        guard path != .baseline, geometry.fitsWinograd else { return nil }
        return try WinogradFilters(geometry, table: KernelTable.table(for: path))
    }

    /// Packs `weights` (OIHW), each filter multiplied by `scale[output channel]` where given (a folded BatchNorm), and
    /// `bias` (nil: zero). Winograd's filters hold the weights already: of them only scale and bias are taken.
    public func set(
        weights: UnsafePointer<Float>, scale: UnsafePointer<Float>?, bias newBias: UnsafePointer<Float>?
    ) {
        let g = geometry
        isScaled = scale != nil
        for channel in 0..<g.outputChannels { bias.pointer[channel] = newBias?[channel] ?? 0 }
        let element = FilterElements(weights: weights, scale: scale, geometry: g)
        switch form {
        case .winograd(let form):
            for channel in 0..<g.outputChannels { form.scale.pointer[channel] = scale?[channel] ?? 1 }
        case .thin(let form):
            form.forward.fill(0, laneCount: table.laneCount) { row, column in
                element[0, row / g.depth, row % g.depth, column]
            }
            form.backward.fill(0, laneCount: table.laneCount) { row, column in
                element[0, column / g.depth, column % g.depth, row]
            }
            form.forward.bias(0).update(from: bias.pointer, count: g.outputChannels)
        case .panels(let form):
            fill(form, element)
        case .matrix(let matrix, _):
            for group in 0..<g.groups {
                var target = matrix.pointer + group * g.taps * g.depth * g.groupColumns
                for tap in 0..<g.taps {
                    for channel in 0..<g.depth {
                        for column in 0..<g.groupColumns { target[column] = element[group, tap, channel, column] }
                        target += g.groupColumns
                    }
                }
            }
        case .depthwise(let form):
            for tap in 0..<g.taps {
                for channel in 0..<g.outputChannels {
                    form.filters.pointer[tap * g.outputChannels + channel] = element[channel, tap, 0, 0]
                }
            }
        }
    }

    private func fill(_ form: PanelForm, _ element: FilterElements) {
        let depth = geometry.depth
        let columns = geometry.groupColumns
        WorkerPool.parallelFor(2 * geometry.groups) { item in
            let group = item / 2
            if item % 2 == 0 {
                form.forward.fill(group, laneCount: table.laneCount) { row, column in
                    element[group, row / depth, row % depth, column]
                }
                for column in 0..<columns {
                    form.forward.bias(group)[column] = bias.pointer[group * columns + column]
                }
            } else {
                form.backward.fill(group, laneCount: table.laneCount) { row, channel in
                    element[group, geometry.taps - 1 - row / columns, channel, row % columns]
                }
            }
        }
    }
}

/// Elements of OIHW filters, scaled: output channel `column` of the group, input channel `channel` of the group.
private struct FilterElements {
    let weights: UnsafePointer<Float>
    let scale: UnsafePointer<Float>?
    let geometry: ConvolutionGeometry

    @inline(__always)
    subscript(_ group: Int, _ tap: Int, _ channel: Int, _ column: Int) -> Float {
        let filter = group * geometry.groupColumns + column
        let value = weights[(filter * geometry.depth + channel) * geometry.taps + tap]
        if let scale { return value * scale[filter] }
        return value
    }
}
