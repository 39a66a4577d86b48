/// The ways a call can fail. Raw values are the status codes of the C header.
public enum ErrorCode: Int32, Sendable {
    case invalidArgument = -1
    case shape = -2
    case notFound = -3
    case io = -4
    case format = -5
    case cancelled = -6
    case busy = -7
    case outOfMemory = -8
    case notFinite = -9
    case `internal` = -10
    case mismatch = -11
}

/// An error with a message for the person who made the call: which argument, the value got, the value wanted.
public struct EngineError: Error, CustomStringConvertible {
    public let code: ErrorCode
    public let message: String

    public init(_ code: ErrorCode, _ message: String) {
        self.code = code
        self.message = message
    }

    public var description: String { message }

    /// `epsilon: got -0.1, want a number >= 0`
    public static func invalid(_ argument: String, got: some CustomStringConvertible, want: String) -> EngineError {
        EngineError(.invalidArgument, "\(argument): got \(got), want \(want)")
    }

    /// `method: got "foo", want one of pgd-at, ard, rslad, adaad`
    public static func unknownName(_ argument: String, got: String, known: [String]) -> EngineError {
        let listed = known.joined(separator: ", ")
        return EngineError(.invalidArgument, "\(argument): got \"\(got)\", want one of \(listed)")
    }
}
