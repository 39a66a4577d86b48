import Kernels
import Runtime

extension AttackDefinition {
    /// FAB (Croce and Hein 2020, "Minimally distorted adversarial examples with a fast adaptive boundary attack"): looks for
    /// the nearest misclassified point, and succeeds where that lies in the ball. Takes a pass for each other class per step.
    static let fab = AttackDefinition(name: "fab", number: 7, steps: 100) { plan, options, classes in
        stage("fab", plan, options, runs: plan.restarts, passes: (classes - 1) * 2 * plan.steps) { sample, run in
            ((0..<sample.classes).filter { $0 != sample.label }, run, run > 0)
        }
    }

    /// FAB towards one class at a time, those that the clean image comes nearest to.
    static let fabTargeted = AttackDefinition(name: "fab-t", number: 8, steps: 100, takesTarget: true) {
        plan, options, classes in
        let runs = try TargetedRuns(options, classes: classes)
        let fallback = options.targetFallback(classes).map { "there are \(classes) classes: \($0)" }
        return stage("fab-t", plan, options, runs: runs.count, passes: 2 * plan.steps, fallback: fallback) {
            sample, run in
            ([runs.target(run, of: sample)], runs.key(run), runs.isRestart(run))
        }
    }

    /// - Parameter choice: the classes whose border with the true one a run looks for, what its random numbers are keyed by,
    ///   and whether it begins at a random point.
    private static func stage(
        _ name: String, _ plan: AttackPlan, _ options: AttackOptions, runs: Int, passes: Int, fallback: String? = nil,
        choice: @escaping @Sendable (AttackSample, Int) -> (rivals: [Int], key: Int, atRandom: Bool)
    ) -> AttackStage {
        let weights = BoundaryWeights(
            alpha: Float(options.fabAlpha), eta: Float(options.fabEta), beta: Float(options.fabBeta))
        return AttackStage(
            name: name, runs: runs, usesGradient: true, planes: BoundaryRun.planes, passes: passes, fallback: fallback
        ) { sample, run, memory in
            let (rivals, key, atRandom) = choice(sample, run)
            return BoundaryRun(
                sample, plan, weights, rivals: rivals, run: key, atRandom: atRandom, memory: memory)
        }
    }
}

/// FAB's parameters.
struct BoundaryWeights: Sendable {
    /// The largest weight of the step from the original image.
    let alpha: Float
    /// How far to go beyond the hyperplane.
    let eta: Float
    /// How much of the distance remains on the way back from a misclassified point.
    let beta: Float
}

/// A run of FAB: with the border between two classes taken for the hyperplane that touches it, both the iterate x and the
/// image x₀ are projected onto it, by d₁ and d₂, and
///
///     x' = clamp01((1 - α)(x + η d₁) + α (x₀ + η d₂)),  α = min(‖d₁‖ / (‖d₁‖ + ‖d₂‖), α_max).
///
/// A misclassified x' is kept if it is the nearest so far, and left again: `x₀ + β (x' - x₀)`.
final class BoundaryRun: AttackRun {
    static let planes = 5

    private let sample: AttackSample
    private let plan: AttackPlan
    private let weights: BoundaryWeights
    private let rivals: [Int]
    private let pixels: Int

    private let iterate: UnsafeMutablePointer<Float>
    private var nearest: NearestPoint
    private let normal: UnsafeMutablePointer<Float>
    private let way: UnsafeMutablePointer<Float>
    private let wayFromImage: UnsafeMutablePointer<Float>

    private var taken = 0
    /// The iterate is new, and not yet known to be classified correctly.
    private var isProposal = false
    /// Which of the rivals is looked at, and the border nearest so far.
    private var rival = 0
    private var nearestBorder = Double.infinity
    private var height = 0.0
    private(set) var gradientVanished = false

    /// - Parameters:
    ///   - rivals: the classes whose border with the true one is looked for; of several the nearest border counts.
    ///   - atRandom: start at a random point half as far away as the radius, and not at the image.
    init(
        _ sample: AttackSample, _ plan: AttackPlan, _ weights: BoundaryWeights, rivals: [Int], run: Int,
        atRandom: Bool, memory: UnsafeMutablePointer<Float>
    ) {
        self.sample = sample
        self.plan = plan
        self.weights = weights
        self.rivals = rivals
        pixels = sample.shape.count
        iterate = memory
        nearest = NearestPoint(memory + pixels)
        normal = memory + 2 * pixels
        way = memory + 3 * pixels
        wayFromImage = memory + 4 * pixels
        plan.beginSearch(iterate, sample, run: run, atRandom: atRandom)
    }

    var query: UnsafePointer<Float> { UnsafePointer(iterate) }
    var result: UnsafePointer<Float>? { nearest.result(plan) }

    func loss(_ logits: UnsafePointer<Float>, slope: UnsafeMutablePointer<Float>?) -> Float {
        logitDifference(logits, label: sample.label, target: rivals[rival], scale: 1, gradient: slope)
    }

    func receive(logits: UnsafePointer<Float>, loss: Float, gradient: UnsafePointer<Float>?) -> Bool {
        guard let gradient else { return false }
        if isProposal {
            isProposal = false
            if sample.isBroken(by: logits) {
                nearest.consider(iterate, sample, plan.norm)
                if taken == plan.steps || nearest.isEnough(plan) { return false }
                for i in 0..<pixels {
                    iterate[i] = sample.clean[i] + (iterate[i] - sample.clean[i]) * weights.beta
                }
                return true
            }
            if taken == plan.steps { return false }
        }
        consider(gradient, difference: Double(loss))
        rival += 1
        if rival < rivals.count { return true }
        rival = 0
        let found = nearestBorder < .infinity
        nearestBorder = .infinity
        if found {
            move()
        } else if taken == 0 {
            gradientVanished = true
        }
        return found
    }

    /// Takes the border with the present rival if it is the nearest; never one whose gradient is zero or not finite.
    private func consider(_ gradient: UnsafePointer<Float>, difference: Double) {
        let length = plan.norm.dualLength(gradient, pixels)
        guard length > 0, length.isFinite, abs(difference) / length < nearestBorder else { return }
        nearestBorder = abs(difference) / length
        height = difference
        normal.update(from: gradient, count: pixels)
    }

    private func move() {
        let clean = sample.clean
        let length = plan.norm.wayToHyperplane(
            from: iterate, normal: normal, height: height, count: pixels, way: way)
        var heightOfImage = height
        for i in 0..<pixels { heightOfImage += Double(normal[i]) * (Double(clean[i]) - Double(iterate[i])) }
        let lengthFromImage = plan.norm.wayToHyperplane(
            from: clean, normal: normal, height: heightOfImage, count: pixels, way: wayFromImage)
        let (a, b) = (max(length, 1e-8), max(lengthFromImage, 1e-8))
        let alpha = min(Float(a / (a + b)), weights.alpha)
        for i in 0..<pixels {
            let ahead = (iterate[i] + weights.eta * way[i]) * (1 - alpha)
            let original = (clean[i] + weights.eta * wayFromImage[i]) * alpha
            iterate[i] = min(max(ahead + original, 0), 1)
        }
        taken += 1
        isProposal = true
    }
}
