import Glibc
import Kernels
import Runtime

/// A program with its weights laid out for the kernels. Made once per weight update, used by every pass: all steps of
/// an attack, and the forward and backward half of a training step.
final class PreparedNetwork {
    let program: Program
    /// By step; nil where a step has no such thing.
    private(set) var convolutions: [PreparedWeights?] = []
    private(set) var affines: [ChannelAffineKernel?] = []
    private var version = -1
    private let scale: FloatBuffer
    private let shift: FloatBuffer

    /// - Parameter bank: where Winograd's filters are; nil = none are used.
    init(_ program: Program, bank: FilterBank?) throws {
        self.program = program
        let widest = program.steps.map(\.shape.channels).max() ?? 1
        scale = try FloatBuffer(widest)
        shift = try FloatBuffer(widest)
        for step in program.steps {
            switch step.kind {
            case .convolution(let geometry, let weight, _, _):
                convolutions.append(
                    try PreparedWeights(geometry, filters: try bank?.filters(for: weight, geometry)))
                affines.append(nil)
            case .channelAffine:
                convolutions.append(nil)
                affines.append(try ChannelAffineKernel(channels: step.shape.channels))
            default:
                convolutions.append(nil)
                affines.append(nil)
            }
        }
    }

    func update(from network: Network) {
        guard version != network.version else { return }
        version = network.version
        for (index, step) in program.steps.enumerated() {
            switch step.kind {
            case .convolution(_, let weight, let bias, let norm):
                if let norm {
                    fold(norm, network, bias: bias.map { UnsafePointer(network.pointer(to: $0)) })
                    convolutions[index]?.set(
                        weights: network.pointer(to: weight), scale: scale.pointer, bias: shift.pointer)
                } else {
                    convolutions[index]?.set(
                        weights: network.pointer(to: weight), scale: nil,
                        bias: bias.map { UnsafePointer(network.pointer(to: $0)) })
                }
            case .channelAffine(let norm):
                fold(norm, network, bias: nil)
                affines[index]?.set(scale: scale.pointer, shift: shift.pointer)
            default: break
            }
        }
    }

    /// BatchNorm with running statistics is z·a + b, a = γ/√(σ² + ε), b = β + (bias − μ)·a; in double, because it is
    /// computed once and used a million times.
    private func fold(_ norm: NormParameters, _ network: Network, bias: UnsafePointer<Float>?) {
        let gamma = network.pointer(to: norm.weight)
        let beta = network.pointer(to: norm.bias)
        let mean = network.pointer(to: norm.mean)
        let variance = network.pointer(to: norm.variance)
        for c in 0..<network.parameters[norm.weight].count {
            let a = Double(gamma[c]) / (Double(variance[c]) + Double(norm.epsilon)).squareRoot()
            scale.pointer[c] = Float(a)
            shift.pointer[c] = Float(Double(beta[c]) + (Double(bias?[c] ?? 0) - Double(mean[c])) * a)
        }
    }
}
