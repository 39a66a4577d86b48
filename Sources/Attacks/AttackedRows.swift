import Kernels
import Runtime

/// The rows of an evaluation under attack: each attack gets the samples that are classified correctly.
struct AttackedRows {
    private let model: any DifferentiableClassifier
    private let reader: BatchReader
    private let clean: Buffer<UInt8>
    private let goal: AttackTarget?
    private let options: EvaluationOptions
    private let monitor: RunMonitor
    /// Which samples are attacked: those that are correct, and not of the class to be reached.
    private let attacked: Buffer<Int>

    init(
        _ model: any DifferentiableClassifier, _ reader: BatchReader, clean: Buffer<UInt8>, goal: AttackTarget?,
        _ options: EvaluationOptions, _ monitor: RunMonitor
    ) throws {
        (self.model, self.reader, self.clean) = (model, reader, clean)
        (self.goal, self.options, self.monitor) = (goal, options, monitor)
        attacked = try Buffer(
            copying: clean.indices.lazy.filter { clean[$0] == 1 && goal != .fixed(reader.source.label($0)) })
    }

    /// Under an attack of the loop.
    func row(_ name: String, _ plan: AttackPlan) throws -> EvaluationRow {
        try model.requireGradient(for: name)
        let pixels = model.shape.count
        let objective = try ClassifierObjective(model, loss: plan.loss, capacity: reader.capacity)
        let attack = try GradientAttack(objective, plan: plan, capacity: reader.capacity)
        let chooser = try goal.map { try TargetChooser($0, model, seed: options.seed, capacity: reader.capacity) }
        let target = plan.loss == .divergence ? try CleanOutput(model, capacity: reader.capacity) : nil
        let adversarial = try FloatBuffer(reader.capacity * pixels)
        let success = try Buffer<UInt8>(reader.capacity)
        let trace = try TraceBuffers(reader.capacity)
        let flags = try Buffer(copying: clean)
        let record = options.keepsSamples ? try keepClean() : nil
        let goals = try Buffer<Int64>(record == nil ? 0 : clean.count)
        let seconds = try reader.forEachBatch(
            count: attacked.count, sample: { attacked[$0] }, stage: name, monitor
        ) { batch in
            var aimed = try chooser?.aim(batch, monitor) ?? batch
            if let target { aimed = try target.give(to: aimed, monitor) }
            try attack.run(
                aimed, into: adversarial.pointer, success: success.pointer,
                trace: record == nil ? nil : trace.all, checkpoint: monitor.checkpoint)
            for i in 0..<batch.count {
                let sample = Int(batch.keys[i])
                flags[sample] = 1 - success[i]
                guard let record else { continue }
                goals[sample] = aimed.labels[i]
                record.take(
                    sample, image: adversarial.pointer + i * pixels, success: success[i], trace: trace.all, at: i,
                    passes: target != nil || chooser?.takesPass == true ? 1 : 0)
            }
        }
        guard let record else { return EvaluationRow(name: name, flags: flags, seconds: seconds) }
        // Of those that were attacked; the others are what they were.
        try record.quantise(
            model, capacity: reader.capacity, label: { clean[$0] == 1 ? Int(goals[$0]) : reader.source.label($0) },
            isTargeted: { clean[$0] == 1 && plan.isTargeted }, RunMonitor(checkpoint: monitor.checkpoint))
        return EvaluationRow(
            name: name, flags: flags, seconds: seconds, samples: RecordedSamples(source: reader.source, record: record),
            survivors: survivors(record.quantised))
    }

    /// Under an attack in stages.
    func row(_ name: String, _ stages: [AttackStage]) throws -> EvaluationRow {
        let state = try CascadeState(
            count: clean.count, classes: model.classes, pixels: model.shape.count, stages: stages.count)
        let cascade = try AttackCascade(
            model, source: reader.source, stages: stages, expectation: 1, aim: goal.map { ($0, options.seed) },
            batchSize: reader.capacity, state: state)
        let silent = RunMonitor(checkpoint: monitor.checkpoint)
        let began = monotonicSeconds()
        _ = try cascade.runClean(silent)
        // With a target the cascade would attack what is misclassified, and take what has that label for broken.
        state.clean.pointer.update(from: clean.pointer, count: clean.count)
        for i in 0..<clean.count { state.stage[i] = Int32(stages.count) }
        for i in attacked { state.stage[i] = 0 }
        try cascade.run(monitor) { seconds in
            try monitor.progress?(state.progress(of: name, stages: stages.count, seconds))
        }
        let flags = try Buffer(copying: clean)
        for i in 0..<clean.count where state.breaker[i] >= 0 { flags[i] = 0 }
        let seconds = monotonicSeconds() - began
        guard options.keepsSamples else { return EvaluationRow(name: name, flags: flags, seconds: seconds) }
        try cascade.quantise(silent)
        return EvaluationRow(
            name: name, flags: flags, seconds: seconds, samples: AttackedSamples(reader.source, state),
            survivors: survivors(state.quantised))
    }

    /// A record in which nothing has been attacked yet.
    private func keepClean() throws -> AttackRecord {
        let pixels = model.shape.count
        let record = try AttackRecord(count: clean.count, pixels: pixels)
        record.trace(from: 0).reset(count: clean.count)
        try reader.source.readImages(0..<clean.count, into: record.images.pointer)
        for i in 0..<clean.count { record.success[i] = 1 - clean[i] }
        return record
    }

    private func survivors(_ quantised: Buffer<UInt8>?) -> Int {
        clean.indices.count { clean[$0] == 1 && quantised?[$0] != 1 }
    }
}

/// Memory for the trace of a batch.
private struct TraceBuffers {
    private let firstSuccess: Buffer<Int64>
    private let forwards: Buffer<Int64>
    private let backwards: Buffer<Int64>

    init(_ count: Int) throws {
        (firstSuccess, forwards, backwards) = (try Buffer(count), try Buffer(count), try Buffer(count))
    }

    var all: AttackTrace {
        AttackTrace(
            firstSuccess: firstSuccess.pointer, forwards: forwards.pointer, backwards: backwards.pointer)
    }
}
