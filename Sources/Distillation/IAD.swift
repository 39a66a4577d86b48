/// Introspective adversarial distillation (Zhu et al. 2022), in the form that the authors of IGDM use:
/// `min KL(T(x) ‖ S(x+d)) + mean_i (1-a_i) KL_i(S(x) ‖ S(x+d))`, `d = argmax CE(S(x+d), y)`; a_i: see `Introspection`.
struct IAD: DistillationMethod {
    static let name = "iad"
    static let teachers = 1

    let inner = InnerMaximisation.student
    let needs: LogitNeeds = Introspection.needs.union(.teacherClean)
    private let introspection: Introspection

    init(_ options: MethodOptions) { introspection = Introspection(options) }

    func loss(_ context: LossContext) -> MethodLoss {
        let taught = context.divergence(
            context.teacherClean, context.studentAdversarial, gradient: context.adversarialGradient)
        return MethodLoss(first: taught, second: introspection.loss(context))
    }
}
