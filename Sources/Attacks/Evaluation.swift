import Kernels
import Runtime

/// Labelled images that an evaluation reads as it needs them.
public protocol ImageSource {
    var shape: ImageShape { get }
    var classes: Int { get }
    var count: Int { get }
    /// Copies `count` samples, the i-th of them number `row(i)`, as floats in [0,1], (count, channels, height, width).
    /// Throws where the images come from a file that can no longer be read.
    func readImages(_ count: Int, into images: UnsafeMutablePointer<Float>, row: (Int) -> Int) throws
    /// In `0..<classes`.
    func label(_ index: Int) -> Int
    /// What a sample's random numbers are keyed by: its own wherever it is read from, in whatever order.
    func key(_ index: Int) -> UInt64
    /// What errors call a sample.
    func number(_ index: Int) -> Int
}

extension ImageSource {
    public func key(_ index: Int) -> UInt64 { UInt64(index) }
    public func number(_ index: Int) -> Int { index }

    func readImages(_ rows: Range<Int>, into images: UnsafeMutablePointer<Float>) throws {
        try readImages(rows.count, into: images) { rows.lowerBound + $0 }
    }
}

/// What a caller may choose about an evaluation. The defaults are those of the C header, section 5.
public struct EvaluationOptions {
    /// Comma-separated names, those of attacks with steps as "pgd-K" too; "" = clean only.
    public var attacks = "fgsm,pgd-20,cw"
    public var norm = "linf"
    /// As in `AttackOptions`, with "labels" for `targetLabels`: then a sample counts as broken that is taken for its target.
    public var target = ""
    /// With `target` = "labels", and only then: the classes to reach, one for each sample that is evaluated.
    public var targetLabels: Buffer<Int64>?
    public var epsilon = 8.0 / 255
    /// 0 means epsilon / 4.
    public var step = 0.0
    public var restarts = 1
    /// The first so many samples; 0 means all.
    public var count = 0
    /// Changes speed and memory only.
    public var batchSize = 128
    public var seed: UInt64 = 0
    /// Keep what each attack finds, and evaluate it once more as bytes.
    public var keepsSamples = false
    /// Passes over which gradients are averaged.
    public var expectation = 1
    /// Common to all attacks: loss, kappa, targets, random start and what their authors have settled; its other members are not
    /// looked at.
    public var attack = AttackOptions()

    public init() {}

    /// nil: not targeted. Throws `invalidArgument` and `shape` for targets that are none.
    fileprivate func goal(samples: Int, classes: Int) throws -> AttackTarget? {
        let goal = try AttackTarget.named(target, classes: classes)
        guard case .labels = goal else {
            guard targetLabels == nil else {
                throw EngineError.invalid(
                    "target", got: "\"\(target)\" with target_labels", want: "\"labels\" with them, or none of them")
            }
            return goal
        }
        guard let targetLabels else {
            throw EngineError.invalid(
                "target_labels", got: "none with target \"labels\"",
                want: "the classes to reach: the dataset's labels are the true ones")
        }
        guard targetLabels.count == samples else {
            throw EngineError(
                .shape, "target_labels: got \(targetLabels.count), want \(samples), one for each sample evaluated")
        }
        try Validation.checkLabels(
            targetLabels.pointer, count: samples, classes: classes, argument: "target_labels")
        return .each(targetLabels)
    }

    /// One entry of `attacks`, checked.
    fileprivate func attack(_ name: String, _ kind: String, steps: Int, classes: Int) throws -> EvaluatedAttack {
        guard step.isFinite, step >= 0 else {
            throw EngineError.invalid("step", got: step, want: "a finite number >= 0 (0 = epsilon/4)")
        }
        var options = attack
        options.attack = kind
        options.steps = steps
        options.expectation = expectation
        options.norm = norm
        options.epsilon = epsilon
        options.restarts = restarts
        options.seed = seed
        // Of a random model one misclassified iterate among many says little.
        options.earlyStop = expectation <= 1
        options.target = target
        if let stages = try options.stages(classes: classes) { return .stages(name, stages) }
        options.step = step
        var plan = try options.plan()
        try plan.checkOwnTarget()
        plan.rest = .afterSuccessfulRun
        return .loop(name, plan)
    }
}

private enum EvaluatedAttack {
    case loop(String, AttackPlan)
    case stages(String, [AttackStage])

    var name: String {
        switch self {
        case .loop(let name, _), .stages(let name, _): name
        }
    }

    /// Throws `invalidArgument` for one that follows gradients where there are none.
    func check(on model: any DifferentiableClassifier) throws {
        switch self {
        case .loop(let name, _): try model.requireGradient(for: name)
        case .stages(_, let stages):
            for stage in stages where stage.usesGradient { try model.requireGradient(for: stage.name) }
        }
    }
}

/// Accuracy under one attack, or clean.
public struct EvaluationRow {
    /// "clean", or the entry of the attack list.
    public let name: String
    /// Per sample, 1 where it is still classified correctly.
    public let flags: Buffer<UInt8>
    public let seconds: Double
    public var count: Int { flags.count }
    public let correct: Int
    /// What the attack has found, where the options ask for it.
    public let samples: (any AttackResults)?
    /// How many are still correct once the results are rounded to bytes; -1 where that has not been looked at.
    public let correctQuantised: Int
    /// Samples that an attack which was interrupted has not finished: they count as correct. 0 of one that came to its end.
    public let unfinished: Int

    init(
        name: String, flags: Buffer<UInt8>, seconds: Double, samples: (any AttackResults)? = nil, survivors: Int = -1,
        unfinished: Int = 0
    ) {
        self.name = name
        self.flags = flags
        self.seconds = seconds
        self.samples = samples
        correct = flags.reduce(0) { $0 + Int($1) }
        correctQuantised = survivors
        self.unfinished = unfinished
    }

    public var accuracy: Double { count == 0 ? 0 : Double(correct) / Double(count) }
}

/// The result of `evaluate`.
public struct Evaluation {
    /// "clean", then one row per attack.
    public let rows: [EvaluationRow]
    /// With a teacher only, and not where the evaluation was interrupted.
    public let agreement: GradientAgreement?
    /// What makes the numbers doubtful.
    public var warnings: [String] = []
    /// Of `autoAttack` only.
    public var samples: AttackedSamples?
    /// What was asked for: of `evaluate`, and of `autoAttack`.
    var options: EvaluationOptions?
    var ensemble: AutoAttackOptions?
    /// Of the images.
    var shape: ImageShape?
}

/// Measures the accuracy of `model`, clean and under each attack.
///
/// Samples that are misclassified clean are not attacked and count as misclassified under every attack; of each run the
/// last iterate counts. With a target a sample is broken when it is taken for its target; one whose label that is stays. With a teacher the agreement of the input gradients is measured on all samples.
///
/// - Parameters:
///   - smaller: the same evaluation at a smaller radius. What an attack has broken there counts as broken here, since what lies
///     in a ball lies in a larger one, and is not attacked again.
///   - interrupted: where an error ends the evaluation after its clean row, called with the rows so far before the error
///     is thrown. The attack that was under way has a row too, the last one: with what it had found, the rest `unfinished`.
/// The classifiers must take batches of `options.batchSize`. Throws `invalidArgument` (options, `smaller`), `shape` (source, model
/// and teacher do not fit), `notFinite`, `outOfMemory`, and whatever the monitor throws.
public func evaluate(
    _ model: any DifferentiableClassifier, on source: any ImageSource, teacher: (any DifferentiableClassifier)? = nil,
    options: EvaluationOptions, after smaller: Evaluation? = nil, monitor: RunMonitor = RunMonitor(),
    interrupted: ((Evaluation) -> Void)? = nil
) throws -> Evaluation {
    let list = try AttackRegistry.parse(list: options.attacks)
    let attacks = try list.map {
        try options.attack($0.name, $0.attack, steps: $0.steps, classes: model.classes)
    }
    guard (0...source.count).contains(options.count) else {
        throw EngineError.invalid(
            "count", got: options.count, want: "0 (all) ... \(source.count), the size of the dataset")
    }
    guard options.batchSize >= 1 else {
        throw EngineError.invalid("batch_size", got: options.batchSize, want: "at least 1")
    }
    for attack in attacks { try attack.check(on: model) }
    try checkFit(model, "model", source)
    if let teacher { try checkFit(teacher, "teacher", source) }

    let count = options.count == 0 ? source.count : options.count
    let goal = try options.goal(samples: count, classes: model.classes)
    let reader = try BatchReader(source, capacity: min(options.batchSize, max(count, 1)))
    var probabilities = ProbabilityCheck()
    var rows = [try cleanRow(model, reader, count: count, &probabilities, monitor)]
    try smaller?.checkPrecedes(options, attacks: attacks.map(\.name), model.shape, clean: rows[0].flags)
    let attacked = AttackedRows(
        model, reader, clean: rows[0].flags, goal: goal, options, monitor, smaller: smaller)
    if !attacks.isEmpty {
        let radius = try Doubts.radius(options.epsilon, norm: options.norm, pixels: model.shape.count)
        let unused = try Doubts.unused(options.attack, step: options.step, by: list.map(\.attack))
        for doubt in [radius, probabilities.doubt].compactMap({ $0 }) + unused { attacked.warn(doubt) }
    }
    do {
        for attack in attacks {
            switch attack {
            case .loop(let name, let plan): try attacked.addRow(name, plan, to: &rows)
            case .stages(let name, let stages): try attacked.addRow(name, stages, to: &rows)
            }
        }
        let agreement = try teacher.map {
            try GradientAgreement.measure(student: model, teacher: $0, reader, count: count, monitor)
        }
        return Evaluation(
            rows: rows, agreement: agreement, warnings: attacked.warnings, options: options, shape: model.shape)
    } catch {
        interrupted?(
            Evaluation(
                rows: rows, agreement: nil, warnings: attacked.warnings, options: options, shape: model.shape))
        throw error
    }
}

extension Evaluation {
    /// Throws `invalidArgument` unless this is an evaluation of the same samples under the same attacks, at no larger a radius.
    fileprivate func checkPrecedes(
        _ asked: EvaluationOptions, attacks: [String], _ shape: ImageShape, clean: Buffer<UInt8>
    ) throws {
        func refuse(_ got: String, _ want: String) -> EngineError {
            EngineError.invalid("smaller", got: got, want: want)
        }
        let none = try Buffer<Int64>(0)
        guard let options else { throw refuse("an AutoAttack", "an evaluation") }
        let names = rows.dropFirst().map(\.name)
        guard names == attacks, rows.allSatisfy({ $0.unfinished == 0 }) else {
            throw refuse(
                "an evaluation under \(names.joined(separator: ","))",
                "one that has finished under \(attacks.joined(separator: ",")), the attacks asked for")
        }
        guard options.norm == asked.norm, options.target == asked.target else {
            throw refuse(
                "one in \(options.norm), target \"\(options.target)\"",
                "\(asked.norm), \"\(asked.target)\", as asked for")
        }
        guard (options.targetLabels ?? none).elementsEqual(asked.targetLabels ?? none) else {
            throw refuse("one with other target_labels", "the same, as asked for")
        }
        guard options.epsilon <= asked.epsilon else {
            throw refuse("one at epsilon \(options.epsilon)", "at most \(asked.epsilon), that asked for")
        }
        guard options.keepsSamples || !asked.keepsSamples else {
            throw refuse("one without samples", "one with keep_samples, as asked for")
        }
        guard self.shape == shape, rows[0].flags.elementsEqual(clean) else {
            throw refuse("one of another model or of other samples (others are right clean)", "one of the same")
        }
    }
}

func checkFit(
    _ model: any DifferentiableClassifier, _ name: String, _ source: any ImageSource
) throws {
    guard model.shape == source.shape, model.classes == source.classes else {
        throw EngineError(
            .shape,
            "\(name): takes images \(model.shape) in \(model.classes) classes, "
                + "the dataset has \(source.shape) in \(source.classes)")
    }
}

private func cleanRow(
    _ model: any DifferentiableClassifier, _ reader: BatchReader, count: Int,
    _ probabilities: inout ProbabilityCheck, _ monitor: RunMonitor
) throws -> EvaluationRow {
    let classes = model.classes
    let logits = try FloatBuffer(reader.capacity * classes)
    let flags = try Buffer<UInt8>(count)
    let seconds = try reader.forEachBatch(count: count, stage: "clean", monitor) { batch in
        try monitor.checkpoint?()
        try model.forward(batch.images, count: batch.count, logits: logits.pointer, retain: false)
        try Validation.checkOutputs(
            logits.pointer, count: batch.count, perSample: classes, argument: "the model's logits",
            sample: batch.number)
        probabilities.look(logits.pointer, count: batch.count, classes: classes)
        for i in 0..<batch.count {
            flags[batch.number(i)] = argmax(logits.pointer + i * classes, classes) == Int(batch.labels[i]) ? 1 : 0
        }
    }
    return EvaluationRow(name: "clean", flags: flags, seconds: seconds)
}

/// Reads chosen samples of a source in batches.
final class BatchReader {
    let source: any ImageSource
    let capacity: Int
    private let images: FloatBuffer
    private let labels: Buffer<Int64>
    private let keys: Buffer<UInt64>
    private let numbers: Buffer<Int>

    init(_ source: any ImageSource, capacity: Int) throws {
        self.source = source
        self.capacity = capacity
        images = try FloatBuffer(capacity * source.shape.count)
        labels = try Buffer(capacity)
        keys = try Buffer(capacity)
        numbers = try Buffer(capacity)
    }

    /// Calls `body` with each batch of `count` samples, whose numbers are those in the source; reports progress after
    /// it; returns the seconds spent.
    ///
    /// - Parameter sample: the number of the k-th sample to read.
    func forEachBatch(
        count: Int, sample: (Int) -> Int = { $0 }, stage: String, _ monitor: RunMonitor,
        _ body: (AttackBatch) throws -> Void
    ) throws -> Double {
        let began = monotonicSeconds()
        var first = 0
        while first < count {
            let size = min(capacity, count - first)
            for i in 0..<size {
                let index = sample(first + i)
                numbers[i] = index
                keys[i] = source.key(index)
                labels[i] = Int64(source.label(index))
            }
            try source.readImages(size, into: images.pointer) { numbers[$0] }
            try body(
                AttackBatch(
                    images: images.pointer, labels: labels.pointer, keys: keys.pointer, numbers: numbers.pointer,
                    count: size))
            first += size
            try monitor.progress?(
                RunProgress(stage: stage, done: first, total: count, seconds: monotonicSeconds() - began))
        }
        return monotonicSeconds() - began
    }
}
