/// Multi-teacher adversarial robustness distillation (Zhao, Yu, Sun, Zhang, Wei, "Enhanced accuracy and robustness via
/// multi-teacher adversarial distillation", ECCV 2022):
/// `min w_adv KL(T_adv(x+d) ‖ S(x+d)) + w_nat KL(T_nat(x) ‖ S(x))`, `d = argmax CE(S(x+d), y)`.
///
/// The weights, 1/2 at first, follow how far each loss has come down from its value in the first step:
/// `w_nat ← w_nat - r (w_nat - r_nat / (r_adv + r_nat))`, `r_* = loss / first loss`, `w_adv = 1 - w_nat`. A step is
/// taken with the weights after its own losses.
final class MTARD: DistillationMethod {
    static let name = "mtard"
    static let teachers = 2

    let inner = InnerMaximisation(objective: .crossEntropy, start: InnerMaximisation.smallGaussian)
    let needs: LogitNeeds = [.studentAdversarial, .studentClean, .teacherAdversarial, .teacherClean]
    private let rate: Double
    private var balance = Balance()
    /// After the last loss.
    private var next = Balance()

    /// First losses are 0 before the first step.
    private struct Balance {
        var natural = 0.5
        var firstNatural = 0.0
        var firstAdversarial = 0.0

        func after(natural loss: Double, adversarial: Double, rate: Double) -> Balance {
            var next = self
            if firstNatural == 0, firstAdversarial == 0 {
                next.firstNatural = loss
                next.firstAdversarial = adversarial
            }
            // A first loss of 0 leaves nothing to come down from.
            let rNatural = next.firstNatural > 0 ? loss / next.firstNatural : 0
            let rAdversarial = next.firstAdversarial > 0 ? adversarial / next.firstAdversarial : 0
            let sum = rNatural + rAdversarial
            if sum > 0 { next.natural -= rate * (natural - rNatural / sum) }
            return next
        }
    }

    init(_ options: MethodOptions) { rate = options.balanceRate }

    func loss(_ context: LossContext) -> MethodLoss {
        // The weights depend on the losses, so these are needed first, without gradient.
        let adversarial = context.divergence(context.teacherAdversarial, context.studentAdversarial, gradient: nil)
        let natural = context.divergence(context.teacherClean, context.studentClean, gradient: nil)
        next = balance.after(natural: natural, adversarial: adversarial, rate: rate)
        return MethodLoss(
            first: context.divergence(
                context.teacherAdversarial, context.studentAdversarial, weight: 1 - next.natural,
                gradient: context.adversarialGradient),
            second: context.divergence(
                context.teacherClean, context.studentClean, weight: next.natural, gradient: context.cleanGradient))
    }

    func commit() { balance = next }
}

extension MTARD: TrainingState {
    var stateName: String { "method" }

    var numbers: [StateNumber] {
        get {
            [
                .real("natural_weight", balance.natural, in: 0...1),
                .real("first_natural_loss", balance.firstNatural),
                .real("first_adversarial_loss", balance.firstAdversarial),
            ]
        }
        set {
            balance = Balance(
                natural: newValue[0].value, firstNatural: newValue[1].value, firstAdversarial: newValue[2].value)
        }
    }
}
