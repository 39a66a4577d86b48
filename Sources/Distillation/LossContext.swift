import Kernels

/// One batch as an outer loss sees it. Logits are (count, classes); only those that the method needs hold values.
public struct LossContext {
    /// Counted from 1, of `epochs`.
    public let epoch: Int
    public let epochs: Int
    public let count: Int
    public let classes: Int
    public let labels: UnsafePointer<Int64>
    /// Where images are mixed of two.
    public let mixture: LabelMixture?
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

    /// weight * mean CE(logits, y), its gradient added to `gradient`. With mixed images y is both labels, each by its
    /// share.
    func crossEntropy(
        _ logits: UnsafePointer<Float>, weight: Double = 1, gradient: UnsafeMutablePointer<Float>
    ) -> Double {
        var sum = 0.0
        for i in 0..<count {
            let share = mixture.map { Double($0.shares[i]) } ?? 1
            sum += share * row(logits, i, Int(labels[i]), weight * share, gradient)
            if let mixture, share < 1 {
                sum += (1 - share) * row(logits, i, Int(mixture.labels[i]), weight * (1 - share), gradient)
            }
        }
        return weight * sum / Double(count)
    }

    private func row(
        _ logits: UnsafePointer<Float>, _ i: Int, _ label: Int, _ weight: Double,
        _ gradient: UnsafeMutablePointer<Float>
    ) -> Double {
        Double(
            Kernels.crossEntropy(
                logits + i * classes, label: label, classes: classes, scale: Float(weight / Double(count)),
                gradient: gradient + i * classes))
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

/// The second labels of images that are mixed of two.
public struct LabelMixture {
    /// (count), each in `0..<classes`.
    public let labels: UnsafePointer<Int64>
    /// (count): the part of the image, in [0,1], that has the first label.
    public let shares: UnsafePointer<Float>
}
