import Kernels
import Runtime

extension AttackDefinition {
    /// Auto-PGD on the cross-entropy (Croce and Hein 2020, "Reliable evaluation of adversarial robustness with an ensemble
    /// of diverse parameter-free attacks", section 3 and Algorithm 1).
    static let autoPGD = AttackDefinition(name: "apgd-ce", number: 4, steps: 100, takesTarget: true) {
        plan, options, classes in
        try apgd("apgd-ce", plan, options, runs: plan.restarts) { _, run in (.crossEntropy, run) }
    }

    /// Auto-PGD on the difference of logits ratio.
    static let autoPGDRatio = AttackDefinition(name: "apgd-dlr", number: 5, steps: 100) { plan, options, classes in
        let fallback = classes > 2 ? nil : "2 classes have no DLR loss; it takes the plain margin instead"
        return try apgd("apgd-dlr", plan, options, runs: plan.restarts, fallback: fallback) { _, run in
            (.logitsRatio, run)
        }
    }

    /// Auto-PGD on the targeted difference of logits ratio, towards the classes that the clean image comes nearest to.
    static let autoPGDTargeted = AttackDefinition(name: "apgd-t", number: 6, steps: 100, takesTarget: true) {
        plan, options, classes in
        let loss =
            classes > 3
            ? nil
            : classes == 3
                ? "the divisor of its loss has the second and third logit instead of the third and fourth"
                : "its loss is the plain margin"
        let problem = [options.targetFallback(classes), loss].compactMap { $0 }.joined(separator: "; ")
        let runs = try TargetedRuns(options, classes: classes)
        return try apgd(
            "apgd-t", plan, options, runs: runs.count,
            fallback: problem.isEmpty ? nil : "there are \(classes) classes: \(problem)"
        ) { sample, run in
            (.targetedRatio(runs.target(run, of: sample)), runs.key(run))
        }
    }

    /// - Parameter choice: the loss of a run, and what its random numbers are keyed by.
    private static func apgd(
        _ name: String, _ plan: AttackPlan, _ options: AttackOptions, runs: Int, fallback: String? = nil,
        choice: @escaping @Sendable (AttackSample, Int) -> (RunLoss, key: Int)
    ) throws -> AttackStage {
        let phases = try phases(plan, options)
        return AttackStage(
            name: name, runs: runs, usesGradient: true, planes: AutoPGDRun.planes, passes: plan.steps + phases.count,
            fallback: fallback, keepsGoing: true
        ) { sample, run, memory in
            let (loss, key) = choice(sample, run)
            return AutoPGDRun(sample, plan, phases, loss, run: key, memory: memory)
        }
    }

    /// Where radii are large at first: 3ε and 2ε for 30 % of the steps each, from the best point of one to the next.
    private static func phases(_ plan: AttackPlan, _ options: AttackOptions) throws -> [StepSchedule] {
        func phase(_ steps: Int, radii: Float = 1) -> StepSchedule {
            StepSchedule(
                steps: steps, rho: Float(options.rho), comparesFirstWithZero: options.referenceQuirks, radii: radii)
        }
        guard options.largeRadii else { return [phase(plan.steps)] }
        guard plan.norm is ManhattanNorm else {
            throw EngineError.invalid("large_radii", got: 1, want: "0 but for norm l1")
        }
        let part = (3 * plan.steps + 9) / 10
        guard plan.steps > 2 * part else { return [phase(plan.steps)] }
        return [phase(part, radii: 3), phase(part, radii: 2), phase(plan.steps - 2 * part)]
    }
}

/// When Auto-PGD looks at its progress, and what makes it halve the step (in L1: `SparsitySchedule`).
struct StepSchedule: Sendable {
    let steps: Int
    /// The part of the steps that must have raised the loss.
    let rho: Float
    /// The published code compares the first step with a loss of 0 instead of that of the start.
    let comparesFirstWithZero: Bool
    /// The radius, in those of the ball.
    var radii: Float = 1
    var firstWindow: Int { max(Int(0.22 * Double(steps)), 1) }
    /// The windows between checkpoints become shorter by so many steps each time.
    func window(after window: Int) -> Int {
        max(window - max(Int(0.03 * Double(steps)), 1), max(Int(0.06 * Double(steps)), 1))
    }
}

/// What a run on one sample maximises.
enum RunLoss: Sendable {
    case crossEntropy
    case logitsRatio
    case targetedRatio(Int)

    func evaluate(
        _ logits: UnsafePointer<Float>, _ sample: AttackSample, slope: UnsafeMutablePointer<Float>?
    ) -> Float {
        switch self {
        case .targetedRatio(let target):
            targetedLogitsRatio(
                logits, label: sample.label, target: target, classes: sample.classes, scale: 1, gradient: slope)
        case .crossEntropy: sample.evaluate(.crossEntropy, aimed: .targetCrossEntropy, logits, slope: slope)
        case .logitsRatio:
            AttackLoss.logitsRatio.evaluate(logits, label: sample.label, classes: sample.classes, slope: slope)
        }
    }
}

/// A run of Auto-PGD: gradient steps with momentum from a random point of the ball's border,
///
///     z = P(x_k + s·direction),  x_{k+1} = P(x_k + a (z - x_k) + (1 - a)(x_k - x_{k-1})),  a = 3/4 (first step: 1),
///
/// whose size s, 2ε at first, is halved at the checkpoints where the loss has not grown often enough or not at all; then
/// the run goes on from the best point. Any misclassified iterate counts, the start too, and the last one is the result.
///
/// In L1 steps are sparse and have no momentum; there the run may take several phases, each from the best point of the one
/// before, with smaller radii, of which only the last is judged.
final class AutoPGDRun: AttackRun {
    static let planes = 6

    private let sample: AttackSample
    private let plan: AttackPlan
    private let phases: [StepSchedule]
    private let objective: RunLoss
    private let pixels: Int

    private let iterate: UnsafeMutablePointer<Float>
    private let previous: UnsafeMutablePointer<Float>
    private let best: UnsafeMutablePointer<Float>
    private let bestGradient: UnsafeMutablePointer<Float>
    private let adversarial: UnsafeMutablePointer<Float>
    private let proposal: UnsafeMutablePointer<Float>

    private var phase = 0
    private var stepSize: Float = 0
    /// Steps taken in the phase; -1 before its start has been evaluated.
    private var taken = -1
    private var lastLoss: Float = 0
    private var bestLoss: Float = 0
    private var bestLossAtCheckpoint: Float = 0
    private var increases = 0
    private var sinceCheckpoint = 0
    private var window = 0
    private var halvedAtCheckpoint = true
    private var sparsity: SparsitySchedule?
    private var succeeded = false
    private(set) var gradientVanished = false

    private var schedule: StepSchedule { phases[phase] }
    private var radius: Float { phases[phase].radii * plan.epsilon }
    private var wholeStep: Float { plan.norm.firstStep * radius }

    init(
        _ sample: AttackSample, _ plan: AttackPlan, _ phases: [StepSchedule], _ loss: RunLoss, run: Int,
        memory: UnsafeMutablePointer<Float>
    ) {
        self.sample = sample
        self.plan = plan
        self.phases = phases
        objective = loss
        pixels = sample.shape.count
        iterate = memory
        previous = memory + pixels
        best = memory + 2 * pixels
        bestGradient = memory + 3 * pixels
        adversarial = memory + 4 * pixels
        proposal = memory + 5 * pixels
        if plan.start == .clean {
            iterate.update(from: sample.clean, count: pixels)
        } else {
            var random = plan.random(sample, run: run)
            plan.norm.borderStart(iterate, around: sample.clean, radius: radius, count: pixels, random: &random)
        }
        beginPhase(atRandom: plan.start != .clean && phases.count == 1)
    }

    var query: UnsafePointer<Float> { UnsafePointer(iterate) }
    var result: UnsafePointer<Float>? { succeeded ? UnsafePointer(adversarial) : nil }

    func loss(_ logits: UnsafePointer<Float>, slope: UnsafeMutablePointer<Float>?) -> Float {
        objective.evaluate(logits, sample, slope: slope)
    }

    func receive(logits: UnsafePointer<Float>, loss: Float, gradient: UnsafePointer<Float>?) -> Bool {
        guard let gradient else { return false }
        if phase == phases.count - 1, sample.isBroken(by: logits) {
            succeeded = true
            adversarial.update(from: iterate, count: pixels)
            if plan.rest != .never { return false }
        }
        if taken < 0 {
            taken = 0
            if phase == 0 { gradientVanished = isZero(gradient) }
            keep(loss, gradient)
            bestLossAtCheckpoint = loss
            lastLoss = schedule.comparesFirstWithZero ? 0 : loss
            move(along: gradient)
            return true
        }
        if loss > lastLoss { increases += 1 }
        lastLoss = loss
        if loss > bestLoss { keep(loss, gradient) }
        sinceCheckpoint += 1
        let goesBack = sinceCheckpoint == window && checkpoint()
        if taken == schedule.steps {
            guard phase < phases.count - 1 else { return false }
            phase += 1
            iterate.update(from: best, count: pixels)
            beginPhase(atRandom: false)
            return true
        }
        if goesBack {
            iterate.update(from: best, count: pixels)
            move(along: bestGradient)
        } else {
            move(along: gradient)
        }
        return true
    }

    /// From the iterate, which may lie outside the ball.
    private func beginPhase(atRandom: Bool) {
        plan.norm.project(iterate, around: sample.clean, radius: radius, count: pixels)
        previous.update(from: iterate, count: pixels)
        stepSize = wholeStep
        taken = -1
        increases = 0
        sinceCheckpoint = 0
        window = schedule.firstWindow
        halvedAtCheckpoint = true
        guard plan.norm is ManhattanNorm else { return }
        let sparsity = SparsitySchedule(
            steps: schedule.steps, pixels: pixels, start: atRandom ? nil : changedPixels(iterate))
        window = sparsity.window
        self.sparsity = sparsity
    }

    private func changedPixels(_ image: UnsafePointer<Float>) -> Int {
        var changed = 0
        for i in 0..<pixels where image[i] != sample.clean[i] { changed += 1 }
        return changed
    }

    private func keep(_ loss: Float, _ gradient: UnsafePointer<Float>) {
        bestLoss = loss
        best.update(from: iterate, count: pixels)
        bestGradient.update(from: gradient, count: pixels)
    }

    /// Sets the step size; whether to go back to the best point.
    private func checkpoint() -> Bool {
        sinceCheckpoint = 0
        if let again = sparsity?.beginsAgain(changedPixels(best)) {
            stepSize = again ? wholeStep : SparsitySchedule.shorter(stepSize, whole: wholeStep)
            return again
        }
        // Too few steps raised the loss, or the step is that of the window before and the best loss too.
        let stalls = Float(increases) <= schedule.rho * Float(window)
        let standsStill = !halvedAtCheckpoint && bestLossAtCheckpoint >= bestLoss
        halvedAtCheckpoint = stalls || standsStill
        bestLossAtCheckpoint = bestLoss
        increases = 0
        window = schedule.window(after: window)
        if halvedAtCheckpoint { stepSize /= 2 }
        return halvedAtCheckpoint
    }

    private func move(along gradient: UnsafePointer<Float>) {
        taken += 1
        if let sparsity {
            ManhattanNorm().sparseStep(
                iterate, along: gradient, size: stepSize, changing: sparsity.number, count: pixels)
            plan.norm.project(iterate, around: sample.clean, radius: radius, count: pixels)
            return
        }
        proposal.update(from: iterate, count: pixels)
        plan.norm.step(proposal, along: gradient, size: stepSize, count: pixels)
        plan.norm.project(proposal, around: sample.clean, radius: radius, count: pixels)
        let ahead: Float = taken == 1 ? 1 : 0.75
        let momentum = 1 - ahead
        for i in 0..<pixels {
            let x = iterate[i]
            iterate[i] = x + ahead * (proposal[i] - x) + momentum * (x - previous[i])
            previous[i] = x
        }
        plan.norm.project(iterate, around: sample.clean, radius: radius, count: pixels)
    }

    private func isZero(_ gradient: UnsafePointer<Float>) -> Bool {
        for i in 0..<pixels where gradient[i] != 0 { return false }
        return true
    }
}
