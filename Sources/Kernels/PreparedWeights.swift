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

/// The weights of one convolution, ready for the kernels of one CPU path.
///
/// - On the wide paths: panels for the forward product and, rotated, for the input gradient.
/// - On the baseline path: plain matrices for OpenBLAS, [group][tap][depth][column].
public final class PreparedWeights {
    public let geometry: ConvolutionGeometry
    let path: CPUPath
    let table: KernelTable
    let forwardRows: RowTable
    let backwardRows: [RowTable]
    /// Zeros that rows in the padding point to, as long as the deepest row.
    let zeros: FloatBuffer
    /// Wide paths, not depthwise.
    let forward: PackedPanels?
    let backward: PackedPanels?
    /// Baseline path: [group][tap][depth][column]; depthwise on every path: [tap][channel].
    let matrix: FloatBuffer?
    /// Added to every output pixel.
    let bias: FloatBuffer

    public convenience init(_ geometry: ConvolutionGeometry) throws {
        try self.init(geometry, path: CPUPath.active)
    }

    /// With the path of choice: for tests, which compare them.
    init(_ geometry: ConvolutionGeometry, path: CPUPath) throws {
        self.geometry = geometry
        self.path = path
        table = KernelTable.table(for: path)
        forwardRows = RowTable.forward(geometry)
        backwardRows = geometry.isDepthwise ? [] : RowTable.backward(geometry)
        zeros = try FloatBuffer(max(geometry.input.channels, geometry.outputChannels))
        bias = try FloatBuffer(geometry.outputChannels)
        let g = geometry
        if path == .baseline || g.isDepthwise {
            forward = nil
            backward = nil
            matrix = try FloatBuffer(g.weightCount)
        } else {
            forward = try PackedPanels(
                groups: g.groups, rows: g.taps * g.depth, columns: g.groupColumns, laneCount: table.laneCount)
            backward = try PackedPanels(
                groups: g.groups, rows: g.taps * g.groupColumns, columns: g.depth, laneCount: table.laneCount)
            matrix = nil
        }
    }

    /// Packs `weights` (OIHW), each filter multiplied by `scale[output channel]` where given (a folded BatchNorm), and
    /// `bias` (nil: zero).
    public func set(
        weights: UnsafePointer<Float>, scale: UnsafePointer<Float>?, bias newBias: UnsafePointer<Float>?
    ) {
        let g = geometry
        let taps = g.taps
        let depth = g.depth
        let columns = g.groupColumns
        for channel in 0..<g.outputChannels { bias.pointer[channel] = newBias?[channel] ?? 0 }
        // One filter element: output channel `column` of the group, `row` = tap · depth + channel.
        @inline(__always)
        func element(_ group: Int, _ tap: Int, _ channel: Int, _ column: Int) -> Float {
            let filter = group * columns + column
            let value = weights[(filter * depth + channel) * taps + tap]
            if let scale { return value * scale[filter] }
            return value
        }
        if g.isDepthwise, let matrix {
            for tap in 0..<taps {
                for channel in 0..<g.outputChannels {
                    matrix.pointer[tap * g.outputChannels + channel] = element(channel, tap, 0, 0)
                }
            }
        } else if let matrix {
            for group in 0..<g.groups {
                var target = matrix.pointer + group * taps * depth * columns
                for tap in 0..<taps {
                    for channel in 0..<depth {
                        for column in 0..<columns { target[column] = element(group, tap, channel, column) }
                        target += columns
                    }
                }
            }
        } else if let forward, let backward {
            let lanes = table.laneCount
            WorkerPool.parallelFor(2 * g.groups) { item in
                let group = item / 2
                if item % 2 == 0 {
                    forward.fill(group, laneCount: lanes) { row, column in
                        element(group, row / depth, row % depth, column)
                    }
                    for column in 0..<columns {
                        forward.bias(group)[column] = self.bias.pointer[group * columns + column]
                    }
                } else {
                    backward.fill(group, laneCount: lanes) { row, channel in
                        element(group, row / columns, channel, row % columns)
                    }
                }
            }
        }
    }
}
