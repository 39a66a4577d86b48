import Kernels
import Runtime

/// Where an attack starts.
public enum AttackStart: Equatable, Sendable {
    /// At the image itself.
    case clean
    /// At a point drawn uniformly from the ball.
    case uniform
    /// At the image plus normal deviates times `scale`.
    case gaussian(scale: Float)
    /// At the image plus or minus `size` at every pixel, both as likely.
    case signs(size: Float)
}

/// When a sample is done before all steps and restarts are over.
public enum AttackRest: Sendable {
    /// Never: the last iterate of each run counts, and the strongest run is kept.
    case never
    /// After the first run whose last iterate is misclassified; for counting that changes nothing.
    case afterSuccessfulRun
    /// At its first misclassified iterate, the start included.
    case atFirstSuccess
}

/// The parameters of the loop; an attack is a choice of these.
public struct AttackPlan: Sendable {
    public var norm: any AttackNorm
    public var loss: AttackLoss
    /// Radius of the ball and length of a step, in units of the [0,1] pixel scale.
    public var epsilon: Float
    public var step: Float
    public var steps: Int
    public var restarts = 1
    public var start = AttackStart.uniform
    public var rest = AttackRest.never
    /// Passes over which a gradient is averaged; what else a pass tells is that of the last one.
    public var expectation = 1
    /// Steps follow `m <- momentum m + g / ‖g‖₁` from m = 0 instead of the gradient g; nil: they do not.
    public var momentum: Float?
    /// The labels are classes to reach, not to leave.
    public var isTargeted = false
    /// The random numbers of a start are keyed by (seed, stream, sample, attackNumber, restart).
    public var seed: UInt64 = 0
    public var stream = RandomStream.attackStart
    public var attackNumber: UInt32 = 0

    public init(norm: any AttackNorm, loss: AttackLoss, epsilon: Float, step: Float, steps: Int) {
        self.norm = norm
        self.loss = loss
        self.epsilon = epsilon
        self.step = step
        self.steps = steps
    }

    /// Throws `invalidArgument` for the divergence from the model's own clean output where the attack starts at the image: there
    /// it is 0 and has no gradient.
    func checkOwnTarget() throws {
        guard loss == .divergence, start == .clean else { return }
        throw EngineError(
            .invalidArgument,
            "loss: \"kl\" against the model's own clean output has no gradient at the image; "
                + "set random_start = 1 (with pgd or tpgd), give target_logits, or choose ce or margin")
    }
}

/// The one loop of all gradient attacks (Madry et al. 2018, section 2.1):
/// `x' <- clamp01(project(x' + step * direction(∇ loss)))`, `steps` times from each of `restarts` starts.
///
/// A sample's result depends on the sample, its key and the plan alone, not on its batch. All memory is taken when the
/// object is made; running allocates nothing.
public final class GradientAttack {
    public let plan: AttackPlan
    /// Samples that one run can take.
    public let capacity: Int

    private let objective: any AttackObjective
    private let pixels: Int
    private let classes: Int
    // Of the samples still at work, packed to the front; rows says which sample of the batch each of them is.
    private let iterates: FloatBuffer
    private let gradient: FloatBuffer
    private let mean: GradientMean
    /// The accumulated gradients, with momentum only.
    private let accumulated: FloatBuffer
    private let logits: FloatBuffer
    private let loss: FloatBuffer
    private let rows: Buffer<Int>
    // Of every sample of the batch.
    private let bestLoss: FloatBuffer
    private let broken: Buffer<Bool>
    private let resting: Buffer<Bool>
    /// During the first run: has been misclassified, and that iterate is kept in case the run does not end.
    private let passing: Buffer<Bool>

    /// Samples of the last batch on which the gradient was zero where the attack began.
    public private(set) var vanished = 0

    /// Throws `outOfMemory`.
    public init(_ objective: any AttackObjective, plan: AttackPlan, capacity: Int) throws {
        self.objective = objective
        self.plan = plan
        self.capacity = capacity
        pixels = objective.shape.count
        classes = objective.classes
        iterates = try FloatBuffer(capacity * pixels)
        gradient = try FloatBuffer(capacity * pixels)
        mean = try GradientMean(passes: plan.expectation, count: capacity * pixels)
        accumulated = try FloatBuffer(plan.momentum == nil ? 0 : capacity * pixels)
        logits = try FloatBuffer(capacity * classes)
        loss = try FloatBuffer(capacity)
        bestLoss = try FloatBuffer(capacity)
        rows = try Buffer(capacity)
        broken = try Buffer(capacity)
        resting = try Buffer(capacity)
        passing = try Buffer(capacity)
    }

    /// Attacks up to `capacity` samples.
    ///
    /// - Parameters:
    ///   - adversarial: (count, channels, height, width), written; must not be the memory of `batch.images`. Each
    ///     result lies in [0,1] and in the ball around its image.
    ///   - success: (count), written: 1 where the model misclassifies the result (or takes it for the target). Without it a plan of one run and no
    ///     rest saves its last pass.
    ///   - trace: written; implies the work of `success`.
    ///   - keepsPassing: where an error ends the first run, results are the iterates that have been misclassified, whether the
    ///     last one would have been or not.
    ///   - checkpoint: called before each pass; what it throws ends the run.
    /// Throws `notFinite` where the model's output or loss is NaN or infinite.
    public func run(
        _ batch: AttackBatch, into adversarial: UnsafeMutablePointer<Float>,
        success: UnsafeMutablePointer<UInt8>?, trace: AttackTrace? = nil, keepsPassing: Bool = false,
        checkpoint: (() throws -> Void)? = nil
    ) throws {
        guard batch.count <= capacity else {
            throw EngineError(.internal, "an attack for \(capacity) samples was given \(batch.count)")
        }
        resting.pointer.update(repeating: false, count: batch.count)
        broken.pointer.update(repeating: false, count: batch.count)
        passing.pointer.update(repeating: false, count: batch.count)
        trace?.reset(count: batch.count)
        // What there is when an error ends the run: the image itself, or what has been found.
        adversarial.update(from: batch.images, count: batch.count * pixels)
        defer {
            if let success {
                for i in 0..<batch.count { success[i] = broken[i] || passing[i] ? 1 : 0 }
            }
        }
        try objective.begin(batch)
        vanished = 0
        let judged = success != nil || trace != nil || plan.restarts > 1 || plan.rest != .never
        for restart in 0..<plan.restarts {
            var active = start(batch, restart)
            if active == 0 { break }
            for step in 0..<plan.steps {
                try evaluate(active, of: batch, withGradient: true, checkpoint)
                note(active, of: batch, steps: restart * plan.steps + step, withGradient: true, in: trace)
                if restart == 0, step == 0 { vanished = (0..<active).count { isFlat($0) } }
                if plan.rest == .atFirstSuccess {
                    active = restMisclassified(active, of: batch, adversarial)
                    if active == 0 { break }
                } else if keepsPassing, restart == 0 {
                    keepPassing(active, of: batch, adversarial)
                }
                advance(active, of: batch)
            }
            guard judged else { return keep(active, adversarial) }
            if active > 0 {
                try evaluate(active, of: batch, withGradient: false, checkpoint)
                note(active, of: batch, steps: (restart + 1) * plan.steps, withGradient: false, in: trace)
                keepStrongest(active, of: batch, isFirst: restart == 0, adversarial)
            }
        }
    }

    /// Puts every sample that does not rest at its start; returns how many they are.
    private func start(_ batch: AttackBatch, _ restart: Int) -> Int {
        var active = 0
        for i in 0..<batch.count where !resting[i] {
            rows[active] = i
            active += 1
        }
        if plan.momentum != nil { accumulated.pointer.update(repeating: 0, count: active * pixels) }
        let sub = plan.attackNumber << 16 | UInt32(truncatingIfNeeded: restart)
        WorkerPool.parallelFor(active) { i in
            let clean = batch.images + rows[i] * pixels
            let iterate = iterates.pointer + i * pixels
            var random = CounterRandom(
                seed: plan.seed, stream: plan.stream, index: batch.keys[rows[i]], sub: sub)
            switch plan.start {
            case .clean:
                iterate.update(from: clean, count: pixels)
                return
            case .uniform:
                plan.norm.randomStart(iterate, around: clean, radius: plan.epsilon, count: pixels, random: &random)
            case .gaussian(let scale):
                for j in 0..<pixels { iterate[j] = clean[j] + scale * random.normal() }
            case .signs(let size):
                for j in 0..<pixels { iterate[j] = clean[j] + (random.below(2) == 0 ? size : -size) }
            }
            plan.norm.project(iterate, around: clean, radius: plan.epsilon, count: pixels)
        }
        return active
    }

    private func evaluate(
        _ active: Int, of batch: AttackBatch, withGradient: Bool, _ checkpoint: (() throws -> Void)?
    ) throws {
        func pass() throws {
            try checkpoint?()
            try objective.evaluate(
                iterates.pointer, rows: rows.pointer, count: active, of: batch, loss: loss.pointer,
                gradient: withGradient ? gradient.pointer : nil, logits: logits.pointer)
            for i in 0..<active {
                guard loss.pointer[i].isFinite, Validation.isFinite(logits.pointer + i * classes, count: classes) else {
                    throw EngineError(
                        .notFinite, "attack: the model's output for sample \(batch.number(rows[i])) is NaN or infinite")
                }
            }
        }
        guard withGradient else { return try pass() }
        try mean.take(gradient.pointer, count: active * pixels, pass: pass)
    }

    /// Writes down the evaluation just made, after so many steps of the samples.
    private func note(
        _ active: Int, of batch: AttackBatch, steps: Int, withGradient: Bool, in trace: AttackTrace?
    ) {
        guard let trace else { return }
        let passes = Int64(withGradient ? plan.expectation : 1)
        for i in 0..<active {
            let row = rows[i]
            trace.forwards[row] += passes
            trace.backwards[row] += withGradient ? passes : 0
            if trace.firstSuccess[row] < 0, isMisclassified(i, of: batch) { trace.firstSuccess[row] = Int64(steps) }
        }
    }

    private func advance(_ active: Int, of batch: AttackBatch) {
        WorkerPool.parallelFor(active) { i in
            let iterate = iterates.pointer + i * pixels
            let clean = batch.images + rows[i] * pixels
            plan.norm.step(iterate, along: direction(i), size: plan.step, count: pixels)
            plan.norm.project(iterate, around: clean, radius: plan.epsilon, count: pixels)
        }
    }

    /// Whether there is nothing to climb where an iterate lies.
    private func isFlat(_ i: Int) -> Bool {
        UnsafeBufferPointer(start: gradient.pointer + i * pixels, count: pixels).allSatisfy { $0 == 0 }
    }

    /// What the step of an iterate follows: its gradient, or with momentum what has accumulated of its gradients.
    private func direction(_ i: Int) -> UnsafePointer<Float> {
        let slope = gradient.pointer + i * pixels
        guard let momentum = plan.momentum else { return UnsafePointer(slope) }
        let sum = accumulated.pointer + i * pixels
        var length = 0.0
        for j in 0..<pixels { length += Double(abs(slope[j])) }
        let isUsable = length > 0 && length.isFinite
        for j in 0..<pixels {
            sum[j] = momentum * sum[j] + (isUsable ? Float(Double(slope[j]) / length) : 0)
        }
        return UnsafePointer(sum)
    }

    /// Keeps the misclassified iterates as results and packs the others, with their gradients; returns how many remain.
    private func restMisclassified(
        _ active: Int, of batch: AttackBatch, _ adversarial: UnsafeMutablePointer<Float>
    ) -> Int {
        var remaining = 0
        for i in 0..<active {
            let row = rows[i]
            let iterate = iterates.pointer + i * pixels
            if isMisclassified(i, of: batch) {
                (adversarial + row * pixels).update(from: iterate, count: pixels)
                broken[row] = true
                resting[row] = true
            } else {
                if remaining < i {
                    rows[remaining] = row
                    (iterates.pointer + remaining * pixels).update(from: iterate, count: pixels)
                    (gradient.pointer + remaining * pixels).update(from: gradient.pointer + i * pixels, count: pixels)
                    if plan.momentum != nil {
                        (accumulated.pointer + remaining * pixels).update(
                            from: accumulated.pointer + i * pixels, count: pixels)
                    }
                }
                remaining += 1
            }
        }
        return remaining
    }

    /// Keeps the misclassified iterates for the case that an error ends the first run.
    private func keepPassing(_ active: Int, of batch: AttackBatch, _ adversarial: UnsafeMutablePointer<Float>) {
        for i in 0..<active where isMisclassified(i, of: batch) {
            passing[rows[i]] = true
            (adversarial + rows[i] * pixels).update(from: iterates.pointer + i * pixels, count: pixels)
        }
    }

    /// Of two results a misclassified one is stronger than one that is not, then the one with the higher loss.
    private func keepStrongest(
        _ active: Int, of batch: AttackBatch, isFirst: Bool, _ adversarial: UnsafeMutablePointer<Float>
    ) {
        for i in 0..<active {
            let row = rows[i]
            passing[row] = false
            let misclassified = isMisclassified(i, of: batch)
            let higher = loss.pointer[i] > bestLoss.pointer[row]
            guard isFirst || (misclassified == broken[row] ? higher : misclassified) else { continue }
            (adversarial + row * pixels).update(from: iterates.pointer + i * pixels, count: pixels)
            bestLoss.pointer[row] = loss.pointer[i]
            broken[row] = misclassified
            resting[row] = misclassified && plan.rest != .never
        }
    }

    private func keep(_ active: Int, _ adversarial: UnsafeMutablePointer<Float>) {
        adversarial.update(from: iterates.pointer, count: active * pixels)
    }

    private func isMisclassified(_ i: Int, of batch: AttackBatch) -> Bool {
        (argmax(logits.pointer + i * classes, classes) == Int(batch.labels[rows[i]])) == plan.isTargeted
    }
}
