import Runtime

/// A JSON value. Members of an object are in the order of the text, each key once.
public indirect enum JSON: Sendable {
    case null
    case bool(Bool)
    case integer(Int)
    case number(Double)
    case string(String)
    case array([JSON])
    case object([(key: String, value: JSON)])

    /// The most bytes of a text. A description of the largest network of the field has a tenth of it.
    public static let longestText = 4 << 20
    /// How deep arrays and objects may lie in each other; ours need 4. Bounds the recursion of every reader.
    static let deepestNesting = 16
    /// The most values in a text: what they take of memory is many times the bytes of `[[[0,0,...`.
    static let mostValues = 1 << 18

    /// The value as it would stand in an error message: short, on one line.
    public var summary: String {
        switch self {
        case .null: "null"
        case .bool(let value): "\(value)"
        case .integer(let value): "\(value)"
        case .number(let value): "\(value)"
        case .string(let value): quoted(value)
        case .array(let values): "an array of \(values.count)"
        case .object: "an object"
        }
    }
}
