import Attacks
import CIgdm
import Networks
import Runtime

// Section 4 of the header: attacks.

private let pgdText = StaticText("pgd")
private let linfText = StaticText("linf")
private let crossEntropyText = StaticText("ce")

private func defaultAttackOptions() -> igdm_attack_options {
    let defaults = AttackOptions()
    var options = igdm_attack_options()
    options.struct_size = UInt32(MemoryLayout<igdm_attack_options>.size)
    options.random_start = defaults.randomStart ? 1 : 0
    options.attack = pgdText.pointer
    options.norm = linfText.pointer
    options.loss = crossEntropyText.pointer
    options.epsilon = defaults.epsilon
    options.step = defaults.step
    options.steps = Int64(defaults.steps)
    options.restarts = Int64(defaults.restarts)
    options.kappa = defaults.kappa
    options.seed = defaults.seed
    options.early_stop = defaults.earlyStop ? 1 : 0
    return options
}

@_cdecl("igdm_attack_options_init") @implementation
public func igdm_attack_options_init(_ options: UnsafeMutablePointer<igdm_attack_options>!) -> Int32 {
    guarded { try pointer(options, "options").pointee = defaultAttackOptions() }
}

@_cdecl("igdm_attack") @implementation
public func igdm_attack(
    _ model: OpaquePointer!, _ images: UnsafePointer<Float>!, _ labels: UnsafePointer<Int64>!, _ count: Int,
    _ options: UnsafePointer<igdm_attack_options>!, _ adversarial: UnsafeMutablePointer<Float>!,
    _ success: UnsafeMutablePointer<UInt8>!
) -> Int32 {
    guarded {
        _ = try attack(model, images, labels, count, options, adversarial) { outputs in
            outputs.success = try optionalPointer(success, "success")
        }
    }
}

private func defaultAttackReport() -> igdm_attack_report {
    var report = igdm_attack_report()
    report.struct_size = UInt32(MemoryLayout<igdm_attack_report>.size)
    return report
}

@_cdecl("igdm_attack_report_init") @implementation
public func igdm_attack_report_init(_ report: UnsafeMutablePointer<igdm_attack_report>!) -> Int32 {
    guarded { try pointer(report, "report").pointee = defaultAttackReport() }
}

@_cdecl("igdm_attack_with_report") @implementation
public func igdm_attack_with_report(
    _ model: OpaquePointer!, _ images: UnsafePointer<Float>!, _ labels: UnsafePointer<Int64>!, _ count: Int,
    _ options: UnsafePointer<igdm_attack_options>!, _ adversarial: UnsafeMutablePointer<Float>!,
    _ report: UnsafeMutablePointer<igdm_attack_report>!
) -> Int32 {
    guarded {
        var told = try Igdm.options(
            UnsafePointer(report), "report", defaults: defaultAttackReport(), firstSize: FirstSize.attackReport)
        let r = told.reserved
        try checkReserved(Int64(told.reserved0), r.0, r.1, r.2, r.3, argument: "report")
        let totals = try attack(model, images, labels, count, options, adversarial) { outputs in
            outputs.success = try optionalPointer(told.success, "report.success")
            outputs.firstSuccess = try optionalPointer(told.first_success, "report.first_success")
            outputs.linf = try optionalPointer(told.linf, "report.linf")
            outputs.l2 = try optionalPointer(told.l2, "report.l2")
            outputs.l1 = try optionalPointer(told.l1, "report.l1")
            outputs.forwards = try optionalPointer(told.forwards, "report.forwards")
            outputs.backwards = try optionalPointer(told.backwards, "report.backwards")
        }
        told.successes = Int64(totals.successes)
        told.total_forwards = Int64(totals.forwards)
        told.total_backwards = Int64(totals.backwards)
        told.seconds = totals.seconds
        if report != nil { try fill(report, "report", told, firstSize: FirstSize.attackReport) }
    }
}

/// The attack behind both functions; `choose` says which outputs the host wants beside the images.
private func attack(
    _ model: OpaquePointer?, _ images: UnsafePointer<Float>?, _ labels: UnsafePointer<Int64>?, _ count: Int,
    _ options: UnsafePointer<igdm_attack_options>?, _ adversarial: UnsafeMutablePointer<Float>?,
    choose: (inout AttackOutputs) throws -> Void
) throws -> AttackTotals {
    let handle: ModelHandle = try HandleTable.get(model, "model")
    let network = handle.network
    let images = try pointer(images, "images")
    let labels = try pointer(labels, "labels")
    let count = try sampleCount(count, floatsPerSample: max(network.shape.count, network.classes))
    let given = try Igdm.options(
        options, "options", defaults: defaultAttackOptions(), firstSize: FirstSize.attackOptions)
    var outputs = AttackOutputs(adversarial: try pointer(adversarial, "adversarial"))
    try choose(&outputs)
    let chosen = try attackOptions(given)
    let target = try optionalPointer(given.target_logits, "options.target_logits")
    let cancel = try optionalPointer(given.cancel, "options.cancel")
    guard given.first_index >= 0 else {
        throw EngineError.invalid("options.first_index", got: given.first_index, want: "at least 0")
    }
    return try locked([handle]) {
        try runAttack(
            on: handle.inference(), images: images, labels: labels, count: count, targetLogits: target,
            options: chosen, firstIndex: UInt64(given.first_index), batchSize: ModelHandle.batchSize,
            monitor: Callbacks.monitor(given.progress, given.user, cancel: cancel), outputs: outputs)
    }
}

private func attackOptions(_ given: igdm_attack_options) throws -> AttackOptions {
    let r = given.reserved
    try checkReserved(Int64(given.reserved0), r.0, r.1, r.2, r.3, argument: "options")
    var chosen = AttackOptions()
    chosen.attack = try text(given.attack, "options.attack")
    chosen.norm = try text(given.norm, "options.norm")
    chosen.loss = try text(given.loss, "options.loss")
    chosen.epsilon = given.epsilon
    chosen.step = given.step
    chosen.steps = Int(given.steps)
    chosen.restarts = Int(given.restarts)
    chosen.kappa = given.kappa
    chosen.randomStart = try flag(given.random_start, "options.random_start")
    chosen.earlyStop = try flag(given.early_stop, "options.early_stop")
    chosen.seed = given.seed
    return chosen
}
