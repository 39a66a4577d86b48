/// Adversarial training (Madry et al. 2018, equation 2.1), the baseline without a teacher:
/// `min CE(S(x+d), y)`, `d = argmax CE(S(x+d), y)`.
struct PGDAT: DistillationMethod {
    static let name = "pgd-at"
    static let teachers = 0

    let inner = InnerMaximisation.student
    let needs = LogitNeeds.studentAdversarial
    let readsSoftLabels = true

    init(_ options: MethodOptions) {}

    func loss(_ context: LossContext) -> MethodLoss {
        MethodLoss(
            first: context.crossEntropy(context.studentAdversarial, gradient: context.adversarialGradient))
    }
}
