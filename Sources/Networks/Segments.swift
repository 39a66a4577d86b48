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
    /// More samples than any batch has.
    private static let wholeBatch = Int.max

    /// The segments of a program's forward pass, and in inference of its backward pass. In inference samples do not depend on
    /// each other; in training each BatchNorm has to wait for the statistics of the whole batch.
    static func segments(of program: Program, capacity: Int) -> [Segment] {
        var segments: [Segment] = []
        var start = 0
        var samples = 0
        var least = 0
        func close(_ end: Int) {
            guard end > start else { return }
            // A few pieces for every thread, or it is not worth it.
            if let samples = wholeGroups(samples, program, start..<end), samples <= capacity / 4 {
                segments.append(Segment(steps: start..<end, samples: samples))
            } else {
                segments += (start..<end).map { Segment(steps: $0..<($0 + 1), samples: nil) }
            }
            start = end
        }
        for (index, step) in program.steps.enumerated() {
            let inputs = step.inputs.reduce(0) { $0 + program.graph.nodes[$1].shape.count }
            let needed = leastSamples(step)
            let wanted = max(needed, cacheBytes / ((inputs + step.shape.count) * MemoryLayout<Float>.stride))
            var waits = false
            if case .batchNorm = step.kind { waits = true }
            if index > start, !waits, max(least, needed) <= samples {
                least = max(least, needed)
                samples = max(least, min(samples, wanted))
            } else {
                close(index)
                samples = wanted
                least = needed
            }
        }
        close(program.steps.count)
        return segments
    }

    /// Samples rounded up to whole groups of all statistics that are taken of the steps' outputs; nil: there is no such
    /// number worth looking for.
    private static func wholeGroups(_ samples: Int, _ program: Program, _ steps: Range<Int>) -> Int? {
        guard program.training, samples < wholeBatch else { return samples }
        let groups = steps.map { BatchNormKernel.samplesPerGroup(pixels: program.steps[$0].shape.pixels) }
        let largest = groups.max() ?? 1
        guard groups.allSatisfy({ largest % $0 == 0 }) else { return nil }
        return (samples + largest - 1) / largest * largest
    }

    /// Every step a segment: in the backward pass of training the gradients of BatchNorms and weights want the whole batch.
    static func single(_ program: Program) -> [Segment] {
        program.steps.indices.map { Segment(steps: $0..<($0 + 1), samples: nil) }
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
