import Kernels
import Runtime

/// Attacks any number of samples of the host, in batches.
///
/// - Parameters:
///   - images: (count, channels, height, width) in [0,1].
///   - labels: (count), each in `0..<classes`.
///   - targetLogits: (count, classes) for the "kl" loss; without them the model's clean output is the target.
///   - indices: of the samples in their dataset; key the random numbers.
///   - batchSize: samples that go through the model together, at least 1; changes speed and memory only.
/// Outputs are written at the end, all at once; where an error ends the attack, only with `outputs.interrupted`: then the
/// images found so far, and the others as they were. Throws `invalidArgument` (options, values, labels out of range),
/// `notFinite`, `outOfMemory`, and whatever the monitor throws.
@discardableResult
public func runAttack(
    on classifier: any DifferentiableClassifier, images: UnsafePointer<Float>, labels: UnsafePointer<Int64>, count: Int,
    targetLogits: UnsafePointer<Float>? = nil, options: AttackOptions, indices: SampleIndices = .from(0),
    batchSize: Int,
    monitor: RunMonitor = RunMonitor(), outputs: AttackOutputs
) throws -> AttackTotals {
    let plan = try options.plan()
    if let doubt = try Doubts.radius(options.epsilon, norm: options.norm, pixels: classifier.shape.count) {
        Log.warning("\(options.attack): \(doubt)")
    }
    for doubt in try Doubts.unused(options, by: [options.attack]) { Log.warning("\(options.attack): \(doubt)") }
    let goal = try options.goal(classes: classifier.classes)
    let (shape, classes, pixels) = (classifier.shape, classifier.classes, classifier.shape.count)
    try Validation.checkImages(images, count: count, shape: shape, argument: "images")
    try Validation.checkLabels(labels, count: count, classes: classes, argument: "labels")
    if let stages = try options.stages(classes: classes) {
        return try runStages(
            stages, goal, on: classifier, HostImages(images, labels, count: count, indices, classifier), options,
            batchSize: batchSize, monitor, outputs)
    }
    if let targetLogits {
        try Validation.checkFinite(targetLogits, count: count * classes, argument: "target_logits")
    }
    try classifier.requireGradient(for: options.attack)
    let usesOwnTarget = plan.loss == .divergence && targetLogits == nil
    if usesOwnTarget { try plan.checkOwnTarget() }

    let capacity = min(max(batchSize, 1), max(count, 1))
    let objective = try ClassifierObjective(classifier, loss: plan.loss, capacity: capacity)
    let attack = try GradientAttack(objective, plan: plan, capacity: capacity)
    let record = try AttackRecord(count: count, pixels: pixels)
    let keys = try Buffer<UInt64>(capacity)
    let numbers = try Buffer<Int>(capacity)
    let ownTarget = usesOwnTarget ? try CleanOutput(classifier, capacity: capacity) : nil
    let chooser = try goal.map { try TargetChooser($0, classifier, seed: options.seed, capacity: capacity) }
    // What the results are judged by.
    let judged = try Buffer<Int64>(outputs.quantised == nil ? 0 : count)
    let began = monotonicSeconds()
    var first = 0
    // Samples that have been handed to the attack.
    var begun = 0
    let checkpoint = monitor.checkpoint(of: options.attack, total: count) { first }

    func attackBatch() throws {
        let size = min(capacity, count - first)
        for i in 0..<size {
            numbers[i] = indices[first + i]
            keys[i] = UInt64(numbers[i])
        }
        var batch = AttackBatch(
            images: images + first * pixels, labels: labels + first,
            targetLogits: targetLogits.map { $0 + first * classes }, keys: keys.pointer, numbers: numbers.pointer,
            count: size)
        if let ownTarget { batch = try ownTarget.give(to: batch, monitor) }
        if let chooser { batch = try chooser.aim(batch, monitor) }
        if outputs.quantised != nil { (judged.pointer + first).update(from: batch.labels, count: size) }
        begun = first + size
        try attack.run(
            batch, into: record.images.pointer + first * pixels, success: record.success.pointer + first,
            trace: record.trace(from: first), keepsPassing: outputs.interrupted != nil,
            checkpoint: checkpoint)
        if usesOwnTarget || chooser?.takesPass == true { record.addForwards(first..<first + size) }
        first += size
        try monitor.progress?(
            RunProgress(
                stage: options.attack, done: first, total: count, seconds: monotonicSeconds() - began))
    }

    do {
        while first < count { try attackBatch() }
        if outputs.quantised != nil {
            try record.quantise(
                classifier, capacity: capacity, label: { Int(judged[$0]) }, isTargeted: { _ in plan.isTargeted },
                number: { indices[$0] }, monitor)
        }
    } catch {
        guard let interrupted = outputs.interrupted else { throw error }
        record.leave(from: begun, clean: images)
        record.write(to: outputs, clean: images)
        interrupted(record.totals(seconds: monotonicSeconds() - began))
        throw error
    }
    record.write(to: outputs, clean: images)
    return record.totals(seconds: monotonicSeconds() - began)
}

/// An attack in stages on images of the host. Images that are misclassified already (or the target already) stay as they are,
/// and so do those that no run breaks.
private func runStages(
    _ stages: [AttackStage], _ goal: AttackTarget?, on classifier: any DifferentiableClassifier, _ source: HostImages,
    _ options: AttackOptions, batchSize: Int, _ monitor: RunMonitor, _ outputs: AttackOutputs
) throws -> AttackTotals {
    let began = monotonicSeconds()
    let state = try CascadeState(
        count: source.count, classes: classifier.classes, pixels: classifier.shape.count, stages: stages.count)
    let cascade = try AttackCascade(
        classifier, source: source, stages: stages, expectation: options.expectation,
        aim: goal.map { ($0, options.seed) }, batchSize: batchSize, state: state)
    let samples = AttackedSamples(source, state)
    for stage in stages { stage.tellFallback() }
    let silent = RunMonitor(checkpoint: monitor.checkpoint)
    do {
        _ = try cascade.runClean(silent)
        try cascade.run(monitor) { seconds in
            try monitor.progress?(state.progress(of: options.attack, stages: stages.count, seconds))
        }
        if outputs.quantised != nil { try cascade.quantise(silent) }
    } catch {
        guard let interrupted = outputs.interrupted else { throw error }
        try samples.write(to: outputs)
        interrupted(samples.totals(seconds: monotonicSeconds() - began))
        throw error
    }
    try samples.write(to: outputs)
    return samples.totals(seconds: monotonicSeconds() - began)
}

/// The places that samples of a host have in their dataset, all at least 0.
public enum SampleIndices {
    case from(Int)
    /// One for each sample. Borrowed.
    case each(UnsafePointer<Int64>)

    subscript(_ sample: Int) -> Int {
        switch self {
        case .from(let first): first + sample
        case .each(let indices): Int(indices[sample])
        }
    }
}

/// Images and labels in memory of the host.
private struct HostImages: ImageSource {
    let shape: ImageShape
    let classes: Int
    let count: Int
    private let images: UnsafePointer<Float>
    private let labels: UnsafePointer<Int64>
    private let indices: SampleIndices

    init(
        _ images: UnsafePointer<Float>, _ labels: UnsafePointer<Int64>, count: Int, _ indices: SampleIndices,
        _ classifier: any DifferentiableClassifier
    ) {
        (shape, classes, self.count) = (classifier.shape, classifier.classes, count)
        (self.images, self.labels, self.indices) = (images, labels, indices)
    }

    func readImages(_ count: Int, into result: UnsafeMutablePointer<Float>, row: (Int) -> Int) {
        for i in 0..<count {
            (result + i * shape.count).update(from: images + row(i) * shape.count, count: shape.count)
        }
    }

    func label(_ index: Int) -> Int { Int(labels[index]) }
    func key(_ index: Int) -> UInt64 { UInt64(indices[index]) }
    func number(_ index: Int) -> Int { indices[index] }
}
