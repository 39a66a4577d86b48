import Glibc
import Kernels
import Runtime

/// Runs a network's program forward and backward over batches of up to `capacity` samples, in memory that is planned
/// once and reused: no allocation after the first batch.
final class Pass {
    let network: Network
    let mode: PassMode
    let capacity: Int
    /// Of the last forward pass; made anew when the network's arithmetic changes.
    private var prepared: PreparedNetwork
    let plan: MemoryPlan
    /// The arena of the plan; behind it the signs of the outputs of ReLUs and the positions of maxima, one value after the
    /// other, each for a whole batch.
    private let memory: PassMemory
    /// By step, in training.
    private var norms: [BatchNormKernel?] = []
    /// By step: the BatchNorms that take the statistics of its output, and in the backward pass those whose outputs'
    /// gradients it is the last to add to.
    private var normsAfter: [[Int]] = []
    private var normsBefore: [[Int]] = []

    init(_ network: Network, mode: PassMode, capacity: Int, memory: PassMemory) throws {
        self.network = network
        self.mode = mode
        self.capacity = capacity
        prepared = try network.prepared(for: mode)
        plan = MemoryPlan(prepared.program, mode: mode, capacity: capacity)
        self.memory = memory
        try memory.reserve(plan.size + (plan.signBytes * capacity + 3) / 4)
        norms = try prepared.program.steps.map { step in
            guard case .batchNorm(let norm) = step.kind else { return nil }
            return try BatchNormKernel(
                channels: step.shape.channels, epsilon: norm.epsilon, momentum: norm.momentum,
                pixels: step.shape.pixels, capacity: capacity)
        }
        let steps = prepared.program.steps
        normsAfter = steps.map { step in steps.indices.filter { norms[$0] != nil && steps[$0].input == step.output } }
        normsBefore = .init(repeating: [], count: steps.count)
        for norm in steps.indices where norms[norm] != nil {
            guard let reader = steps.firstIndex(where: { $0.inputs.contains(steps[norm].output) }) else { continue }
            normsBefore[reader].append(norm)
        }
    }

    /// A run of samples of the batch, with the memory for what lives within a segment.
    struct Piece {
        var number = 0
        let first: Int
        let count: Int
        let local: UnsafeMutablePointer<Float>?
    }

    private func pointer(_ place: MemoryPlan.Place?, _ piece: Piece) -> UnsafeMutablePointer<Float> {
        guard let place else { return memory.floats }
        if place.isLocal, let local = piece.local { return local + place.start }
        return memory.floats + place.start + piece.first * place.stride
    }

    func activation(_ value: Int, _ piece: Piece) -> UnsafeMutablePointer<Float> {
        pointer(plan.activation[value], piece)
    }

    func gradient(_ value: Int, _ piece: Piece) -> UnsafeMutablePointer<Float> {
        pointer(plan.gradient[value], piece)
    }

    /// An activation in the backward pass.
    private func keptActivation(_ value: Int, _ piece: Piece) -> UnsafeMutablePointer<Float> {
        plan.remade[value].map { pointer($0, piece) } ?? activation(value, piece)
    }

    /// Makes the activations again that the backward pass wants from a step on and that were not kept.
    private func remakeActivations(before index: Int, _ piece: Piece) {
        for producer in plan.remakes[index] {
            let step = prepared.program.steps[producer]
            let (made, x) = (keptActivation(step.output, piece), keptActivation(step.input, piece))
            if let weights = prepared.convolutions[producer] {
                convolutionForward(made, x, count: piece.count, weights, ConvolutionEpilogue())
            } else {
                norms[producer]?.apply(
                    made, x, pixels: piece.count * step.shape.pixels,
                    residual: step.residual.map { UnsafePointer(keptActivation($0, piece)) }, rectify: step.rectify,
                    signs: plan.remadeSigns[step.output].map { bytes($0, piece) })
            }
        }
    }

    /// The signs of a ReLU's output in the backward pass.
    private func mask(_ value: Int, _ piece: Piece) -> UnsafeMutablePointer<UInt8>? {
        guard let place = plan.remadeSigns[value] else { return signs(value, piece) }
        let made = bytes(place, piece)
        if plan.remade[value] == nil {
            reluSigns(made, activation(value, piece), count: piece.count * place.stride)
        }
        return made
    }

    private func bytes(_ place: MemoryPlan.Place, _ piece: Piece) -> UnsafeMutablePointer<UInt8> {
        if place.isLocal, let local = piece.local {
            return UnsafeMutableRawPointer(local + place.start).assumingMemoryBound(to: UInt8.self)
        }
        return UnsafeMutableRawPointer(memory.floats + place.start).assumingMemoryBound(to: UInt8.self)
            + piece.first * place.stride
    }

    func signs(_ value: Int, _ piece: Piece) -> UnsafeMutablePointer<UInt8>? {
        guard let start = plan.signs[value] else { return nil }
        let stride = prepared.program.graph.nodes[value].shape.count
        return UnsafeMutableRawPointer(memory.floats + plan.size)
            .assumingMemoryBound(to: UInt8.self)
            + start * capacity + piece.first * stride
    }

    /// Runs `body` over a segment's pieces of the batch: side by side, each on one thread, or one after the other with all
    /// threads on each where there are too few.
    private func eachPiece(_ segment: Segment, _ count: Int, _ body: (Piece) -> Void) {
        guard let samples = segment.samples else { return body(Piece(first: 0, count: count, local: nil)) }
        let pieces = (count + samples - 1) / samples
        func run(_ index: Int) {
            let local = Scratch.floats(plan.localSize + FloatBuffer.slack, .segment)
            body(
                Piece(
                    number: index, first: index * samples, count: min(samples, count - index * samples), local: local))
        }
        if pieces >= WorkerPool.threads {
            WorkerPool.parallelFor(pieces, run)
        } else {
            for index in 0..<pieces { run(index) }
        }
    }

    /// logits (count, classes) of images (count, C, H, W); count <= capacity.
    func forward(
        _ images: UnsafePointer<Float>, count: Int, logits: UnsafeMutablePointer<Float>, updateStatistics: Bool
    ) throws {
        prepared = try network.prepared(for: mode)
        for segment in plan.segments {
            finishStatistics(segment.steps.lowerBound, count, updateStatistics)
            eachPiece(segment, count) { piece in
                for index in segment.steps {
                    runForward(index, images, piece)
                    for norm in normsAfter[index] {
                        norms[norm]?.takeStatistics(
                            activation(prepared.program.steps[index].output, piece), first: piece.first,
                            count: piece.count)
                    }
                }
            }
        }
        if let last = prepared.program.steps.last {
            let whole = Piece(first: 0, count: count, local: nil)
            logits.update(from: activation(last.output, whole), count: count * last.shape.count)
        }
    }

    /// Where a BatchNorm begins a segment: all samples have been seen.
    private func finishStatistics(_ index: Int, _ count: Int, _ update: Bool) {
        guard case .batchNorm(let norm) = prepared.program.steps[index].kind else { return }
        norms[index]?.finish(
            count: count, gamma: network.pointer(to: norm.weight), beta: network.pointer(to: norm.bias),
            runningMean: update ? network.pointer(to: norm.mean) : nil,
            runningVariance: update ? network.pointer(to: norm.variance) : nil)
    }

    private func runForward(_ index: Int, _ images: UnsafePointer<Float>, _ piece: Piece) {
        let step = prepared.program.steps[index]
        let count = piece.count
        let out = activation(step.output, piece)
        let x = activation(step.input, piece)
        let signs = signs(step.output, piece)
        let floats = count * step.shape.count
        let pixels = count * step.shape.pixels
        switch step.kind {
        case .importImages:
            importImages(
                out, images + piece.first * step.shape.count, count: count, step.shape, mean: network.options.mean,
                std: network.options.std)
        case .convolution:
            guard let weights = prepared.convolutions[index] else { return }
            let epilogue = ConvolutionEpilogue(
                residual: step.residual.map { UnsafePointer(activation($0, piece)) }, rectify: step.rectify,
                signs: signs)
            convolutionForward(out, x, count: count, weights, epilogue)
        case .channelAffine:
            prepared.affines[index]?.forward(out, x, pixels: pixels, rectify: step.rectify, signs: signs)
        case .batchNorm:
            norms[index]?.apply(
                out, x, pixels: pixels, residual: step.residual.map { UnsafePointer(activation($0, piece)) },
                rectify: step.rectify,
                signs: signs)
        case .relu: reluForward(out, x, count: floats, signs: signs)
        case .add:
            guard let other = step.residual else { return }
            addForward(out, x, activation(other, piece), count: floats, rectify: step.rectify, signs: signs)
        case .layer(let layer):
            layer.forward(LayerForward(run: StepRun(pass: self, index: index, step: step, piece: piece)))
        }
    }

    /// The backward pass for the cotangent (count, classes) of the last forward pass's logits. Adds to `parameters`
    /// (laid out as network.weights; training), writes `images` (count, C, H, W; inputGradient).
    func backward(
        _ cotangent: UnsafePointer<Float>, count: Int, parameters: UnsafeMutablePointer<Float>?,
        images: UnsafeMutablePointer<Float>?
    ) {
        let steps = prepared.program.steps
        guard let last = steps.last else { return }
        let whole = Piece(first: 0, count: count, local: nil)
        gradient(last.output, whole).update(from: cotangent, count: count * last.shape.count)
        if norms[steps.count - 1] != nil { sumGradient(of: steps.count - 1, whole) }
        for segment in plan.backwardSegments.reversed() {
            finishGradient(segment.steps.upperBound - 1, count, parameters)
            eachPiece(segment, count) { piece in
                for index in segment.steps.reversed() where plan.needsGradient[steps[index].output] {
                    runBackward(index, piece, parameters, images)
                    for norm in normsBefore[index] { sumGradient(of: norm, piece) }
                }
            }
            if let parameters { addWeightSums(of: segment, count, to: parameters) }
        }
    }

    /// A BatchNorm's sums over the gradient of its output, which is complete.
    private func sumGradient(of index: Int, _ piece: Piece) {
        let step = prepared.program.steps[index]
        let g = gradient(step.output, piece)
        maskGradient(index, g, piece)
        norms[index]?.takeGradientSums(
            gradient: g, keptActivation(step.input, piece), first: piece.first, count: piece.count)
    }

    /// Where a BatchNorm begins a segment of the backward pass: all samples have been seen.
    private func finishGradient(_ index: Int, _ count: Int, _ parameters: UnsafeMutablePointer<Float>?) {
        guard let parameters, case .batchNorm(let norm) = prepared.program.steps[index].kind else { return }
        norms[index]?.finishGradient(
            count: count, gamma: network.pointer(to: norm.weight),
            dgamma: parameters + network.parameters[norm.weight].offset,
            dbeta: parameters + network.parameters[norm.bias].offset)
    }

    /// The weight gradients of a segment's pieces, in order.
    private func addWeightSums(of segment: Segment, _ count: Int, to parameters: UnsafeMutablePointer<Float>) {
        guard let samples = segment.samples else { return }
        for index in segment.steps {
            guard case .convolution(_, let weight, _, _) = prepared.program.steps[index].kind,
                let weights = prepared.convolutions[index], let start = plan.weightSums[index]
            else { continue }
            addWeightGradients(
                memory.floats + start, parts: (count + samples - 1) / samples, weights,
                to: parameters + network.parameters[weight].offset)
        }
    }

    /// Applies the gradient of a ReLU at the end of a step, where no other step has.
    private func maskGradient(_ index: Int, _ g: UnsafeMutablePointer<Float>, _ piece: Piece) {
        let step = prepared.program.steps[index]
        guard plan.masksOutput[index], let signs = mask(step.output, piece) else { return }
        reluBackward(g, gradient: g, signs: signs, count: piece.count * step.shape.count, accumulate: false)
    }

    private func runBackward(
        _ index: Int, _ piece: Piece, _ parameters: UnsafeMutablePointer<Float>?, _ images: UnsafeMutablePointer<Float>?
    ) {
        let step = prepared.program.steps[index]
        let count = piece.count
        let g = gradient(step.output, piece)
        let floats = count * step.shape.count
        let pixels = count * step.shape.pixels
        let wanted = plan.needsGradient[step.input]
        let accumulate = plan.accumulates[index][0]
        remakeActivations(before: index, piece)
        if norms[index] == nil { maskGradient(index, g, piece) }
        switch step.kind {
        case .importImages:
            if let images {
                exportInputGradient(
                    images + piece.first * step.shape.count, g, count: count, step.shape, std: network.options.std)
            }
        case .convolution(_, let weight, let bias, _):
            guard let weights = prepared.convolutions[index] else { return }
            passOn(g, to: step.residual, index, operand: 1, piece)
            if let parameters {
                let x = keptActivation(step.input, piece)
                if let start = plan.weightSums[index] {
                    let sums = memory.floats + start + piece.number * weights.geometry.weightCount
                    sumWeightGradient(sums, x, g, count: count, weights)
                } else {
                    convolutionWeightGradient(
                        parameters + network.parameters[weight].offset, x, g, count: count, weights)
                }
                if let bias { addBiasGradient(parameters + network.parameters[bias].offset, g, pixels, step) }
            }
            if wanted {
                let dx = gradient(step.input, piece)
                convolutionInputGradient(
                    dx, g, count: count, weights,
                    ConvolutionEpilogue(
                        residual: accumulate ? UnsafePointer(dx) : nil,
                        mask: plan.masksInput[index] ? mask(step.input, piece).map { UnsafePointer($0) } : nil))
            }
        case .channelAffine:
            prepared.affines[index]?.backward(
                gradient(step.input, piece), gradient: g, pixels: pixels, accumulate: accumulate)
        case .batchNorm:
            passOn(g, to: step.residual, index, operand: 1, piece)
            guard wanted else { return }
            norms[index]?.applyGradient(
                gradient(step.input, piece), accumulate: accumulate, gradient: g, keptActivation(step.input, piece),
                pixels: pixels)
        case .relu:
            guard let signs = mask(step.output, piece) else { return }
            reluBackward(
                gradient(step.input, piece), gradient: g, signs: signs, count: floats, accumulate: accumulate)
        case .add:
            // The second operand first: the first one's gradient may be this memory.
            passOn(g, to: step.residual, index, operand: 1, piece)
            passOn(g, to: step.input, index, operand: 0, piece)
        case .layer(let layer):
            let run = StepRun(pass: self, index: index, step: step, piece: piece)
            layer.backward(LayerBackward(run: run, parameters: parameters))
        }
    }

    /// The gradient of a sum goes to its operand as it is.
    private func passOn(_ g: UnsafeMutablePointer<Float>, to value: Int?, _ index: Int, operand: Int, _ piece: Piece) {
        guard let value, plan.needsGradient[value] else { return }
        let target = gradient(value, piece)
        let floats = piece.count * prepared.program.steps[index].shape.count
        if plan.accumulates[index][operand] {
            addForward(target, target, g, count: floats, rectify: false)
        } else if target != g {
            target.update(from: g, count: floats)
        }
    }

    private func addBiasGradient(
        _ target: UnsafeMutablePointer<Float>, _ g: UnsafePointer<Float>, _ pixels: Int, _ step: Step
    ) {
        let channels = step.shape.channels
        let sums = Scratch.take(channels * MemoryLayout<Double>.stride, .shared)
            .bindMemory(to: Double.self, capacity: channels)
        sums.update(repeating: 0, count: channels)
        for pixel in 0..<pixels {
            for c in 0..<channels { sums[c] += Double(g[pixel * channels + c]) }
        }
        for c in 0..<channels { target[c] += Float(sums[c]) }
    }
}

/// Inference mode: running statistics, BatchNorm folded into the convolutions. Memory is taken on first use.
public final class InferencePass {
    public let network: Network
    /// Samples that are computed at a time.
    public let capacity: Int
    private let memory: PassMemory
    private var forwardOnly: Pass?
    private var withGradient: Pass?
    private var retained = 0

    /// - Parameter memory: shared with passes that are not under way when this one is; nil = its own.
    public init(_ network: Network, capacity: Int, memory: PassMemory? = nil) throws {
        self.network = network
        self.capacity = max(capacity, 1)
        self.memory = try memory ?? PassMemory()
    }

    /// logits (count, classes) of images (count, C, H, W) in [0,1]. `retain` keeps what `inputGradient` needs; then
    /// `count` must not exceed `capacity`; the next forward pass ends it. Throws `outOfMemory`.
    public func forward(
        _ images: UnsafePointer<Float>, count: Int, logits: UnsafeMutablePointer<Float>, retain: Bool
    ) throws {
        if retain {
            guard count <= capacity else {
                throw EngineError(.internal, "a pass of \(capacity) samples was given \(count)")
            }
            let pass = try withGradient ?? Pass(network, mode: .inputGradient, capacity: capacity, memory: memory)
            withGradient = pass
            try pass.forward(images, count: count, logits: logits, updateStatistics: false)
            retained = count
        } else {
            retained = 0
            let pass = try forwardOnly ?? Pass(network, mode: .inference, capacity: capacity, memory: memory)
            forwardOnly = pass
            var first = 0
            while first < count {
                let n = min(capacity, count - first)
                try pass.forward(
                    images + first * network.shape.count, count: n, logits: logits + first * network.classes,
                    updateStatistics: false)
                first += n
            }
        }
    }

    /// gradient (count, C, H, W) = ∂ Σ cotangent·logits / ∂ images, at the images of the last `forward(retain: true)`.
    public func inputGradient(
        _ cotangent: UnsafePointer<Float>, count: Int, gradient: UnsafeMutablePointer<Float>
    ) throws {
        guard let pass = withGradient, count == retained else {
            throw EngineError(.internal, "inputGradient of \(count) samples without a forward pass that retained them")
        }
        pass.backward(cotangent, count: count, parameters: nil, images: gradient)
    }
}

/// Training mode: batch statistics, gradients of all parameters. One object for each pass that is alive at a time:
/// IGDM needs those of x + δ and x − δ together.
public final class TrainingPass {
    private let pass: Pass

    /// - Parameter memory: shared with passes that are not under way when this one is; nil = its own.
    public init(_ network: Network, capacity: Int, memory: PassMemory? = nil) throws {
        pass = try Pass(
            network, mode: .training, capacity: max(capacity, 1), memory: try memory ?? PassMemory())
    }

    /// logits (count, classes), each BatchNorm with the statistics of this batch; `updateStatistics` moves the running
    /// ones. count <= capacity.
    public func forward(
        _ images: UnsafePointer<Float>, count: Int, logits: UnsafeMutablePointer<Float>, updateStatistics: Bool
    ) throws {
        guard count <= pass.capacity else {
            throw EngineError(.internal, "a pass of \(pass.capacity) samples was given \(count)")
        }
        try pass.forward(images, count: count, logits: logits, updateStatistics: updateStatistics)
    }

    /// Adds the parameter gradients of Σ cotangent·logits to `gradients` (laid out as network.weights).
    public func backward(
        _ cotangent: UnsafePointer<Float>, count: Int, addingTo gradients: UnsafeMutablePointer<Float>
    ) throws {
        pass.backward(cotangent, count: count, parameters: gradients, images: nil)
    }
}
