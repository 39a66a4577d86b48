import Attacks
import Kernels
import Runtime

/// KL(T(x') ‖ S(x')), which AdaAD and, with a linearised teacher, SAAD maximise: both sides depend on the iterate, and the
/// gradient goes through both.
final class TeacherStudentObjective: AttackObjective {
    let shape: ImageShape
    let classes: Int
    private let student: any DifferentiableClassifier
    private let teacher: any IterateTeacher
    private let teacherLogits: FloatBuffer
    private let studentCotangent: FloatBuffer
    private let teacherCotangent: FloatBuffer

    init(student: any DifferentiableClassifier, teacher: any IterateTeacher, capacity: Int) throws {
        self.student = student
        self.teacher = teacher
        shape = student.shape
        classes = student.classes
        teacherLogits = try FloatBuffer(capacity * classes)
        studentCotangent = try FloatBuffer(capacity * classes)
        teacherCotangent = try FloatBuffer(capacity * classes)
    }

    func begin(_ batch: AttackBatch) throws { try teacher.begin(batch) }

    func evaluate(
        _ images: UnsafePointer<Float>, rows: UnsafePointer<Int>, count: Int, of batch: AttackBatch,
        loss: UnsafeMutablePointer<Float>, gradient: UnsafeMutablePointer<Float>?,
        logits: UnsafeMutablePointer<Float>
    ) throws {
        let retain = gradient != nil
        try student.forward(images, count: count, logits: logits, retain: retain)
        try teacher.forward(
            images, rows: rows, count: count, of: batch, logits: teacherLogits.pointer, retain: retain)
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
        try teacher.addInputGradient(
            teacherCotangent.pointer, rows: rows, count: count, of: batch, to: gradient)
    }
}
