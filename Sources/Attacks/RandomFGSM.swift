import Runtime

extension AttackDefinition {
    /// R+FGSM: first to a random corner of the cube of size α around the image, then one step of ε - α along the sign of the
    /// gradient there (Tramèr, Kurakin, Papernot, Goodfellow, Boneh, McDaniel 2018, "Ensemble adversarial training: attacks and
    /// defenses", section 3.4). `step` is ε - α, half of ε unless told otherwise.
    static let randomFGSM = AttackDefinition(name: "r-fgsm", number: 20, steps: 1) { plan, options in
        try plan.requireNorm(["linf"], for: "r-fgsm")
        guard plan.steps == 1 else {
            throw EngineError.invalid("steps", got: options.steps, want: "0 or 1 for r-fgsm; use pgd for more")
        }
        if options.step == 0 { plan.step = plan.epsilon / 2 }
        // A corner of a cube without size is the image: so says the check of losses that are flat there.
        plan.start = plan.step == plan.epsilon ? .clean : .signs(size: plan.epsilon - plan.step)
    }
}
