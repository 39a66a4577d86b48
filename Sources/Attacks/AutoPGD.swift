import Kernels
import Runtime

extension AttackDefinition {
    /// Auto-PGD on the cross-entropy (Croce and Hein 2020, "Reliable evaluation of adversarial robustness with an ensemble
    /// of diverse parameter-free attacks", section 3 and Algorithm 1).
    static let autoPGD = AttackDefinition(name: "apgd-ce", number: 4, steps: 100, takesTarget: true) {
        plan, options, classes in
        apgd("apgd-ce", plan, options, runs: plan.restarts) { sample, _ in
            .plain(sample.target == nil ? .crossEntropy : .targetCrossEntropy)
        }
    }

    /// Auto-PGD on the difference of logits ratio.
    static let autoPGDRatio = AttackDefinition(name: "apgd-dlr", number: 5, steps: 100) { plan, options, classes in
        let fallback = classes > 2 ? nil : "2 classes have no DLR loss; it takes the plain margin instead"
        return apgd("apgd-dlr", plan, options, runs: plan.restarts, fallback: fallback) { _, _ in
            .plain(.logitsRatio)
        }
    }

    /// Auto-PGD on the targeted difference of logits ratio, towards the classes that the clean image comes nearest to.
    static let autoPGDTargeted = AttackDefinition(name: "apgd-t", number: 6, steps: 100, takesTarget: true) {
        plan, options, classes in
        let targets = options.targetCount(classes)
        let loss =
            classes > 3
            ? nil
            : classes == 3
                ? "the divisor of its loss has the second and third logit instead of the third and fourth"
                : "its loss is the plain margin"
        let problem = [options.targetFallback(classes), loss].compactMap { $0 }.joined(separator: "; ")
        let restarts = plan.restarts
        return apgd(
            "apgd-t", plan, options, runs: targets * restarts,
            fallback: problem.isEmpty ? nil : "there are \(classes) classes: \(problem)"
        ) { sample, run in
            .targetedRatio(sample.target ?? classOfRank(1 + run / restarts, sample.logits, sample.classes))
        }
    }

    private static func apgd(
        _ name: String, _ plan: AttackPlan, _ options: AttackOptions, runs: Int, fallback: String? = nil,
        loss: @escaping @Sendable (AttackSample, Int) -> RunLoss
    ) -> AttackStage {
        let schedule = StepSchedule(
            steps: plan.steps, rho: Float(options.rho), comparesFirstWithZero: options.referenceQuirks)
        return AttackStage(
            name: name, runs: runs, usesGradient: true, planes: AutoPGDRun.planes, passes: plan.steps + 1,
            fallback: fallback
        ) { sample, run, memory in
            AutoPGDRun(sample, plan, schedule, loss(sample, run), run: run, memory: memory)
        }
    }
}

/// When Auto-PGD looks at its progress, and what makes it halve the step.
struct StepSchedule: Sendable {
    let steps: Int
    /// The part of the steps that must have raised the loss.
    let rho: Float
    /// The published code compares the first step with a loss of 0 instead of that of the start.
    let comparesFirstWithZero: Bool
    var firstWindow: Int { max(Int(0.22 * Double(steps)), 1) }
    /// The windows between checkpoints become shorter by so many steps each time.
    func window(after window: Int) -> Int {
        max(window - max(Int(0.03 * Double(steps)), 1), max(Int(0.06 * Double(steps)), 1))
    }
}

/// What a run on one sample maximises.
enum RunLoss: Sendable {
    case plain(AttackLoss)
    case targetedRatio(Int)

    func evaluate(
        _ logits: UnsafePointer<Float>, _ sample: AttackSample, slope: UnsafeMutablePointer<Float>?
    ) -> Float {
        switch self {
        case .targetedRatio(let target):
            targetedLogitsRatio(
                logits, label: sample.label, target: target, classes: sample.classes, scale: 1, gradient: slope)
        case .plain(let loss):
            loss.evaluate(logits, label: sample.target ?? sample.label, classes: sample.classes, slope: slope)
        }
    }
}

/// A run of Auto-PGD: gradient steps with momentum from a random point of the ball's border,
///
///     z = P(x_k + s·direction),  x_{k+1} = P(x_k + a (z - x_k) + (1 - a)(x_k - x_{k-1})),  a = 3/4 (first step: 1),
///
/// whose size s, 2ε at first, is halved at the checkpoints where the loss has not grown often enough or not at all; then
/// the run goes on from the best point. Any misclassified iterate counts, the start too, and the last one is the result.
final class AutoPGDRun: AttackRun {
    static let planes = 6

    private let sample: AttackSample
    private let plan: AttackPlan
    private let schedule: StepSchedule
    private let objective: RunLoss
    private let pixels: Int

    private let iterate: UnsafeMutablePointer<Float>
    private let previous: UnsafeMutablePointer<Float>
    private let best: UnsafeMutablePointer<Float>
    private let bestGradient: UnsafeMutablePointer<Float>
    private let adversarial: UnsafeMutablePointer<Float>
    private let proposal: UnsafeMutablePointer<Float>

    private var stepSize: Float
    /// Steps taken; -1 before the start has been evaluated.
    private var taken = -1
    private var lastLoss: Float = 0
    private var bestLoss: Float = 0
    private var bestLossAtCheckpoint: Float = 0
    private var increases = 0
    private var sinceCheckpoint = 0
    private var window: Int
    private var halvedAtCheckpoint = true
    private var succeeded = false
    private(set) var gradientVanished = false

    init(
        _ sample: AttackSample, _ plan: AttackPlan, _ schedule: StepSchedule, _ loss: RunLoss, run: Int,
        memory: UnsafeMutablePointer<Float>
    ) {
        self.sample = sample
        self.plan = plan
        self.schedule = schedule
        objective = loss
        pixels = sample.shape.count
        iterate = memory
        previous = memory + pixels
        best = memory + 2 * pixels
        bestGradient = memory + 3 * pixels
        adversarial = memory + 4 * pixels
        proposal = memory + 5 * pixels
        stepSize = plan.norm.firstStep * plan.epsilon
        window = schedule.firstWindow
        if plan.start == .clean {
            iterate.update(from: sample.clean, count: pixels)
        } else {
            var random = plan.random(sample, run: run)
            plan.norm.borderStart(
                iterate, around: sample.clean, radius: plan.epsilon, count: pixels, random: &random)
            plan.norm.project(iterate, around: sample.clean, radius: plan.epsilon, count: pixels)
        }
        previous.update(from: iterate, count: pixels)
    }

    var query: UnsafePointer<Float> { UnsafePointer(iterate) }
    var result: UnsafePointer<Float>? { succeeded ? UnsafePointer(adversarial) : nil }

    func loss(_ logits: UnsafePointer<Float>, slope: UnsafeMutablePointer<Float>?) -> Float {
        objective.evaluate(logits, sample, slope: slope)
    }

    func receive(logits: UnsafePointer<Float>, loss: Float, gradient: UnsafePointer<Float>?) -> Bool {
        guard let gradient else { return false }
        if sample.isBroken(by: logits) {
            succeeded = true
            adversarial.update(from: iterate, count: pixels)
            if plan.rest != .never { return false }
        }
        if taken < 0 {
            taken = 0
            gradientVanished = isZero(gradient)
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
        let halves = sinceCheckpoint == window && checkpoint()
        if taken == schedule.steps { return false }
        if halves {
            stepSize /= 2
            iterate.update(from: best, count: pixels)
            move(along: bestGradient)
        } else {
            move(along: gradient)
        }
        return true
    }

    private func keep(_ loss: Float, _ gradient: UnsafePointer<Float>) {
        bestLoss = loss
        best.update(from: iterate, count: pixels)
        bestGradient.update(from: gradient, count: pixels)
    }

    /// Whether to halve the step: too few steps raised the loss, or the step is that of the window before and the best loss
    /// too.
    private func checkpoint() -> Bool {
        let stalls = Float(increases) <= schedule.rho * Float(window)
        let standsStill = !halvedAtCheckpoint && bestLossAtCheckpoint >= bestLoss
        halvedAtCheckpoint = stalls || standsStill
        bestLossAtCheckpoint = bestLoss
        increases = 0
        sinceCheckpoint = 0
        window = schedule.window(after: window)
        return halvedAtCheckpoint
    }

    private func move(along gradient: UnsafePointer<Float>) {
        proposal.update(from: iterate, count: pixels)
        plan.norm.step(proposal, along: gradient, size: stepSize, count: pixels)
        plan.norm.project(proposal, around: sample.clean, radius: plan.epsilon, count: pixels)
        let ahead: Float = taken == 0 ? 1 : 0.75
        let momentum = 1 - ahead
        for i in 0..<pixels {
            let x = iterate[i]
            iterate[i] = x + ahead * (proposal[i] - x) + momentum * (x - previous[i])
            previous[i] = x
        }
        plan.norm.project(iterate, around: sample.clean, radius: plan.epsilon, count: pixels)
        taken += 1
    }

    private func isZero(_ gradient: UnsafePointer<Float>) -> Bool {
        for i in 0..<pixels where gradient[i] != 0 { return false }
        return true
    }
}
