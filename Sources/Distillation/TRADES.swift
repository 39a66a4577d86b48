/// TRADES (Zhang, Yu, Jiao, Xing, El Ghaoui, Jordan 2019, equation 5 and algorithm 1), without a teacher:
/// `min CE(S(x), y) + β KL(S(x) ‖ S(x+d))`, `d = argmax KL(S(x) ‖ S(x+d))`.
///
/// The gradient goes through both arguments of the divergence; β = 6 by default.
struct TRADES: DistillationMethod {
    static let name = "trades"
    static let teachers = 0

    let inner = InnerMaximisation(objective: .divergenceFromCleanStudent, start: InnerMaximisation.smallGaussian)
    let needs: LogitNeeds = [.studentAdversarial, .studentClean]
    let readsSoftLabels = true
    private let beta: Double

    init(_ options: MethodOptions) { beta = options.tradesBeta }

    func loss(_ context: LossContext) -> MethodLoss {
        let natural = context.crossEntropy(context.studentClean, gradient: context.cleanGradient)
        let robust = context.divergence(
            context.studentClean, context.studentAdversarial, weight: beta, gradient: context.adversarialGradient,
            targetGradient: context.cleanGradient)
        return MethodLoss(first: natural, second: robust)
    }
}
