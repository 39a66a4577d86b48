import Networks
import Runtime

/// Adversarial weight perturbation (Wu, Xia, Wang, NeurIPS 2020, equations 8 and 9): the gradient that the student takes
/// its step along is that of weights which were first moved up the loss, each layer by γ times its own length,
/// `w_l + γ ‖w_l‖ g_l / ‖g_l‖`; the step is then made from the weights as they were.
///
/// As in the authors' code layers are the weights of convolutions and linear layers; biases and BatchNorm stay.
final class WeightPerturbation {
    private let gamma: Double
    private let before: FloatBuffer
    private let layers: [Parameter]

    /// Throws `outOfMemory`.
    init(of network: Network, gamma: Double) throws {
        self.gamma = gamma
        before = try FloatBuffer(network.weights.count)
        layers = network.parameters.filter { $0.trainable && $0.shape.count > 1 }
    }

    /// Moves the weights up `gradients`.
    func apply(to network: Network, along gradients: FloatBuffer) {
        before.copy(from: network.weights)
        WorkerPool.parallelFor(layers.count) { index in
            let layer = layers[index]
            let weights = network.weights.pointer + layer.offset
            let gradient = gradients.pointer + layer.offset
            // 1e-20: the authors' guard against a gradient of 0.
            let reach = Float(gamma * norm(weights, layer.count) / (norm(gradient, layer.count) + 1e-20))
            for i in 0..<layer.count { weights[i] += reach * gradient[i] }
        }
        network.weightsChanged()
    }

    /// Puts the weights back, to the bit.
    func undo(on network: Network) {
        network.weights.copy(from: before)
        network.weightsChanged()
    }
}
