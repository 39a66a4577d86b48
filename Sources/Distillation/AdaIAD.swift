/// AdaAD with introspection (Huang et al. 2023): `min KL(T(x+d) ‖ S(x+d)) + mean_i (1-a_i) KL_i(S(x) ‖ S(x+d))`,
/// `d = argmax KL(T(x+d) ‖ S(x+d))` through both models; a_i: see `Introspection`.
struct AdaIAD: DistillationMethod {
    static let name = "adaiad"
    static let teachers = 1

    let inner = InnerMaximisation(objective: .divergenceFromTeacher, start: InnerMaximisation.smallGaussian)
    let needs = Introspection.needs
    private let introspection: Introspection

    init(_ options: MethodOptions) { introspection = Introspection(options) }

    func loss(_ context: LossContext) -> MethodLoss {
        let taught = context.divergence(
            context.teacherAdversarial, context.studentAdversarial, gradient: context.adversarialGradient)
        return MethodLoss(first: taught, second: introspection.loss(context))
    }
}
