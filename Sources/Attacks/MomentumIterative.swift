extension AttackDefinition {
    /// MI-FGSM: from the image itself, steps along the gradients accumulated so far, each divided by its L1 length, with the
    /// decay factor μ, `momentumDecay` (Dong, Liao, Pang, Su, Zhu, Hu, Li 2018, "Boosting adversarial attacks with momentum", algorithm 1). 10
    /// steps of ε / steps unless told otherwise.
    static let momentumIterative = AttackDefinition(name: "mi-fgsm", number: 19, steps: 10) { plan, options in
        plan.momentum = Float(options.momentumDecay)
        if options.step == 0 { plan.step = plan.epsilon / Float(plan.steps) }
        plan.start = .clean
        // Every run from the image is the same.
        plan.restarts = 1
    }
}
