import Attacks
import Runtime

/// The teacher of SAAD's adversary: T(x), with the logit of the label y carried on to x' along its gradient,
/// `T̃_y = T(x)_y + ∇T(x)_y · (x' - x)`. It is asked once, for the image, and not at each iterate.
final class LinearisedTeacher: IterateTeacher {
    private let teacher: any DifferentiableClassifier
    /// Of the batch: T(x), (count, classes), and ∇T(x)_y, (count, channels, height, width).
    private let cleanLogits: FloatBuffer
    private let slopes: FloatBuffer
    /// (count, classes): 1 at the label.
    private let labelCotangent: FloatBuffer

    init(_ teacher: any DifferentiableClassifier, capacity: Int) throws {
        self.teacher = teacher
        cleanLogits = try FloatBuffer(capacity * teacher.classes)
        slopes = try FloatBuffer(capacity * teacher.shape.count)
        labelCotangent = try FloatBuffer(capacity * teacher.classes)
    }

    func begin(_ batch: AttackBatch) throws {
        let (count, classes) = (batch.count, teacher.classes)
        try teacher.forward(batch.images, count: count, logits: cleanLogits.pointer, retain: true)
        try Validation.checkFinite(cleanLogits.pointer, count: count * classes, argument: "the teacher's logits")
        labelCotangent.pointer.update(repeating: 0, count: count * classes)
        for i in 0..<count { labelCotangent.pointer[i * classes + Int(batch.labels[i])] = 1 }
        try teacher.inputGradient(labelCotangent.pointer, count: count, gradient: slopes.pointer)
    }

    func forward(
        _ images: UnsafePointer<Float>, rows: UnsafePointer<Int>, count: Int, of batch: AttackBatch,
        logits: UnsafeMutablePointer<Float>, retain: Bool
    ) {
        let (pixels, classes) = (teacher.shape.count, teacher.classes)
        WorkerPool.parallelFor(count) { i in
            let (row, own) = (rows[i], logits + i * classes)
            let (clean, slope) = (batch.images + row * pixels, slopes.pointer + row * pixels)
            var change = 0.0
            for j in 0..<pixels { change += Double(slope[j]) * Double(images[i * pixels + j] - clean[j]) }
            own.update(from: cleanLogits.pointer + row * classes, count: classes)
            own[Int(batch.labels[row])] += Float(change)
        }
    }

    func addInputGradient(
        _ cotangent: UnsafePointer<Float>, rows: UnsafePointer<Int>, count: Int, of batch: AttackBatch,
        to gradient: UnsafeMutablePointer<Float>
    ) {
        let (pixels, classes) = (teacher.shape.count, teacher.classes)
        WorkerPool.parallelFor(count) { i in
            let row = rows[i]
            let factor = cotangent[i * classes + Int(batch.labels[row])]
            let slope = slopes.pointer + row * pixels
            for j in 0..<pixels { gradient[i * pixels + j] += factor * slope[j] }
        }
    }
}
