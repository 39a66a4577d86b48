extension Int {
    /// The number in a name: only as Swift itself writes it, so that every number has one name. nil for "+7" and "07",
    /// which `Int(_:)` reads, and for what is no number or does not fit.
    public init?(plain text: some StringProtocol) {
        guard let number = Int(text), String(number) == text else { return nil }
        self = number
    }
}
