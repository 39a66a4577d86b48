import Glibc
import Kernels

/// Sample-wise adaptive adversarial distillation (Lee and Chung, TMLR 2026, arXiv 2512.10275):
/// `min mean_i w_i (KL_i(T(x+d) ‖ S(x+d)) + IGDM_i) + β (1 - ŵ_i) KL_i(T(x) ‖ S(x))`, `d` = argmax KL(T̃(x+d) ‖ S(x+d)), T̃
/// the teacher with the label's logit linearised.
///
/// `w_i = s (H_i - min_j H_j)` counts samples on which the student's adversary makes the teacher unsure too. H is the Rényi
/// entropy of order γ of softmax(T(x+d)), minimum and maximum are those of the batch, and ŵ = w / max_j w_j. The
/// numbers s = 5, γ = 1 (Shannon's entropy) and β = 0 are those of the authors' code.
struct SAAD: DistillationMethod {
    static let name = "saad"
    static let teachers = 1

    let inner = InnerMaximisation(
        objective: .divergenceFromLinearisedTeacher, start: InnerMaximisation.smallGaussian)
    let needs: LogitNeeds
    private let scale: Double
    private let order: Double
    private let cleanWeight: Double

    init(_ options: MethodOptions) {
        scale = options.entropyScale
        order = options.entropyOrder
        cleanWeight = options.cleanWeight
        let adversarial: LogitNeeds = [.studentAdversarial, .teacherAdversarial]
        needs = cleanWeight > 0 ? adversarial.union([.studentClean, .teacherClean]) : adversarial
    }

    func loss(_ context: LossContext) -> MethodLoss {
        let weights = context.sampleWeights
        var (least, largest) = (Double.infinity, 0.0)
        for i in 0..<context.count {
            weights[i] = entropy(context.teacherAdversarial + i * context.classes, context.classes)
            least = min(least, weights[i])
        }
        for i in 0..<context.count {
            weights[i] = scale * (weights[i] - least)
            largest = max(largest, weights[i])
        }
        let taught = context.divergence(
            context.teacherAdversarial, context.studentAdversarial, gradient: context.adversarialGradient,
            sampleWeight: { weights[$0] })
        guard cleanWeight > 0 else { return MethodLoss(first: taught) }
        // The authors' guard against a batch in which all are equal.
        let inverse = 1 / (largest + 1e-8)
        return MethodLoss(
            first: taught,
            second: context.divergence(
                context.teacherClean, context.studentClean, weight: cleanWeight, gradient: context.cleanGradient,
                sampleWeight: { 1 - weights[$0] * inverse }))
    }

    /// `log Σ_c p_c^γ / (1 - γ)`, which goes to `-Σ_c p_c log p_c` as γ goes to 1.
    private func entropy(_ logits: UnsafePointer<Float>, _ classes: Int) -> Double {
        let logarithms = LogSoftmax(logits, classes)
        var sum = 0.0
        if abs(order - 1) < 1e-6 {
            for c in 0..<classes { sum -= exp(logarithms[c]) * logarithms[c] }
            return sum
        }
        // From the largest down: high powers of small probabilities would all be 0.
        var largest = logarithms[0]
        for c in 1..<classes { largest = max(largest, logarithms[c]) }
        for c in 0..<classes { sum += exp(order * (logarithms[c] - largest)) }
        return (order * largest + log(sum)) / (1 - order)
    }
}
