import Glibc
import Kernels
import Runtime

extension AttackDefinition {
    /// FMN (Pintor, Roli, Brendel, Biggio 2021, "Fast minimum-norm adversarial attacks through adaptive norm constraints",
    /// algorithm 1). Looks for the nearest misclassified point; succeeds where that lies in the ball.
    static let fastMinimumNorm = AttackDefinition(name: "fmn", number: 13, steps: 100, takesTarget: true) {
        plan, options, _ in
        let tuning = options.search
        return AttackStage(
            name: "fmn", runs: plan.restarts, usesGradient: true, planes: FastMinimumRun.planes, passes: plan.steps,
            fallback: nil
        ) { sample, run, memory in
            FastMinimumRun(sample, plan, tuning, run: run, memory: memory)
        }
    }
}

/// A run of FMN: a step along the gradient of the margin, then onto the ball of radius r in the attack's norm. r is the distance
/// that the border is estimated to have until a misclassified point is seen; from then on it shrinks by the part γ where the
/// iterate is misclassified and grows by it where it is not. Step and γ fall as half a cosine.
final class FastMinimumRun: AttackRun {
    static let planes = 3

    private let sample: AttackSample
    private let plan: AttackPlan
    private let tuning: SearchTuning
    private let pixels: Int
    private let iterate: UnsafeMutablePointer<Float>
    private let change: UnsafeMutablePointer<Float>
    private var nearest: NearestPoint

    private var radius: Double
    /// The length of the longest way in the box.
    private let farthest: Double
    private var taken = 0
    private(set) var gradientVanished = false

    init(
        _ sample: AttackSample, _ plan: AttackPlan, _ tuning: SearchTuning, run: Int,
        memory: UnsafeMutablePointer<Float>
    ) {
        self.sample = sample
        self.plan = plan
        self.tuning = tuning
        pixels = sample.shape.count
        iterate = memory
        change = memory + pixels
        nearest = NearestPoint(memory + 2 * pixels)
        farthest = plan.norm.longestWay(from: sample.clean, pixels, memory: iterate)
        radius = plan.norm is PixelCount ? 1 : .infinity
        plan.beginSearch(iterate, sample, run: run, atRandom: run > 0)
    }

    var query: UnsafePointer<Float> { UnsafePointer(iterate) }
    var result: UnsafePointer<Float>? { nearest.result(plan) }

    func loss(_ logits: UnsafePointer<Float>, slope: UnsafeMutablePointer<Float>?) -> Float {
        sample.evaluate(
            .margin(kappa: .infinity), aimed: .targetMargin(kappa: .infinity), logits, slope: slope)
    }

    func receive(logits: UnsafePointer<Float>, loss: Float, gradient: UnsafePointer<Float>?) -> Bool {
        guard let gradient else { return false }
        let broken = sample.isBroken(by: logits)
        if broken { nearest.consider(iterate, sample, plan.norm) }
        if taken + 1 == plan.steps || nearest.isEnough(plan) { return false }

        let fallen = (1 + cos(Double.pi * Double(taken) / Double(plan.steps))) / 2
        let size = tuning.fmnLastStep + (tuning.fmnStep - tuning.fmnLastStep) * fallen
        let gamma = tuning.fmnLastGamma + (tuning.fmnGamma - tuning.fmnLastGamma) * fallen
        setRadius(broken: broken, gamma: gamma, loss: Double(loss), gradient)

        let length = max(euclideanLength(gradient, pixels), 1e-12)
        if taken == 0, length == 1e-12 { gradientVanished = true }
        for i in 0..<pixels {
            change[i] = iterate[i] - sample.clean[i] + Float(size * Double(gradient[i]) / length)
        }
        plan.norm.shorten(change, to: radius, count: pixels)
        for i in 0..<pixels { iterate[i] = min(max(sample.clean[i] + change[i], 0), 1) }
        taken += 1
        return true
    }

    private func setRadius(broken: Bool, gamma: Double, loss: Double, _ gradient: UnsafePointer<Float>) {
        let best = min(nearest.distance, farthest)
        if plan.norm is PixelCount {
            // Pixels are counted: at least one more or less.
            radius =
                broken
                ? max(min(radius - 1, (radius * (1 - gamma)).rounded(.down), best), 0)
                : max(radius + 1, (radius * (1 + gamma)).rounded(.down))
        } else if broken {
            radius = min(radius * (1 - gamma), best)
        } else if nearest.distance < .infinity {
            radius *= 1 + gamma
        } else {
            let way = abs(loss) / max(plan.norm.dualLength(gradient, pixels), 1e-12)
            let distance = plan.norm.distance(iterate, sample.clean, pixels)
            // Where the network is linear up to the border the estimate is exact, and iterates could stay right before it.
            radius = distance + max(way, 1e-5 * distance)
        }
        radius = min(radius, farthest)
    }
}
