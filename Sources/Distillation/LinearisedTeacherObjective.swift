import Attacks
import Kernels
import Runtime

/// KL(T̃(x') ‖ S(x')), which SAAD maximises: T̃ is T(x), with the logit of the label y carried on to x' along its gradient,
/// `T̃_y = T(x)_y + ∇T(x)_y · (x' - x)`. The teacher is asked once, for the image, and not at each iterate; the gradient
/// goes through both.
final class LinearisedTeacherObjective: AttackObjective {
    let shape: ImageShape
    let classes: Int
    private let student: any DifferentiableClassifier
    private let teacher: any DifferentiableClassifier
    /// Of the batch: T(x), (count, classes), and ∇T(x)_y, (count, channels, height, width).
    private let teacherLogits: FloatBuffer
    private let teacherGradient: FloatBuffer
    // Of the iterates, (count, classes).
    private let target: FloatBuffer
    private let targetCotangent: FloatBuffer
    private let studentCotangent: FloatBuffer

    init(
        student: any DifferentiableClassifier, teacher: any DifferentiableClassifier, capacity: Int
    ) throws {
        self.student = student
        self.teacher = teacher
        shape = student.shape
        classes = student.classes
        teacherLogits = try FloatBuffer(capacity * classes)
        teacherGradient = try FloatBuffer(capacity * shape.count)
        target = try FloatBuffer(capacity * classes)
        targetCotangent = try FloatBuffer(capacity * classes)
        studentCotangent = try FloatBuffer(capacity * classes)
    }

    func begin(_ batch: AttackBatch) throws {
        let count = batch.count
        try teacher.forward(batch.images, count: count, logits: teacherLogits.pointer, retain: true)
        try Validation.checkFinite(
            teacherLogits.pointer, count: count * classes, argument: "the teacher's logits")
        targetCotangent.pointer.update(repeating: 0, count: count * classes)
        for i in 0..<count { targetCotangent.pointer[i * classes + Int(batch.labels[i])] = 1 }
        try teacher.inputGradient(targetCotangent.pointer, count: count, gradient: teacherGradient.pointer)
    }

    func evaluate(
        _ images: UnsafePointer<Float>, rows: UnsafePointer<Int>, count: Int, of batch: AttackBatch,
        loss: UnsafeMutablePointer<Float>, gradient: UnsafeMutablePointer<Float>?,
        logits: UnsafeMutablePointer<Float>
    ) throws {
        try student.forward(images, count: count, logits: logits, retain: gradient != nil)
        studentCotangent.pointer.update(repeating: 0, count: count * classes)
        targetCotangent.pointer.update(repeating: 0, count: count * classes)
        let pixels = shape.count
        WorkerPool.parallelFor(count) { i in
            let (row, first) = (rows[i], i * classes)
            let (clean, slope) = (batch.images + row * pixels, teacherGradient.pointer + row * pixels)
            var change = 0.0
            for j in 0..<pixels { change += Double(slope[j]) * Double(images[i * pixels + j] - clean[j]) }
            (target.pointer + first).update(from: teacherLogits.pointer + row * classes, count: classes)
            target.pointer[first + Int(batch.labels[row])] += Float(change)
            loss[i] = klDivergence(
                target: target.pointer + first, model: logits + first, classes: classes, scale: 1,
                dq: studentCotangent.pointer + first, dp: targetCotangent.pointer + first)
        }
        guard let gradient else { return }
        try student.inputGradient(studentCotangent.pointer, count: count, gradient: gradient)
        WorkerPool.parallelFor(count) { i in
            let row = rows[i]
            let factor = targetCotangent.pointer[i * classes + Int(batch.labels[row])]
            let slope = teacherGradient.pointer + row * pixels
            for j in 0..<pixels { gradient[i * pixels + j] += factor * slope[j] }
        }
    }
}
