import Attacks
import CIgdm
import Kernels
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
    report.quantised_successes = -1
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
        try reporting(report) { choose in
            try attack(model, images, labels, count, options, adversarial, choose: choose)
        }
    }
}

@_cdecl("igdm_attack_host_model") @implementation
public func igdm_attack_host_model(
    _ model: UnsafePointer<igdm_host_model>!, _ images: UnsafePointer<Float>!, _ labels: UnsafePointer<Int64>!,
    _ count: Int, _ options: UnsafePointer<igdm_attack_options>!, _ adversarial: UnsafeMutablePointer<Float>!,
    _ report: UnsafeMutablePointer<igdm_attack_report>!
) -> Int32 {
    guarded {
        let model = try HostClassifier(model)
        try reporting(report) { choose in
            let call = try AttackCall(
                images, labels, count, options, adversarial, shape: model.shape, classes: model.classes, choose: choose)
            return try call.run(on: model)
        }
    }
}

/// Fills in a report: `attack` is told which outputs the host wants beside the images.
func reporting(
    _ report: UnsafeMutablePointer<igdm_attack_report>?,
    _ attack: ((inout AttackOutputs) throws -> Void) throws -> AttackTotals
) throws {
    var told = try Igdm.options(
        UnsafePointer(report), "report", defaults: defaultAttackReport(), firstSize: FirstSize.attackReport)
    try checkReserved(told.reserved.0, told.reserved.1, argument: "report")
    let keepsPartial = try flag(Int32(bitPattern: told.keep_partial), "report.keep_partial")
    let wanted = told
    func fillIn(_ totals: AttackTotals) throws {
        told.successes = Int64(totals.successes)
        told.total_forwards = Int64(totals.forwards)
        told.total_backwards = Int64(totals.backwards)
        told.seconds = totals.seconds
        told.quantised_successes = Int64(totals.quantised)
        if report != nil { try fill(report, "report", told, firstSize: FirstSize.attackReport) }
    }
    let totals = try attack { outputs in
        outputs.success = try optionalPointer(wanted.success, "report.success")
        outputs.firstSuccess = try optionalPointer(wanted.first_success, "report.first_success")
        outputs.linf = try optionalPointer(wanted.linf, "report.linf")
        outputs.l2 = try optionalPointer(wanted.l2, "report.l2")
        outputs.l1 = try optionalPointer(wanted.l1, "report.l1")
        outputs.forwards = try optionalPointer(wanted.forwards, "report.forwards")
        outputs.backwards = try optionalPointer(wanted.backwards, "report.backwards")
        outputs.quantised = try optionalPointer(wanted.quantised, "report.quantised")
        // It was checked above; what it cannot do now it could not do then.
        if keepsPartial { outputs.interrupted = { try? fillIn($0) } }
    }
    try fillIn(totals)
}

/// The attack on a model of the library.
private func attack(
    _ model: OpaquePointer?, _ images: UnsafePointer<Float>?, _ labels: UnsafePointer<Int64>?, _ count: Int,
    _ options: UnsafePointer<igdm_attack_options>?, _ adversarial: UnsafeMutablePointer<Float>?,
    choose: (inout AttackOutputs) throws -> Void
) throws -> AttackTotals {
    let handle: ModelHandle = try HandleTable.get(model, "model")
    let network = handle.network
    let call = try AttackCall(
        images, labels, count, options, adversarial, shape: network.shape, classes: network.classes, choose: choose)
    return try locked([handle]) { try call.run(on: try handle.inference()) }
}

/// The arguments that all attacks have, checked.
private struct AttackCall {
    private let images: UnsafePointer<Float>
    private let labels: UnsafePointer<Int64>
    private let count: Int
    private let options: AttackOptions
    private let target: UnsafePointer<Float>?
    private let indices: SampleIndices
    private let monitor: RunMonitor
    private let outputs: AttackOutputs

    init(
        _ images: UnsafePointer<Float>?, _ labels: UnsafePointer<Int64>?, _ count: Int,
        _ options: UnsafePointer<igdm_attack_options>?, _ adversarial: UnsafeMutablePointer<Float>?, shape: ImageShape,
        classes: Int, choose: (inout AttackOutputs) throws -> Void
    ) throws {
        self.images = try pointer(images, "images")
        self.labels = try pointer(labels, "labels")
        self.count = try sampleCount(count, floatsPerSample: max(shape.count, classes))
        let given = try Igdm.options(
            options, "options", defaults: defaultAttackOptions(), firstSize: FirstSize.attackOptions)
        var outputs = AttackOutputs(adversarial: try pointer(adversarial, "adversarial"))
        try choose(&outputs)
        self.outputs = outputs
        self.options = try attackOptions(given)
        target = try optionalPointer(given.target_logits, "options.target_logits")
        let cancel = try optionalPointer(given.cancel, "options.cancel")
        let largest = Int64.max - Int64(self.count)
        guard (0...largest).contains(given.first_index) else {
            throw EngineError.invalid(
                "options.first_index", got: given.first_index,
                want: "0 ... \(largest): so many samples have to be numbered from there")
        }
        if let each = try optionalPointer(given.indices, "options.indices") {
            guard given.first_index == 0 else {
                throw EngineError.invalid("options.first_index", got: given.first_index, want: "0 with indices")
            }
            indices = try checkedIndices(each, self.count, "options.indices")
        } else {
            indices = .from(Int(given.first_index))
        }
        monitor = Callbacks.monitor(given.progress, given.user, cancel: cancel)
    }

    func run(on model: any DifferentiableClassifier) throws -> AttackTotals {
        try runAttack(
            on: model, images: images, labels: labels, count: count, targetLogits: target, options: options,
            indices: indices, batchSize: ModelHandle.batchSize, monitor: monitor, outputs: outputs)
    }
}

private func checkedIndices(_ each: UnsafePointer<Int64>, _ count: Int, _ argument: String) throws -> SampleIndices {
    for i in 0..<count where each[i] < 0 {
        throw EngineError.invalid("\(argument)[\(i)]", got: each[i], want: "at least 0")
    }
    return .each(each)
}

@_cdecl("igdm_corrupt") @implementation
public func igdm_corrupt(
    _ images: UnsafePointer<Float>!, _ count: Int, _ channels: Int64, _ height: Int64, _ width: Int64,
    _ name: UnsafePointer<CChar>!, _ severity: Int64, _ seed: UInt64, _ indices: UnsafePointer<Int64>!,
    _ corrupted: UnsafeMutablePointer<Float>!
) -> Int32 {
    guarded {
        let images = try pointer(images, "images")
        let shape = try imageShape(channels, height, width)
        let count = try sampleCount(count, floatsPerSample: shape.count)
        let name = try text(name, "name")
        let each = try optionalPointer(indices, "indices").map { try checkedIndices($0, count, "indices") }
        try corrupt(
            try pointer(corrupted, "corrupted"), images, count: count, shape: shape, name: name,
            severity: Int(severity), seed: seed, indices: each ?? .from(0))
    }
}

private func attackOptions(_ given: igdm_attack_options) throws -> AttackOptions {
    try checkReserved(Int64(given.reserved0), argument: "options")
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
    if let target = given.target { chosen.target = try text(target, "options.target") }
    chosen.targets = Int(given.targets)
    chosen.expectation = try dimension(given.eot, "options.eot", 0...65535)
    if chosen.expectation == 0 { chosen.expectation = 1 }
    try apply(given.tuning, "options.tuning", to: &chosen)
    return chosen
}
