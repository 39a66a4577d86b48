import Kernels
import Runtime

extension AttackDefinition {
    /// `steps` draws of normal deviates, each stretched to the radius. What an attack breaks that this breaks too is no
    /// adversary's doing. No gradients.
    static let gaussianNoise = noise("noise-gaussian", number: 15) { $0.normal() }

    /// The same, uniform: each pixel is drawn from an interval around 0 before the stretching.
    static let uniformNoise = noise("noise-uniform", number: 16) { 2 * $0.uniform() - 1 }

    private static func noise(
        _ name: String, number: UInt32, draw: @escaping @Sendable (inout CounterRandom) -> Float
    ) -> AttackDefinition {
        AttackDefinition(name: name, number: number, steps: 100, takesTarget: true) { plan, _, _ in
            AttackStage(
                name: name, runs: plan.restarts, usesGradient: false, planes: NoiseRun.planes, passes: plan.steps,
                fallback: nil
            ) { sample, run, memory in
                NoiseRun(sample, plan, draw, run: run, memory: memory)
            }
        }
    }
}

/// A run of draws.
final class NoiseRun: AttackRun {
    static let planes = 1

    private let sample: AttackSample
    private let plan: AttackPlan
    private let draw: (inout CounterRandom) -> Float
    private let candidate: UnsafeMutablePointer<Float>
    private var random: CounterRandom
    private var drawn = 0
    private var succeeded = false
    var gradientVanished: Bool { false }

    init(
        _ sample: AttackSample, _ plan: AttackPlan, _ draw: @escaping (inout CounterRandom) -> Float, run: Int,
        memory: UnsafeMutablePointer<Float>
    ) {
        self.sample = sample
        self.plan = plan
        self.draw = draw
        candidate = memory
        random = plan.random(sample, run: run, stream: .search)
        drawNext()
    }

    var query: UnsafePointer<Float> { UnsafePointer(candidate) }
    var result: UnsafePointer<Float>? { succeeded ? UnsafePointer(candidate) : nil }

    func loss(_ logits: UnsafePointer<Float>, slope: UnsafeMutablePointer<Float>?) -> Float { 0 }

    func receive(logits: UnsafePointer<Float>, loss: Float, gradient: UnsafePointer<Float>?) -> Bool {
        succeeded = sample.isBroken(by: logits)
        if succeeded || drawn == plan.steps { return false }
        drawNext()
        return true
    }

    private func drawNext() {
        let (clean, count) = (sample.clean, sample.shape.count)
        for i in 0..<count { candidate[i] = clean[i] + draw(&random) }
        let length = plan.norm.distance(candidate, clean, count)
        let scale = length > 0 ? Float(Double(plan.epsilon) / length) : 0
        for i in 0..<count { candidate[i] = min(max(clean[i] + scale * (candidate[i] - clean[i]), 0), 1) }
        // For rounding's sake: the box has brought every pixel nearer.
        plan.norm.project(candidate, around: clean, radius: plan.epsilon, count: count)
        drawn += 1
    }
}
