import Runtime

/// The model's own output for the clean images of batches, from which the loss "kl" measures where nothing else is given.
final class CleanOutput {
    private let classifier: any DifferentiableClassifier
    private let logits: FloatBuffer

    init(_ classifier: any DifferentiableClassifier, capacity: Int) throws {
        self.classifier = classifier
        logits = try FloatBuffer(capacity * classifier.classes)
    }

    /// The batch with that output as target, valid until the next call. Takes a pass.
    func give(to batch: AttackBatch, _ monitor: RunMonitor) throws -> AttackBatch {
        try monitor.checkpoint?()
        try classifier.forward(batch.images, count: batch.count, logits: logits.pointer, retain: false)
        return AttackBatch(
            images: batch.images, labels: batch.labels, targetLogits: UnsafePointer(logits.pointer), keys: batch.keys,
            numbers: batch.numbers,
            count: batch.count)
    }
}
