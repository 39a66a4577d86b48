import Kernels
import Runtime

/// Where every activation and gradient of a pass lies. Values that are never alive at the same time share memory;
/// elementwise steps work in place where nobody else needs their input.
///
/// Time runs through the steps forward, 0 ..< S, then (where there is a backward pass) back, step i at 2S − 1 − i. What
/// lives within one segment that runs over a few samples at a time lies in memory of the thread that runs it; everything
/// else lies in one arena, where the whole of a segment counts as one moment, because its steps run side by side.
struct MemoryPlan {
    struct Place {
        /// In floats.
        let start: Int
        /// In the memory of the thread, from the first sample of the piece on; else in the arena, from the first sample of
        /// the batch on.
        let isLocal: Bool
        /// Floats of a sample.
        let stride: Int
    }

    /// Where a value's activation is, and its gradient; by node. nil: it has none.
    private(set) var activation: [Place?]
    private(set) var gradient: [Place?]
    /// By node: where an activation is in the backward pass that was not kept until then but is made again.
    private(set) var remade: [Place?]
    /// By node: where the signs of a ReLU's output are made in the backward pass, a byte each.
    private(set) var remadeSigns: [Place?]
    /// By step: the steps to be computed again before this one's backward step, because their outputs were not kept.
    private(set) var remakes: [[Int]]
    /// By step, then by operand: the gradient is added to what another step has left there.
    private(set) var accumulates: [[Bool]]
    /// By step: it is the last to write the gradient of its input, the output of a ReLU, and applies the gradient of
    /// that ReLU as it writes.
    private(set) var masksInput: [Bool]
    /// By step: the ReLU at its end is still to be applied to the gradient of its output.
    private(set) var masksOutput: [Bool]
    /// Values whose gradient is asked for.
    private(set) var needsGradient: [Bool]
    /// By node: where the signs of a ReLU's output or the positions of maxima are kept for the gradient, in bytes of one
    /// sample, in order.
    private(set) var signs: [Int?]
    /// Bytes of signs of one sample.
    private(set) var signBytes = 0
    /// By step: where in the arena the weight gradients of the pieces of its backward segment are summed, one piece after the
    /// other.
    private(set) var weightSums: [Int?]
    /// Of the forward pass, and of the backward pass, each in order of the steps.
    let segments: [Segment]
    let backwardSegments: [Segment]
    /// Floats of the arena, and of a thread's memory.
    private(set) var size = 0
    private(set) var localSize = 0

    init(_ program: Program, mode: PassMode, capacity: Int) {
        let nodes = program.graph.nodes.count
        segments = Segment.forward(program, capacity: capacity)
        backwardSegments = Segment.backward(program, capacity: capacity)
        activation = .init(repeating: nil, count: nodes)
        gradient = .init(repeating: nil, count: nodes)
        remade = .init(repeating: nil, count: nodes)
        remadeSigns = .init(repeating: nil, count: nodes)
        signs = .init(repeating: nil, count: nodes)
        accumulates = program.steps.map { .init(repeating: false, count: $0.inputs.count) }
        masksInput = .init(repeating: false, count: program.steps.count)
        masksOutput = program.steps.map(\.rectify)
        needsGradient = .init(repeating: false, count: nodes)
        weightSums = .init(repeating: nil, count: program.steps.count)
        let lifetimes = Lifetimes(program, mode: mode, backwardSegments)
        remakes = lifetimes.remakes
        if mode != .inference {
            needsGradient = lifetimes.needsGradient
            var written = [Bool](repeating: false, count: nodes)
            for (index, step) in program.steps.enumerated().reversed() {
                // In the order in which a step writes them: the residual first.
                for (operand, value) in step.inputs.enumerated().reversed() where needsGradient[value] {
                    accumulates[index][operand] = written[value]
                    written[value] = true
                }
            }
            fuseMasks(program)
            for step in program.steps
            where step.bytesPerOutput > 0 && needsGradient[step.output] && !lifetimes.hasRemadeSigns[step.output] {
                signs[step.output] = signBytes
                signBytes += step.bytesPerOutput * step.shape.count
            }
        }
        let sums = mode == .training ? weightSumBlocks(program, capacity: capacity) : []
        place(lifetimes.blocks + sums, program, capacity: capacity)
    }

    /// A block for each backward segment in pieces: its sums are added up before the next one's are made.
    private func weightSumBlocks(_ program: Program, capacity: Int) -> [Lifetimes.Block] {
        backwardSegments.compactMap { segment in
            guard let samples = segment.samples else { return nil }
            var block = Lifetimes.Block(isShared: true)
            var floats = 0
            for index in segment.steps {
                guard case .convolution(let geometry, _, _, _) = program.steps[index].kind else { continue }
                block.weightSums.append((index, floats))
                floats += (capacity + samples - 1) / samples * geometry.weightCount
            }
            block.floats = (floats + capacity - 1) / capacity
            (block.first, block.last) = (
                2 * program.steps.count - segment.steps.upperBound,
                2 * program.steps.count - 1 - segment.steps.lowerBound
            )
            return floats > 0 ? block : nil
        }
    }

    /// Where the first consumer of a ReLU's output, whose backward step is the last to write that value's gradient, is a
    /// convolution, the ReLU's gradient becomes part of it.
    private mutating func fuseMasks(_ program: Program) {
        for (producer, step) in program.steps.enumerated() where step.rectify && needsGradient[step.output] {
            guard let first = program.steps.firstIndex(where: { $0.inputs.contains(step.output) }),
                case .convolution = program.steps[first].kind, program.steps[first].residual != step.output
            else { continue }
            masksInput[first] = true
            masksOutput[producer] = false
        }
    }

    /// Greedy placement, largest first: each block at the lowest address that is free while it lives.
    private mutating func place(_ blocks: [Lifetimes.Block], _ program: Program, capacity: Int) {
        struct Placed {
            let start: Int
            let end: Int
            let times: ClosedRange<Int>
            let isLocal: Bool
        }
        let steps = program.steps.count
        let order = segments + backwardSegments.reversed()
        func segmentOfSteps(_ segments: [Segment]) -> [Int] {
            segments.enumerated().flatMap { index, segment in segment.steps.map { _ in index } }
        }
        let forward = segmentOfSteps(segments)
        let backward = segmentOfSteps(backwardSegments)
        func moment(_ time: Int) -> Int {
            time < steps ? forward[time] : order.count - 1 - backward[2 * steps - 1 - time]
        }
        var placed: [Placed] = []
        let bySize = blocks.indices.sorted {
            (blocks[$1].floats, $0) < (blocks[$0].floats, $1)
        }
        for index in bySize {
            let block = blocks[index]
            let moments = moment(block.first)...moment(block.last)
            let segment = order[moments.lowerBound]
            let isLocal = !block.isShared && moments.count == 1 && segment.samples != nil
            let times = isLocal ? block.first...block.last : moments
            // Whole cache lines, so that no two blocks share one.
            let floats = (block.floats * (isLocal ? segment.samples ?? 0 : capacity) + 15) / 16 * 16
            let rivals = placed.filter { $0.isLocal == isLocal && $0.times.overlaps(times) }
                .sorted { $0.start < $1.start }
            var start = 0
            for rival in rivals {
                if start + floats <= rival.start { break }
                start = max(start, rival.end)
            }
            placed.append(Placed(start: start, end: start + floats, times: times, isLocal: isLocal))
            if isLocal { localSize = max(localSize, start + floats) } else { size = max(size, start + floats) }
            func placeOf(_ value: Int) -> Place {
                Place(start: start, isLocal: isLocal, stride: program.graph.nodes[value].shape.count)
            }
            for value in block.activations { activation[value] = placeOf(value) }
            for value in block.remade { remade[value] = placeOf(value) }
            for value in block.signs { remadeSigns[value] = placeOf(value) }
            for value in block.gradients { gradient[value] = placeOf(value) }
            for sums in block.weightSums { weightSums[sums.step] = start + sums.offset }
        }
    }
}

/// From when to when the values of a program are needed, with in-place values joined to one block.
private struct Lifetimes {
    struct Block {
        var activations: [Int] = []
        var gradients: [Int] = []
        var remade: [Int] = []
        var signs: [Int] = []
        /// Of these steps, behind each other.
        var weightSums: [(step: Int, offset: Int)] = []
        /// Of a sample of a full batch.
        var floats = 0
        /// In the arena in any case: read or written by the caller of the pass, or by all threads.
        var isShared = false
        var first = Int.max
        var last = 0
    }

    private(set) var blocks: [Block] = []
    private(set) var needsGradient: [Bool]
    /// By node.
    private(set) var isRemade: [Bool]
    private(set) var hasRemadeSigns: [Bool]
    private(set) var remakes: [[Int]]

    /// Multiply-adds of the convolutions that read a value, for each of its numbers, beside which the time to make the
    /// value again does not count.
    private static let workThatHides = 256
    /// Multiply-adds of a convolution, for each number of its output, that take no longer than to write the output and read it
    /// again: those of a first layer on colour images, or of the 1×1 layers that expand a few channels in a MobileNet, whose
    /// outputs are the largest of all.
    private static let littleWork = 32

    init(_ program: Program, mode: PassMode, _ backwardSegments: [Segment]) {
        let steps = program.steps
        let count = program.graph.nodes.count
        let backward = mode != .inference
        let end = backward ? 2 * steps.count - 1 : steps.count - 1
        func backwardTime(_ step: Int) -> Int { 2 * steps.count - 1 - step }

        var producer = [Int](repeating: -1, count: count)
        var consumers = [[Int]](repeating: [], count: count)
        for (index, step) in steps.enumerated() {
            producer[step.output] = index
            for input in step.inputs { consumers[input].append(index) }
        }
        // In training the gradient stops at the first parameters; everything behind them needs one.
        var needs = [Bool](repeating: false, count: count)
        if backward {
            for step in steps {
                switch step.kind {
                case .importImages: needs[step.output] = mode == .inputGradient
                default: needs[step.output] = step.hasParameters || step.inputs.contains { needs[$0] }
                }
            }
        }
        needsGradient = needs

        // Which activations the backward pass of a step reads.
        func readsInput(_ step: Step) -> Bool {
            switch step.kind {
            case .convolution, .batchNorm: return mode == .training
            case .layer(let layer): return backward && layer.readsInputs
            default: return false
            }
        }
        func worksInPlace(_ step: Step) -> Bool {
            switch step.kind {
            case .relu, .batchNorm, .channelAffine, .add: return true
            case .layer(let layer): return layer.worksInPlace
            default: return false
            }
        }

        // Steps that leave the gradient of their output as it is and do not need it afterwards.
        func keepsGradient(_ step: Step) -> Bool {
            switch step.kind {
            case .convolution, .batchNorm: return step.residual != nil
            default: return false
            }
        }

        // Steps that the backward pass runs over a few samples at a time.
        var isInPieces = [Bool](repeating: false, count: steps.count)
        for segment in backwardSegments where segment.samples != nil {
            for index in segment.steps { isInPieces[index] = true }
        }

        /// Whether the gradient of the input is used up where it is made, in a cache, while that of the output comes from the
        /// whole batch's memory: then the latter is better left there.
        func staysInPiece(_ index: Int) -> Bool {
            guard mode == .training, case .batchNorm = steps[index].kind else { return false }
            return backwardSegments.contains {
                $0.samples != nil && $0.steps.contains(index) && $0.steps.contains(producer[steps[index].input])
            }
        }

        /// The last step to read a value, where all that read it in the backward pass are convolutions with much work, or
        /// such that have it made again in a cache, of a few samples at a time.
        func lastReader(_ value: Int) -> Int? {
            let readers = consumers[value].filter { readsInput(steps[$0]) && steps[$0].operands.contains(value) }
            var work = 0
            for reader in readers {
                guard case .convolution(let geometry, _, _, _) = steps[reader].kind else { return nil }
                work += geometry.multiplyAdds
            }
            if !readers.isEmpty, readers.allSatisfy({ isInPieces[$0] }) { return readers.last }
            return work >= Self.workThatHides * program.graph.nodes[value].shape.count ? readers.last : nil
        }

        // In training the output of a BatchNorm is made again in the backward pass, from its input, which is kept in any
        // case. One with a residual wants that too: every second of a chain of them is kept.
        remakes = .init(repeating: [], count: steps.count)
        isRemade = .init(repeating: false, count: count)
        hasRemadeSigns = .init(repeating: false, count: count)
        /// By node: the step before whose backward step it is made again.
        var wantedBefore = [Int](repeating: -1, count: count)
        if mode == .training {
            for step in steps {
                guard let reader = lastReader(step.output) else { continue }
                hasRemadeSigns[step.output] = step.isRectified
                guard case .batchNorm = step.kind else { continue }
                if let residual = step.residual {
                    guard lastReader(residual) != nil, !isRemade[residual] || steps[producer[residual]].residual == nil
                    else { continue }
                    wantedBefore[residual] = max(wantedBefore[residual], reader)
                }
                isRemade[step.output] = true
                wantedBefore[step.output] = reader
            }
            // So is the output of a convolution with little work that only a BatchNorm reads: when that is made again, sums up its
            // gradient, or applies it.
            for step in steps {
                guard case .convolution(let geometry, _, _, _) = step.kind, step.residual == nil, !step.rectify,
                    geometry.multiplyAdds <= Self.littleWork * step.shape.count, !isRemade[step.input],
                    consumers[step.output].count == 1, let norm = consumers[step.output].first,
                    case .batchNorm = steps[norm].kind, steps[norm].input == step.output,
                    let reader = consumers[steps[norm].output].first
                else { continue }
                isRemade[step.output] = true
                let normed = steps[norm].output
                wantedBefore[step.output] = isRemade[normed] ? max(reader, wantedBefore[normed]) : reader
            }
            for (index, step) in steps.enumerated() where isRemade[step.output] {
                remakes[wantedBefore[step.output]].append(index)
            }
        }

        var activationBlock = [Int](repeating: -1, count: count)
        var remadeBlock = [Int](repeating: -1, count: count)
        var gradientBlock = [Int](repeating: -1, count: count)
        for (index, step) in steps.enumerated() {
            let x = step.input
            let soleUse = consumers[x].count == 1
            // The output may overwrite the input if nobody reads the input later.
            if worksInPlace(step), soleUse, !readsInput(step), producer[x] >= 0, activationBlock[x] >= 0 {
                activationBlock[step.output] = activationBlock[x]
            } else {
                blocks.append(Block())
                activationBlock[step.output] = blocks.count - 1
            }
            let own = activationBlock[step.output]
            blocks[own].activations.append(step.output)
            blocks[own].floats = max(blocks[own].floats, step.shape.count)
            extend(own, index)
            for input in step.inputs { extend(activationBlock[input], index) }
            for x in step.operands where readsInput(step) {
                if isRemade[x], remadeBlock[x] < 0 {
                    blocks.append(Block(remade: [x], floats: steps[producer[x]].shape.count))
                    remadeBlock[x] = blocks.count - 1
                    extend(remadeBlock[x], backwardTime(wantedBefore[x]))
                }
                extend(isRemade[x] ? remadeBlock[x] : activationBlock[x], backwardTime(index))
            }
        }
        for step in steps where isRemade[step.output] {
            guard let residual = step.residual else { continue }
            extend(
                isRemade[residual] ? remadeBlock[residual] : activationBlock[residual],
                backwardTime(wantedBefore[step.output]))
        }
        for (index, step) in steps.enumerated() where hasRemadeSigns[step.output] {
            let value = step.output
            blocks.append(Block(signs: [value], floats: (step.shape.count + 3) / 4))
            // A BatchNorm sums up its gradient, and so needs it whole, as soon as the last step has added to it.
            var end = index
            if case .batchNorm = step.kind { end = consumers[value][0] }
            let times = [end, isRemade[value] ? wantedBefore[value] : consumers[value][0]].map(backwardTime)
            for time in times { extend(blocks.count - 1, time) }
            // From the output, at the last moment.
            if !isRemade[value] { extend(activationBlock[value], backwardTime(end)) }
        }
        // The logits are read by the caller between the passes.
        if let last = steps.last {
            extend(activationBlock[last.output], steps.count - 1)
            blocks[activationBlock[last.output]].isShared = true
        }
        guard backward else { return }

        for (index, step) in steps.enumerated().reversed() where needs[step.output] {
            if gradientBlock[step.output] < 0 {
                // No consumer: the logits' cotangent.
                gradientBlock[step.output] = newGradientBlock(step.output, step.shape.count)
            }
            extend(gradientBlock[step.output], backwardTime(index))
            if consumers[step.output].isEmpty {
                extend(gradientBlock[step.output], steps.count)
                blocks[gradientBlock[step.output]].isShared = true
            }
            for (operand, value) in step.inputs.enumerated().reversed() where needs[value] {
                if gradientBlock[value] < 0 {
                    let soleUse = consumers[value].count == 1
                    // A sum's gradient is that of its residual too, which later steps then add to in place.
                    let passesOn = operand == 1 && keepsGradient(step) && value != step.input
                    if passesOn
                        || operand == 0 && worksInPlace(step) && soleUse && !keepsGradient(step)
                            && !staysInPiece(index)
                    {
                        gradientBlock[value] = gradientBlock[step.output]
                        blocks[gradientBlock[value]].gradients.append(value)
                    } else {
                        gradientBlock[value] = newGradientBlock(value, steps[producer[value]].shape.count)
                    }
                }
                extend(gradientBlock[value], backwardTime(index))
            }
        }
        // The gradient of the input is handed out at the end.
        if mode == .inputGradient, let first = steps.first { extend(gradientBlock[first.output], end) }
    }

    private mutating func newGradientBlock(_ value: Int, _ floats: Int) -> Int {
        blocks.append(Block(gradients: [value], floats: floats))
        return blocks.count - 1
    }

    private mutating func extend(_ block: Int, _ time: Int) {
        blocks[block].first = min(blocks[block].first, time)
        blocks[block].last = max(blocks[block].last, time)
    }
}
