import Runtime

/// Stochastic gradient descent with momentum, in PyTorch's convention:
/// `g' = g + λ w`, `v = μ v + g'` (so v = g' in the first step), `w = w - η v`; Nesterov: `w = w - η (g' + μ v)`.
///
/// λ applies to every trainable value. Values are updated side by side in chunks of fixed size.
final class SGD {
    private let momentum: Float
    private let weightDecay: Float
    private let nesterov: Bool
    private let velocity: FloatBuffer

    private static let chunk = 1 << 14

    /// For `count` values. Throws `outOfMemory`.
    init(count: Int, momentum: Double, weightDecay: Double, nesterov: Bool) throws {
        self.momentum = Float(momentum)
        self.weightDecay = Float(weightDecay)
        self.nesterov = nesterov
        velocity = try FloatBuffer(count)
    }

    func step(
        _ weights: UnsafeMutablePointer<Float>, gradients: UnsafePointer<Float>, learningRate: Double
    ) {
        let (eta, mu, lambda, v) = (Float(learningRate), momentum, weightDecay, velocity.pointer)
        let count = velocity.count
        WorkerPool.parallelFor((count + Self.chunk - 1) / Self.chunk) { chunk in
            for i in chunk * Self.chunk..<min((chunk + 1) * Self.chunk, count) {
                let g = gradients[i] + lambda * weights[i]
                v[i] = mu * v[i] + g
                weights[i] -= eta * (nesterov ? g + mu * v[i] : v[i])
            }
        }
    }
}
