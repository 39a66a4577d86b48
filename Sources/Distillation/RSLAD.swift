/// Robust soft label adversarial distillation (Zi, Zhao, Ma, Jiang 2021), with the factor 1/10 of its public code:
/// `min (5/6 KL(T(x) ‖ S(x+d)) + 1/6 KL(T(x) ‖ S(x))) / 10`, `d = argmax KL(T(x) ‖ S(x+d))`.
///
/// The published weights α of IGDM for this method, ten times smaller than for the others, count on that factor.
struct RSLAD: DistillationMethod {
    static let name = "rslad"
    static let teachers = 1

    let inner = InnerMaximisation(
        objective: .divergenceFromCleanTeacher, start: InnerMaximisation.smallGaussian)
    let needs: LogitNeeds = [.studentAdversarial, .studentClean, .teacherClean]

    init(_ options: MethodOptions) {}

    func loss(_ context: LossContext) -> MethodLoss {
        let adversarial = context.divergence(
            context.teacherClean, context.studentAdversarial, weight: 5.0 / 60, gradient: context.adversarialGradient)
        let clean = context.divergence(
            context.teacherClean, context.studentClean, weight: 1.0 / 60, gradient: context.cleanGradient)
        return MethodLoss(first: adversarial, second: clean)
    }
}
