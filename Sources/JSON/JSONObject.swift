import Runtime

/// An object of a text that is being read: each key is taken once, and at the end none may be left. Messages name the key
/// with what the object is: `json: layer "conv1": stride: got "2", want 1 ... 64`.
public struct JSONObject {
    public let context: String
    private var rest: [(key: String, value: JSON)]

    /// Throws `invalidArgument` for what is no object.
    public init(_ value: JSON, context: String) throws {
        guard case .object(let members) = value else {
            throw EngineError.invalid(context, got: value.summary, want: "an object")
        }
        self.context = context
        rest = members
    }

    public func label(_ key: String) -> String { "\(context): \(key)" }

    /// The value of a key that may be missing.
    public mutating func take(_ key: String) -> JSON? {
        guard let index = rest.firstIndex(where: { $0.key == key }) else { return nil }
        return rest.remove(at: index).value
    }

    /// The value of a key that has to be there; `want` says what it should be.
    public mutating func require(_ key: String, want: String) throws -> JSON {
        guard let value = take(key) else {
            throw EngineError(.invalidArgument, "\(label(key)): is missing, want \(want)")
        }
        return value
    }

    /// Throws for a key that nobody has taken.
    public func finish(known: [String]) throws {
        guard let unknown = rest.first else { return }
        throw EngineError.invalid(
            context, got: "the unknown key \(quoted(unknown.key))", want: known.joined(separator: ", "))
    }
}

/// Values of one type; `label` is what messages call the value.
extension JSON {
    public func string(_ label: String, want: String = "a string") throws -> String {
        guard case .string(let value) = self else { throw EngineError.invalid(label, got: summary, want: want) }
        return value
    }

    public func integer(_ label: String, in range: ClosedRange<Int>) throws -> Int {
        guard case .integer(let value) = self, range.contains(value) else {
            throw EngineError.invalid(
                label, got: summary, want: "an integer, \(range.lowerBound) ... \(range.upperBound)")
        }
        return value
    }

    public func number(_ label: String, in range: ClosedRange<Double>) throws -> Double {
        let number: Double? =
            switch self {
            case .number(let value): value
            case .integer(let value): Double(value)
            default: nil
            }
        guard let number, range.contains(number) else {
            throw EngineError.invalid(
                label, got: summary, want: "a number, \(range.lowerBound) ... \(range.upperBound)")
        }
        return number
    }

    public func flag(_ label: String) throws -> Bool {
        guard case .bool(let value) = self else {
            throw EngineError.invalid(label, got: summary, want: "true or false")
        }
        return value
    }

    public func array(_ label: String, want: String = "an array") throws -> [JSON] {
        guard case .array(let values) = self else { throw EngineError.invalid(label, got: summary, want: want) }
        return values
    }
}

extension JSON {
    /// A float as the shortest number that is read back as the same float.
    public init(_ value: Float) { self = .number(Double("\(value)") ?? Double(value)) }

    public init(_ values: [Int]) { self = .array(values.map { .integer($0) }) }
}
