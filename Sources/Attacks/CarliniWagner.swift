extension AttackDefinition {
    /// C&W∞ as the adversarial training literature uses it: PGD with 30 steps on the margin loss of Carlini and Wagner
    /// 2017 ("Towards evaluating the robustness of neural networks", objective f6) with confidence κ.
    static let carliniWagner = AttackDefinition(name: "cw", number: 3, steps: 30) { plan, options in
        plan.loss = .margin(kappa: Float(options.kappa))
    }
}
