import Runtime

// The gradient of a convolution's weights is a sum over the output pixels of the batch. It is taken of parts of the batch,
// each into sums of its own, which are then added in order: which thread took which part makes no difference. Winograd's
// algorithm has parts of another kind (WinogradGradient.swift).

/// dw += gradient of the weights. dw is OIHW.
public func convolutionWeightGradient(
    _ dw: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, _ dy: UnsafePointer<Float>, count: Int,
    _ weights: PreparedWeights
) {
    if case .winograd(let form) = weights.form {
        return winogradWeightGradient(
            dw, x, dy, count: count, tiles: form.forward, table: weights.table, zeros: weights.zeros.pointer)
    }
    let g = weights.geometry
    let total = count * g.output.pixels
    let items = weights.gradientItems
    var parts = max(1, min((largestParts + items - 1) / items, (total + rowsPerPart - 1) / rowsPerPart))
    // OpenBLAS takes whole samples.
    if case .matrix = weights.form { parts = 1 }
    let sums = Scratch.floats(parts * g.weightCount, .shared)
    WorkerPool.parallelFor(parts * items) { piece in
        let part = piece / items
        weights.sumGradient(
            sums + part * g.weightCount, x, dy, rows: total * part / parts..<total * (part + 1) / parts,
            item: piece % items)
    }
    addWeightGradients(sums, parts: parts, weights, to: dw)
}

/// The gradient of some samples as one part, for `addWeightGradients`. sums: weightCount floats, whatever they are.
/// Not for Winograd's algorithm.
public func sumWeightGradient(
    _ sums: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, _ dy: UnsafePointer<Float>, count: Int,
    _ weights: PreparedWeights
) {
    WorkerPool.parallelFor(weights.gradientItems) { item in
        weights.sumGradient(sums, x, dy, rows: 0..<count * weights.geometry.output.pixels, item: item)
    }
}

/// dw (OIHW) += the parts, which lie weightCount floats apart, in order. The first one is used up.
public func addWeightGradients(
    _ sums: UnsafeMutablePointer<Float>, parts: Int, _ weights: PreparedWeights, to dw: UnsafeMutablePointer<Float>
) {
    let g = weights.geometry
    let slice = 4096
    WorkerPool.parallelFor(parts == 1 ? 0 : (g.weightCount + slice - 1) / slice) { item in
        let first = item * slice
        let count = min(slice, g.weightCount - first)
        for part in 1..<parts {
            weights.table.add(sums + first, sums + first, sums + part * g.weightCount + first, count, false, nil)
        }
    }
    if case .depthwise = weights.form {
        for channel in 0..<g.outputChannels {
            for tap in 0..<g.taps { dw[channel * g.taps + tap] += sums[tap * g.outputChannels + channel] }
        }
    } else {
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

/// Rows (output pixels) of the batch that are worth a part of their own, and the most parts.
private let rowsPerPart = 1024
private let largestParts = 16
/// Input channels of one item of a part.
private let channelsPerItem = 32

extension PreparedWeights {
    /// How many items the sums of a part consist of: of groups, taps and blocks of input channels.
    fileprivate var gradientItems: Int {
        guard case .panels = form else { return 1 }
        return geometry.groups * geometry.taps * ((geometry.depth + channelsPerItem - 1) / channelsPerItem)
    }

    /// One item of the sums over some rows of the batch, in the layout of the form: [tap][channel] for depthwise
    /// convolutions, else [group][tap][depth][column].
    fileprivate func sumGradient(
        _ sums: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, _ dy: UnsafePointer<Float>, rows: Range<Int>,
        item: Int
    ) {
        switch form {
        case .winograd: break
        case .depthwise(let form):
            sums.update(repeating: 0, count: geometry.weightCount)
            depthwiseWeightGradient(sums, x, dy, rows: rows, form.forwardRows, self)
        case .thin(let form):
            sums.update(repeating: 0, count: geometry.weightCount)
            thinWeightGradient(sums, x, dy, rows: rows, self, form)
        case .matrix(_, let table):
            sums.update(repeating: 0, count: geometry.weightCount)
            blasWeightGradient(sums, x, dy, count: rows.count / geometry.output.pixels, self, table)
        case .panels(let form):
            let blocks = (geometry.depth + channelsPerItem - 1) / channelsPerItem
            let channel = item % blocks * channelsPerItem
            indirectWeightGradient(
                sums, x, dy, rows: rows, group: item / (geometry.taps * blocks), tap: item / blocks % geometry.taps,
                channels: channel..<min(channel + channelsPerItem, geometry.depth), self, form.forwardRows)
        }
    }
}

/// Sums of one group, filter tap and block of input channels over rows of the batch, in runs whose output gradients stay in
/// the second-level cache for all channels.
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
