import Attacks
import CIgdm
import Networks
import Runtime

// Section 5 of the header: evaluation.

final class EvaluationHandle: Handle {
    override class var typeName: String { "igdm_evaluation" }

    let evaluation: Evaluation
    let names: [StaticText]
    let warnings: [StaticText]

    init(_ evaluation: Evaluation) {
        self.evaluation = evaluation
        names = evaluation.rows.map { StaticText($0.name) }
        warnings = evaluation.warnings.map { StaticText($0) }
    }

    /// The evaluation at a smaller radius that options point to, where they do.
    static func smaller(_ given: OpaquePointer?) throws -> Evaluation? {
        guard let given else { return nil }
        let handle: EvaluationHandle = try HandleTable.get(given, "options.smaller")
        return handle.evaluation
    }

    func row(_ index: Int) throws -> EvaluationRow {
        try checkIndex(index, evaluation.rows.count, "rows")
        return evaluation.rows[index]
    }
}

private let attacksText = StaticText(EvaluationOptions().attacks)
private let normText = StaticText(EvaluationOptions().norm)
private let lossText = StaticText(AttackOptions().loss)

private func defaultEvaluateOptions() -> igdm_evaluate_options {
    let defaults = EvaluationOptions()
    var options = igdm_evaluate_options()
    options.struct_size = UInt32(MemoryLayout<igdm_evaluate_options>.size)
    options.attacks = attacksText.pointer
    options.norm = normText.pointer
    options.epsilon = defaults.epsilon
    options.step = defaults.step
    options.restarts = Int64(defaults.restarts)
    options.count = Int64(defaults.count)
    options.batch_size = Int64(defaults.batchSize)
    options.seed = defaults.seed
    options.loss = lossText.pointer
    options.kappa = defaults.attack.kappa
    options.targets = Int64(defaults.attack.targets)
    options.random_start = defaults.attack.randomStart ? 1 : 0
    return options
}

@_cdecl("igdm_evaluate_options_init") @implementation
public func igdm_evaluate_options_init(_ options: UnsafeMutablePointer<igdm_evaluate_options>!) -> Int32 {
    guarded { try pointer(options, "options").pointee = defaultEvaluateOptions() }
}

@_cdecl("igdm_evaluate") @implementation
public func igdm_evaluate(
    _ model: OpaquePointer!, _ dataset: OpaquePointer!, _ teacher: OpaquePointer!,
    _ options: UnsafePointer<igdm_evaluate_options>!, _ evaluation: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    guarded {
        let handle: ModelHandle = try HandleTable.get(model, "model")
        let teacher: ModelHandle? = teacher == nil ? nil : try HandleTable.get(teacher, "teacher")
        let call = try EvaluateCall(dataset, options, evaluation)
        try locked([handle, teacher]) {
            try call.run(
                on: InferencePass(handle.network, capacity: call.batchSize),
                teacher: teacher.map { try InferencePass($0.network, capacity: call.batchSize) })
        }
    }
}

@_cdecl("igdm_evaluate_host_model") @implementation
public func igdm_evaluate_host_model(
    _ model: UnsafePointer<igdm_host_model>!, _ dataset: OpaquePointer!,
    _ options: UnsafePointer<igdm_evaluate_options>!, _ evaluation: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    guarded {
        let model = try HostClassifier(model)
        try EvaluateCall(dataset, options, evaluation).run(on: model, teacher: nil)
    }
}

/// The arguments that both functions have, checked.
private struct EvaluateCall {
    private let data: DatasetHandle
    private let options: EvaluationOptions
    private let smaller: Evaluation?
    private let keepsPartial: Bool
    private let monitor: RunMonitor
    private let evaluation: UnsafeMutablePointer<OpaquePointer?>
    var batchSize: Int { options.batchSize }

    init(
        _ dataset: OpaquePointer?, _ options: UnsafePointer<igdm_evaluate_options>?,
        _ evaluation: UnsafeMutablePointer<OpaquePointer?>?
    ) throws {
        data = try HandleTable.get(dataset, "dataset")
        let given = try Igdm.options(
            options, "options", defaults: defaultEvaluateOptions(),
            firstSize: FirstSize.evaluateOptions)
        self.evaluation = try pointer(evaluation, "evaluation")
        try checkReserved(Int64(given.reserved0), given.reserved, argument: "options")
        smaller = try EvaluationHandle.smaller(given.smaller)
        var chosen = EvaluationOptions()
        chosen.attacks = try text(given.attacks, "options.attacks")
        chosen.norm = try text(given.norm, "options.norm")
        chosen.epsilon = given.epsilon
        chosen.step = given.step
        chosen.restarts = Int(given.restarts)
        chosen.count = Int(given.count)
        chosen.batchSize = try dimension(given.batch_size, "options.batch_size", 1...65536)
        chosen.seed = given.seed
        chosen.expectation = max(try dimension(given.eot, "options.eot", 0...65535), 1)
        chosen.attack.loss = try text(given.loss, "options.loss")
        chosen.attack.kappa = given.kappa
        chosen.attack.targets = try dimension(given.targets, "options.targets", 0...1000)
        chosen.attack.randomStart = try flag(given.random_start, "options.random_start")
        try apply(given.tuning, "options.tuning", to: &chosen.attack)
        if let target = given.target { chosen.target = try text(target, "options.target") }
        if let classes = try optionalPointer(given.target_labels, "options.target_labels") {
            let count = try dimension(given.target_count, "options.target_count", 0...data.dataset.count)
            chosen.targetLabels = try Buffer(copying: UnsafeBufferPointer(start: classes, count: count))
        } else if given.target_count != 0 {
            throw EngineError.invalid("options.target_count", got: given.target_count, want: "0 without target_labels")
        }
        guard given.keep_samples == 0 || given.keep_samples == 1 else {
            throw EngineError.invalid("options.keep_samples", got: given.keep_samples, want: "0 or 1")
        }
        chosen.keepsSamples = given.keep_samples == 1
        keepsPartial = try flag(Int32(bitPattern: given.keep_partial), "options.keep_partial")
        self.options = chosen
        monitor = Callbacks.monitor(
            given.progress, given.user, cancel: try optionalPointer(given.cancel, "options.cancel"))
    }

    func run(on model: any DifferentiableClassifier, teacher: (any DifferentiableClassifier)?) throws {
        func give(_ result: Evaluation) { evaluation.pointee = HandleTable.register(EvaluationHandle(result)) }
        let result = try evaluate(
            model, on: data.dataset, teacher: teacher, options: options, after: smaller, monitor: monitor,
            interrupted: keepsPartial ? give : nil)
        give(result)
    }
}

@_cdecl("igdm_evaluation_row_count") @implementation
public func igdm_evaluation_row_count(_ evaluation: OpaquePointer!, _ count: UnsafeMutablePointer<Int>!) -> Int32 {
    guarded {
        let handle: EvaluationHandle = try HandleTable.get(evaluation, "evaluation")
        try pointer(count, "count").pointee = handle.evaluation.rows.count
    }
}

@_cdecl("igdm_evaluation_get_row") @implementation
public func igdm_evaluation_get_row(
    _ evaluation: OpaquePointer!, _ index: Int, _ row: UnsafeMutablePointer<igdm_evaluation_row>!
) -> Int32 {
    guarded {
        let handle: EvaluationHandle = try HandleTable.get(evaluation, "evaluation")
        let source = try handle.row(index)
        var result = igdm_evaluation_row()
        result.name = handle.names[index].pointer
        result.correct = Int64(source.correct)
        result.count = Int64(source.count)
        result.accuracy = source.accuracy
        result.seconds = source.seconds
        result.quantised = Int64(source.correctQuantised)
        result.unfinished = Int64(source.unfinished)
        try fill(row, "row", result, firstSize: FirstSize.evaluationRow)
    }
}

@_cdecl("igdm_evaluation_get_correct") @implementation
public func igdm_evaluation_get_correct(
    _ evaluation: OpaquePointer!, _ index: Int, _ correct: UnsafeMutablePointer<UInt8>!, _ count: Int
) -> Int32 {
    guarded {
        let handle: EvaluationHandle = try HandleTable.get(evaluation, "evaluation")
        let row = try handle.row(index)
        let correct = try pointer(correct, "correct")
        guard count == row.count else {
            throw EngineError(.shape, "count: got \(UInt(bitPattern: count)), want \(row.count), the samples evaluated")
        }
        for (i, flag) in row.flags.enumerated() { correct[i] = flag }
    }
}

@_cdecl("igdm_evaluation_get_samples") @implementation
public func igdm_evaluation_get_samples(
    _ evaluation: OpaquePointer!, _ index: Int, _ adversarial: UnsafeMutablePointer<Float>!, _ count: Int,
    _ report: UnsafeMutablePointer<igdm_attack_report>!
) -> Int32 {
    guarded {
        let handle: EvaluationHandle = try HandleTable.get(evaluation, "evaluation")
        let row = try handle.row(index)
        guard let samples = row.samples else {
            throw EngineError(
                .notFound,
                "evaluation: row \(index), \"\(row.name)\", has no samples; "
                    + "want that of an attack, with options.keep_samples = 1 (igdm_autoattack: igdm_evaluation_get_report)"
            )
        }
        try write(samples, adversarial, count, report)
    }
}

/// Hands out what an attack has found.
func write(
    _ samples: any AttackResults, _ adversarial: UnsafeMutablePointer<Float>?, _ count: Int,
    _ report: UnsafeMutablePointer<igdm_attack_report>?
) throws {
    let adversarial = try optionalPointer(adversarial, "adversarial")
    guard count == samples.count else {
        throw EngineError(
            .shape, "count: got \(UInt(bitPattern: count)), want \(samples.count), the samples evaluated")
    }
    try reporting(try pointer(report, "report")) { choose in
        let unwanted = try FloatBuffer(adversarial == nil ? count * samples.pixels : 0)
        var outputs = AttackOutputs(adversarial: adversarial ?? unwanted.pointer)
        try choose(&outputs)
        try withExtendedLifetime(unwanted) { try samples.write(to: outputs) }
        return samples.totals(seconds: 0)
    }
}

@_cdecl("igdm_evaluation_get_gradient_agreement") @implementation
public func igdm_evaluation_get_gradient_agreement(
    _ evaluation: OpaquePointer!, _ cosine: UnsafeMutablePointer<Double>!, _ distance: UnsafeMutablePointer<Double>!
) -> Int32 {
    guarded {
        let handle: EvaluationHandle = try HandleTable.get(evaluation, "evaluation")
        let cosine = try optionalPointer(cosine, "cosine")
        let distance = try optionalPointer(distance, "distance")
        guard let agreement = handle.evaluation.agreement else {
            throw EngineError(
                .notFound,
                "evaluation: has no gradient agreement: it was made without a teacher, or ended before; "
                    + "give igdm_evaluate one")
        }
        cosine?.pointee = agreement.cosine
        distance?.pointee = agreement.distance
    }
}

@_cdecl("igdm_evaluation_release") @implementation
public func igdm_evaluation_release(_ evaluation: OpaquePointer!) {
    HandleTable.release(evaluation, as: EvaluationHandle.self)
}
