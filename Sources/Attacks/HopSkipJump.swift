import Kernels
import Runtime

extension AttackDefinition {
    /// HopSkipJump (Chen, Jordan, Wainwright 2020, "HopSkipJumpAttack: a query-efficient decision-based attack", algorithm 2):
    /// needs of the model only which class it chooses. Looks for the nearest misclassified point; succeeds where that lies in
    /// the ball.
    static let hopSkipJump = AttackDefinition(name: "hopskipjump", number: 17, steps: 64, takesTarget: true) {
        plan, options, _ in
        try plan.requireNorm(["linf", "l2"], for: "hopskipjump")
        let tuning = options.search
        let passes = (0..<plan.steps).reduce(0) { $0 + HopSkipJumpRun.directions(step: $1, tuning) + 25 }
        return AttackStage(
            name: "hopskipjump", runs: plan.restarts, usesGradient: false, planes: HopSkipJumpRun.planes,
            passes: passes, fallback: nil
        ) { sample, run, memory in
            HopSkipJumpRun(sample, plan, tuning, run: run, memory: memory)
        }
    }
}

/// A run of HopSkipJump. From a random image that is misclassified it goes to the border on the way to the image, by bisection.
/// Each step estimates there the direction in which it becomes misclassified more deeply, from decisions around the point; goes
/// that way as far as it stays misclassified; and from there to the border again.
final class HopSkipJumpRun: AttackRun {
    static let planes = 6
    private static let mostStarts = 1000

    private let sample: AttackSample
    private let plan: AttackPlan
    private let tuning: SearchTuning
    private let isMaximum: Bool
    private let pixels: Int

    /// The point at the border, always one that was seen misclassified.
    private let border: UnsafeMutablePointer<Float>
    /// Where the bisection began.
    private let far: UnsafeMutablePointer<Float>
    private let candidate: UnsafeMutablePointer<Float>
    /// Sums over the directions tried: with the sign of the decision, and without; then the former is the way to go.
    private let signed: UnsafeMutablePointer<Float>
    private let plain: UnsafeMutablePointer<Float>
    private var nearest: NearestPoint

    private enum Asks { case start, bisection, direction, step }

    private var asks = Asks.start
    private var random: CounterRandom
    /// Starts tried, directions tried in the step, halvings of the step size.
    private var tried = 0
    private var broken = 0
    private var taken = 0
    private var distance = 0.0
    private var (low, middle, high, precision) = (0.0, 0.0, 0.0, 0.0)
    /// How far around the point directions are tried, and the step size.
    private var reach = 0.0
    private var stepSize = 0.0
    var gradientVanished: Bool { false }

    init(
        _ sample: AttackSample, _ plan: AttackPlan, _ tuning: SearchTuning, run: Int,
        memory: UnsafeMutablePointer<Float>
    ) {
        self.sample = sample
        self.plan = plan
        self.tuning = tuning
        isMaximum = plan.norm is MaximumNorm
        pixels = sample.shape.count
        border = memory
        far = memory + pixels
        candidate = memory + 2 * pixels
        signed = memory + 3 * pixels
        plain = memory + 4 * pixels
        nearest = NearestPoint(memory + 5 * pixels)
        random = plan.random(sample, run: run, stream: .search)
        drawStart()
    }

    /// How many directions step number `step` tries.
    static func directions(step: Int, _ tuning: SearchTuning) -> Int {
        min(Int(Double(tuning.jumpDirections) * Double(step + 1).squareRoot()), tuning.jumpMostDirections)
    }

    var query: UnsafePointer<Float> { UnsafePointer(candidate) }
    var result: UnsafePointer<Float>? { nearest.result(plan) }

    func loss(_ logits: UnsafePointer<Float>, slope: UnsafeMutablePointer<Float>?) -> Float { 0 }

    func receive(logits: UnsafePointer<Float>, loss: Float, gradient: UnsafePointer<Float>?) -> Bool {
        let isBroken = sample.isBroken(by: logits)
        if isBroken {
            nearest.consider(candidate, sample, plan.norm)
            if nearest.isEnough(plan) { return false }
        }
        switch asks {
        case .start:
            if isBroken { return bisect() }
            if tried == Self.mostStarts { return false }
            drawStart()
            return true
        case .bisection:
            if isBroken {
                high = middle
                border.update(from: candidate, count: pixels)
            } else {
                low = middle
            }
            return halve()
        case .direction:
            note(isBroken)
            if tried < Self.directions(step: taken, tuning) {
                drawDirection()
                return true
            }
            guard estimate() else { return false }
            stepSize = distance / Double(taken + 1).squareRoot()
            tried = 0
            asks = .step
            placeStep()
            return true
        case .step:
            if isBroken {
                taken += 1
                return bisect()
            }
            tried += 1
            stepSize /= 2
            placeStep()
            if tried < 60, !isAtBorder() { return true }
            // No step is short enough: on from the same point.
            taken += 1
            return beginStep()
        }
    }

    private func drawStart() {
        for i in 0..<pixels { candidate[i] = random.uniform() }
        tried += 1
    }

    /// From the candidate, which is misclassified, to the border.
    private func bisect() -> Bool {
        far.update(from: candidate, count: pixels)
        border.update(from: candidate, count: pixels)
        let d = Double(pixels)
        (low, high) = (0, isMaximum ? plan.norm.distance(far, sample.clean, pixels) : 1)
        precision = high * tuning.jumpGamma / (isMaximum ? d * d : d * d.squareRoot())
        asks = .bisection
        return halve()
    }

    private func halve() -> Bool {
        middle = low + (high - low) / 2
        guard high - low > precision, middle > low, middle < high else { return beginStep() }
        if isMaximum {
            let reach = Float(middle)
            for i in 0..<pixels {
                candidate[i] = min(max(far[i], sample.clean[i] - reach), sample.clean[i] + reach)
            }
        } else {
            for i in 0..<pixels {
                let x = Double(sample.clean[i])
                candidate[i] = Float(x + middle * (Double(far[i]) - x))
            }
        }
        // What lies between two images lies in the box, but for rounding.
        for i in 0..<pixels { candidate[i] = min(max(candidate[i], 0), 1) }
        return true
    }

    private func beginStep() -> Bool {
        distance = plan.norm.distance(border, sample.clean, pixels)
        guard taken < plan.steps, distance > 0 else { return false }
        reach = taken == 0 ? 0.1 : tuning.jumpGamma * distance / Double(pixels)
        signed.update(repeating: 0, count: pixels)
        plain.update(repeating: 0, count: pixels)
        (tried, broken) = (0, 0)
        asks = .direction
        drawDirection()
        return true
    }

    /// A direction of length 1, from normal deviates; in L∞ from uniform ones.
    private func drawDirection() {
        for i in 0..<pixels { candidate[i] = isMaximum ? 2 * random.uniform() - 1 : random.normal() }
        let scale = reach / (euclideanLength(candidate, pixels) + 1e-12)
        for i in 0..<pixels { candidate[i] = min(max(border[i] + Float(scale) * candidate[i], 0), 1) }
    }

    private func note(_ isBroken: Bool) {
        tried += 1
        broken += isBroken ? 1 : 0
        let scale = Float(1 / (reach + 1e-8))
        for i in 0..<pixels {
            // What the box has left of the direction.
            let way = (candidate[i] - border[i]) * scale
            plain[i] += way
            signed[i] += isBroken ? way : -way
        }
    }

    /// The way to go, of length 1 (L∞: signs). The mean decision is subtracted, which makes the estimate less noisy
    /// (section 3.3). false: there is none.
    private func estimate() -> Bool {
        let mean = Float(2 * broken - tried) / Float(tried)
        if abs(mean) < 1 {
            for i in 0..<pixels { signed[i] -= mean * plain[i] }
        }
        let length = euclideanLength(signed, pixels)
        guard length > 0 else { return false }
        for i in 0..<pixels {
            signed[i] = isMaximum ? (signed[i] > 0 ? 1 : signed[i] < 0 ? -1 : 0) : Float(Double(signed[i]) / length)
        }
        return true
    }

    private func placeStep() {
        for i in 0..<pixels { candidate[i] = min(max(border[i] + Float(stepSize) * signed[i], 0), 1) }
    }

    private func isAtBorder() -> Bool {
        for i in 0..<pixels where candidate[i] != border[i] { return false }
        return true
    }
}
