import Attacks
import CIgdm
import Kernels
import Networks
import Runtime
import Storage

// Section 5 of the header: AutoAttack.

private let versionText = StaticText(AutoAttackOptions().version)
private let attacksText = StaticText(AutoAttackOptions().attacks)
private let normText = StaticText(AutoAttackOptions().norm)

extension StateFile: AttackProgressFile {}

private func defaultOptions() -> igdm_autoattack_options {
    let defaults = AutoAttackOptions()
    var options = igdm_autoattack_options()
    options.struct_size = UInt32(MemoryLayout<igdm_autoattack_options>.size)
    options.version = versionText.pointer
    options.attacks = attacksText.pointer
    options.norm = normText.pointer
    options.epsilon = defaults.epsilon
    options.restarts = Int64(defaults.restarts)
    options.targets = Int64(defaults.targets)
    options.eot = Int64(defaults.expectation)
    options.count = Int64(defaults.count)
    options.batch_size = Int64(defaults.batchSize)
    options.seed = defaults.seed
    options.state_seconds = defaults.saveInterval
    return options
}

@_cdecl("igdm_autoattack_options_init") @implementation
public func igdm_autoattack_options_init(_ options: UnsafeMutablePointer<igdm_autoattack_options>!) -> Int32 {
    guarded { try pointer(options, "options").pointee = defaultOptions() }
}

@_cdecl("igdm_autoattack") @implementation
public func igdm_autoattack(
    _ model: OpaquePointer!, _ dataset: OpaquePointer!, _ options: UnsafePointer<igdm_autoattack_options>!,
    _ evaluation: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    guarded {
        let handle: ModelHandle = try HandleTable.get(model, "model")
        let call = try AutoAttackCall(dataset, options, evaluation)
        try call.run { batchSize, body in
            try locked([handle]) { try body(InferencePass(handle.network, capacity: batchSize)) }
        }
    }
}

@_cdecl("igdm_autoattack_host_model") @implementation
public func igdm_autoattack_host_model(
    _ model: UnsafePointer<igdm_host_model>!, _ dataset: OpaquePointer!,
    _ options: UnsafePointer<igdm_autoattack_options>!, _ evaluation: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    guarded {
        let model = try HostClassifier(model)
        let call = try AutoAttackCall(dataset, options, evaluation)
        try call.run { _, body in try body(model) }
    }
}

/// The arguments that both functions have, checked.
private struct AutoAttackCall {
    private let data: DatasetHandle
    private let options: AutoAttackOptions
    private let smaller: Evaluation?
    private let keepsPartial: Bool
    private let monitor: RunMonitor
    private let evaluation: UnsafeMutablePointer<OpaquePointer?>

    init(
        _ dataset: OpaquePointer?, _ options: UnsafePointer<igdm_autoattack_options>?,
        _ evaluation: UnsafeMutablePointer<OpaquePointer?>?
    ) throws {
        data = try HandleTable.get(dataset, "dataset")
        let given = try Igdm.options(
            options, "options", defaults: defaultOptions(), firstSize: FirstSize.autoAttackOptions)
        self.evaluation = try pointer(evaluation, "evaluation")
        let r = given.reserved
        try checkReserved(r.0, r.1, argument: "options")
        smaller = try EvaluationHandle.smaller(given.smaller)
        keepsPartial = try flag(Int32(bitPattern: given.keep_partial), "options.keep_partial")
        var chosen = AutoAttackOptions()
        chosen.version = try text(given.version, "options.version")
        chosen.attacks = try text(given.attacks, "options.attacks")
        chosen.norm = try text(given.norm, "options.norm")
        chosen.epsilon = given.epsilon
        chosen.restarts = Int(given.restarts)
        chosen.targets = Int(given.targets)
        chosen.expectation = Int(given.eot)
        chosen.count = Int(given.count)
        chosen.batchSize = try dimension(given.batch_size, "options.batch_size", 1...65536)
        chosen.seed = given.seed
        if given.tuning != nil {
            var tuned = AttackOptions()
            try apply(given.tuning, "options.tuning", to: &tuned)
            chosen.tuning = tuned
        }
        if let state = try optionalPointer(given.state, "options.state") {
            chosen.progressFile = StateFile(path: try path(state, "options.state"))
        }
        chosen.saveInterval = given.state_seconds
        self.options = chosen
        monitor = Callbacks.monitor(
            given.progress, given.user, cancel: try optionalPointer(given.cancel, "options.cancel"))
    }

    /// - Parameter withModel: lends a classifier for batches of that size.
    func run(_ withModel: (Int, (any DifferentiableClassifier) throws -> Evaluation) throws -> Evaluation) throws {
        func give(_ result: Evaluation) { evaluation.pointee = HandleTable.register(EvaluationHandle(result)) }
        let result = try withModel(options.batchSize) { model in
            try autoAttack(
                model, on: data.dataset, options: options, after: smaller, monitor: monitor,
                interrupted: keepsPartial ? give : nil)
        }
        give(result)
    }
}

@_cdecl("igdm_evaluation_warning_count") @implementation
public func igdm_evaluation_warning_count(_ evaluation: OpaquePointer!, _ count: UnsafeMutablePointer<Int>!) -> Int32 {
    guarded {
        let handle: EvaluationHandle = try HandleTable.get(evaluation, "evaluation")
        try pointer(count, "count").pointee = handle.warnings.count
    }
}

@_cdecl("igdm_evaluation_get_warning") @implementation
public func igdm_evaluation_get_warning(
    _ evaluation: OpaquePointer!, _ index: Int, _ warning: UnsafeMutablePointer<UnsafePointer<CChar>?>!
) -> Int32 {
    guarded {
        let handle: EvaluationHandle = try HandleTable.get(evaluation, "evaluation")
        let warning = try pointer(warning, "warning")
        try checkIndex(index, handle.warnings.count, "warnings")
        warning.pointee = handle.warnings[index].pointer
    }
}

@_cdecl("igdm_evaluation_get_report") @implementation
public func igdm_evaluation_get_report(
    _ evaluation: OpaquePointer!, _ adversarial: UnsafeMutablePointer<Float>!, _ count: Int,
    _ report: UnsafeMutablePointer<igdm_attack_report>!
) -> Int32 {
    guarded {
        let handle: EvaluationHandle = try HandleTable.get(evaluation, "evaluation")
        guard let samples = handle.evaluation.samples else {
            throw EngineError(.notFound, "evaluation: it is one of igdm_evaluate; igdm_autoattack keeps the samples")
        }
        try write(samples, adversarial, count, report)
    }
}
