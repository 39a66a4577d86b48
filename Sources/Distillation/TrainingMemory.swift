import Attacks
import Kernels
import Networks
import Runtime

/// The passes and buffers of training steps on batches of up to `capacity` samples. Made once: steps allocate nothing.
final class TrainingMemory {
    let capacity: Int
    let studentInference: InferencePass
    let teacherInference: InferencePass?
    /// Of the teacher for clean images, where there are two.
    let cleanTeacherInference: InferencePass?
    let attack: GradientAttack
    /// One pass for each of x+d, x and x-d: all that are run are kept until the backward passes.
    let adversarialPass: TrainingPass
    let cleanPass: TrainingPass?
    let mirroredPass: TrainingPass?

    /// (count, channels, height, width): x_adv, and x-d.
    let adversarial: FloatBuffer
    let mirrored: FloatBuffer
    /// (count, classes).
    let student: Logits
    let teacher: Logits
    /// d loss / d student logits.
    let gradient: Logits
    /// 3 * classes floats.
    let rowScratch: FloatBuffer
    /// (count): of IGDM's term.
    let sampleWeights: Buffer<Double>
    let keys: Buffer<UInt64>
    let outside: Buffer<Int>

    /// One model's logits at x+d, x and x-d.
    struct Logits {
        let adversarial: FloatBuffer
        let clean: FloatBuffer
        let mirrored: FloatBuffer

        init(_ count: Int) throws {
            adversarial = try FloatBuffer(count)
            clean = try FloatBuffer(count)
            mirrored = try FloatBuffer(count)
        }

        var inputs: IGDM.Places<UnsafePointer<Float>> {
            IGDM.Places(
                plus: UnsafePointer(adversarial.pointer), clean: UnsafePointer(clean.pointer),
                minus: UnsafePointer(mirrored.pointer))
        }

        var outputs: IGDM.Places<UnsafeMutablePointer<Float>> {
            IGDM.Places(plus: adversarial.pointer, clean: clean.pointer, minus: mirrored.pointer)
        }

        func clear() {
            for buffer in [adversarial, clean, mirrored] { buffer.fill(0) }
        }
    }

    /// - Parameter plan: of the inner maximisation.
    /// Throws `outOfMemory`.
    init(
        student network: Network, teachers: Teachers, method: any DistillationMethod,
        inner: InnerMaximisation, plan: AttackPlan, igdm: IGDM?, capacity: Int
    ) throws {
        let (classes, pixels) = (network.options.classes, network.options.shape.count)
        let floatsPerSample = max(pixels, classes)
        guard capacity <= Int.max / MemoryLayout<Double>.stride / floatsPerSample else {
            throw EngineError(.outOfMemory, "cannot allocate memory for batches of \(capacity) samples")
        }
        self.capacity = capacity
        // The inference passes are over when the training passes begin, and one teacher's when the other's does.
        let (studentMemory, teacherMemory) = (try PassMemory(), try PassMemory())
        studentInference = try InferencePass(network, capacity: capacity, memory: studentMemory)
        teacherInference = try teachers.robust.map {
            try InferencePass($0, capacity: capacity, memory: teacherMemory)
        }
        cleanTeacherInference = try teachers.clean.map {
            try InferencePass($0, capacity: capacity, memory: teacherMemory)
        }
        let objective = try inner.makeObjective(
            student: studentInference, teacher: teacherInference, capacity: capacity)
        attack = try GradientAttack(objective, plan: plan, capacity: capacity)
        adversarialPass = try TrainingPass(network, capacity: capacity, memory: studentMemory)
        let usesClean = method.needs.contains(.studentClean) || igdm?.usesClean == true
        let usesMirror = igdm?.usesMirror == true
        cleanPass = usesClean ? try TrainingPass(network, capacity: capacity) : nil
        mirroredPass = usesMirror ? try TrainingPass(network, capacity: capacity, memory: teacherMemory) : nil
        adversarial = try FloatBuffer(capacity * pixels)
        mirrored = try FloatBuffer(usesMirror ? capacity * pixels : 0)
        student = try Logits(capacity * classes)
        teacher = try Logits(capacity * classes)
        gradient = try Logits(capacity * classes)
        rowScratch = try FloatBuffer(3 * classes)
        sampleWeights = try Buffer(capacity)
        keys = try Buffer(capacity)
        outside = try Buffer(capacity)
    }
}
