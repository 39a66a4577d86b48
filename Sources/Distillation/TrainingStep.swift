import Attacks
import Kernels
import Networks
import Runtime

/// A batch of the host. Borrowed for the call.
public struct TrainingBatch {
    /// (count, channels, height, width) in [0,1].
    public var images: UnsafePointer<Float>
    /// (count), each in `0..<classes`; with soft labels the most probable classes.
    public var labels: UnsafePointer<Int64>
    public var count: Int
    /// The host's own x_adv, like images; nil = the trainer attacks.
    public var adversarial: UnsafePointer<Float>?
    /// (count, classes): what the cross-entropy of outer losses compares with, rows of probabilities; nil = `labels`. What knows
    /// one class only (the adversary of cross-entropy, accuracy, introspection) sees `labels`.
    public var softLabels: UnsafePointer<Float>?
    /// false: compute loss and gradients only; weights and running statistics stay.
    public var update: Bool

    public init(
        images: UnsafePointer<Float>, labels: UnsafePointer<Int64>, count: Int,
        adversarial: UnsafePointer<Float>? = nil, softLabels: UnsafePointer<Float>? = nil, update: Bool = true
    ) {
        self.images = images
        self.labels = labels
        self.count = count
        self.adversarial = adversarial
        self.softLabels = softLabels
        self.update = update
    }
}

/// What a training step did. Losses are means over the batch.
public struct StepReport {
    /// baseLoss + igdmWeight * igdmLoss.
    public var loss: Double { baseLoss + igdmWeight * igdmLoss }
    public internal(set) var baseLoss = 0.0
    /// The second term of the method's loss, part of `baseLoss`.
    public internal(set) var secondLoss = 0.0
    public internal(set) var igdmLoss = 0.0
    public internal(set) var igdmWeight = 0.0
    public internal(set) var learningRate = 0.0
    /// Of the student in training mode on x_adv.
    public internal(set) var adversarialAccuracy = 0.0
    /// Part of the pixels of x-d outside [0,1], before clipping.
    public internal(set) var mirrorOutside = 0.0
    /// Counted from 1.
    public internal(set) var epoch = 0
    /// Updates by this trainer, this one included.
    public internal(set) var step = 0
}

/// The parts of a step, in their order.
extension Trainer {
    /// x_adv: the host's, or the result of the inner maximisation.
    func findAdversary(_ batch: TrainingBatch, _ memory: TrainingMemory) throws {
        if let adversarial = batch.adversarial {
            memory.adversarial.pointer.update(from: adversarial, count: batch.count * student.options.shape.count)
            return
        }
        var target: UnsafePointer<Float>?
        switch inner.objective {
        case .divergenceFromCleanTeacher:
            try teachClean(batch, memory)
            target = UnsafePointer(memory.teacher.clean.pointer)
        case .divergenceFromCleanStudent:
            // The place of S(x) in training mode, which is taken when the adversary is found.
            let logits = memory.student.clean.pointer
            try memory.studentInference.forward(batch.images, count: batch.count, logits: logits, retain: false)
            target = UnsafePointer(logits)
        case .crossEntropy, .divergenceFromTeacher, .divergenceFromLinearisedTeacher: break
        }
        for i in 0..<batch.count { memory.keys[i] = UInt64(stepsDone) << 32 | UInt64(i) }
        try memory.attack.run(
            AttackBatch(
                images: batch.images, labels: batch.labels, targetLogits: target, keys: memory.keys.pointer,
                count: batch.count),
            into: memory.adversarial.pointer, success: nil)
    }

    /// T(x), T(x+d) and T(x-d), as far as they are needed, and the mirrored images.
    func runTeacher(
        _ batch: TrainingBatch, _ memory: TrainingMemory, _ report: inout StepReport
    ) throws {
        let hasClean = batch.adversarial == nil && inner.objective == .divergenceFromCleanTeacher
        if method.needs.contains(.teacherClean), !hasClean { try teachClean(batch, memory) }
        if method.needs.contains(.teacherAdversarial) || igdm?.usesTeacher == true {
            try teach(
                memory.teacherInference, memory.adversarial.pointer, batch.count, into: memory.teacher.adversarial)
        }
        guard let igdm else { return }
        report.igdmWeight = igdm.weight(epoch: report.epoch, epochs: options.epochs)
        guard igdm.usesMirror else { return }
        report.mirrorOutside = igdm.reflect(
            batch.images, memory.adversarial.pointer, count: batch.count, pixels: student.options.shape.count,
            into: memory.mirrored.pointer, outside: memory.outside.pointer)
        warnOfMirror(igdm, outside: report.mirrorOutside)
        if igdm.usesTeacher {
            try teach(memory.teacherInference, memory.mirrored.pointer, batch.count, into: memory.teacher.mirrored)
        }
    }

    /// T(x), of the teacher for clean images where there are two.
    private func teachClean(_ batch: TrainingBatch, _ memory: TrainingMemory) throws {
        try teach(
            memory.cleanTeacherInference ?? memory.teacherInference, batch.images, batch.count,
            into: memory.teacher.clean)
    }

    private func teach(
        _ teacher: InferencePass?, _ images: UnsafePointer<Float>, _ count: Int, into logits: FloatBuffer
    ) throws {
        guard let teacher else {
            throw EngineError(.internal, "a training without teacher asked for the teacher's logits")
        }
        try teacher.forward(images, count: count, logits: logits.pointer, retain: false)
        try Validation.checkFinite(logits.pointer, count: count * teacher.classes, argument: "the teacher's logits")
    }

    private func warnOfMirror(_ igdm: IGDM, outside: Double) {
        guard mirrorWarningDue, igdm.mirror == .paper, outside > 0.02 else { return }
        mirrorWarningDue = false
        let percent = (outside * 1000).rounded() / 10
        Log.warning(
            "IGDM: \(percent) % of the mirrored pixels x-d lie outside [0,1], where the teacher has never been; "
                + "this can make the student worse. Set mirror = \"clip\"")
    }

    /// S(x+d), S(x) and S(x-d) in training mode, in this order; with `movesStatistics` these move the running statistics.
    func runStudent(
        _ batch: TrainingBatch, _ memory: TrainingMemory, _ report: inout StepReport, movesStatistics: Bool
    ) throws {
        try memory.adversarialPass.forward(
            memory.adversarial.pointer, count: batch.count, logits: memory.student.adversarial.pointer,
            updateStatistics: movesStatistics)
        try memory.cleanPass?.forward(
            batch.images, count: batch.count, logits: memory.student.clean.pointer, updateStatistics: movesStatistics)
        try memory.mirroredPass?.forward(
            memory.mirrored.pointer, count: batch.count, logits: memory.student.mirrored.pointer,
            updateStatistics: movesStatistics && options.mirrorStatistics)

        let classes = student.options.classes
        var correct = 0
        for i in 0..<batch.count
        where argmax(memory.student.adversarial.pointer + i * classes, classes) == Int(batch.labels[i]) {
            correct += 1
        }
        report.adversarialAccuracy = Double(correct) / Double(batch.count)
    }

    /// The losses, and their gradients with respect to the student's logits.
    func takeLoss(
        _ batch: TrainingBatch, _ memory: TrainingMemory, _ report: inout StepReport
    ) throws {
        let (s, t, ds) = (memory.student, memory.teacher, memory.gradient)
        let classes = student.options.classes
        ds.clear()
        memory.sampleWeights.pointer.update(repeating: 1, count: batch.count)
        let loss = method.loss(
            LossContext(
                epoch: report.epoch, epochs: options.epochs, count: batch.count, classes: classes,
                labels: batch.labels, softLabels: batch.softLabels,
                studentAdversarial: s.adversarial.pointer, studentClean: s.clean.pointer,
                teacherAdversarial: t.adversarial.pointer, teacherClean: t.clean.pointer,
                adversarialGradient: ds.adversarial.pointer, cleanGradient: ds.clean.pointer,
                sampleWeights: memory.sampleWeights.pointer))
        report.baseLoss = loss.total
        report.secondLoss = loss.second
        if let igdm {
            report.igdmLoss = igdm.loss(
                teacher: t.inputs, student: s.inputs, count: batch.count, classes: classes,
                weight: report.igdmWeight, sampleWeights: memory.sampleWeights.pointer, gradient: ds.outputs,
                scratch: memory.rowScratch.pointer)
        }
        guard report.loss.isFinite else {
            throw EngineError(.notFinite, "the loss is \(report.loss)")
        }
    }

    /// The gradients of the loss with respect to the weights.
    func runBackward(_ batch: TrainingBatch, _ memory: TrainingMemory) throws {
        gradients.fill(0)
        let ds = memory.gradient
        if method.needs.contains(.studentAdversarial) || igdm != nil {
            try memory.adversarialPass.backward(
                ds.adversarial.pointer, count: batch.count, addingTo: gradients.pointer)
        }
        try memory.cleanPass?.backward(ds.clean.pointer, count: batch.count, addingTo: gradients.pointer)
        try memory.mirroredPass?.backward(ds.mirrored.pointer, count: batch.count, addingTo: gradients.pointer)
        guard Validation.isFinite(gradients.pointer, count: gradients.count) else {
            throw EngineError(.notFinite, "the gradient of the loss is NaN or infinite")
        }
    }
}
