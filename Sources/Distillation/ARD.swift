/// Adversarially robust distillation (Goldblum, Fowl, Feizi, Goldstein 2020), in the form that the authors of IGDM use:
/// `min a τ² KL(T(x)/τ ‖ S(x+d)/τ) + (1-a) CE(S(x), y)`, `d = argmax CE(S(x+d), y)`.
///
/// The defaults a = 1, τ = 1 are theirs too (Lee, Cho, Kim 2025); ARD's authors took τ = 30 on CIFAR-10.
struct ARD: DistillationMethod {
    static let name = "ard"
    static let teachers = 1

    let inner = InnerMaximisation.student
    let needs: LogitNeeds
    var readsSoftLabels: Bool { a < 1 }
    private let a: Double
    private let temperature: Float

    init(_ options: MethodOptions) {
        a = options.adversarialWeight
        temperature = options.temperature
        var needs: LogitNeeds = []
        if a > 0 { needs.formUnion([.studentAdversarial, .teacherClean]) }
        if a < 1 { needs.insert(.studentClean) }
        self.needs = needs
    }

    func loss(_ context: LossContext) -> MethodLoss {
        var loss = MethodLoss()
        if a > 0 {
            let tau = Double(temperature)
            loss.first = context.divergence(
                context.teacherClean, context.studentAdversarial, temperature: temperature, weight: a * tau * tau,
                gradient: context.adversarialGradient)
        }
        if a < 1 {
            loss.second = context.crossEntropy(context.studentClean, weight: 1 - a, gradient: context.cleanGradient)
        }
        return loss
    }
}
