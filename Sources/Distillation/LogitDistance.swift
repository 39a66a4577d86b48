import Kernels

/// D(u, v) on rows of logits or of their differences, a mean over the batch. The paper finds the three nearly equal.
public enum LogitDistance: String, CaseIterable, Sendable {
    /// KL(softmax(u) ‖ softmax(v)), the paper's choice.
    case kl
    /// Σ_c |u_c - v_c|.
    case l1
    /// Σ_c (u_c - v_c)².
    case l2

    /// D of one row; `scale` times its gradients is added to dv, and to du where that is given.
    func row(
        _ u: UnsafePointer<Float>, _ v: UnsafePointer<Float>, _ classes: Int, scale: Float,
        dv: UnsafeMutablePointer<Float>, du: UnsafeMutablePointer<Float>? = nil
    ) -> Double {
        if self == .kl {
            return Double(klDivergence(target: u, model: v, classes: classes, scale: scale, dq: dv, dp: du))
        }
        var sum = 0.0
        for c in 0..<classes {
            let difference = v[c] - u[c]
            let slope: Float
            if self == .l1 {
                sum += Double(abs(difference))
                slope = difference == 0 ? 0 : (difference > 0 ? scale : -scale)
            } else {
                sum += Double(difference) * Double(difference)
                slope = 2 * scale * difference
            }
            dv[c] += slope
            du?[c] -= slope
        }
        return sum
    }
}
