import Kernels
import Runtime

/// Looks for what makes the numbers of AutoAttack worth less than they seem, as its authors' code does and beyond, and says
/// so in words.
struct AutoAttackChecks {
    private(set) var warnings: [String] = []
    private let model: any DifferentiableClassifier
    private let source: any ImageSource
    private let state: CascadeState
    private let batchSize: Int

    init(_ model: any DifferentiableClassifier, source: any ImageSource, state: CascadeState, batchSize: Int) {
        self.model = model
        self.source = source
        self.state = state
        self.batchSize = min(batchSize, max(state.count, 1))
    }

    mutating func before(_ stages: [AttackStage], _ options: AutoAttackOptions, _ monitor: RunMonitor) throws {
        if let doubt = try Doubts.radius(options.epsilon, norm: options.norm, pixels: model.shape.count) { warn(doubt) }
        checkVersion(options)
        for stage in stages {
            if let fallback = stage.fallback { warn("\(stage.name): \(fallback)") }
        }
        guard state.count > 0 else { return }
        var probabilities = ProbabilityCheck()
        probabilities.look(state.logits.pointer, count: state.count, classes: model.classes)
        if let doubt = probabilities.doubt { warn(doubt) }
        try probeForMaskedGradients(monitor)
    }

    /// - Parameter taken: samples that were broken, and looked at, at a smaller radius.
    mutating func after(_ stages: [AttackStage], taken: [Bool], _ monitor: RunMonitor) throws {
        let vanished = state.vanished.count { $0 == 1 }
        if vanished > 0 {
            warn(
                "the gradient of the loss is zero at the start of an attack on \(vanished) of \(state.count) samples: "
                    + "attacks that follow gradients are blind there, and the robust accuracy may be far too high")
        }
        checkSquare(stages)
        try checkResults(monitor, taken: taken, areVerified: stages.allSatisfy(\.isVerified))
    }

    private mutating func warn(_ message: String) {
        warnings.append(message)
        Log.warning("autoattack: " + message)
    }

    /// Versions that the authors have not made for L1: "plus" (their code says so too), and "rand".
    private mutating func checkVersion(_ options: AutoAttackOptions) {
        let isForL1 = [AutoAttackVersion.standard, .custom].map(\.rawValue).contains(options.version)
        if options.norm == ManhattanNorm.name, !isForL1 {
            warn(
                "version: \(options.version) is made for linf and l2: in l1 it lacks the larger radii from which Auto-PGD "
                    + "comes down in version standard, and may find less")
        }
    }

    /// Four more passes over the first samples, as many whatever a batch is, and whether the model answers them differently.
    mutating func findsItRandom(_ monitor: RunMonitor) throws -> Bool {
        let classes = model.classes
        let images = try FloatBuffer(batchSize * model.shape.count)
        let logits = try FloatBuffer(batchSize * classes)
        let looked = min(state.count, 128)
        var largest = 0.0
        for first in stride(from: 0, to: looked, by: batchSize) {
            let size = min(batchSize, looked - first)
            try source.readImages(first..<first + size, into: images.pointer)
            for _ in 1..<5 {
                try monitor.checkpoint?()
                try model.forward(images.pointer, count: size, logits: logits.pointer, retain: false)
                try Validation.checkOutputs(
                    logits.pointer, count: size, perSample: classes, argument: "the model's logits",
                    sample: { source.number(first + $0) })
                for i in 0..<size {
                    let (a, b) = (logits.pointer + i * classes, state.logits.pointer + (first + i) * classes)
                    let length = max(euclideanLength(b, classes), 1e-10)
                    largest = max(largest, euclideanDistance(a, b, classes) / length)
                }
            }
        }
        guard largest > 1e-4 else { return false }
        warn(
            "the model's output differs from pass to pass (by \(Doubts.rounded(largest)) of its length): it is random, and what is "
                + "found counts only if it is misclassified once more; use version rand")
        return true
    }

    /// With the radius 1 every image is within reach of every other: whoever follows gradients that are there gets the
    /// accuracy down to that of guessing.
    private mutating func probeForMaskedGradients(_ monitor: RunMonitor) throws {
        let clean = state.clean
        // As many whatever a batch is.
        let samples = Array(clean.indices.lazy.filter { clean[$0] == 1 }.prefix(64))
        guard !samples.isEmpty, model.hasGradient else { return }
        let capacity = min(batchSize, samples.count)
        var options = AttackOptions()
        options.epsilon = 1
        options.earlyStop = true
        let plan = try options.plan()
        let attack = try GradientAttack(
            try ClassifierObjective(model, loss: .crossEntropy, capacity: capacity), plan: plan, capacity: capacity)
        let reader = try BatchReader(source, capacity: capacity)
        let images = try FloatBuffer(capacity * model.shape.count)
        let success = try Buffer<UInt8>(capacity)
        var left = 0
        var silent = monitor
        silent.progress = nil
        _ = try reader.forEachBatch(count: samples.count, sample: { samples[$0] }, stage: "probe", silent) { batch in
            try attack.run(batch, into: images.pointer, success: success.pointer, checkpoint: monitor.checkpoint)
            left += success[..<batch.count].count { $0 == 0 }
        }
        if left * model.classes > samples.count {
            warn(
                "PGD-20 with the radius 1, which reaches every image, leaves \(left) of \(samples.count) samples "
                    + "classified correctly: the gradients are masked, and the robust accuracy is that of the attacks, "
                    + "not of the model")
        }
    }

    /// Square, which sees no gradients, is to find next to nothing that those before it have missed.
    private mutating func checkSquare(_ stages: [AttackStage]) {
        let square = stages.firstIndex { $0.name.split(separator: "-").first == "square" }
        guard let square, stages.count > 1 else { return }
        let broken = state.breaker.count { $0 == Int32(square) }
        let points = 100 * Double(broken) / Double(max(state.count, 1))
        if points > 0.2, stages[..<square].contains(where: \.usesGradient) {
            warn(
                "square has lowered the robust accuracy by \(Doubts.rounded(points)) points after attacks that see the gradient: "
                    + "that points to masked gradients; try an attack made for this model, or square with more queries")
        }
    }

    /// What is handed out is evaluated once more, and counts only if it is misclassified then too, unless that has been asked
    /// already.
    private mutating func checkResults(_ monitor: RunMonitor, taken: [Bool], areVerified: Bool) throws {
        let breaker = state.breaker
        let broken = Array(breaker.indices.lazy.filter { breaker[$0] >= 0 && !taken[$0] })
        let pixels = model.shape.count
        let images = try FloatBuffer(batchSize * pixels)
        let logits = try FloatBuffer(batchSize * model.classes)
        var recovered = 0
        for first in stride(from: 0, to: broken.count, by: batchSize) {
            let size = min(batchSize, broken.count - first)
            for i in 0..<size {
                (images.pointer + i * pixels).update(from: state.image(broken[first + i]), count: pixels)
            }
            try monitor.checkpoint?()
            try model.forward(images.pointer, count: size, logits: logits.pointer, retain: false)
            try Validation.checkOutputs(
                logits.pointer, count: size, perSample: model.classes, argument: "the model's logits",
                sample: { source.number(broken[first + $0]) })
            for i in 0..<size {
                let label = source.label(broken[first + i])
                if argmax(logits.pointer + i * model.classes, model.classes) == label {
                    if !areVerified { state.recover(broken[first + i]) }
                    recovered += 1
                }
            }
        }
        if recovered > 0 {
            warn(
                "\(recovered) of \(broken.count) adversarial images are classified correctly when they are evaluated again"
                    + (areVerified ? ": the model is random" : ", and count as correct: the model is random"))
        }
    }
}
