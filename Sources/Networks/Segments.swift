import Kernels

/// Consecutive steps that run together over a few samples at a time, each thread on samples of its own, so that what one
/// step writes is still in the processor's cache when the next one reads it.
struct Segment {
    let steps: Range<Int>
    /// Samples at a time; nil: the whole batch, step by step, all threads on the same step.
    let samples: Int?
}

extension Segment {
    /// Bytes of activations that a step may read and write in the second-level cache, beside the convolution's own.
    private static let cacheBytes = 600_000
    /// Weights beyond this many floats come from further away, and have to serve so many rows of a product to be worth
    /// the way: pixels, or tiles of Winograd's algorithm, which needs four times the weights.
    private static let nearWeights = 1 << 16
    private static let rowsForWeights = 64
    private static let tilesForWeights = 32
    /// Samples of a piece that sums weight gradients: a few pieces of a batch of 32.
    private static let largestSummedPiece = 8
    /// More samples than any batch has.
    private static let wholeBatch = Int.max

    /// The segments of a program's forward pass. In inference samples do not depend on each other; in training each
    /// BatchNorm has to wait for the statistics of the whole batch.
    static func forward(_ program: Program, capacity: Int) -> [Segment] {
        cut(program, Array(program.steps.indices), backward: false, capacity)
    }

    /// The segments of its backward pass, in the order of the steps. In training each BatchNorm waits for sums over the
    /// gradients of the whole batch.
    static func backward(_ program: Program, capacity: Int) -> [Segment] {
        program.training
            ? cut(program, program.steps.indices.reversed(), backward: true, capacity).reversed()
            : forward(program, capacity: capacity)
    }

    /// `order`: the steps as they run.
    private static func cut(_ program: Program, _ order: [Int], backward: Bool, _ capacity: Int) -> [Segment] {
        var segments: [Segment] = []
        var run: [Int] = []
        var samples = 0
        var least = 0
        func close() {
            // A few pieces for every thread, or it is not worth it. Each piece sums weight gradients of its own: there the
            // choice must not depend on the capacity, or the same batch would have other bits in another pass.
            let sumsWeights = backward && program.training && run.contains { program.steps[$0].isConvolution }
            if let first = run.min(), let last = run.max(),
                let samples = wholeGroups(samples, program, run, backward: backward),
                samples <= (sumsWeights ? largestSummedPiece : capacity / 4)
            {
                segments.append(Segment(steps: first..<(last + 1), samples: samples))
            } else {
                segments += run.map { Segment(steps: $0..<($0 + 1), samples: nil) }
            }
            run = []
        }
        for index in order {
            let step = program.steps[index]
            let inputs = step.inputs.reduce(0) { $0 + program.graph.nodes[$1].shape.count }
            // Backward the activations and their gradients.
            let floats = (backward ? 2 : 1) * (inputs + step.shape.count)
            let needed = backward ? leastSamplesBackward(step, floats) : leastSamples(step)
            let wanted = max(needed, cacheBytes / (floats * MemoryLayout<Float>.stride))
            var waits = false
            if case .batchNorm = step.kind { waits = true }
            if !run.isEmpty, !waits, max(least, needed) <= samples {
                least = max(least, needed)
                samples = max(least, min(samples, wanted))
            } else {
                close()
                samples = wanted
                least = needed
            }
            run.append(index)
        }
        close()
        return segments
    }

    /// Samples rounded up to whole groups of all statistics that are taken: forward of the steps' outputs, backward of their
    /// inputs. nil: there is no such number worth looking for.
    private static func wholeGroups(_ samples: Int, _ program: Program, _ steps: [Int], backward: Bool) -> Int? {
        guard program.training, samples < wholeBatch else { return samples }
        let shapes = steps.flatMap { index in
            let step = program.steps[index]
            return backward ? step.inputs.map { program.graph.nodes[$0].shape } : [step.shape]
        }
        let groups = shapes.map { BatchNormKernel.samplesPerGroup(pixels: $0.pixels) }
        let largest = groups.max() ?? 1
        guard groups.allSatisfy({ largest % $0 == 0 }) else { return nil }
        return (samples + largest - 1) / largest * largest
    }

    /// In the backward pass of training. Each piece sums weight gradients of its own, which must be little beside the
    /// `floats` that its samples read and write.
    private static func leastSamplesBackward(_ step: Step, _ floats: Int) -> Int {
        switch step.kind {
        case .batchNorm, .relu, .add: return 1
        case .convolution(let g, _, bias: nil, _):
            // Winograd's algorithm sums over the tiles of many samples.
            if g.fitsWinograd { return wholeBatch }
            return max(leastSamples(step), (4 * g.weightCount + floats - 1) / floats)
        case .convolution, .importImages, .channelAffine, .layer: return wholeBatch
        }
    }

    private static func leastSamples(_ step: Step) -> Int {
        guard case .convolution(let g, _, _, _) = step.kind else { return 1 }
        if g.transformsFiltersInPieces { return wholeBatch }
        if g.fitsWinograd {
            let tiles = ((g.output.height + 3) / 4) * ((g.output.width + 3) / 4)
            return g.weightCount * 4 > nearWeights ? (tilesForWeights + tiles - 1) / tiles : 1
        }
        return g.weightCount > nearWeights ? (rowsForWeights + g.output.pixels - 1) / g.output.pixels : 1
    }
}
