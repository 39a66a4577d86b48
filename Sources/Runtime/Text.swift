/// A name that comes from outside, fit for one line of an error message: in quotes, without control characters, not too
/// long.
public func quoted(_ name: String) -> String {
    let longest = 120
    let printable = name.unicodeScalars.prefix(longest).map { $0.value < 32 || $0.value == 127 ? "?" : Character($0) }
    return "\"" + String(printable) + (name.unicodeScalars.count > longest ? "...\"" : "\"")
}

/// `"a", "b", "c" and 5 more`
public func listed(_ names: [String]) -> String {
    let shown = names.prefix(3).map(quoted).joined(separator: ", ")
    return names.count > 3 ? "\(shown) and \(names.count - 3) more" : shown
}

/// `(64, 3, 3, 3)`
public func described(_ shape: [Int]) -> String {
    "(" + shape.map { "\($0)" }.joined(separator: ", ") + ")"
}
