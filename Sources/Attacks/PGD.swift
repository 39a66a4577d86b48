extension AttackDefinition {
    /// Projected gradient descent on the chosen loss, 20 steps from a random point of the ball unless told otherwise
    /// (Madry, Makelov, Schmidt, Tsipras, Vladu 2018, "Towards deep learning models resistant to adversarial attacks").
    static let pgd = AttackDefinition(name: "pgd", number: 2, steps: 20) { _, _ in }
}
