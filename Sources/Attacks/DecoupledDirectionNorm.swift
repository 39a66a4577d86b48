import Glibc
import Kernels
import Runtime

extension AttackDefinition {
    /// DDN (Rony, Hafemann, Oliveira, Ben Ayed, Sabourin, Granger 2019, "Decoupling direction and norm for efficient
    /// gradient-based L2 adversarial attacks and defenses", algorithm 1), without the rounding to 256 levels. Looks for the
    /// nearest misclassified point in L2; succeeds where that lies in the ball.
    static let decoupled = AttackDefinition(name: "ddn", number: 12, steps: 100, takesTarget: true) {
        plan, options, _ in
        try plan.requireNorm(["l2"], for: "ddn")
        let tuning = options.search
        return AttackStage(
            name: "ddn", runs: plan.restarts, usesGradient: true, planes: DecoupledRun.planes, passes: plan.steps,
            fallback: nil
        ) { sample, run, memory in
            DecoupledRun(sample, plan, gamma: tuning.ddnGamma, radius: tuning.ddnRadius, run: run, memory: memory)
        }
    }
}

/// A run of DDN: a step along the gradient's direction, whose length falls as half a cosine, then onto the sphere of radius r, which
/// shrinks by the part γ where the iterate is misclassified and grows by it where it is not.
final class DecoupledRun: AttackRun {
    static let planes = 2

    private let sample: AttackSample
    private let plan: AttackPlan
    private let gamma: Double
    private let pixels: Int
    private let iterate: UnsafeMutablePointer<Float>
    private var nearest: NearestPoint

    private var radius: Double
    /// The length of the longest way in the box.
    private let farthest: Double
    private var taken = 0
    private var random: CounterRandom
    private(set) var gradientVanished = false

    init(
        _ sample: AttackSample, _ plan: AttackPlan, gamma: Double, radius: Double, run: Int,
        memory: UnsafeMutablePointer<Float>
    ) {
        self.sample = sample
        self.plan = plan
        self.gamma = gamma
        self.radius = radius
        pixels = sample.shape.count
        iterate = memory
        nearest = NearestPoint(memory + pixels)
        random = plan.random(sample, run: run, stream: .search)
        farthest = plan.norm.longestWay(from: sample.clean, pixels, memory: iterate)
        plan.beginSearch(iterate, sample, run: run, atRandom: run > 0)
    }

    var query: UnsafePointer<Float> { UnsafePointer(iterate) }
    var result: UnsafePointer<Float>? { nearest.result(plan) }

    func loss(_ logits: UnsafePointer<Float>, slope: UnsafeMutablePointer<Float>?) -> Float {
        sample.evaluate(.crossEntropy, aimed: .targetCrossEntropy, logits, slope: slope)
    }

    func receive(logits: UnsafePointer<Float>, loss: Float, gradient: UnsafePointer<Float>?) -> Bool {
        guard let gradient else { return false }
        let broken = sample.isBroken(by: logits)
        if broken { nearest.consider(iterate, sample, plan.norm) }
        if taken + 1 == plan.steps || nearest.isEnough(plan) { return false }

        let size = 0.01 + 0.99 * (1 + cos(Double.pi * Double(taken) / Double(plan.steps))) / 2
        let length = euclideanLength(gradient, pixels)
        if length >= 1e-12, length.isFinite {
            for i in 0..<pixels { iterate[i] += Float(size * Double(gradient[i]) / length) }
        } else {
            if taken == 0 { gradientVanished = true }
            for i in 0..<pixels { iterate[i] += Float(size) * random.normal() }
        }
        radius = min(radius * (broken ? 1 - gamma : 1 + gamma), farthest)
        let scale = radius / max(euclideanDistance(iterate, sample.clean, pixels), 1e-30)
        for i in 0..<pixels {
            let x = Double(sample.clean[i])
            iterate[i] = min(max(Float(x + scale * (Double(iterate[i]) - x)), 0), 1)
        }
        taken += 1
        return true
    }
}
