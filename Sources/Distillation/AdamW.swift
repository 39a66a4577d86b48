import Glibc
import Runtime

/// Adam with decoupled weight decay (Loshchilov and Hutter, ICLR 2019, algorithm 2), in PyTorch's convention: in step t
/// `w = (1 - η λ) w`, `m = β₁ m + (1-β₁) g`, `v = β₂ v + (1-β₂) g²`,
/// `w = w - η / (1-β₁ᵗ) · m / (√v / √(1-β₂ᵗ) + ε)`.
///
/// λ applies to every trainable value.
final class AdamW: Optimiser {
    private let beta1: Double
    private let beta2: Double
    private let epsilon: Double
    private let weightDecay: Double
    private let mean: FloatBuffer
    private let square: FloatBuffer
    private var steps = 0.0

    /// For `count` values. Throws `outOfMemory`.
    init(count: Int, beta1: Double, beta2: Double, epsilon: Double, weightDecay: Double) throws {
        self.beta1 = beta1
        self.beta2 = beta2
        self.epsilon = epsilon
        self.weightDecay = weightDecay
        mean = try FloatBuffer(count)
        square = try FloatBuffer(count)
    }

    func step(
        _ weights: UnsafeMutablePointer<Float>, gradients: UnsafePointer<Float>, scale: Float = 1, learningRate: Double
    ) {
        steps += 1
        let (m, v) = (mean.pointer, square.pointer)
        let (b1, b2, epsilon) = (Float(beta1), Float(beta2), Float(epsilon))
        let (c1, c2) = (Float(1 - beta1), Float(1 - beta2))
        let kept = Float(1 - learningRate * weightDecay)
        let eta = Float(learningRate / (1 - pow(beta1, steps)))
        let root = Float(1 / (1 - pow(beta2, steps)).squareRoot())
        forEachChunk(of: mean.count) { chunk in
            for i in chunk {
                let g = scale * gradients[i]
                m[i] = b1 * m[i] + c1 * g
                v[i] = b2 * v[i] + c2 * g * g
                weights[i] = kept * weights[i] - eta * m[i] / (v[i].squareRoot() * root + epsilon)
            }
        }
    }

    var tensors: [(name: String, values: FloatBuffer)] { [("mean", mean), ("square", square)] }

    var numbers: [StateNumber] {
        get { [.count("steps", Int(steps))] }
        set { steps = newValue[0].value }
    }
}
