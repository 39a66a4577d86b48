import Runtime

/// An attack: a name and how it sets the parameters of the loop.
public struct AttackDefinition: Sendable {
    public let name: String
    /// Keys the attack's random numbers: part of the promise "same seed, same result", so never changed or reused.
    public let number: UInt32
    /// Iterations where the caller does not say.
    public let steps: Int
    /// Changes the plan that the options alone give. Throws for options that this attack cannot have.
    let adjust: @Sendable (inout AttackPlan, AttackOptions) throws -> Void
}

/// The attacks by name.
public enum AttackRegistry {
    public static let all: [AttackDefinition] = [.fgsm, .pgd, .carliniWagner]
    public static var names: [String] { all.map(\.name) }

    /// Throws `invalidArgument` for an unknown name.
    public static func named(_ name: String) throws -> AttackDefinition {
        guard let definition = all.first(where: { $0.name == name }) else {
            throw EngineError.unknownName("attack", got: name, known: names)
        }
        return definition
    }

    /// Reads one entry of an evaluation list: a name, or a name and a number of steps, "pgd-20".
    public static func parse(specification: String) throws -> (attack: String, steps: Int) {
        let parts = specification.split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false)
        guard let definition = all.first(where: { $0.name == parts[0] }) else {
            throw EngineError.unknownName("attacks", got: specification, known: specificationForms)
        }
        guard parts.count == 2 else { return (definition.name, 0) }
        guard let steps = Int(plain: parts[1]), steps >= 1, takesSteps(definition) else {
            throw EngineError.unknownName("attacks", got: specification, known: specificationForms)
        }
        return (definition.name, steps)
    }

    /// Reads a comma-separated evaluation list; "" is the empty one.
    public static func parse(list: String) throws -> [(name: String, attack: String, steps: Int)] {
        let trimmed = trimSpaces(list[...])
        guard !trimmed.isEmpty else { return [] }
        return try trimmed.split(separator: ",", omittingEmptySubsequences: false).map { item in
            let name = String(trimSpaces(item))
            let parsed = try parse(specification: name)
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
