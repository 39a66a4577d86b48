import Kernels
import Runtime

/// Images with the logits that the source of the weights computes for them, so that whoever loads the weights can tell
/// whether they still mean the same.
public struct GoldenBlock: Sendable {
    /// Of `verify`, the one that the comparison with PyTorch uses too (Tests/Parity).
    public static let tolerance = 1e-4

    /// Samples, at least one.
    public let count: Int
    /// (count, channels, height, width), in [0,1].
    public let inputs: Buffer<Float>
    /// (count, classes), finite.
    public let logits: Buffer<Float>
    /// What computed the logits.
    public let source: String

    public init(count: Int, inputs: Buffer<Float>, logits: Buffer<Float>, source: String) {
        self.count = count
        self.inputs = inputs
        self.logits = logits
        self.source = source
    }
}

/// The logit that is farthest from the golden block's.
public struct GoldenDifference: Sendable {
    public let sample: Int
    public let label: Int
    public let got: Float
    public let wanted: Float
    /// |got - wanted| by the largest magnitude among all wanted logits; by 1 where they are all zero.
    public let relative: Double

    /// Throws `mismatch` where the difference is larger than `tolerance`.
    public func check(_ tolerance: Double) throws {
        guard relative > tolerance else { return }
        throw EngineError(
            .mismatch,
            "golden block: sample \(sample), class \(label): got the logit \(got), want \(wanted): a difference of "
                + "\(relative) relative to the largest logit, want at most \(tolerance)")
    }
}

extension GoldenBlock {
    /// Throws `notFinite` where the network computes a NaN or an infinity.
    public func worstDifference(of pass: InferencePass) throws -> GoldenDifference {
        let computed = try Buffer<Float>(logits.count)
        try pass.forward(inputs.pointer, count: count, logits: computed.pointer, retain: false)
        let classes = logits.count / count
        let largest = Double(logits.lazy.map(abs).max() ?? 0)
        var worst = 0
        for i in 0..<logits.count {
            guard computed[i].isFinite else {
                throw EngineError(
                    .notFinite,
                    "golden block: sample \(i / classes): got the logit \(computed[i]), want \(logits[i])")
            }
            if abs(computed[i] - logits[i]) > abs(computed[worst] - logits[worst]) { worst = i }
        }
        return GoldenDifference(
            sample: worst / classes, label: worst % classes, got: computed[worst], wanted: logits[worst],
            relative: Double(abs(computed[worst] - logits[worst])) / (largest > 0 ? largest : 1))
    }
}
