import Attacks
import Kernels
import Runtime

/// KL(T(x') ‖ S(x')), which AdaAD maximises: both models see the iterate, and the gradient goes through both.
final class TeacherStudentObjective: AttackObjective {
    let shape: ImageShape
    let classes: Int
    private let student: any DifferentiableClassifier
    private let teacher: any DifferentiableClassifier
    private let teacherLogits: FloatBuffer
    private let studentCotangent: FloatBuffer
    private let teacherCotangent: FloatBuffer
    private let teacherGradient: FloatBuffer

    init(
        student: any DifferentiableClassifier, teacher: any DifferentiableClassifier, capacity: Int
    ) throws {
        self.student = student
        self.teacher = teacher
        shape = student.shape
        classes = student.classes
        teacherLogits = try FloatBuffer(capacity * classes)
        studentCotangent = try FloatBuffer(capacity * classes)
        teacherCotangent = try FloatBuffer(capacity * classes)
        teacherGradient = try FloatBuffer(capacity * shape.count)
    }

    func evaluate(
        _ images: UnsafePointer<Float>, rows: UnsafePointer<Int>, count: Int, of batch: AttackBatch,
        loss: UnsafeMutablePointer<Float>, gradient: UnsafeMutablePointer<Float>?,
        logits: UnsafeMutablePointer<Float>
    ) throws {
        let retain = gradient != nil
        try student.forward(images, count: count, logits: logits, retain: retain)
        try teacher.forward(images, count: count, logits: teacherLogits.pointer, retain: retain)
        studentCotangent.pointer.update(repeating: 0, count: count * classes)
        teacherCotangent.pointer.update(repeating: 0, count: count * classes)
        for i in 0..<count {
            let row = i * classes
            loss[i] = klDivergence(
                target: teacherLogits.pointer + row, model: logits + row, classes: classes, scale: 1,
                dq: studentCotangent.pointer + row, dp: teacherCotangent.pointer + row)
        }
        guard let gradient else { return }
        try student.inputGradient(studentCotangent.pointer, count: count, gradient: gradient)
        try teacher.inputGradient(teacherCotangent.pointer, count: count, gradient: teacherGradient.pointer)
        let pixels = shape.count
        WorkerPool.parallelFor(count) { i in
            let sum = gradient + i * pixels
            let other = teacherGradient.pointer + i * pixels
            for j in 0..<pixels { sum[j] += other[j] }
        }
    }
}
