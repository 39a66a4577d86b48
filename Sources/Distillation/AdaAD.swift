/// Adaptive adversarial distillation (Huang, Chen, Wang, Lu, Cheng, Wang 2023):
/// `min a KL(T(x+d) ‖ S(x+d)) + (1-a) KL(T(x) ‖ S(x))`, `d = argmax KL(T(x+d) ‖ S(x+d))` through both models.
struct AdaAD: DistillationMethod {
    static let name = "adaad"
    static let teachers = 1

    let inner = InnerMaximisation(objective: .divergenceFromTeacher, start: InnerMaximisation.smallGaussian)
    let needs: LogitNeeds
    private let a: Double

    init(_ options: MethodOptions) {
        a = options.adversarialWeight
        var needs: LogitNeeds = []
        if a > 0 { needs.formUnion([.studentAdversarial, .teacherAdversarial]) }
        if a < 1 { needs.formUnion([.studentClean, .teacherClean]) }
        self.needs = needs
    }

    func loss(_ context: LossContext) -> MethodLoss {
        var loss = MethodLoss()
        if a > 0 {
            loss.first = context.divergence(
                context.teacherAdversarial, context.studentAdversarial, weight: a,
                gradient: context.adversarialGradient)
        }
        if a < 1 {
            loss.second = context.divergence(
                context.teacherClean, context.studentClean, weight: 1 - a, gradient: context.cleanGradient)
        }
        return loss
    }
}
