import Glibc
import Kernels

/// How far a student trusts itself instead of its teacher (Zhu, Yao, Han, Zhang, Liu, Niu, Zhou, Xu, Yang, "Reliable
/// adversarial distillation with unreliable teachers", ICLR 2022), in the form that the authors of IGDM use: the part
/// `mean_i (1-a_i) KL_i(S(x) ‖ S(x+d))` of a loss, `a_i = softmax(T(x+d))_y` to the power 0.1, the gradient through both
/// arguments. In the epochs before `start`, counted from 1, a_i = 1: the student is not ready to judge.
struct Introspection {
    private let start: Int
    private let power: Double

    static let needs: LogitNeeds = [.studentAdversarial, .studentClean, .teacherAdversarial]

    init(_ options: MethodOptions) {
        start = options.introspectionStart
        power = options.introspectionPower
    }

    /// Adds its gradients to those of the context.
    func loss(_ context: LossContext) -> Double {
        guard context.epoch >= start else { return 0 }
        return context.divergence(
            context.studentClean, context.studentAdversarial, gradient: context.adversarialGradient,
            targetGradient: context.cleanGradient, sampleWeight: { 1 - trust(context, $0) })
    }

    /// a_i.
    private func trust(_ context: LossContext, _ i: Int) -> Double {
        let logarithm = -crossEntropy(
            context.teacherAdversarial + i * context.classes, label: Int(context.labels[i]), classes: context.classes,
            scale: 0, gradient: nil)
        return exp(power * Double(logarithm))
    }
}
