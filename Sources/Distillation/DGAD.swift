import Glibc
import Kernels

/// Dynamic guidance adversarial distillation (Park and Min, ECCV 2024):
/// `min mean_i KL_i(T'(z_i) ‖ S(z_i)) + β mean (softmax S(x+d) - softmax S(x))²`, `d` as AdaAD's.
///
/// z_i is x+d, and x where the teacher is wrong about it: there a student has no use for a teacher under attack. T' is the
/// teacher put right: where another class than the label has the largest logit, the two change places. The second mean goes
/// over samples and classes, as in the authors' code; β = 1 is theirs too.
struct DGAD: DistillationMethod {
    static let name = "dgad"
    static let teachers = 1

    let inner = InnerMaximisation(objective: .divergenceFromTeacher, start: InnerMaximisation.smallGaussian)
    let needs: LogitNeeds = [.studentAdversarial, .studentClean, .teacherAdversarial, .teacherClean]
    private let consistency: Double

    init(_ options: MethodOptions) { consistency = options.consistencyWeight }

    func loss(_ context: LossContext) -> MethodLoss {
        let (count, classes) = (context.count, context.classes)
        var taught = 0.0
        var distance = 0.0
        for i in 0..<count {
            let (row, label) = (i * classes, Int(context.labels[i]))
            let adversarial = (context.studentAdversarial + row, context.adversarialGradient + row)
            let clean = (context.studentClean + row, context.cleanGradient + row)
            let isWrong = argmax(context.teacherClean + row, classes) != label
            let (student, gradient) = isWrong ? clean : adversarial
            taught += Self.divergence(
                (isWrong ? context.teacherClean : context.teacherAdversarial) + row, student, label, classes,
                scale: 1 / Double(count), gradient)
            guard consistency > 0 else { continue }
            distance += Self.squaredDistance(
                adversarial, clean, classes, scale: consistency / Double(count * classes))
        }
        return MethodLoss(
            first: taught / Double(count), second: consistency * distance / Double(count * classes))
    }

    /// KL(T' ‖ S) of a row. It differs from KL(T ‖ S) by two terms only, those of the classes that change places.
    private static func divergence(
        _ teacher: UnsafePointer<Float>, _ student: UnsafePointer<Float>, _ label: Int, _ classes: Int, scale: Double,
        _ gradient: UnsafeMutablePointer<Float>
    ) -> Double {
        let plain = klDivergence(
            target: teacher, model: student, classes: classes, temperature: 1, scale: Float(scale), dq: gradient,
            dp: nil)
        let largest = argmax(teacher, classes)
        guard largest != label else { return Double(plain) }
        let logarithms = LogSoftmax(teacher, classes)
        let moved = exp(logarithms[label]) - exp(logarithms[largest])
        gradient[label] += Float(scale * moved)
        gradient[largest] -= Float(scale * moved)
        return Double(plain) + moved * (Double(student[label]) - Double(student[largest]))
    }

    /// Σ_c (softmax(a)_c - softmax(b)_c)² and, times `scale`, its gradients.
    private static func squaredDistance(
        _ a: (UnsafePointer<Float>, UnsafeMutablePointer<Float>),
        _ b: (UnsafePointer<Float>, UnsafeMutablePointer<Float>),
        _ classes: Int, scale: Double
    ) -> Double {
        let (logP, logQ) = (LogSoftmax(a.0, classes), LogSoftmax(b.0, classes))
        var sum = 0.0
        // Means of the differences under p and under q.
        var (underP, underQ) = (0.0, 0.0)
        for c in 0..<classes {
            let (p, q) = (exp(logP[c]), exp(logQ[c]))
            sum += (p - q) * (p - q)
            underP += p * (p - q)
            underQ += q * (p - q)
        }
        for c in 0..<classes {
            let (p, q) = (exp(logP[c]), exp(logQ[c]))
            a.1[c] += Float(2 * scale * p * (p - q - underP))
            b.1[c] -= Float(2 * scale * q * (p - q - underQ))
        }
        return sum
    }
}
