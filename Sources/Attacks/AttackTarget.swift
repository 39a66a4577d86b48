import Kernels
import Runtime

/// The class that a targeted attack wants to reach. Its success is to be classified as that class, whatever the sample was
/// before.
public enum AttackTarget: Sendable {
    /// Of each sample the class with the smallest logit on the clean image, other than the label.
    case leastLikely
    /// Of each sample one of the classes other than its label, each as likely.
    case random
    /// The same class for all.
    case fixed(Int)
    /// What is given as labels are the classes to reach.
    case labels
    /// The classes to reach, by the samples' places in their dataset.
    case each(Buffer<Int64>)

    /// nil for "": not targeted. Throws `invalidArgument` for what is no form of a target, or no class.
    static func named(_ name: String, classes: Int) throws -> AttackTarget? {
        switch name {
        case "": return nil
        case "least-likely": return .leastLikely
        case "random": return .random
        case "labels": return .labels
        default:
            guard let number = Int(plain: name[...]), (0..<classes).contains(number) else {
                throw EngineError.invalid(
                    "target", got: "\"\(name)\"",
                    want:
                        "\"least-likely\", \"random\", \"labels\", or a class as a number, \"0\" ... \"\(classes - 1)\""
                )
            }
            return .fixed(number)
        }
    }

    /// Whether a sample has the class to reach for its label, whatever the model makes of it.
    func isLabel(_ label: Int, sample: Int) -> Bool {
        switch self {
        case .fixed(let number): number == label
        case .each(let classes): classes[sample] == Int64(label)
        case .leastLikely, .random, .labels: false
        }
    }

    /// - Parameters:
    ///   - sample: its place in the dataset.
    ///   - logits: (classes) of the clean image.
    ///   - key: of the sample; with the seed it is what a random target depends on.
    func resolve(
        sample: Int, logits: UnsafePointer<Float>, label: Int, classes: Int, seed: UInt64, key: UInt64
    ) -> Int {
        switch self {
        case .fixed(let number): return number
        case .labels: return label
        case .each(let classes): return Int(classes[sample])
        case .random:
            var random = CounterRandom(seed: seed, stream: .attackTarget, index: key)
            let drawn = random.below(classes - 1)
            return drawn < label ? drawn : drawn + 1
        case .leastLikely:
            var least = label == 0 ? 1 : 0
            for c in 0..<classes where c != label && logits[c] < logits[least] { least = c }
            return least
        }
    }
}

/// The targets of batches of samples.
final class TargetChooser {
    private let target: AttackTarget
    private let classifier: any DifferentiableClassifier
    private let seed: UInt64
    private let logits: FloatBuffer
    private let chosen: Buffer<Int64>

    init(_ target: AttackTarget, _ classifier: any DifferentiableClassifier, seed: UInt64, capacity: Int) throws {
        (self.target, self.classifier, self.seed) = (target, classifier, seed)
        logits = try FloatBuffer(capacity * classifier.classes)
        chosen = try Buffer(capacity)
    }

    /// Whether to choose takes a pass through the model.
    var takesPass: Bool {
        if case .leastLikely = target { true } else { false }
    }

    /// The batch with the targets in the place of its labels, valid until the next call.
    func aim(_ batch: AttackBatch, _ monitor: RunMonitor) throws -> AttackBatch {
        let classes = classifier.classes
        if takesPass {
            try monitor.checkpoint?()
            try classifier.forward(batch.images, count: batch.count, logits: logits.pointer, retain: false)
            try Validation.checkOutputs(
                logits.pointer, count: batch.count, perSample: classes, argument: "the model's logits",
                sample: batch.number)
        }
        for i in 0..<batch.count {
            chosen[i] = Int64(
                target.resolve(
                    sample: batch.number(i), logits: logits.pointer + i * classes, label: Int(batch.labels[i]),
                    classes: classes, seed: seed, key: batch.keys[i]))
        }
        return AttackBatch(
            images: batch.images, labels: UnsafePointer(chosen.pointer), targetLogits: batch.targetLogits,
            keys: batch.keys, numbers: batch.numbers, count: batch.count)
    }
}
