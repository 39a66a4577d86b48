import Kernels
import Runtime

/// The rows of an evaluation under attack: each attack gets the samples that are classified correctly, and that it has not broken
/// at a smaller radius.
final class AttackedRows {
    /// What makes the rows doubtful, in words; the log has it too.
    private(set) var warnings: [String] = []
    private let model: any DifferentiableClassifier
    private let reader: BatchReader
    private let clean: Buffer<UInt8>
    private let goal: AttackTarget?
    private let options: EvaluationOptions
    private let monitor: RunMonitor
    private let smaller: Evaluation?

    init(
        _ model: any DifferentiableClassifier, _ reader: BatchReader, clean: Buffer<UInt8>, goal: AttackTarget?,
        _ options: EvaluationOptions, _ monitor: RunMonitor, smaller: Evaluation?
    ) {
        (self.model, self.reader, self.clean) = (model, reader, clean)
        (self.goal, self.options, self.monitor, self.smaller) = (goal, options, monitor, smaller)
    }

    /// Which samples are attacked: those that are left, and not of the class to be reached.
    private func attacked(_ left: Buffer<UInt8>) throws -> Buffer<Int> {
        let (goal, source) = (goal, reader.source)
        return try Buffer(
            copying: left.indices.lazy.filter {
                left[$0] == 1 && goal?.isLabel(source.label($0), sample: $0) != true
            })
    }

    private func row(
        _ name: String, _ flags: Buffer<UInt8>, _ began: Double, _ samples: (any AttackResults)?, left: Buffer<UInt8>,
        after smaller: EvaluationRow?, unfinished: Int
    ) -> EvaluationRow {
        var samples = samples
        if let outer = samples, let inner = smaller?.samples {
            samples = NestedSamples(inner: inner, outer: outer, left: left)
        }
        return EvaluationRow(
            name: name, flags: flags, seconds: monotonicSeconds() - began, samples: samples,
            survivors: survivors(samples), unfinished: unfinished)
    }

    func warn(_ message: String) {
        warnings.append(message)
        Log.warning("evaluate: \(message)")
    }

    private func tellVanished(_ name: String, _ vanished: Int, of attacked: Int) {
        guard vanished > 0 else { return }
        warn(
            "\(name): the gradient of the loss is zero at its start on \(vanished) of \(attacked) samples: it is blind there, and the "
                + "robust accuracy may be far too high; try square, which needs no gradient")
    }

    /// Under an attack of the loop. Where an error ends it, the row has what it had found.
    func addRow(_ name: String, _ plan: AttackPlan, to rows: inout [EvaluationRow]) throws {
        let pixels = model.shape.count
        let objective = try ClassifierObjective(model, loss: plan.loss, capacity: reader.capacity)
        let attack = try GradientAttack(objective, plan: plan, capacity: reader.capacity)
        let chooser = try goal.map { try TargetChooser($0, model, seed: options.seed, capacity: reader.capacity) }
        let target = plan.loss == .divergence ? try CleanOutput(model, capacity: reader.capacity) : nil
        let adversarial = try FloatBuffer(reader.capacity * pixels)
        let success = try Buffer<UInt8>(reader.capacity)
        let trace = try TraceBuffers(reader.capacity)
        let before = smaller?.rows[rows.count]
        let left = before?.flags ?? clean
        let attacked = try attacked(left)
        let flags = try Buffer(copying: left)
        let record = options.keepsSamples ? try keepClean() : nil
        let goals = try Buffer<Int64>(record == nil ? 0 : clean.count)
        var unfinished = attacked.count
        var vanished = 0
        defer { tellVanished(name, vanished, of: attacked.count) }

        func take(_ i: Int, of batch: AttackBatch) {
            let sample = batch.number(i)
            flags[sample] = 1 - success[i]
            unfinished -= 1
            guard let record else { return }
            goals[sample] = batch.labels[i]
            record.take(
                sample, image: adversarial.pointer + i * pixels, success: success[i], trace: trace.all, at: i,
                passes: target != nil || chooser?.takesPass == true ? 1 : 0)
        }

        var done = 0
        let checkpoint = monitor.checkpoint(of: name, total: attacked.count) { done }
        let began = monotonicSeconds()
        defer {
            let samples = record.map { RecordedSamples(source: reader.source, record: $0) }
            rows.append(row(name, flags, began, samples, left: left, after: before, unfinished: unfinished))
        }
        _ = try reader.forEachBatch(
            count: attacked.count, sample: { attacked[$0] }, stage: name, monitor
        ) { batch in
            var aimed = try chooser?.aim(batch, monitor) ?? batch
            if let target { aimed = try target.give(to: aimed, monitor) }
            do {
                try attack.run(
                    aimed, into: adversarial.pointer, success: success.pointer,
                    trace: record == nil ? nil : trace.all, checkpoint: checkpoint)
            } catch {
                // What is broken stays so; of the others nothing can be said.
                for i in 0..<batch.count where success[i] == 1 { take(i, of: aimed) }
                throw error
            }
            for i in 0..<batch.count { take(i, of: aimed) }
            vanished += attack.vanished
            done += batch.count
        }
        // Of those that were attacked; the others are what they were.
        try record?.quantise(
            model, capacity: reader.capacity, label: { clean[$0] == 1 ? Int(goals[$0]) : reader.source.label($0) },
            isTargeted: { clean[$0] == 1 && plan.isTargeted }, number: reader.source.number,
            RunMonitor(checkpoint: monitor.checkpoint))
    }

    /// Under an attack in stages. Where an error ends it, the row has what it had found.
    func addRow(_ name: String, _ stages: [AttackStage], to rows: inout [EvaluationRow]) throws {
        let state = try CascadeState(
            count: clean.count, classes: model.classes, pixels: model.shape.count, stages: stages.count)
        let cascade = try AttackCascade(
            model, source: reader.source, stages: stages, expectation: options.expectation,
            aim: goal.map { ($0, options.seed) },
            batchSize: reader.capacity, state: state)
        let silent = RunMonitor(checkpoint: monitor.checkpoint)
        let before = smaller?.rows[rows.count]
        let left = before?.flags ?? clean
        let attacked = try attacked(left)
        let flags = try Buffer(copying: left)
        for stage in stages {
            if let fallback = stage.fallback {
                warn("\(name): " + (stages.count == 1 ? fallback : "\(stage.name): \(fallback)"))
            }
        }
        let began = monotonicSeconds()
        defer {
            tellVanished(name, state.vanished.count { $0 == 1 }, of: attacked.count)
            for i in 0..<clean.count where state.breaker[i] >= 0 { flags[i] = 0 }
            let samples = options.keepsSamples ? AttackedSamples(reader.source, state) : nil
            let unfinished = state.stage.count { Int($0) < stages.count }
            rows.append(row(name, flags, began, samples, left: left, after: before, unfinished: unfinished))
        }
        do {
            // With a target the cascade would attack what is misclassified, and take what has that label for broken.
            defer {
                state.clean.pointer.update(from: clean.pointer, count: clean.count)
                for i in 0..<clean.count { state.stage[i] = Int32(stages.count) }
                for i in attacked { state.stage[i] = 0 }
            }
            _ = try cascade.runClean(silent)
        }
        try cascade.run(monitor) { seconds in
            try monitor.progress?(state.progress(of: name, stages: stages.count, seconds))
        }
        if options.keepsSamples { try cascade.quantise(silent) }
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

    /// How many are correct once what was found is rounded to bytes; -1 where that has not been looked at.
    private func survivors(_ samples: (any AttackResults)?) -> Int {
        guard let samples, samples.isQuantised else { return -1 }
        return clean.indices.count { clean[$0] == 1 && !samples.outcome($0).isQuantisedSuccess }
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
