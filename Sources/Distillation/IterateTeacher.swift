import Attacks
import Runtime

/// A teacher whose logits depend on the iterate, which an adversary moves.
protocol IterateTeacher: AnyObject {
    /// Called once for each batch, before its iterates.
    func begin(_ batch: AttackBatch) throws

    /// Writes its logits, (count, classes), for iterates, (count, channels, height, width), of which `rows` says to which
    /// samples of the batch they belong. With `retain` it keeps what `addInputGradient` needs.
    func forward(
        _ images: UnsafePointer<Float>, rows: UnsafePointer<Int>, count: Int, of batch: AttackBatch,
        logits: UnsafeMutablePointer<Float>, retain: Bool) throws

    /// After `forward(retain: true)` of the same iterates: adds `d Σ(cotangent · logits) / d images` to `gradient`.
    func addInputGradient(
        _ cotangent: UnsafePointer<Float>, rows: UnsafePointer<Int>, count: Int, of batch: AttackBatch,
        to gradient: UnsafeMutablePointer<Float>) throws
}

/// T(x'), asked at each iterate.
final class AskedTeacher: IterateTeacher {
    private let teacher: any DifferentiableClassifier
    private let ownGradient: FloatBuffer

    init(_ teacher: any DifferentiableClassifier, capacity: Int) throws {
        self.teacher = teacher
        ownGradient = try FloatBuffer(capacity * teacher.shape.count)
    }

    func begin(_ batch: AttackBatch) {}

    func forward(
        _ images: UnsafePointer<Float>, rows: UnsafePointer<Int>, count: Int, of batch: AttackBatch,
        logits: UnsafeMutablePointer<Float>, retain: Bool
    ) throws {
        try teacher.forward(images, count: count, logits: logits, retain: retain)
    }

    func addInputGradient(
        _ cotangent: UnsafePointer<Float>, rows: UnsafePointer<Int>, count: Int, of batch: AttackBatch,
        to gradient: UnsafeMutablePointer<Float>
    ) throws {
        try teacher.inputGradient(cotangent, count: count, gradient: ownGradient.pointer)
        let pixels = teacher.shape.count
        WorkerPool.parallelFor(count) { i in
            for j in i * pixels..<(i + 1) * pixels { gradient[j] += ownGradient.pointer[j] }
        }
    }
}
