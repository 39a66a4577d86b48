import Glibc

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
