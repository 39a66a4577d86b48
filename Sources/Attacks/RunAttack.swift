import Kernels
import Runtime

/// Attacks any number of samples of the host, in batches.
///
/// - Parameters:
///   - images: (count, channels, height, width) in [0,1].
///   - labels: (count), each in `0..<classes`.
///   - targetLogits: (count, classes) for the "kl" loss; without them the model's clean output is the target.
///   - firstIndex: index of the first sample in its dataset; keys the random numbers.
///   - batchSize: samples that go through the model together, at least 1; changes speed and memory only.
/// Outputs are written at the end, all at once. Throws `invalidArgument` (options, values, labels out of range),
/// `notFinite`, `outOfMemory`, and whatever the monitor throws.
@discardableResult
public func runAttack(
    on classifier: any DifferentiableClassifier, images: UnsafePointer<Float>, labels: UnsafePointer<Int64>, count: Int,
    targetLogits: UnsafePointer<Float>? = nil, options: AttackOptions, firstIndex: UInt64 = 0, batchSize: Int,
    monitor: RunMonitor = RunMonitor(), outputs: AttackOutputs
) throws -> AttackTotals {
    let plan = try options.plan()
    let (shape, classes, pixels) = (classifier.shape, classifier.classes, classifier.shape.count)
    try Validation.checkImages(images, count: count, shape: shape, argument: "images")
    try Validation.checkLabels(labels, count: count, classes: classes, argument: "labels")
    if let stages = try options.stages(classes: classes) {
        return try runStages(
            stages, on: classifier, HostImages(images, labels, count: count, classifier), options,
            firstIndex: firstIndex, batchSize: batchSize, monitor, outputs)
    }
    if let targetLogits {
        try Validation.checkFinite(targetLogits, count: count * classes, argument: "target_logits")
    }
    try classifier.requireGradient(for: options.attack)
    let usesOwnTarget = plan.loss == .divergence && targetLogits == nil
    if usesOwnTarget, plan.start == .clean {
        throw EngineError(
            .invalidArgument,
            "loss: \"kl\" against the model's own clean output has no gradient at the image; "
                + "set random_start = 1 (with pgd), give target_logits, or choose ce or margin")
    }

    let capacity = min(max(batchSize, 1), max(count, 1))
    let objective = try ClassifierObjective(classifier, loss: plan.loss, capacity: capacity)
    let attack = try GradientAttack(objective, plan: plan, capacity: capacity)
    let record = try AttackRecord(count: count, pixels: pixels)
    let keys = try Buffer<UInt64>(capacity)
    let ownTarget = try FloatBuffer(usesOwnTarget ? capacity * classes : 0)
    let began = monotonicSeconds()
    var first = 0
    while first < count {
        let size = min(capacity, count - first)
        let batchImages = images + first * pixels
        var target = targetLogits.map { $0 + first * classes }
        if usesOwnTarget {
            try monitor.checkpoint?()
            try classifier.forward(batchImages, count: size, logits: ownTarget.pointer, retain: false)
            target = UnsafePointer(ownTarget.pointer)
        }
        for i in 0..<size { keys[i] = firstIndex &+ UInt64(first + i) }
        try attack.run(
            AttackBatch(
                images: batchImages, labels: labels + first, targetLogits: target, keys: keys.pointer, count: size),
            into: record.images.pointer + first * pixels, success: record.success.pointer + first,
            trace: record.trace(from: first), checkpoint: monitor.checkpoint)
        if usesOwnTarget { record.addForwards(first..<first + size) }
        first += size
        try monitor.progress?(
            RunProgress(
                stage: options.attack, done: first, total: count, seconds: monotonicSeconds() - began))
    }
    record.write(to: outputs, clean: images)
    return record.totals(seconds: monotonicSeconds() - began)
}

/// An attack in stages on images of the host. Misclassified images stay as they are, and so do those that no run breaks.
private func runStages(
    _ stages: [AttackStage], on classifier: any DifferentiableClassifier, _ source: HostImages,
    _ options: AttackOptions, firstIndex: UInt64, batchSize: Int, _ monitor: RunMonitor, _ outputs: AttackOutputs
) throws -> AttackTotals {
    let began = monotonicSeconds()
    let state = try CascadeState(
        count: source.count, classes: classifier.classes, pixels: classifier.shape.count, stages: stages.count)
    let cascade = try AttackCascade(
        classifier, source: source, stages: stages, expectation: options.expectation, firstKey: firstIndex,
        batchSize: batchSize, state: state)
    _ = try cascade.runClean(RunMonitor(checkpoint: monitor.checkpoint))
    try cascade.run(monitor) { seconds in
        try monitor.progress?(state.progress(of: options.attack, stages: stages.count, seconds))
    }
    let samples = AttackedSamples(source, state)
    samples.write(to: outputs)
    return samples.totals(seconds: monotonicSeconds() - began)
}

/// Images and labels in memory of the host.
private struct HostImages: ImageSource {
    let shape: ImageShape
    let classes: Int
    let count: Int
    private let images: UnsafePointer<Float>
    private let labels: UnsafePointer<Int64>

    init(
        _ images: UnsafePointer<Float>, _ labels: UnsafePointer<Int64>, count: Int,
        _ classifier: any DifferentiableClassifier
    ) {
        (shape, classes, self.count) = (classifier.shape, classifier.classes, count)
        (self.images, self.labels) = (images, labels)
    }

    func readImage(_ index: Int, into image: UnsafeMutablePointer<Float>) {
        image.update(from: images + index * shape.count, count: shape.count)
    }

    func label(_ index: Int) -> Int { Int(labels[index]) }
}
