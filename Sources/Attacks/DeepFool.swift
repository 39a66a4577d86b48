import Kernels
import Runtime

extension AttackDefinition {
    /// DeepFool (Moosavi-Dezfooli, Fawzi, Frossard 2016, "DeepFool: a simple and accurate method to fool deep neural networks",
    /// algorithm 2 and section 3.3 for L∞): steps to the nearest of the borders, each taken for a hyperplane, until one is
    /// crossed. Takes a pass for each other class per step. Succeeds where the point found lies in the ball.
    static let deepFool = AttackDefinition(name: "deepfool", number: 11, steps: 50) { plan, options, classes in
        try plan.requireNorm(["linf", "l2"], for: "deepfool")
        let overshoot = options.search.deepFoolOvershoot
        return AttackStage(
            name: "deepfool", runs: plan.restarts, usesGradient: true, planes: DeepFoolRun.planes,
            passes: (classes - 1) * plan.steps, fallback: nil
        ) { sample, run, memory in
            DeepFoolRun(sample, plan, overshoot: overshoot, run: run, memory: memory)
        }
    }
}

/// A run of DeepFool: with f_k = z_k - z_y the class k is the one with the smallest |f_k| / ‖∇f_k‖*, and the step is
///
///     x' = clamp01(x + (1 + overshoot) (|f_k| / ‖∇f_k‖* + 1e-4) · steepest direction of f_k).
final class DeepFoolRun: AttackRun {
    static let planes = 3

    private let sample: AttackSample
    private let plan: AttackPlan
    private let overshoot: Double
    private let pixels: Int

    private let iterate: UnsafeMutablePointer<Float>
    private let normal: UnsafeMutablePointer<Float>
    private var nearest: NearestPoint

    private var taken = 0
    private var rival: Int
    private var nearestBorder = Double.infinity
    private(set) var gradientVanished = false

    init(
        _ sample: AttackSample, _ plan: AttackPlan, overshoot: Double, run: Int, memory: UnsafeMutablePointer<Float>
    ) {
        self.sample = sample
        self.plan = plan
        self.overshoot = overshoot
        pixels = sample.shape.count
        iterate = memory
        normal = memory + pixels
        nearest = NearestPoint(memory + 2 * pixels)
        rival = sample.label == 0 ? 1 : 0
        plan.beginSearch(iterate, sample, run: run, atRandom: run > 0)
    }

    var query: UnsafePointer<Float> { UnsafePointer(iterate) }
    var result: UnsafePointer<Float>? { nearest.result(plan) }

    func loss(_ logits: UnsafePointer<Float>, slope: UnsafeMutablePointer<Float>?) -> Float {
        logitDifference(logits, label: sample.label, target: rival, scale: 1, gradient: slope)
    }

    func receive(logits: UnsafePointer<Float>, loss: Float, gradient: UnsafePointer<Float>?) -> Bool {
        guard let gradient else { return false }
        if sample.isBroken(by: logits) {
            nearest.consider(iterate, sample, plan.norm)
            return false
        }
        if taken == plan.steps { return false }
        let length = plan.norm.dualLength(gradient, pixels)
        if length > 0, length.isFinite, abs(Double(loss)) / length < nearestBorder {
            nearestBorder = abs(Double(loss)) / length
            normal.update(from: gradient, count: pixels)
        }
        rival += rival + 1 == sample.label ? 2 : 1
        if rival < sample.classes { return true }
        guard nearestBorder < .infinity else {
            gradientVanished = taken == 0
            return false
        }
        // The published code's constant: without it the steps become ever shorter before the border.
        let size = Float((1 + overshoot) * (nearestBorder + 1e-4))
        plan.norm.step(iterate, along: normal, size: size, count: pixels)
        for i in 0..<pixels { iterate[i] = min(max(iterate[i], 0), 1) }
        taken += 1
        rival = sample.label == 0 ? 1 : 0
        nearestBorder = .infinity
        return true
    }
}
