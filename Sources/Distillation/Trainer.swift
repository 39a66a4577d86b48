import Attacks
import Kernels
import Networks
import Runtime

/// Trains one student, whose weights it changes in place; holds the optimiser's state and the position in the schedule.
///
/// One step: x_adv from the inner maximisation on the student in inference mode; the teacher's logits, always in
/// inference mode; the student's passes in training mode, each with its own batch statistics, in the order x+d, x, x-d;
/// the method's loss and IGDM's; gradients; SGD. Results are the same for any number of threads. Not for use by two
/// threads at once.
public final class Trainer {
    public let student: Network
    public let teacher: Network?
    public let options: TrainerOptions

    let method: any DistillationMethod
    let inner: InnerMaximisation
    let igdm: IGDM?
    private let attackPlan: AttackPlan
    private let schedule: Schedule
    private let optimiser: SGD
    let gradients: FloatBuffer
    private let statisticsBefore: FloatBuffer
    private var memory: TrainingMemory?

    /// Position in the schedule.
    var stepsPerEpoch: Int
    private(set) var epochsDone = 0
    private(set) var batchesDone = 0
    private(set) var stepsDone = 0
    /// Samples of the last step; 0 before the first and after one that failed.
    private var lastCount = 0

    var fitProgress = FitProgress()
    var mirrorWarningDue = true
    var isRunning = false

    /// - Parameter teacher: may be nil for a method without teacher and without IGDM; not the student itself.
    /// Throws `invalidArgument` (options, teacher), `shape` (teacher and student), `outOfMemory`.
    public init(student: Network, teacher: Network?, options: TrainerOptions) throws {
        try options.validate()
        self.student = student
        self.teacher = teacher
        self.options = options
        method = try options.makeMethod()
        igdm = try options.makeIGDM()
        schedule = try options.makeSchedule()
        inner = options.inner == "student" ? .student : method.inner
        try Self.check(teacher, for: student, options, needed: type(of: method).usesTeacher || igdm != nil)

        let budget = try PerturbationBudget(
            epsilon: options.epsilon, step: options.step, norm: MaximumNorm.name)
        var plan = AttackPlan(
            norm: MaximumNorm(), loss: inner.loss, epsilon: budget.epsilon, step: budget.step, steps: options.steps)
        plan.start = inner.start
        plan.seed = options.seed
        plan.stream = .trainingStart
        attackPlan = plan

        optimiser = try SGD(
            count: student.weights.count, momentum: options.momentum, weightDecay: options.weightDecay,
            nesterov: options.nesterov)
        gradients = try FloatBuffer(student.weights.count)
        statisticsBefore = try FloatBuffer(student.statistics.count)
        stepsPerEpoch = options.stepsPerEpoch
    }

    private static func check(
        _ teacher: Network?, for student: Network, _ options: TrainerOptions, needed: Bool
    ) throws {
        guard let teacher else {
            guard needed else { return }
            let what = options.igdm > 0 ? "\(options.method) with IGDM" : options.method
            throw EngineError(
                .invalidArgument, "teacher: got none, but \(what) needs one; only pgd-at without IGDM does not")
        }
        guard teacher !== student else {
            throw EngineError(.invalidArgument, "teacher: got the student itself, want another model or a copy")
        }
        guard teacher.options.shape == student.options.shape, teacher.options.classes == student.options.classes
        else {
            throw EngineError(
                .shape,
                "teacher: takes images \(teacher.options.shape) in \(teacher.options.classes) classes, "
                    + "the student \(student.options.shape) in \(student.options.classes)")
        }
    }

    /// One step on a batch of the host, without augmentation.
    ///
    /// Throws `invalidArgument` (no position: `stepsPerEpoch` not set; labels or values out of range), `notFinite` (NaN
    /// or infinity in the batch, the models' output, the loss or its gradient), `outOfMemory`, `busy` (from inside a
    /// callback of `fit`). Whatever is thrown, weights, running statistics and position are as before.
    @discardableResult
    public func step(_ batch: TrainingBatch) throws -> StepReport {
        try exclusively {
            guard stepsPerEpoch > 0 else {
                throw EngineError.invalid(
                    "steps_per_epoch", got: 0,
                    want: "the number of batches in an epoch, from which the position in the "
                        + "schedule follows; set it when the trainer is created")
            }
            let shape = student.options.shape
            guard batch.count >= 1 else {
                throw EngineError.invalid("count", got: batch.count, want: "at least 1")
            }
            _ = try prepareMemory(capacity: batch.count)
            try Validation.checkImages(batch.images, count: batch.count, shape: shape, argument: "images")
            try Validation.checkLabels(
                batch.labels, count: batch.count, classes: student.options.classes, argument: "labels")
            if let adversarial = batch.adversarial {
                try Validation.checkImages(adversarial, count: batch.count, shape: shape, argument: "adversarial")
            }
            // A fit that was cancelled in this epoch can no longer report on it as a whole.
            if batch.update { fitProgress = FitProgress() }
            return try perform(batch)
        }
    }

    /// The gradient of the last step's loss for a trainable parameter of the student, without weight decay; valid until
    /// the next step. Throws `notFound` (no such parameter; no step yet).
    public func gradient(of name: String) throws -> UnsafeBufferPointer<Float> {
        guard let parameter = student.parameters.first(where: { $0.name == name && $0.trainable }) else {
            throw EngineError(.notFound, "name: the student has no trainable parameter \"\(name)\"")
        }
        try checkHasStep()
        return UnsafeBufferPointer(start: gradients.pointer + parameter.offset, count: parameter.count)
    }

    /// x_adv of the last step, (count, channels, height, width); valid until the next step. Throws `notFound` (no step
    /// yet).
    public func lastAdversarial() throws -> UnsafeBufferPointer<Float> {
        try checkHasStep()
        return UnsafeBufferPointer(
            start: memory?.adversarial.pointer, count: memory == nil ? 0 : lastCount * student.options.shape.count)
    }

    private func checkHasStep() throws {
        guard lastCount > 0 else {
            throw EngineError(.notFound, "the trainer has no finished step to read from; call igdm_trainer_step first")
        }
    }

    /// Runs `body` unless one of the trainer's callbacks is what calls.
    func exclusively<Result>(_ body: () throws -> Result) throws -> Result {
        guard !isRunning else {
            throw EngineError(.busy, "trainer: it is training already, and a callback cannot start another step or fit")
        }
        isRunning = true
        defer { isRunning = false }
        return try body()
    }

    /// Memory for batches of at least `capacity` samples.
    func prepareMemory(capacity: Int) throws -> TrainingMemory {
        if let memory, memory.capacity >= capacity { return memory }
        // What the last step left there goes too; and the old memory is freed before the new is taken.
        lastCount = 0
        memory = nil
        let made = try TrainingMemory(
            student: student, teacher: teacher, method: method, inner: inner, plan: attackPlan,
            usesMirror: igdm != nil, capacity: capacity)
        memory = made
        return made
    }

    /// A step on checked arrays.
    func perform(_ batch: TrainingBatch) throws -> StepReport {
        let memory = try prepareMemory(capacity: batch.count)
        var report = StepReport()
        report.epoch = min(epochsDone + 1, options.epochs)
        report.learningRate =
            options.learningRate
            * schedule.factor(
                step: epochsDone * stepsPerEpoch + batchesDone, epochs: options.epochs, stepsPerEpoch: stepsPerEpoch)
        lastCount = 0
        // The passes in training mode change the running statistics before anyone can know whether the step is sound.
        statisticsBefore.copy(from: student.statistics)
        do {
            try findAdversary(batch, memory)
            try runTeacher(batch, memory, &report)
            try runStudent(batch, memory, &report)
            try takeLoss(batch, memory, &report)
            try runBackward(batch, memory)
        } catch {
            student.statistics.copy(from: statisticsBefore)
            guard let error = error as? EngineError, error.code == .notFinite else { throw error }
            throw EngineError(
                .notFinite,
                "step \(stepsDone + 1): \(error.message); the student keeps the weights before this step "
                    + "(a lower learning rate may help)")
        }
        if batch.update { advance(learningRate: report.learningRate) }
        lastCount = batch.count
        report.step = stepsDone
        return report
    }

    private func advance(learningRate: Double) {
        optimiser.step(student.weights.pointer, gradients: gradients.pointer, learningRate: learningRate)
        student.weightsChanged()
        stepsDone += 1
        batchesDone += 1
        if batchesDone == stepsPerEpoch {
            batchesDone = 0
            epochsDone += 1
        }
    }
}
