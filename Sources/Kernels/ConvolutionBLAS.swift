import COpenBLAS
import Runtime

// The baseline path: each sample's patches are laid out as a matrix (im2col) and multiplied by OpenBLAS, which knows
// processors that the engine's own kernels do not. One sample at a time, so that a sample's result does not depend on
// its batch.

/// OpenBLAS's thread count is one number for the whole process. While the engine computes on its own threads it is 1;
/// afterwards the host finds its own setting again.
enum SingleThreadedBLAS {
    nonisolated(unsafe) private static var users = 0
    nonisolated(unsafe) private static var hostThreads: Int32 = 1
    private static let lock = Mutex()

    static func run(_ body: () -> Void) {
        lock.withLock {
            if users == 0 {
                hostThreads = openblas_get_num_threads()
                if hostThreads != 1 { openblas_set_num_threads(1) }
            }
            users += 1
        }
        body()
        lock.withLock {
            users -= 1
            if users == 0 && hostThreads != 1 { openblas_set_num_threads(hostThreads) }
        }
    }
}

func blasForward(
    _ y: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, count: Int, _ weights: PreparedWeights,
    _ matrix: UnsafePointer<Float>, _ table: RowTable, _ epilogue: ConvolutionEpilogue
) {
    let g = weights.geometry
    let pixels = g.output.pixels
    let rows = g.taps * g.depth
    SingleThreadedBLAS.run {
        WorkerPool.parallelFor(count) { sample in
            let out = y + sample * g.output.count
            let patches = scratchMatrix(pixels * rows)
            for group in 0..<g.groups {
                gatherPatches(patches, x + sample * g.input.count, group: group, weights, table)
                cblas_sgemm(
                    CblasRowMajor, CblasNoTrans, CblasNoTrans, Int32(pixels), Int32(g.groupColumns), Int32(rows), 1,
                    patches, Int32(rows), matrix + group * rows * g.groupColumns, Int32(g.groupColumns), 0,
                    patches + pixels * rows, Int32(g.groupColumns))
                let result = patches + pixels * rows
                for pixel in 0..<pixels {
                    let offset = pixel * g.outputChannels + group * g.groupColumns
                    for c in 0..<g.groupColumns {
                        let value =
                            result[pixel * g.groupColumns + c] + weights.bias.pointer[group * g.groupColumns + c]
                        out[offset + c] = epilogue.finish(value, at: sample * g.output.count + offset + c)
                    }
                }
            }
        }
    }

    /// Room for the patches and, behind them, the product.
    func scratchMatrix(_ count: Int) -> UnsafeMutablePointer<Float> {
        Scratch.floats(count + pixels * g.groupColumns)
    }
}

func blasInputGradient(
    _ dx: UnsafeMutablePointer<Float>, _ dy: UnsafePointer<Float>, count: Int, _ weights: PreparedWeights,
    _ matrix: UnsafePointer<Float>, _ table: RowTable, _ epilogue: ConvolutionEpilogue
) {
    let g = weights.geometry
    let pixels = g.output.pixels
    let rows = g.taps * g.depth
    SingleThreadedBLAS.run {
        WorkerPool.parallelFor(count) { sample in
            let target = dx + sample * g.input.count
            let patches = Scratch.floats(pixels * rows + g.input.count)
            let sums = patches + pixels * rows
            sums.update(repeating: 0, count: g.input.count)
            for group in 0..<g.groups {
                cblas_sgemm(
                    CblasRowMajor, CblasNoTrans, CblasTrans, Int32(pixels), Int32(rows), Int32(g.groupColumns), 1,
                    dy + sample * g.output.count + group * g.groupColumns, Int32(g.outputChannels),
                    matrix + group * rows * g.groupColumns, Int32(g.groupColumns), 0, patches, Int32(rows))
                scatterPatches(sums, patches, group: group, weights, table)
            }
            for i in 0..<g.input.count { target[i] = epilogue.finish(sums[i], at: sample * g.input.count + i) }
        }
    }
}

/// sums [group][tap][depth][column] += gradient.
func blasWeightGradient(
    _ sums: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, _ dy: UnsafePointer<Float>, count: Int,
    _ weights: PreparedWeights, _ table: RowTable
) {
    let g = weights.geometry
    let pixels = g.output.pixels
    let rows = g.taps * g.depth
    SingleThreadedBLAS.run {
        // Columns are cut instead of samples: each item owns its part of the result and runs over all samples.
        let slice = 16
        let slices = (g.groupColumns + slice - 1) / slice
        WorkerPool.parallelFor(g.groups * slices) { item in
            let group = item / slices
            let column = item % slices * slice
            let width = min(slice, g.groupColumns - column)
            let patches = Scratch.floats(pixels * rows)
            for sample in 0..<count {
                gatherPatches(patches, x + sample * g.input.count, group: group, weights, table)
                cblas_sgemm(
                    CblasRowMajor, CblasTrans, CblasNoTrans, Int32(rows), Int32(width), Int32(pixels), 1, patches,
                    Int32(rows), dy + sample * g.output.count + group * g.groupColumns + column,
                    Int32(g.outputChannels), 1, sums + group * rows * g.groupColumns + column, Int32(g.groupColumns))
            }
        }
    }
}

/// patches[pixel][tap · depth + channel] of one sample and group; zero in the padding.
private func gatherPatches(
    _ patches: UnsafeMutablePointer<Float>, _ sample: UnsafePointer<Float>, group: Int, _ weights: PreparedWeights,
    _ table: RowTable
) {
    let g = weights.geometry
    let zeros = UnsafePointer(weights.zeros.pointer)
    var target = patches
    for offset in table.offsets {
        let source = offset < 0 ? zeros : sample + Int(offset) + group * g.depth
        target.update(from: source, count: g.depth)
        target += g.depth
    }
}

/// The transpose of `gatherPatches`: adds each patch to the pixels that it came from.
private func scatterPatches(
    _ sample: UnsafeMutablePointer<Float>, _ patches: UnsafePointer<Float>, group: Int, _ weights: PreparedWeights,
    _ table: RowTable
) {
    let g = weights.geometry
    var source = patches
    for offset in table.offsets {
        if offset >= 0 {
            let target = sample + Int(offset) + group * g.depth
            for c in 0..<g.depth { target[c] += source[c] }
        }
        source += g.depth
    }
}
