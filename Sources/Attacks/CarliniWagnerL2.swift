import Glibc
import Kernels
import Runtime

extension AttackDefinition {
    /// C&W in L2 (Carlini and Wagner 2017, "Towards evaluating the robustness of neural networks", section VI-A): minimises
    /// ‖x' - x‖² + c · max(z_y - max_{i≠y} z_i + κ, 0) over w, x' = (tanh w + 1)/2, by Adam, for one c after the other.
    /// Looks for the nearest misclassified point; succeeds where that lies in the ball.
    static let carliniWagnerEuclidean = AttackDefinition(name: "cw-l2", number: 22, steps: 1000, takesTarget: true) {
        plan, options, _ in
        try plan.requireNorm(["l2"], for: "cw-l2")
        let tuning = options.search
        return AttackStage(
            name: "cw-l2", runs: plan.restarts, usesGradient: true, planes: CarliniWagnerRun.planes,
            passes: plan.steps * tuning.cwSearches, fallback: nil
        ) { sample, run, memory in
            CarliniWagnerRun(sample, plan, tuning, run: run, memory: memory)
        }
    }
}

/// A run of C&W. c grows tenfold until a misclassified point is found with it, then halves the way between the largest c that
/// found none and the smallest that found one. Each c begins anew at the image, and ends early where a tenth of its steps has
/// not lowered the objective.
final class CarliniWagnerRun: AttackRun {
    static let planes = 6

    private let sample: AttackSample
    private let plan: AttackPlan
    private let tuning: SearchTuning
    private let run: Int
    private let pixels: Int

    /// x', w, and what the image is once it has been to w and back.
    private let iterate: UnsafeMutablePointer<Float>
    private let point: UnsafeMutablePointer<Float>
    private let origin: UnsafeMutablePointer<Float>
    private let adamMemory: UnsafeMutablePointer<Float>
    private var adam: AdamAscent
    private var nearest: NearestPoint

    private var constant: Double
    private var lower = 0.0
    private var upper = Double.infinity
    private var searches = 0
    // With this c: the steps taken, the objective when last looked at, whether it has found anything.
    private var taken = 0
    private var lastObjective = Double.infinity
    private var succeeded = false
    private(set) var gradientVanished = false

    init(
        _ sample: AttackSample, _ plan: AttackPlan, _ tuning: SearchTuning, run: Int,
        memory: UnsafeMutablePointer<Float>
    ) {
        (self.sample, self.plan, self.tuning, self.run) = (sample, plan, tuning, run)
        pixels = sample.shape.count
        (iterate, point, origin) = (memory, memory + pixels, memory + 2 * pixels)
        adamMemory = memory + 3 * pixels
        adam = AdamAscent(rate: tuning.cwRate, count: pixels, memory: adamMemory)
        nearest = NearestPoint(memory + 5 * pixels)
        constant = tuning.cwConstant
        for i in 0..<pixels { origin[i] = Self.pixel(Self.unbounded(sample.clean[i])) }
        begin()
    }

    var query: UnsafePointer<Float> { UnsafePointer(iterate) }
    var result: UnsafePointer<Float>? { nearest.result(plan) }

    func loss(_ logits: UnsafePointer<Float>, slope: UnsafeMutablePointer<Float>?) -> Float {
        let kappa = Float(tuning.cwConfidence)
        return sample.evaluate(.margin(kappa: kappa), aimed: .targetMargin(kappa: kappa), logits, slope: slope)
    }

    func receive(logits: UnsafePointer<Float>, loss: Float, gradient: UnsafePointer<Float>?) -> Bool {
        guard let gradient else { return false }
        if sample.isBroken(by: logits), Double(loss) >= Double(Float(tuning.cwConfidence)) {
            succeeded = true
            nearest.consider(iterate, sample, plan.norm)
            if nearest.isEnough(plan) { return false }
        } else if taken == 0, searches == 0 {
            gradientVanished = (0..<pixels).allSatisfy { gradient[$0] == 0 }
        }
        let goesOn = isWorthwhile(loss)
        taken += 1
        guard goesOn, taken < plan.steps else { return nextConstant() }
        adam.climb(point) { i in
            let shift = Double(iterate[i]) - Double(origin[i])
            let t = tanh(Double(point[i]))
            return Float((constant * Double(gradient[i]) - 2 * shift) * (1 - t * t) / 2)
        }
        for i in 0..<pixels { iterate[i] = Self.pixel(point[i]) }
        return true
    }

    /// Looks at the objective ten times.
    private func isWorthwhile(_ loss: Float) -> Bool {
        guard tuning.cwAbortEarly, taken % ((plan.steps + 9) / 10) == 0 else { return true }
        let distance = euclideanDistance(iterate, origin, pixels)
        let objective = distance * distance + constant * (tuning.cwConfidence - Double(loss))
        defer { lastObjective = objective }
        return objective <= 0.9999 * lastObjective
    }

    private func nextConstant() -> Bool {
        if succeeded { upper = min(upper, constant) } else { lower = max(lower, constant) }
        searches += 1
        guard searches < tuning.cwSearches else { return false }
        constant = upper < .infinity ? (lower + upper) / 2 : min(10 * constant, Self.largestConstant)
        begin()
        return true
    }

    private func begin() {
        plan.beginSearch(iterate, sample, run: run, atRandom: run > 0)
        for i in 0..<pixels {
            point[i] = Self.unbounded(iterate[i])
            iterate[i] = Self.pixel(point[i])
        }
        adam = AdamAscent(rate: tuning.cwRate, count: pixels, memory: adamMemory)
        (taken, lastObjective, succeeded) = (0, .infinity, false)
    }

    /// Beyond it the distance has no weight left.
    private static let largestConstant = 1e10

    /// w of a pixel. Black and white, which lie at infinity, come as near as the authors let them.
    private static func unbounded(_ pixel: Float) -> Float { Float(atanh((2 * Double(pixel) - 1) * 0.999999)) }
    private static func pixel(_ w: Float) -> Float { Float((tanh(Double(w)) + 1) / 2) }
}
