import Glibc
import Kernels
import Runtime

extension AttackDefinition {
    /// The standard version of AutoAttack (Croce and Hein 2020, "Reliable evaluation of adversarial robustness with an
    /// ensemble of diverse parameter-free attacks"), as one attack.
    static let autoAttack = AttackDefinition(name: "autoattack", number: 10) { options, classes in
        guard options.steps == 0 else {
            throw EngineError.invalid("steps", got: options.steps, want: "0: autoattack's attacks have their own")
        }
        return try AutoAttackVersion.standard.stages(options, classes: classes)
    }
}

/// The ensembles that the authors have published, and "custom".
public enum AutoAttackVersion: String, CaseIterable, Sendable {
    case standard, plus, rand, custom

    /// - Parameter options: norm, epsilon, seed, targets, early stop. What the version prescribes is set over them.
    func stages(_ options: AttackOptions, classes: Int) throws -> [AttackStage] {
        func stage(
            _ name: String, restarts: Int = 1, targets: Int = 0, largeRadii: Bool = false
        ) throws -> [AttackStage] {
            var options = options
            options.attack = name
            options.restarts = restarts
            options.largeRadii = largeRadii
            if options.targets == 0 { options.targets = targets }
            return try options.stages(classes: classes) ?? []
        }
        return switch self {
        case .standard where options.norm == ManhattanNorm.name:
            try stage("apgd-ce", restarts: 5, largeRadii: true) + stage("apgd-t", targets: 5, largeRadii: true)
                + stage("fab-t") + stage("square")
        case .standard: try stage("apgd-ce") + stage("apgd-t") + stage("fab-t") + stage("square")
        case .plus:
            try stage("apgd-ce", restarts: 5) + stage("apgd-dlr", restarts: 5) + stage("fab", restarts: 5)
                + stage("square") + stage("apgd-t") + stage("fab-t")
        case .rand: try stage("apgd-ce") + stage("apgd-dlr")
        case .custom: []
        }
    }
}

/// What a caller may choose about `autoAttack`. The defaults are those of the C header, section 5.
public struct AutoAttackOptions {
    public var version = AutoAttackVersion.standard.rawValue
    /// With the version custom: comma-separated, such as "apgd-ce,square-1000".
    public var attacks = ""
    public var norm = "linf"
    public var epsilon = 8.0 / 255
    /// Of the attacks of a custom list.
    public var restarts = 1
    /// 0 means 9; of apgd-t in the standard version in L1, 5.
    public var targets = 0
    /// Passes over which gradients are averaged; 0 means the version's: 20 for rand, else 1.
    public var expectation = 0
    /// The first so many samples; 0 means all.
    public var count = 0
    /// Changes speed and memory only.
    public var batchSize = 128
    public var seed: UInt64 = 0
    /// Of the attacks of a custom list: what their authors have settled. Its other members are not looked at. nil: the defaults.
    public var tuning: AttackOptions?
    /// Where to keep how far it has come, to go on after an end of any kind; nil: nowhere.
    public var progressFile: (any AttackProgressFile)?
    /// Seconds between writings.
    public var saveInterval = 60.0

    public init() {}

    /// - Parameters:
    ///   - passes: over which gradients are averaged.
    ///   - isRandom: whether the model answers differently each time.
    private func attackOptions(passes: Int, isRandom: Bool) -> AttackOptions {
        var options = AttackOptions()
        if let tuning { options.takeTuning(from: tuning) }
        options.norm = norm
        options.epsilon = epsilon
        options.targets = targets
        options.expectation = passes
        options.seed = seed
        // A random model misclassifies some iterate of nearly every run; the last of them is the best that there is.
        options.earlyStop = !isRandom
        options.isRandom = isRandom
        return options
    }

    /// - Parameter isRandom: whether the model has been seen to answer differently each time.
    func stages(classes: Int, isRandom: Bool = false) throws -> (stages: [AttackStage], expectation: Int) {
        guard let version = AutoAttackVersion(rawValue: version) else {
            throw EngineError.unknownName("version", got: version, known: AutoAttackVersion.allCases.map(\.rawValue))
        }
        guard (0...65535).contains(expectation) else {
            throw EngineError.invalid("eot", got: expectation, want: "0 (the version's own) ... 65535")
        }
        let passes = expectation > 0 ? expectation : version == .rand ? 20 : 1
        let common = attackOptions(passes: passes, isRandom: isRandom || passes > 1)
        guard version == .custom else {
            guard attacks.isEmpty else {
                throw EngineError.invalid("attacks", got: "\"\(attacks)\"", want: "\"\" unless version is custom")
            }
            guard restarts == 1 else {
                throw EngineError.invalid("restarts", got: restarts, want: "1 unless version is custom")
            }
            guard tuning == nil else {
                throw EngineError.invalid(
                    "tuning", got: "one with version \(version.rawValue)", want: "none unless version is custom")
            }
            return (try version.stages(common, classes: classes), passes)
        }
        let list = try AttackRegistry.parse(list: attacks)
        guard !list.isEmpty else {
            throw EngineError.invalid(
                "attacks", got: "\"\"", want: "a list such as \"apgd-ce,square\" for version custom")
        }
        let stages = try list.flatMap { entry in
            var options = common
            options.attack = entry.attack
            options.steps = entry.steps
            options.restarts = restarts
            guard let stages = try options.stages(classes: classes) else {
                throw EngineError.invalid(
                    "attacks", got: "\"\(entry.name)\"",
                    want: "attacks in stages: apgd-ce, apgd-dlr, apgd-t, fab, fab-t, square, deepfool, fmn, ...")
            }
            return stages.map { stage in
                var named = stage
                if stages.count == 1 { named.name = entry.name }
                return named
            }
        }
        // Results go by the rows' names.
        for (index, stage) in stages.enumerated() where stages[..<index].contains(where: { $0.name == stage.name }) {
            throw EngineError.invalid(
                "attacks", got: "\"\(stage.name)\" twice", want: "each attack once; autoattack is several")
        }
        return (stages, passes)
    }
}

/// A file that keeps the state of a run, whole at any time.
public protocol AttackProgressFile {
    var path: String { get }
    /// nil where there is none yet.
    func read() throws -> Buffer<UInt8>?
    func write(_ bytes: UnsafeRawBufferPointer) throws
}

/// AutoAttack: the accuracy that remains under all of its attacks, clean first, then after each attack and those before it.
/// A sample that one attack breaks is not given to the next.
///
/// - Parameters:
///   - smaller: the result of the same call with a smaller radius. What is broken there counts as broken, by the same attack and
///     with the same image, and is not attacked again.
///   - interrupted: where an error ends it after its clean row, called with what was found so far before the error is
///     thrown. Samples that were not through count as correct.
/// The classifier must take batches of `options.batchSize`. Throws `invalidArgument` (options, or a progress file of another
/// run), `shape` (source and model do not fit), `notFinite`, `format` and `io` (the progress file), `outOfMemory`, and
/// whatever the monitor throws; with a progress file the same call goes on from there.
public func autoAttack(
    _ model: any DifferentiableClassifier, on source: any ImageSource, options: AutoAttackOptions,
    after smaller: Evaluation? = nil, monitor: RunMonitor = RunMonitor(), interrupted: ((Evaluation) -> Void)? = nil
) throws -> Evaluation {
    guard (0...source.count).contains(options.count) else {
        throw EngineError.invalid(
            "count", got: options.count, want: "0 (all) ... \(source.count), the size of the dataset")
    }
    guard options.batchSize >= 1 else {
        throw EngineError.invalid("batch_size", got: options.batchSize, want: "at least 1")
    }
    guard options.saveInterval >= 0 else {
        throw EngineError.invalid("state_seconds", got: options.saveInterval, want: "a number >= 0")
    }
    try checkFit(model, "model", source)
    var (stages, expectation) = try options.stages(classes: model.classes)
    let count = options.count == 0 ? source.count : options.count

    let state = try CascadeState(
        count: count, classes: model.classes, pixels: model.shape.count, stages: stages.count)
    func makeCascade() throws -> AttackCascade {
        try AttackCascade(
            model, source: source, stages: stages, expectation: expectation, batchSize: options.batchSize, state: state)
    }
    var cascade = try makeCascade()
    let cleanSeconds = try cascade.runClean(monitor)
    for i in 0..<count where state.clean[i] == 0 { state.stage[i] = Int32(stages.count) }
    var checks = AutoAttackChecks(model, source: source, state: state, batchSize: options.batchSize)
    let saysItIsRandom = expectation > 1 || options.version == AutoAttackVersion.rand.rawValue
    if !saysItIsRandom, try checks.findsItRandom(monitor) {
        (stages, expectation) = try options.stages(classes: model.classes, isRandom: true)
        cascade = try makeCascade()
    }
    let before = try smaller?.checkedState(before: options, stages)
    let identity =
        before == nil && options.progressFile == nil
        ? nil : try modelIdentity(of: model, source, state, batchSize: options.batchSize, monitor)
    if let before {
        try smaller?.checkSamples(source, count)
        try before.checkSameModel(state, isRandom: identity == nil)
        state.takeClean(from: before)
        state.takeBroken(from: before, stages: stages.count)
    }
    // Before all the work: a file that cannot be read, belongs to another run or cannot be written.
    var keeper = try ProgressKeeper(options, state, stages, before, model: identity, source: source)
    try keeper?.save()

    let taken = (0..<count).map { i in before.map { $0.breaker[i] >= 0 } ?? false }
    let watch = CascadeWatch(state, stages, taken: taken)
    func result() throws -> Evaluation {
        var rows = [EvaluationRow(name: "clean", flags: try state.flags(before: 0), seconds: cleanSeconds)]
        for (i, stage) in stages.enumerated() {
            rows.append(
                EvaluationRow(
                    name: stage.name, flags: try state.flags(before: i + 1), seconds: state.seconds[i],
                    survivors: state.survivors(before: i + 1), unfinished: state.stage.count { Int($0) <= i }))
        }
        return Evaluation(
            rows: rows, agreement: nil, warnings: checks.warnings, samples: AttackedSamples(source, state),
            ensemble: options)
    }
    do {
        try checks.before(stages, options, monitor)
        do {
            try cascade.run(monitor) { seconds in
                try keeper?.saveWhenDue()
                try monitor.progress?(watch.progress(seconds))
            }
        } catch {
            // What has stopped the run is what the caller has to know; a file that cannot be written now was written before.
            try? keeper?.save()
            throw error
        }
        try keeper?.save()
        try checks.after(stages, taken: taken, monitor)
        try cascade.quantise(RunMonitor(checkpoint: monitor.checkpoint))
    } catch {
        if let interrupted, let soFar = try? result() { interrupted(soFar) }
        throw error
    }
    return try result()
}

extension Evaluation {
    /// Throws `invalidArgument` unless this is an AutoAttack of the same stages on the same samples, at no larger a radius.
    fileprivate func checkedState(before asked: AutoAttackOptions, _ stages: [AttackStage]) throws -> CascadeState {
        func refuse(_ got: String, _ want: String) -> EngineError {
            EngineError.invalid("smaller", got: got, want: want)
        }
        guard let ensemble, let state = samples?.state else { throw refuse("an evaluation", "an AutoAttack") }
        let names = rows.dropFirst().map(\.name)
        let isSame =
            names == stages.map(\.name) && ensemble.norm == asked.norm && ensemble.version == asked.version
            && (ensemble.restarts, ensemble.targets, ensemble.expectation)
                == (asked.restarts, asked.targets, asked.expectation)
            && (ensemble.tuning ?? AttackOptions()).tuned == (asked.tuning ?? AttackOptions()).tuned
        guard isSame, rows.allSatisfy({ $0.unfinished == 0 }) else {
            throw refuse(
                "version \(ensemble.version) (\(names.joined(separator: ","))) in \(ensemble.norm)",
                "one that has finished under \(stages.map(\.name).joined(separator: ",")) in \(asked.norm), with the "
                    + "restarts, targets, eot and tuning asked for")
        }
        guard ensemble.epsilon <= asked.epsilon else {
            throw refuse("one at epsilon \(ensemble.epsilon)", "at most \(asked.epsilon), that asked for")
        }
        return state
    }

    /// Throws `invalidArgument` unless it is one of these images and labels.
    fileprivate func checkSamples(_ source: any ImageSource, _ count: Int) throws {
        guard let samples, samples.count == count, samples.pixels == source.shape.count,
            try digest(samples.source, count) == digest(source, count)
        else { throw EngineError.invalid("smaller", got: "one of other samples", want: "one of the same") }
    }
}

extension CascadeState {
    /// Throws `invalidArgument` unless a later state has the same logits for the same images, as far as the model can repeat them.
    fileprivate func checkSameModel(_ later: CascadeState, isRandom: Bool) throws {
        let bytes = logits.count * MemoryLayout<Float>.stride
        guard classes == later.classes, isRandom || memcmp(logits.pointer, later.logits.pointer, bytes) == 0 else {
            throw EngineError.invalid(
                "smaller", got: "one of another model (its logits of the clean images differ)", want: "one of the same")
        }
    }
}

/// The check sum of the first `count` images and labels, and of what keys their random numbers.
private func digest(_ source: any ImageSource, _ count: Int) throws -> String {
    let image = try FloatBuffer(source.shape.count)
    var sum = Checksum()
    for i in 0..<count {
        try source.readImages(i..<i + 1, into: image.pointer)
        sum.add(UnsafeRawPointer(image.pointer), image.count * MemoryLayout<Float>.stride)
        sum.mix(UInt64(source.label(i)))
        sum.mix(source.key(i))
    }
    return sum.text
}

/// The check sum of the clean logits, and of the gradients of the first few images where there are any: it tells models apart,
/// those of a host too. nil: the model answers differently to the same images, so that there is nothing to compare.
private func modelIdentity(
    of model: any DifferentiableClassifier, _ source: any ImageSource, _ state: CascadeState, batchSize: Int,
    _ monitor: RunMonitor
) throws -> String? {
    let size = min(batchSize, state.count)
    let images = try FloatBuffer(size * model.shape.count)
    let again = try FloatBuffer(size * model.classes)
    if size > 0 {
        try source.readImages(0..<size, into: images.pointer)
        try monitor.checkpoint?()
        try model.forward(images.pointer, count: size, logits: again.pointer, retain: false)
    }
    let bytes = again.count * MemoryLayout<Float>.stride
    guard memcmp(again.pointer, state.logits.pointer, bytes) == 0 else { return nil }
    var sum = Checksum()
    sum.add(UnsafeRawPointer(state.logits.pointer), state.logits.count * MemoryLayout<Float>.stride)
    let gradients = try (0..<2).map { _ in try FloatBuffer(model.shape.count) }
    for i in 0..<(model.hasGradient ? min(4, state.count) : 0) {
        // One by one: batches have the size that the caller likes.
        try source.readImages(i..<i + 1, into: images.pointer)
        for gradient in gradients {
            try monitor.checkpoint?()
            try model.forward(images.pointer, count: 1, logits: again.pointer, retain: true)
            for c in 0..<model.classes { again.pointer[c] = c % 2 == 0 ? 1 : -1 }
            try model.inputGradient(again.pointer, count: 1, gradient: gradient.pointer)
        }
        let bytes = model.shape.count * MemoryLayout<Float>.stride
        guard memcmp(gradients[0].pointer, gradients[1].pointer, bytes) == 0 else { return nil }
        sum.add(UnsafeRawPointer(gradients[0].pointer), bytes)
    }
    return sum.text
}

/// What the caller is told on the way.
private struct CascadeWatch {
    private let state: CascadeState
    private let stages: [AttackStage]
    /// What had been spent when this process began.
    private var spentBefore = 0.0
    /// Samples that were broken at a smaller radius say nothing of what this one costs.
    private let isTakenOver: [Bool]

    init(_ state: CascadeState, _ stages: [AttackStage], taken: [Bool]) {
        self.state = state
        self.stages = stages
        isTakenOver = taken
        spentBefore = (0..<state.count).reduce(0) { $0 + spent($1) }
    }

    /// By a sample, in passes forward.
    private func spent(_ sample: Int) -> Double { Double(state.forwards[sample] + 2 * state.backwards[sample]) }

    /// A pass with its way back takes about three times as long as one without.
    private static func cost(_ stages: ArraySlice<AttackStage>) -> Double {
        stages.reduce(0) { $0 + Double($1.runs * $1.passes) * ($1.usesGradient ? 3 : 1) }
    }

    /// The accuracy is that of the samples not broken so far, which can only fall. Samples that have not begun are expected to
    /// cost what those cost, on average, that are under attack or have been: to the end, if they are not broken yet.
    func progress(_ seconds: Double) -> RunProgress {
        var (finished, robust, all, left, begun, costOfBegun, waiting) = (0, 0, 0.0, 0.0, 0, 0.0, 0)
        for i in 0..<state.count {
            let (stage, cost) = (Int(state.stage[i]), spent(i))
            all += cost
            finished += stage == stages.count ? 1 : 0
            robust += state.isMisclassified(i) ? 0 : 1
            if state.clean[i] == 0 || isTakenOver[i] { continue }
            if stage == 0, state.run[i] == 0 {
                waiting += 1
                continue
            }
            begun += 1
            costOfBegun += cost
            guard stage < stages.count else { continue }
            let one = stages[stage]
            let rest = Self.cost(stages[stage...]) - Double(Int(state.run[i]) * one.passes) * (one.usesGradient ? 3 : 1)
            left += rest
            costOfBegun += rest
        }
        left += Double(waiting) * (begun > 0 ? costOfBegun / Double(begun) : Self.cost(stages[...]))
        var progress = RunProgress(stage: "autoattack", done: finished, total: state.count, seconds: seconds)
        let spentHere = all - spentBefore
        progress.remaining = spentHere > 0 ? seconds * left / spentHere : -1
        progress.accuracy = state.count > 0 ? Double(robust) / Double(state.count) : -1
        return progress
    }
}

/// Writes the state to its file from time to time.
private struct ProgressKeeper {
    private let file: any AttackProgressFile
    private let state: CascadeState
    private let settings: [(name: String, value: String)]
    private let interval: Double
    private var saved = monotonicSeconds()

    /// Takes up what the file has. nil where there is to be none.
    init?(
        _ options: AutoAttackOptions, _ state: CascadeState, _ stages: [AttackStage], _ smaller: CascadeState?,
        model: String?, source: any ImageSource
    ) throws {
        guard let file = options.progressFile else { return nil }
        self.file = file
        self.state = state
        interval = options.saveInterval
        settings = [
            ("model", model ?? "answers differently each time"),
            ("data", try digest(source, state.count)), ("count", "\(state.count)"), ("version", options.version),
            ("attacks", stages.map { "\($0.name)x\($0.runs)" }.joined(separator: ",")),
            // Without the one that verifies: a model that is random now and then may not be seen to be.
            ("passes", stages.map { "\($0.passes - ($0.isVerified ? 1 : 0))" }.joined(separator: ",")),
            ("restarts", "\(options.restarts)"), ("targets", "\(options.targets)"), ("norm", options.norm),
            ("epsilon", "\(options.epsilon)"), ("eot", "\(options.expectation)"), ("seed", "\(options.seed)"),
            ("cpu", CPUPath.active.rawValue), ("results", "\(Self.generation)"),
            ("tuning", (options.tuning ?? AttackOptions()).tuned), ("smaller", smaller.map(Self.sum(of:)) ?? "none"),
        ]
        if let bytes = try file.read() {
            try state.restore(
                UnsafeRawBufferPointer(start: bytes.pointer, count: bytes.count), settings: settings,
                runs: stages.map(\.runs), path: file.path)
        }
    }

    /// Counts up with each change to the attacks that gives other results.
    private static let generation = 5

    mutating func saveWhenDue() throws {
        if monotonicSeconds() - saved >= interval { try save() }
    }

    mutating func save() throws {
        let bytes = try state.serialised(settings: settings)
        try file.write(UnsafeRawBufferPointer(start: bytes.pointer, count: bytes.count))
        saved = monotonicSeconds()
    }

    private static func sum(of broken: CascadeState) -> String {
        var sum = Checksum()
        sum.add(UnsafeRawPointer(broken.breaker.pointer), broken.count * MemoryLayout<Int32>.stride)
        for i in 0..<broken.count where broken.breaker[i] >= 0 {
            sum.add(UnsafeRawPointer(broken.image(i)), broken.pixels * MemoryLayout<Float>.stride)
        }
        for counts in [broken.firstSuccess, broken.forwards, broken.backwards] {
            sum.add(UnsafeRawPointer(counts.pointer), broken.count * MemoryLayout<Int64>.stride)
        }
        return sum.text
    }
}
