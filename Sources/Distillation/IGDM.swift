import Kernels
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

    /// D, on logit differences u (teacher) and v (student); a mean over the batch.
    public enum Distance: String, CaseIterable, Sendable {
        /// KL(softmax(u) ‖ softmax(v)), the paper's choice.
        case kl
        /// Σ_c |u_c - v_c|.
        case l1
        /// Σ_c (u_c - v_c)².
        case l2
    }

    /// α.
    public let weight: Double
    public let mirror: Mirror
    public let distance: Distance

    /// α e / E.
    public func weight(epoch: Int, epochs: Int) -> Double {
        weight * Double(epoch) / Double(epochs)
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

    /// The loss without its weight. Adds `weight` times its gradients with respect to S(x+d) and S(x-d).
    ///
    /// - Parameter scratch: room for 3 * classes floats.
    func loss(
        teacher: (plus: UnsafePointer<Float>, minus: UnsafePointer<Float>),
        student: (plus: UnsafePointer<Float>, minus: UnsafePointer<Float>), count: Int, classes: Int, weight: Double,
        gradient: (plus: UnsafeMutablePointer<Float>, minus: UnsafeMutablePointer<Float>),
        scratch: UnsafeMutablePointer<Float>
    ) -> Double {
        let (u, v, slope) = (scratch, scratch + classes, scratch + 2 * classes)
        let scale = Float(weight / Double(count))
        var sum = 0.0
        for i in 0..<count {
            let row = i * classes
            for c in 0..<classes {
                u[c] = teacher.plus[row + c] - teacher.minus[row + c]
                v[c] = student.plus[row + c] - student.minus[row + c]
                slope[c] = 0
            }
            sum += rowLoss(u, v, classes, scale, slope)
            for c in 0..<classes {
                gradient.plus[row + c] += slope[c]
                gradient.minus[row + c] -= slope[c]
            }
        }
        return sum / Double(count)
    }

    private func rowLoss(
        _ u: UnsafePointer<Float>, _ v: UnsafePointer<Float>, _ classes: Int, _ scale: Float,
        _ slope: UnsafeMutablePointer<Float>
    ) -> Double {
        var sum = 0.0
        switch distance {
        case .kl:
            sum = Double(klDivergence(target: u, model: v, classes: classes, scale: scale, dq: slope, dp: nil))
        case .l1:
            for c in 0..<classes {
                let difference = v[c] - u[c]
                sum += Double(abs(difference))
                slope[c] = difference == 0 ? 0 : (difference > 0 ? scale : -scale)
            }
        case .l2:
            for c in 0..<classes {
                let difference = v[c] - u[c]
                sum += Double(difference) * Double(difference)
                slope[c] = 2 * scale * difference
            }
        }
        return sum
    }
}
