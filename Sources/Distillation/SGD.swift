import Runtime

/// Stochastic gradient descent with momentum, in PyTorch's convention:
/// `g' = g + λ w`, `v = μ v + g'` (so v = g' in the first step), `w = w - η v`; Nesterov: `w = w - η (g' + μ v)`.
///
/// λ applies to every trainable value.
final class SGD: Optimiser {
    private let momentum: Float
    private let weightDecay: Float
    private let nesterov: Bool
    private let velocity: FloatBuffer

    /// For `count` values. Throws `outOfMemory`.
    init(count: Int, momentum: Double, weightDecay: Double, nesterov: Bool) throws {
        self.momentum = Float(momentum)
        self.weightDecay = Float(weightDecay)
        self.nesterov = nesterov
        velocity = try FloatBuffer(count)
    }

    func step(
        _ weights: UnsafeMutablePointer<Float>, gradients: UnsafePointer<Float>, scale: Float = 1, learningRate: Double
    ) {
        let (eta, mu, lambda, v) = (Float(learningRate), momentum, weightDecay, velocity.pointer)
        forEachChunk(of: velocity.count) { chunk in
            for i in chunk {
                let g = scale * gradients[i] + lambda * weights[i]
                v[i] = mu * v[i] + g
                weights[i] -= eta * (nesterov ? g + mu * v[i] : v[i])
            }
        }
    }

    var tensors: [(name: String, values: FloatBuffer)] { [("velocity", velocity)] }

    var numbers: [StateNumber] {
        get { [] }
        set {}
    }
}
