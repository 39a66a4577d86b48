/// Adversarial knowledge distillation (Maroto, Ortiz-Jiménez, Frossard 2022):
/// `min (1-λ) CE(S(x+d), y) + λ KL(T(x+d) ‖ S(x+d))`, `d = argmax CE(S(x+d), y)`.
///
/// The authors of IGDM do not state their λ; 0.5 by default.
struct AKD: DistillationMethod {
    static let name = "akd"
    static let teachers = 1

    let inner = InnerMaximisation.student
    let needs: LogitNeeds
    var readsSoftLabels: Bool { lambda < 1 }
    private let lambda: Double

    init(_ options: MethodOptions) {
        lambda = options.distillationWeight
        needs = lambda > 0 ? [.studentAdversarial, .teacherAdversarial] : .studentAdversarial
    }

    func loss(_ context: LossContext) -> MethodLoss {
        var loss = MethodLoss()
        if lambda < 1 {
            loss.first = context.crossEntropy(
                context.studentAdversarial, weight: 1 - lambda, gradient: context.adversarialGradient)
        }
        if lambda > 0 {
            loss.second = context.divergence(
                context.teacherAdversarial, context.studentAdversarial, weight: lambda,
                gradient: context.adversarialGradient)
        }
        return loss
    }
}
