import Kernels
import Runtime

/// How alike the input gradients of student and teacher are (Lee, Cho, Kim 2025, section 5: GD and GC). The scalar
/// whose gradient is taken is the cross-entropy with the true label, which the paper leaves open.
public struct GradientAgreement {
    /// Mean cosine of the two gradients; 0 is counted where one of them vanishes.
    public let cosine: Double
    /// Mean ‖g_student - g_teacher‖₂.
    public let distance: Double

    static func measure(
        student: any DifferentiableClassifier, teacher: any DifferentiableClassifier, _ reader: BatchReader, count: Int,
        _ monitor: RunMonitor
    ) throws -> GradientAgreement {
        let (capacity, pixels) = (reader.capacity, reader.source.shape.count)
        let models = [student, teacher]
        let objectives = try models.map { try ClassifierObjective($0, loss: .crossEntropy, capacity: capacity) }
        let gradients = try models.map { _ in try FloatBuffer(capacity * pixels) }
        let logits = try FloatBuffer(capacity * student.classes)
        let loss = try FloatBuffer(capacity)
        let rows = try Buffer(copying: 0..<capacity)
        var (cosines, distances) = (0.0, 0.0)
        _ = try reader.forEachBatch(count: count, stage: "gradients", monitor) { batch in
            for (objective, gradient) in zip(objectives, gradients) {
                try monitor.checkpoint?()
                try objective.evaluate(
                    batch.images, rows: rows.pointer, count: batch.count, of: batch, loss: loss.pointer,
                    gradient: gradient.pointer, logits: logits.pointer)
            }
            for i in 0..<batch.count {
                let a = gradients[0].pointer + i * pixels
                let b = gradients[1].pointer + i * pixels
                distances += euclideanDistance(a, b, pixels)
                cosines += cosine(a, b, pixels)
            }
        }
        guard cosines.isFinite, distances.isFinite else {
            throw EngineError(.notFinite, "gradient agreement: an input gradient is NaN or infinite")
        }
        let samples = Double(max(count, 1))
        return GradientAgreement(cosine: cosines / samples, distance: distances / samples)
    }

    private static func cosine(_ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, _ count: Int) -> Double {
        let lengths = (euclideanLength(a, count), euclideanLength(b, count))
        guard lengths.0 > 0, lengths.1 > 0 else { return 0 }
        var product = 0.0
        for i in 0..<count { product += Double(a[i]) * Double(b[i]) }
        return product / lengths.0 / lengths.1
    }
}
