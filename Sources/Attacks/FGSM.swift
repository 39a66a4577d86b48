import Runtime

extension AttackDefinition {
    /// Fast gradient sign method: one step of the whole radius from the image (Goodfellow, Shlens, Szegedy 2015,
    /// "Explaining and harnessing adversarial examples", section 4). With the L2 norm, the fast gradient method.
    static let fgsm = AttackDefinition(name: "fgsm", number: 1, steps: 1) { plan, options in
        guard plan.steps == 1 else {
            throw EngineError.invalid("steps", got: options.steps, want: "0 or 1 for fgsm; use pgd for more")
        }
        plan.step = plan.epsilon
        plan.start = .clean
        // Every run from the image is the same.
        plan.restarts = 1
    }
}
