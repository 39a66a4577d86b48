extension AttackDefinition {
    /// Basic iterative method: PGD from the image itself, 10 steps unless told otherwise (Kurakin, Goodfellow, Bengio 2017,
    /// "Adversarial examples in the physical world", section 2.2).
    static let basicIterative = AttackDefinition(name: "bim", number: 18, steps: 10) { plan, _ in
        plan.start = .clean
        // Every run from the image is the same.
        plan.restarts = 1
    }
}
