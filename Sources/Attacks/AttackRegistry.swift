import Runtime

/// An attack: a name and how it sets the parameters of the loop, or what its stages are.
public struct AttackDefinition: Sendable {
    public let name: String
    /// Keys the attack's random numbers: part of the promise "same seed, same result", so never changed or reused.
    public let number: UInt32
    /// Iterations where the caller does not say.
    public let steps: Int
    let kind: Kind
    /// Whether it can go for a class that the caller names.
    let takesTarget: Bool

    enum Kind: Sendable {
        /// An attack of the loop: changes the plan that the options alone give. Throws for options that it cannot have.
        case loop(@Sendable (inout AttackPlan, AttackOptions) throws -> Void)
        /// An attack whose runs choose their own steps, or several of them; the number is that of the classes.
        case stages(@Sendable (AttackOptions, Int) throws -> [AttackStage])
    }

    init(
        name: String, number: UInt32, steps: Int, takesTarget: Bool = true,
        adjust: @escaping @Sendable (inout AttackPlan, AttackOptions) throws -> Void
    ) {
        (self.name, self.number, self.steps, kind) = (name, number, steps, .loop(adjust))
        self.takesTarget = takesTarget
    }

    /// One stage, from the plan that the options give and the number of classes.
    init(
        name: String, number: UInt32, steps: Int, takesTarget: Bool = false,
        stage: @escaping @Sendable (AttackPlan, AttackOptions, Int) throws -> AttackStage
    ) {
        (self.name, self.number, self.steps) = (name, number, steps)
        self.takesTarget = takesTarget
        kind = .stages { options, classes in [try stage(try options.plan(), options, classes)] }
    }

    /// Several stages.
    init(name: String, number: UInt32, stages: @escaping @Sendable (AttackOptions, Int) throws -> [AttackStage]) {
        (self.name, self.number, steps, takesTarget, kind) = (name, number, 0, false, .stages(stages))
    }
}

/// The attacks by name.
public enum AttackRegistry {
    public static let all = adversaries + AttackDefinition.corruptions
    private static let adversaries: [AttackDefinition] = [
        .fgsm, .pgd, .carliniWagner, .autoPGD, .autoPGDRatio, .autoPGDTargeted, .fab, .fabTargeted, .square,
        .autoAttack, .deepFool, .decoupled, .fastMinimumNorm, .spsa, .gaussianNoise, .uniformNoise, .hopSkipJump,
        .basicIterative, .momentumIterative, .randomFGSM, .tradesPGD, .carliniWagnerEuclidean,
    ]
    public static var names: [String] { all.map(\.name) }

    /// Throws `invalidArgument` for an unknown name.
    public static func named(_ name: String) throws -> AttackDefinition {
        guard let definition = all.first(where: { $0.name == name }) else {
            if let entry = try? parse(specification: name) {
                throw EngineError.invalid(
                    "attack", got: "\"\(name)\"", want: "\"\(entry.attack)\", with steps = \(entry.steps)")
            }
            throw EngineError.unknownName("attack", got: name, known: names)
        }
        return definition
    }

    /// Reads one entry of an evaluation list: a name, or a name and a number of steps, "pgd-20".
    public static func parse(specification: String) throws -> (attack: String, steps: Int) {
        if let definition = all.first(where: { $0.name == specification }) { return (definition.name, 0) }
        for definition in all where takesSteps(definition) && specification.hasPrefix(definition.name + "-") {
            let number = specification.dropFirst(definition.name.count + 1)
            if let steps = Int(plain: number), steps >= 1 { return (definition.name, steps) }
        }
        throw EngineError.unknownName("attacks", got: specification, known: specificationForms)
    }

    /// Reads a comma-separated evaluation list; "" is the empty one.
    public static func parse(list: String) throws -> [(name: String, attack: String, steps: Int)] {
        let trimmed = trimSpaces(list[...])
        guard !trimmed.isEmpty else { return [] }
        var names: [String] = []
        return try trimmed.split(separator: ",", omittingEmptySubsequences: false).map { item in
            let name = String(trimSpaces(item))
            let parsed = try parse(specification: name)
            // Results go by the entries' names.
            guard !names.contains(name) else {
                throw EngineError.invalid("attacks", got: "\"\(name)\" twice", want: "each entry once")
            }
            names.append(name)
            return (name, parsed.attack, parsed.steps)
        }
    }

    private static func takesSteps(_ definition: AttackDefinition) -> Bool { definition.steps > 1 }

    private static var specificationForms: [String] {
        all.flatMap { takesSteps($0) ? [$0.name, "\($0.name)-K (K steps)"] : [$0.name] }
    }

    private static func trimSpaces(_ text: Substring) -> Substring {
        let start = text.drop { $0 == " " }
        guard let last = start.lastIndex(where: { $0 != " " }) else { return "" }
        return start[...last]
    }
}
