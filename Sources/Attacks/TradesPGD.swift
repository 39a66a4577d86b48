extension AttackDefinition {
    /// TPGD: PGD on the Kullback-Leibler divergence from the model's clean output (or from target logits), from the image plus
    /// normal deviates of 0.001: what TRADES trains against (Zhang, Yu, Jiao, Xing, El Ghaoui, Jordan 2019, "Theoretically
    /// principled trade-off between robustness and accuracy", algorithm 1). 10 steps unless told otherwise.
    static let tradesPGD = AttackDefinition(name: "tpgd", number: 21, steps: 10, takesTarget: false) { plan, _ in
        plan.loss = .divergence
        if plan.start != .clean { plan.start = .gaussian(scale: 0.001) }
    }
}
