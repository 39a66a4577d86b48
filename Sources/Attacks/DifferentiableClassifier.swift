import Kernels
import Networks
import Runtime

/// What an attack needs of a classifier: logits, and their product with a cotangent taken back to the images.
///
/// Images are (count, channels, height, width) in [0,1], contiguous; logits (count, classes). A sample's logits and
/// gradient must not depend on the other samples of the batch. Any model with these two calls can be attacked.
public protocol DifferentiableClassifier: AnyObject {
    /// Number of logits, at least 2.
    var classes: Int { get }
    /// Of one image.
    var shape: ImageShape { get }
    /// Whether `inputGradient` can be called; without it only attacks that need no gradient are possible.
    var hasGradient: Bool { get }

    /// Writes the logits of `count` images. With `retain` it keeps what `inputGradient` needs.
    func forward(
        _ images: UnsafePointer<Float>, count: Int, logits: UnsafeMutablePointer<Float>, retain: Bool) throws

    /// After `forward(retain: true)` with the same count: writes `d Σ(cotangent · logits) / d images`.
    func inputGradient(
        _ cotangent: UnsafePointer<Float>, count: Int, gradient: UnsafeMutablePointer<Float>) throws
}

extension InferencePass: DifferentiableClassifier {
    public var classes: Int { network.options.classes }
    public var shape: ImageShape { network.options.shape }
}

extension DifferentiableClassifier {
    public var hasGradient: Bool { true }

    /// Throws `invalidArgument` for an attack that follows gradients where there are none.
    func requireGradient(for attack: String) throws {
        guard hasGradient else {
            throw EngineError.invalid(
                "attack", got: "\"\(attack)\"",
                want:
                    "square, spsa, hopskipjump, noise-gaussian, noise-uniform or a corruption: the model has no gradient, which "
                    + "\(attack) follows (AutoAttack's version custom takes a list of them)")
        }
    }
}
