import Kernels
import Runtime

extension AttackDefinition {
    /// SPSA (Uesato, O'Donoghue, van den Oord, Kohli 2018, "Adversarial risk and the dangers of evaluating against weak attacks",
    /// section 4): projected Adam on a gradient that is estimated from differences of the margin along random directions
    /// (Spall 1992). No gradients of the model: 2 · directions + 1 queries a step.
    static let spsa = AttackDefinition(name: "spsa", number: 14, steps: 100, takesTarget: true) { plan, options, _ in
        let tuning = options.search
        return AttackStage(
            name: "spsa", runs: plan.restarts, usesGradient: false, planes: SPSARun.planes,
            passes: plan.steps * (2 * tuning.spsaDirections + 1) + 1, fallback: nil, keepsGoing: true
        ) { sample, run, memory in
            SPSARun(sample, plan, tuning, run: run, memory: memory)
        }
    }
}

/// A run of SPSA. Any misclassified iterate counts, and the last one is the result.
final class SPSARun: AttackRun {
    static let planes = 7

    private let sample: AttackSample
    private let plan: AttackPlan
    private let tuning: SearchTuning
    private let pixels: Int

    private let iterate: UnsafeMutablePointer<Float>
    private let probe: UnsafeMutablePointer<Float>
    private let direction: UnsafeMutablePointer<Float>
    private let gradient: UnsafeMutablePointer<Float>
    private let adversarial: UnsafeMutablePointer<Float>

    private var adam: AdamAscent
    private var random: CounterRandom
    private var taken = 0
    /// Of the step: the directions done, and the loss ahead on the one under way.
    private var tried = 0
    private var lossAhead: Float = 0
    private var asks = Asks.iterate
    private var succeeded = false
    var gradientVanished: Bool { false }

    private enum Asks { case iterate, ahead, behind }

    init(
        _ sample: AttackSample, _ plan: AttackPlan, _ tuning: SearchTuning, run: Int,
        memory: UnsafeMutablePointer<Float>
    ) {
        self.sample = sample
        self.plan = plan
        self.tuning = tuning
        pixels = sample.shape.count
        iterate = memory
        probe = memory + pixels
        direction = memory + 2 * pixels
        gradient = memory + 3 * pixels
        adam = AdamAscent(rate: tuning.spsaRate, count: pixels, memory: memory + 4 * pixels)
        adversarial = memory + 6 * pixels
        random = plan.random(sample, run: run, stream: .search)
        gradient.update(repeating: 0, count: pixels)
        plan.beginSearch(iterate, sample, run: run, atRandom: run > 0)
    }

    var query: UnsafePointer<Float> { UnsafePointer(asks == .iterate ? iterate : probe) }
    var result: UnsafePointer<Float>? { succeeded ? UnsafePointer(adversarial) : nil }

    func loss(_ logits: UnsafePointer<Float>, slope: UnsafeMutablePointer<Float>?) -> Float {
        sample.evaluate(
            .margin(kappa: .infinity), aimed: .targetMargin(kappa: .infinity), logits, slope: slope)
    }

    func receive(logits: UnsafePointer<Float>, loss: Float, gradient: UnsafePointer<Float>?) -> Bool {
        switch asks {
        case .iterate:
            if sample.isBroken(by: logits) {
                succeeded = true
                adversarial.update(from: iterate, count: pixels)
                if plan.rest != .never { return false }
            }
            if taken == plan.steps { return false }
            tryNextDirection()
        case .ahead:
            lossAhead = loss
            place(probe, -Float(tuning.spsaDelta))
            asks = .behind
        case .behind:
            let slope = (lossAhead - loss) / Float(2 * tuning.spsaDelta)
            for i in 0..<pixels { self.gradient[i] += slope * direction[i] }
            tried += 1
            if tried < tuning.spsaDirections { tryNextDirection() } else { move() }
        }
        return true
    }

    /// Each pixel up or down by the same amount.
    private func tryNextDirection() {
        for first in stride(from: 0, to: pixels, by: 32) {
            let bits = random.nextUInt32()
            for i in first..<min(first + 32, pixels) { direction[i] = bits >> UInt32(i - first) & 1 == 0 ? 1 : -1 }
        }
        place(probe, Float(tuning.spsaDelta))
        asks = .ahead
    }

    private func place(_ point: UnsafeMutablePointer<Float>, _ length: Float) {
        for i in 0..<pixels { point[i] = min(max(iterate[i] + length * direction[i], 0), 1) }
    }

    private func move() {
        taken += 1
        tried = 0
        asks = .iterate
        adam.climb(iterate) { gradient[$0] / Float(tuning.spsaDirections) }
        gradient.update(repeating: 0, count: pixels)
        plan.norm.project(iterate, around: sample.clean, radius: plan.epsilon, count: pixels)
    }
}
