import Runtime

/// What a caller may choose about an attack. The defaults are those of the C header, section 4.
public struct AttackOptions {
    /// A name of the registry.
    public var attack = "pgd"
    /// "linf", "l2", "l1", for fmn also "l0"; not every attack has all.
    public var norm = "linf"
    /// "ce", "margin", "kl" or "dlr".
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
    /// The class to reach: "least-likely", "random", "labels", or its number; "" = any other than the label.
    public var target = ""

    /// Passes over which a gradient is averaged, for models that are random (Athalye, Carlini, Wagner 2018). With more than
    /// one, what an attack in stages finds is evaluated once more before it counts.
    public var expectation = 1
    /// Whether the model is known to answer differently each time: then results are evaluated once more with one pass, too.
    var isRandom = false
    /// MI-FGSM: what remains of the gradients accumulated from step to step, μ of the paper.
    public var momentumDecay = 1.0

    // Of the attacks in stages only.

    /// How many classes a targeted attack goes for, the nearest first; 0 means 9, or all others where they are fewer.
    public var targets = 0
    /// Auto-PGD: the part of the steps that must raise the loss for the step to stay.
    public var rho = 0.75
    /// Auto-PGD: judge the first window as the published code does.
    public var referenceQuirks = false
    /// Auto-PGD in L1: three and two times the radius for 30 % of the steps each, and only then the radius.
    public var largeRadii = false
    /// FAB: the largest weight of the original image, the overshoot, and the way back from a misclassified point.
    public var fabAlpha = 0.1
    public var fabEta = 1.05
    public var fabBeta = 0.9
    /// Square: the part of the image that the first squares cover.
    public var squareShare = 0.8
    /// Of DeepFool, DDN, FMN, SPSA, HopSkipJump.
    public var search = SearchTuning()

    public init() {}

    /// Takes over what authors have settled.
    mutating func takeTuning(from other: AttackOptions) {
        (rho, referenceQuirks, largeRadii) = (other.rho, other.referenceQuirks, other.largeRadii)
        (fabAlpha, fabEta, fabBeta, squareShare) = (other.fabAlpha, other.fabEta, other.fabBeta, other.squareShare)
        (momentumDecay, search) = (other.momentumDecay, other.search)
    }

    /// What authors have settled, as text that is the same for the same values.
    var tuned: String {
        "rho \(rho), quirks \(referenceQuirks), large radii \(largeRadii), fab \(fabAlpha) \(fabEta) \(fabBeta), "
            + "square \(squareShare), momentum \(momentumDecay), \(search)"
    }

    /// The loop's parameters. Throws `invalidArgument`, naming the option, for what is out of range or unknown.
    public func plan() throws -> AttackPlan {
        let definition = try AttackRegistry.named(attack)
        let isLoop = if case .loop = definition.kind { true } else { false }
        guard isLoop || step == 0 else {
            throw EngineError.invalid("step", got: step, want: "0: \(attack) chooses its steps itself")
        }
        let radius = try PerturbationBudget(epsilon: epsilon, step: step)
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
        guard (1...Self.mostRestarts).contains(expectation) else {
            throw EngineError.invalid("eot", got: expectation, want: "1 ... \(Self.mostRestarts)")
        }
        guard momentumDecay >= 0, momentumDecay <= 10 else {
            throw EngineError.invalid("momentum_decay", got: momentumDecay, want: "0 ... 10")
        }
        var plan = AttackPlan(
            norm: try AttackNorms.named(norm, pixelCount: attack == AttackDefinition.fastMinimumNorm.name),
            loss: try AttackLoss(name: loss, kappa: Float(kappa)),
            epsilon: radius.epsilon, step: radius.step, steps: steps == 0 ? definition.steps : steps)
        plan.restarts = restarts
        plan.expectation = expectation
        plan.start = randomStart ? .uniform : .clean
        plan.rest = earlyStop ? .atFirstSuccess : .never
        plan.seed = seed
        plan.attackNumber = definition.number
        if case .loop(let adjust) = definition.kind { try adjust(&plan, self) }
        if !target.isEmpty {
            guard definition.takesTarget else {
                let known = AttackRegistry.all.filter(\.takesTarget).map(\.name).joined(separator: ", ")
                throw EngineError.invalid(
                    "target", got: "\"\(target)\"", want: "\"\" for \(attack); a target is for \(known)")
            }
            plan.loss = try plan.loss.towardsTarget()
            plan.isTargeted = true
        }
        return plan
    }

    /// What to reach on a model of so many classes; nil: any class but the label. Throws `invalidArgument`.
    func goal(classes: Int) throws -> AttackTarget? { try AttackTarget.named(target, classes: classes) }

    /// The attack in stages, on a model of so many classes; nil where it is one of the loop. Throws `invalidArgument`.
    func stages(classes: Int) throws -> [AttackStage]? {
        guard case .stages(let make) = try AttackRegistry.named(attack).kind else { return nil }
        _ = try plan()
        guard (0...Self.mostTargets).contains(targets) else {
            throw EngineError.invalid("targets", got: targets, want: "1 ... \(Self.mostTargets), or 0 for 9")
        }
        guard restarts * targetCount(classes) <= Self.mostRestarts else {
            throw EngineError.invalid(
                "restarts", got: restarts, want: "at most \(Self.mostRestarts) runs, restarts times targets")
        }
        for (name, value) in [
            ("rho", rho), ("fab_alpha", fabAlpha), ("fab_beta", fabBeta), ("square_share", squareShare),
        ] {
            guard value > 0, value <= 1 else { throw EngineError.invalid(name, got: value, want: "above 0, at most 1") }
        }
        guard fabEta >= 1, fabEta <= 10 else { throw EngineError.invalid("fab_eta", got: fabEta, want: "1 ... 10") }
        try search.check()
        let stages = try make(self, classes)
        return expectation > 1 || isRandom ? stages.map(\.verified) : stages
    }

    /// How many targets a targeted attack has.
    func targetCount(_ classes: Int) -> Int {
        target.isEmpty ? min(targets == 0 ? 9 : targets, classes - 1) : 1
    }

    /// What to tell about targets that there are not.
    func targetFallback(_ classes: Int) -> String? {
        let wanted = targets == 0 ? 9 : targets
        return wanted < classes || !target.isEmpty ? nil : "\(classes - 1) targets instead of \(wanted)"
    }

    /// More than any published attack takes; a larger number is a mistake that would never come back.
    private static let mostSteps = 1_000_000
    /// Restarts share a word of the random key with the attack's number.
    static let mostRestarts = 65535
    static let mostTargets = 1000
}

/// A validated radius and step, as floats.
public struct PerturbationBudget {
    public let epsilon: Float
    public let step: Float

    /// - Parameters:
    ///   - epsilon: finite, at least 0.
    ///   - step: 0 (a quarter of epsilon) up to epsilon. Step and radius given in each other's place is a known
    ///     mistake of published code, so a larger step is refused.
    public init(epsilon: Double, step: Double) throws {
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
        // Rounded towards zero, so that results also lie in the ball whose radius is the double.
        let nearest = Float(epsilon)
        self.epsilon = Double(nearest) > epsilon ? nearest.nextDown : nearest
        self.step = step == 0 ? self.epsilon / 4 : min(Float(step), self.epsilon)
    }
}
