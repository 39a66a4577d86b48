import Kernels

/// One batch as an outer loss sees it. Logits are (count, classes); only those that the method needs hold values.
public struct LossContext {
    /// Counted from 1, of `epochs`.
    public let epoch: Int
    public let epochs: Int
    public let count: Int
    public let classes: Int
    public let labels: UnsafePointer<Int64>
    /// (count, classes): soft labels, where samples have them.
    public let softLabels: UnsafePointer<Float>?
    /// S(x+d) and S(x), in training mode.
    public let studentAdversarial: UnsafePointer<Float>
    public let studentClean: UnsafePointer<Float>
    /// T(x+d), and T(x) of the teacher for clean images where there are two.
    public let teacherAdversarial: UnsafePointer<Float>
    public let teacherClean: UnsafePointer<Float>
    /// d loss / d S(x+d) and d loss / d S(x), to be added to.
    public let adversarialGradient: UnsafeMutablePointer<Float>
    public let cleanGradient: UnsafeMutablePointer<Float>
    /// (count): by how much each sample counts in IGDM's term. All are 1 unless the method's `loss` writes others.
    public let sampleWeights: UnsafeMutablePointer<Double>

    /// weight * mean CE(logits, y), its gradient added to `gradient`. y is the soft label where there is one.
    func crossEntropy(
        _ logits: UnsafePointer<Float>, weight: Double = 1, gradient: UnsafeMutablePointer<Float>
    ) -> Double {
        var sum = 0.0
        let scale = Float(weight / Double(count))
        for i in 0..<count {
            let (row, slope) = (logits + i * classes, gradient + i * classes)
            let loss =
                if let softLabels {
                    Kernels.crossEntropy(
                        row, target: softLabels + i * classes, classes: classes, scale: scale, gradient: slope)
                } else {
                    Kernels.crossEntropy(
                        row, label: Int(labels[i]), classes: classes, scale: scale, gradient: slope)
                }
            sum += Double(loss)
        }
        return weight * sum / Double(count)
    }

    /// weight * mean_i w_i KL_i(target/τ ‖ model/τ), its gradient with respect to `model` added to `gradient`, that with
    /// respect to `target` to `targetGradient`, where they are given.
    ///
    /// - Parameter sampleWeight: w_i of sample i.
    func divergence(
        _ target: UnsafePointer<Float>, _ model: UnsafePointer<Float>, temperature: Float = 1, weight: Double = 1,
        gradient: UnsafeMutablePointer<Float>?, targetGradient: UnsafeMutablePointer<Float>? = nil,
        sampleWeight: (Int) -> Double = { _ in 1 }
    ) -> Double {
        var sum = 0.0
        for i in 0..<count {
            let own = sampleWeight(i)
            sum +=
                own
                * Double(
                    klDivergence(
                        target: target + i * classes, model: model + i * classes, classes: classes,
                        temperature: temperature, scale: Float(weight * own / Double(count)),
                        dq: gradient.map { $0 + i * classes }, dp: targetGradient.map { $0 + i * classes }))
        }
        return weight * sum / Double(count)
    }
}
