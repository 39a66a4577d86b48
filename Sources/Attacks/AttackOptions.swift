import Runtime

/// What a caller may choose about an attack. The defaults are those of the C header, section 4.
public struct AttackOptions {
    /// A name of the registry.
    public var attack = "pgd"
    /// "linf" or "l2".
    public var norm = "linf"
    /// "ce", "margin" or "kl".
    public var loss = "ce"
    /// Radius, in units of the [0,1] pixel scale.
    public var epsilon = 8.0 / 255
    /// Length of a step; 0 means epsilon / 4.
    public var step = 0.0
    /// 0 means the attack's own number.
    public var steps = 0
    public var restarts = 1
    /// Confidence at which the margin loss is capped.
    public var kappa = 50.0
    /// Start at a random point of the ball instead of the image.
    public var randomStart = true
    /// A sample rests at its first misclassified iterate.
    public var earlyStop = false
    public var seed: UInt64 = 0

    public init() {}

    /// The loop's parameters. Throws `invalidArgument`, naming the option, for what is out of range or unknown.
    public func plan() throws -> AttackPlan {
        let definition = try AttackRegistry.named(attack)
        let radius = try PerturbationBudget(epsilon: epsilon, step: step, norm: norm)
        guard (0...Self.mostSteps).contains(steps) else {
            throw EngineError.invalid(
                "steps", got: steps, want: "1 ... \(Self.mostSteps), or 0 for the attack's own number")
        }
        guard (1...Self.mostRestarts).contains(restarts) else {
            throw EngineError.invalid("restarts", got: restarts, want: "1 ... \(Self.mostRestarts)")
        }
        guard kappa.isFinite, kappa >= 0 else {
            throw EngineError.invalid("kappa", got: kappa, want: "a finite number >= 0")
        }
        var plan = AttackPlan(
            norm: try AttackNorms.named(norm), loss: try AttackLoss(name: loss, kappa: Float(kappa)),
            epsilon: radius.epsilon, step: radius.step, steps: steps == 0 ? definition.steps : steps)
        plan.restarts = restarts
        plan.start = randomStart ? .uniform : .clean
        plan.rest = earlyStop ? .atFirstSuccess : .never
        plan.seed = seed
        plan.attackNumber = definition.number
        try definition.adjust(&plan, self)
        return plan
    }

    /// More than any published attack takes; a larger number is a mistake that would never come back.
    private static let mostSteps = 1_000_000
    /// Restarts share a word of the random key with the attack's number.
    private static let mostRestarts = 65535
}

/// A validated radius and step, as floats.
public struct PerturbationBudget {
    public let epsilon: Float
    public let step: Float

    /// - Parameters:
    ///   - epsilon: finite, at least 0.
    ///   - step: 0 (a quarter of epsilon) up to epsilon. Step and radius given in each other's place is a known
    ///     mistake of published code, so a larger step is refused.
    ///   - norm: only for the warning about an L∞ radius that looks like the 0–255 scale.
    public init(epsilon: Double, step: Double, norm: String) throws {
        guard epsilon.isFinite, epsilon >= 0 else {
            throw EngineError.invalid("epsilon", got: epsilon, want: "a finite number >= 0")
        }
        guard step.isFinite, step >= 0 else {
            throw EngineError.invalid("step", got: step, want: "a finite number >= 0 (0 = epsilon/4)")
        }
        guard step <= epsilon else {
            throw EngineError.invalid(
                "step", got: step, want: "at most epsilon, which is \(epsilon); have the two been swapped?")
        }
        if norm == MaximumNorm.name, epsilon > 1 {
            Log.warning(
                "epsilon: \(epsilon) is larger than the whole pixel range [0,1]; "
                    + "if it is on the 0-255 scale, divide it by 255")
        }
        // Rounded towards zero, so that results also lie in the ball whose radius is the double.
        let nearest = Float(epsilon)
        self.epsilon = Double(nearest) > epsilon ? nearest.nextDown : nearest
        self.step = step == 0 ? self.epsilon / 4 : min(Float(step), self.epsilon)
    }
}
