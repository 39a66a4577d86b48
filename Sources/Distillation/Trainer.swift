import Attacks
import Kernels
import Networks
import Runtime
import Storage

/// Trains one student, whose weights it changes in place; holds the optimiser's state and the position in the schedule.
///
/// One step: x_adv from the inner maximisation on the student in inference mode; the teacher's logits, always in
/// inference mode; the student's passes in training mode, each with its own batch statistics, in the order x+d, x, x-d;
/// the method's loss and IGDM's; gradients; the optimiser; the average of the weights. Results are the same for any number of threads. Not for use by two
/// threads at once.
public final class Trainer {
    public let student: Network
    public let teachers: Teachers
    public let options: TrainerOptions
    /// Images that `fit` mixes into its batches.
    let generated: Dataset?

    let method: any DistillationMethod
    let inner: InnerMaximisation
    let igdm: IGDM?
    private let attackPlan: AttackPlan
    private let schedule: Schedule
    private let optimiser: any Optimiser
    private let clipping: GradientClipping?
    private let perturbation: WeightPerturbation?
    private let average: WeightAverage?
    let gradients: FloatBuffer
    private let statisticsBefore: FloatBuffer
    private var memory: TrainingMemory?
    /// What the teachers are, for checkpoints. They do not change: they are copies, or the host has promised it.
    private(set) lazy var teacherIdentities = [
        ("teacher", teachers.robust), ("clean_teacher", teachers.clean),
    ].map { (name: $0.0, value: $0.1.map { $0.identity(withWeights: true) } ?? "none") }

    /// Position in the schedule.
    var stepsPerEpoch: Int
    var epochsDone = 0
    var batchesDone = 0
    var stepsDone = 0
    /// Samples of the last step; 0 before the first and after one that failed.
    private var lastCount = 0

    var fitProgress = FitProgress()
    /// Of the last fit, or of the checkpoint that the training was taken up from: then the next fit must have the same.
    var data: TrainingData?
    var mustKeepData = false
    var mirrorWarningDue = true
    var isRunning = false

    /// - Parameters:
    ///   - teachers: as many as the method and IGDM want; not the student itself.
    ///   - generated: of which each batch of `fit` takes the part `options.generatedRatio`.
    /// Throws `invalidArgument` (options, teachers, one of `generated` and its ratio alone), `shape` (teachers or
    /// `generated` and the student), `outOfMemory`.
    public init(student: Network, teachers: Teachers, options: TrainerOptions, generated: Dataset? = nil) throws {
        try options.validate()
        guard (generated != nil) == (options.generatedRatio > 0) else {
            throw EngineError(
                .invalidArgument,
                generated == nil
                    ? "generated: got none, but generated_ratio is \(options.generatedRatio); want the images to mix in, or "
                        + "generated_ratio 0"
                    : "generated_ratio: got 0 with generated images, want the part of each batch that they make, above 0 "
                        + "and below 1")
        }
        self.student = student
        self.teachers = teachers
        self.options = options
        self.generated = generated
        method = try options.makeMethod()
        igdm = try options.makeIGDM()
        schedule = try options.makeSchedule()
        inner = options.inner == "student" ? .student : method.inner
        try teachers.check(for: student, method: type(of: method), igdm: igdm)

        let budget = try PerturbationBudget(epsilon: options.epsilon, step: options.step)
        if let doubt = try Doubts.radius(options.epsilon, norm: MaximumNorm.name, pixels: student.options.shape.count) {
            Log.warning("trainer: \(doubt)")
        }
        var plan = AttackPlan(
            norm: MaximumNorm(), loss: inner.loss, epsilon: budget.epsilon, step: budget.step, steps: options.steps)
        plan.start = inner.start
        plan.seed = options.seed
        plan.stream = .trainingStart
        attackPlan = plan

        optimiser = try options.makeOptimiser(count: student.weights.count)
        clipping = options.gradientClip > 0 ? GradientClipping(limit: options.gradientClip) : nil
        perturbation = options.awp > 0 ? try WeightPerturbation(of: student, gamma: options.awp) : nil
        average = try options.averageKind().map { try WeightAverage($0, of: student) }
        gradients = try FloatBuffer(student.weights.count)
        statisticsBefore = try FloatBuffer(student.statistics.count)
        stepsPerEpoch = options.stepsPerEpoch
        if let generated { try checkFit(generated, "generated") }
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
            if let softLabels = batch.softLabels {
                try SoftLabels.check(
                    softLabels, count: batch.count, classes: student.options.classes, argument: "soft_labels")
            }
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

    /// Nothing of the last step can be read any more.
    func lastStepIsGone() { lastCount = 0 }

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
            student: student, teachers: teachers, method: method, inner: inner, plan: attackPlan, igdm: igdm,
            capacity: capacity)
        memory = made
        return made
    }

    /// A step on checked arrays.
    func perform(_ batch: TrainingBatch) throws -> StepReport {
        let memory = try prepareMemory(capacity: batch.count)
        var report = StepReport()
        report.epoch = min(epochsDone + 1, options.epochs)
        report.learningRate = learningRate()
        lastCount = 0
        // The passes in training mode change the running statistics before anyone can know whether the step is sound.
        statisticsBefore.copy(from: student.statistics)
        do {
            try findAdversary(batch, memory)
            try runTeacher(batch, memory, &report)
            if let perturbation, report.epoch >= options.awpStart {
                try takeGradient(batch, memory, &report, movesStatistics: false)
                perturbation.apply(to: student, along: gradients)
                defer { perturbation.undo(on: student) }
                try takeGradient(batch, memory, &report, movesStatistics: batch.update)
            } else {
                try takeGradient(batch, memory, &report, movesStatistics: batch.update)
            }
        } catch {
            student.statistics.copy(from: statisticsBefore)
            guard let error = error as? EngineError, error.code == .notFinite else { throw error }
            let isSound = Validation.isFinite(student.weights.pointer, count: student.weights.count)
            throw EngineError(
                .notFinite,
                "step \(stepsDone + 1): \(error.message); "
                    + (isSound
                        ? "the student keeps the weights before this step (a lower learning rate may help)"
                        : "the weights themselves are no longer finite: go on from a checkpoint, with a lower learning rate")
            )
        }
        if batch.update { advance(learningRate: report.learningRate) }
        lastCount = batch.count
        report.step = stepsDone
        return report
    }

    private func takeGradient(
        _ batch: TrainingBatch, _ memory: TrainingMemory, _ report: inout StepReport, movesStatistics: Bool
    ) throws {
        try runStudent(batch, memory, &report, movesStatistics: movesStatistics)
        try takeLoss(batch, memory, &report)
        try runBackward(batch, memory)
    }

    private func learningRate() -> Double {
        let step = epochsDone * stepsPerEpoch + batchesDone
        let warmUp = Schedule.warmUp(
            step: step, steps: Int((options.warmupEpochs * Double(stepsPerEpoch)).rounded()))
        return options.learningRate * warmUp
            * schedule.factor(step: step, epochs: options.epochs, stepsPerEpoch: stepsPerEpoch)
    }

    private func advance(learningRate: Double) {
        optimiser.step(
            student.weights.pointer, gradients: gradients.pointer, scale: clipping?.scale(gradients) ?? 1,
            learningRate: learningRate)
        student.weightsChanged()
        method.commit()
        stepsDone += 1
        batchesDone += 1
        if batchesDone == stepsPerEpoch {
            batchesDone = 0
            epochsDone += 1
        }
        average?.add(student, finishedEpoch: batchesDone == 0 ? epochsDone : nil)
    }

    /// Where the training stands: finished epochs, finished batches of the next one, all steps; epochs whose event `fit` has
    /// sent.
    public var position: (epochs: Int, batches: Int, steps: Int, stepsPerEpoch: Int, epochsReported: Int) {
        (epochsDone, batchesDone, stepsDone, stepsPerEpoch, epochsDone - (fitProgress.epochEndDue ? 1 : 0))
    }

    /// A copy of the student with the average of the weights that it has passed through.
    ///
    /// - Parameter dataset: from which the running statistics are taken anew, in batches of the training's size; nil = the
    ///   average of the student's.
    /// Throws `notFound` (no average is kept, or nothing has gone into it yet), `shape`, `outOfMemory`, `busy`.
    public func averageModel(statisticsFrom dataset: Dataset? = nil) throws -> Network {
        try exclusively {
            guard let average else {
                throw EngineError(
                    .notFound, "trainer: it keeps no average of the weights; create it with average \"ema\" or \"swa\"")
            }
            guard average.count > 0 else {
                throw EngineError(
                    .notFound, "trainer: nothing has gone into the average yet; train on, or lower swa_start")
            }
            if let dataset { try checkFit(dataset, "train") }
            let network = try student.copy()
            average.write(to: network)
            if let dataset { try reestimateStatistics(of: network, on: dataset, batchSize: options.batchSize) }
            return network
        }
    }

    /// All that a checkpoint has to hold beside the student's weights and statistics, in a fixed order.
    var state: [any TrainingState] {
        let parts: [(any TrainingState)?] = [self, optimiser, average, method as? any TrainingState]
        return parts.compactMap { $0 }
    }
}

/// Where the training stands, and what the epoch has added up.
extension Trainer: TrainingState {
    var stateName: String { "position" }

    var numbers: [StateNumber] {
        get {
            [
                .count("steps_per_epoch", stepsPerEpoch), .count("epochs", epochsDone),
                .count("batches", batchesDone), .count("steps", stepsDone),
            ] + fitProgress.numbers
        }
        set {
            let position = newValue.prefix(4).map { Int($0.value) }
            (stepsPerEpoch, epochsDone, batchesDone, stepsDone) = (position[0], position[1], position[2], position[3])
            fitProgress.numbers = Array(newValue.dropFirst(4))
        }
    }
}
