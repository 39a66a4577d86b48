import Runtime

/// Indirect gradient distillation (Lee, Cho, Kim, "Indirect Gradient Matching for Adversarial Robust Distillation",
/// ICLR 2025, arXiv 2312.03286).
///
/// An adversarially trained f is nearly linear around x, so `f(x+d) - f(x-d) ≈ 2 ∇f(x)ᵀ d`: to match that difference
/// between student and teacher is to match their input gradients, without a second derivative.
/// `L_IGDM = D( T(x+d) - T(x-d), S(x+d) - S(x-d) )` (equation 8), added to the method's loss with the weight `α e / E`
/// in epoch e of E.
public struct IGDM: Sendable {
    /// What is taken for the mirrored image x-d.
    public enum Mirror: String, CaseIterable, Sendable {
        /// As it is, also outside [0,1]: the paper's code.
        case paper
        /// Clipped to [0,1]. Where many pixels lie at the border of the box, the unclipped mirror shows the teacher
        /// images that it was never trained on, and IGDM does harm.
        case clip
    }

    /// How the weight comes to α over the epochs.
    public enum Ramp: String, CaseIterable, Sendable {
        /// α e / E in epoch e of E.
        case linear
        /// α throughout.
        case constant
    }

    /// What the weight stands before: IGDM, or one of the terms that the paper compares with it, which look at the
    /// student alone and carry gradients through both sides.
    public enum Term: String, CaseIterable, Sendable {
        /// D( T(x+d) - T(x-d), S(x+d) - S(x-d) ).
        case igdm
        /// D( S(x+d), S(x) ), the regulariser of TRADES.
        case tradesReg = "trades-reg"
        /// D( S(x+d), S(x-d) ).
        case tradesLike = "trades-like"
    }

    /// α.
    public let weight: Double
    public let mirror: Mirror
    public let distance: LogitDistance
    public var ramp = Ramp.linear
    public var term = Term.igdm

    var usesTeacher: Bool { term == .igdm }
    var usesMirror: Bool { term != .tradesReg }
    var usesClean: Bool { term == .tradesReg }

    /// Of the term in an epoch.
    public func weight(epoch: Int, epochs: Int) -> Double {
        ramp == .linear ? weight * Double(epoch) / Double(epochs) : weight
    }

    /// Writes x-d with d = x_adv - x. Returns the part of its pixels that lie outside [0,1], before clipping.
    ///
    /// - Parameters:
    ///   - images, adversarial, mirrored: (count, pixels).
    ///   - outside: (count), room for the counts of the samples, which are worked on side by side.
    func reflect(
        _ images: UnsafePointer<Float>, _ adversarial: UnsafePointer<Float>, count: Int, pixels: Int,
        into mirrored: UnsafeMutablePointer<Float>, outside: UnsafeMutablePointer<Int>
    ) -> Double {
        let clips = mirror == .clip
        WorkerPool.parallelFor(count) { sample in
            let first = sample * pixels
            var beyond = 0
            for i in first..<first + pixels {
                let d = adversarial[i] - images[i]
                let reflected = images[i] - d
                let inside = min(max(reflected, 0), 1)
                beyond += inside == reflected ? 0 : 1
                mirrored[i] = clips ? inside : reflected
            }
            outside[sample] = beyond
        }
        let total = (0..<count).reduce(0) { $0 + outside[$1] }
        return Double(total) / Double(count * pixels)
    }

    /// One model's logits at x+d, x and x-d, or a loss's gradients with respect to them; (count, classes).
    struct Places<Pointer> {
        let plus: Pointer
        let clean: Pointer
        let minus: Pointer
    }

    /// The term without its weight, a mean over the batch of `sampleWeights` times each sample's. Adds `weight` times its
    /// gradients with respect to the student's logits.
    ///
    /// - Parameters:
    ///   - sampleWeights: (count).
    ///   - scratch: room for 3 * classes floats.
    func loss(
        teacher: Places<UnsafePointer<Float>>, student: Places<UnsafePointer<Float>>, count: Int, classes: Int,
        weight: Double, sampleWeights: UnsafePointer<Double>, gradient: Places<UnsafeMutablePointer<Float>>,
        scratch: UnsafeMutablePointer<Float>
    ) -> Double {
        var sum = 0.0
        for i in 0..<count {
            let (row, own) = (i * classes, sampleWeights[i])
            let scale = Float(weight * own / Double(count))
            switch term {
            case .igdm:
                let (u, v, slope) = (scratch, scratch + classes, scratch + 2 * classes)
                for c in 0..<classes {
                    u[c] = teacher.plus[row + c] - teacher.minus[row + c]
                    v[c] = student.plus[row + c] - student.minus[row + c]
                    slope[c] = 0
                }
                sum += own * distance.row(u, v, classes, scale: scale, dv: slope)
                for c in 0..<classes {
                    gradient.plus[row + c] += slope[c]
                    gradient.minus[row + c] -= slope[c]
                }
            case .tradesReg:
                sum +=
                    own
                    * distance.row(
                        student.plus + row, student.clean + row, classes, scale: scale, dv: gradient.clean + row,
                        du: gradient.plus + row)
            case .tradesLike:
                sum +=
                    own
                    * distance.row(
                        student.plus + row, student.minus + row, classes, scale: scale, dv: gradient.minus + row,
                        du: gradient.plus + row)
            }
        }
        return sum / Double(count)
    }
}
