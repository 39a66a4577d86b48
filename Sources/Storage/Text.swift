import Glibc

/// A name that comes from outside, fit for one line of an error message: in quotes, without control characters, not too
/// long.
func quoted(_ name: String) -> String {
    let longest = 120
    let printable = name.unicodeScalars.prefix(longest).map { $0.value < 32 || $0.value == 127 ? "?" : Character($0) }
    return "\"" + String(printable) + (name.unicodeScalars.count > longest ? "...\"" : "\"")
}

/// `"a", "b", "c" and 5 more`
func listed(_ names: [String]) -> String {
    let shown = names.prefix(3).map(quoted).joined(separator: ", ")
    return names.count > 3 ? "\(shown) and \(names.count - 3) more" : shown
}

/// `(64, 3, 3, 3)`
func described(_ shape: [Int]) -> String {
    "(" + shape.map { "\($0)" }.joined(separator: ", ") + ")"
}

/// The operating system's words for an error number.
func systemReason(_ number: Int32) -> String {
    String(cString: strerror(number))
}

/// The product of dimensions, nil where one is negative or the product does not fit.
func elementCount(_ shape: [Int]) -> Int? {
    var product = 1
    for dimension in shape {
        let (next, overflow) = product.multipliedReportingOverflow(by: dimension)
        guard dimension >= 0, !overflow else { return nil }
        product = next
    }
    return product
}
