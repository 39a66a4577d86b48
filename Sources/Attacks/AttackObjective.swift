import Kernels
import Runtime

/// The samples of one batch, and what the losses compare a model's logits with. Borrowed memory.
public struct AttackBatch {
    /// (count, channels, height, width) in [0,1].
    public let images: UnsafePointer<Float>
    /// (count), each in `0..<classes`; of a targeted attack the classes to reach.
    public let labels: UnsafePointer<Int64>
    /// (count, classes), for the KL loss; nil for the others.
    public let targetLogits: UnsafePointer<Float>?
    /// (count): what a sample's random numbers are keyed by, usually its index in the dataset.
    public let keys: UnsafePointer<UInt64>
    /// (count): what the caller calls the samples; nil: by their places in the batch.
    public let numbers: UnsafePointer<Int>?
    public let count: Int

    public init(
        images: UnsafePointer<Float>, labels: UnsafePointer<Int64>, targetLogits: UnsafePointer<Float>? = nil,
        keys: UnsafePointer<UInt64>, numbers: UnsafePointer<Int>? = nil, count: Int
    ) {
        self.images = images
        self.labels = labels
        self.targetLogits = targetLogits
        self.keys = keys
        self.numbers = numbers
        self.count = count
    }

    /// What errors call a sample.
    func number(_ row: Int) -> Int { numbers?[row] ?? row }
}

/// What an attack maximises: a loss per sample, with its gradient at the images.
public protocol AttackObjective: AnyObject {
    /// Of one image.
    var shape: ImageShape { get }
    /// Number of logits of the attacked model.
    var classes: Int { get }

    /// Called once for each batch, before its iterates are evaluated: what the objective needs to know of the images
    /// themselves.
    func begin(_ batch: AttackBatch) throws

    /// - Parameters:
    ///   - images: (count, channels, height, width), the iterates.
    ///   - rows: (count), which sample of `batch` each iterate belongs to.
    ///   - loss: (count), written.
    ///   - gradient: (count, channels, height, width), written where given.
    ///   - logits: (count, classes) of the attacked model, written.
    func evaluate(
        _ images: UnsafePointer<Float>, rows: UnsafePointer<Int>, count: Int, of batch: AttackBatch,
        loss: UnsafeMutablePointer<Float>, gradient: UnsafeMutablePointer<Float>?,
        logits: UnsafeMutablePointer<Float>) throws
}

extension AttackObjective {
    public func begin(_ batch: AttackBatch) throws {}
}

/// A loss on one model's logits, to be maximised.
public enum AttackLoss: Equatable, Sendable {
    /// -log softmax(z)_y.
    case crossEntropy
    /// min(max_{i≠y} z_i - z_y, κ).
    case margin(kappa: Float)
    /// KL(softmax(target) ‖ softmax(z)), the target being the batch's `targetLogits`.
    case divergence
    /// Difference of logits ratio, `logitsRatio`.
    case logitsRatio
    /// log softmax(z)_t, t being the batch's label: that of a targeted attack.
    case targetCrossEntropy
    /// min(z_t - max_{i≠t} z_i, κ).
    case targetMargin(kappa: Float)

    /// Names that options take, in the order in which messages list them.
    public static let names = ["ce", "margin", "kl", "dlr"]

    /// Throws `invalidArgument` for an unknown name.
    public init(name: String, kappa: Float) throws {
        switch name {
        case "ce": self = .crossEntropy
        case "margin": self = .margin(kappa: kappa)
        case "kl": self = .divergence
        case "dlr": self = .logitsRatio
        default: throw EngineError.unknownName("loss", got: name, known: AttackLoss.names)
        }
    }

    /// The loss of an attack that wants to reach a class instead of leaving one. Throws `invalidArgument`.
    func towardsTarget() throws -> AttackLoss {
        switch self {
        case .crossEntropy: return .targetCrossEntropy
        case .margin(let kappa): return .targetMargin(kappa: kappa)
        case .targetCrossEntropy, .targetMargin: return self
        case .divergence, .logitsRatio:
            let name = self == .divergence ? "kl" : "dlr"
            throw EngineError.invalid(
                "loss", got: "\"\(name)\"", want: "ce or margin with a target (apgd-t has a targeted dlr)")
        }
    }

    /// The loss of one sample, whose derivatives by the logits are added to `slope`; not for `divergence`, which has no label.
    func evaluate(
        _ z: UnsafePointer<Float>, label: Int, classes: Int, slope: UnsafeMutablePointer<Float>?
    ) -> Float {
        switch self {
        case .crossEntropy: return Kernels.crossEntropy(z, label: label, classes: classes, scale: 1, gradient: slope)
        case .margin(let kappa):
            return marginLoss(z, label: label, classes: classes, kappa: kappa, scale: 1, gradient: slope)
        case .logitsRatio: return Kernels.logitsRatio(z, label: label, classes: classes, scale: 1, gradient: slope)
        case .targetCrossEntropy:
            return -Kernels.crossEntropy(z, label: label, classes: classes, scale: -1, gradient: slope)
        case .targetMargin(let kappa):
            let margin = -marginLoss(z, label: label, classes: classes, kappa: .infinity, scale: 1, gradient: nil)
            if margin > kappa { return kappa }
            return -marginLoss(z, label: label, classes: classes, kappa: .infinity, scale: -1, gradient: slope)
        case .divergence: return .nan
        }
    }
}

/// An `AttackLoss` on one classifier.
public final class ClassifierObjective: AttackObjective {
    public let shape: ImageShape
    public let classes: Int
    private let classifier: any DifferentiableClassifier
    private let kind: AttackLoss
    private let cotangent: FloatBuffer

    /// Memory for batches of up to `capacity` samples. Throws `outOfMemory`.
    public init(_ classifier: any DifferentiableClassifier, loss: AttackLoss, capacity: Int) throws {
        self.classifier = classifier
        kind = loss
        shape = classifier.shape
        classes = classifier.classes
        cotangent = try FloatBuffer(capacity * classifier.classes)
    }

    public func evaluate(
        _ images: UnsafePointer<Float>, rows: UnsafePointer<Int>, count: Int, of batch: AttackBatch,
        loss: UnsafeMutablePointer<Float>, gradient: UnsafeMutablePointer<Float>?,
        logits: UnsafeMutablePointer<Float>
    ) throws {
        try classifier.forward(images, count: count, logits: logits, retain: gradient != nil)
        func check(_ values: UnsafePointer<Float>, _ perSample: Int, _ what: String) throws {
            try Validation.checkOutputs(
                values, count: count, perSample: perSample, argument: what,
                sample: { batch.number(rows[$0]) })
        }
        // Before the model is asked for a gradient that could not be one.
        try check(logits, classes, "the model's logits under attack")
        let slopes = cotangent.pointer
        slopes.update(repeating: 0, count: count * classes)
        for i in 0..<count {
            let row = rows[i]
            let z = logits + i * classes
            let slope = gradient == nil ? nil : slopes + i * classes
            guard kind == .divergence else {
                loss[i] = kind.evaluate(z, label: Int(batch.labels[row]), classes: classes, slope: slope)
                continue
            }
            guard let targets = batch.targetLogits else {
                throw EngineError(.internal, "the KL objective was given no target logits")
            }
            loss[i] = klDivergence(
                target: targets + row * classes, model: z, classes: classes, scale: 1, dq: slope, dp: nil)
        }
        guard let gradient else { return }
        try classifier.inputGradient(slopes, count: count, gradient: gradient)
        try check(gradient, shape.count, "the model's gradient under attack")
    }
}
