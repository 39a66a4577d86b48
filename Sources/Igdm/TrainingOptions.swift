import CIgdm
import Distillation
import Runtime

// Section 6 of the header: the options of a training.

private let methodText = StaticText(TrainerOptions().method)
private let mirrorText = StaticText(TrainerOptions().mirror)
private let distanceText = StaticText(TrainerOptions().igdmDistance)
private let innerText = StaticText(TrainerOptions().inner)
private let scheduleText = StaticText(TrainerOptions().schedule)
private let termText = StaticText(TrainerOptions().igdmTerm)
private let rampText = StaticText(TrainerOptions().igdmRamp)
private let optimiserText = StaticText(TrainerOptions().optimiser)
private let averageText = StaticText(TrainerOptions().average)
private let augmentText = StaticText(TrainerOptions().augment)

func defaultTrainerOptions() -> igdm_trainer_options {
    let defaults = TrainerOptions()
    var options = igdm_trainer_options()
    options.struct_size = UInt32(MemoryLayout<igdm_trainer_options>.size)
    options.method = methodText.pointer
    options.igdm = defaults.igdm
    options.mirror = mirrorText.pointer
    options.igdm_distance = distanceText.pointer
    options.inner = innerText.pointer
    options.temperature = defaults.temperature
    options.adversarial_weight = defaults.adversarialWeight
    options.epsilon = defaults.epsilon
    options.step = defaults.step
    options.steps = Int64(defaults.steps)
    options.learning_rate = defaults.learningRate
    options.momentum = defaults.momentum
    options.weight_decay = defaults.weightDecay
    options.nesterov = defaults.nesterov ? 1 : 0
    options.flip = defaults.flip ? 1 : 0
    options.crop_padding = Int64(defaults.cropPadding)
    options.schedule = scheduleText.pointer
    options.decay = defaults.decay
    options.warmup = defaults.warmup
    options.epochs = Int64(defaults.epochs)
    options.batch_size = Int64(defaults.batchSize)
    options.steps_per_epoch = Int64(defaults.stepsPerEpoch)
    options.seed = defaults.seed
    options.validation_count = Int64(defaults.validationCount)
    options.validation_steps = Int64(defaults.validationSteps)
    options.mirror_statistics = defaults.mirrorStatistics ? 1 : 0
    return options
}

@_cdecl("igdm_trainer_options_init") @implementation
public func igdm_trainer_options_init(_ options: UnsafeMutablePointer<igdm_trainer_options>!) -> Int32 {
    guarded { try pointer(options, "options").pointee = defaultTrainerOptions() }
}

/// The engine's options; ranges and names are checked there.
func trainerOptions(_ given: igdm_trainer_options, _ details: igdm_trainer_details) throws -> TrainerOptions {
    let r = given.reserved
    try checkReserved(Int64(given.reserved0), r.0, r.1, r.2, r.3, r.4, r.5, argument: "options")
    var chosen = TrainerOptions()
    chosen.method = try text(given.method, "options.method")
    chosen.igdm = given.igdm
    chosen.mirror = try text(given.mirror, "options.mirror")
    chosen.igdmDistance = try text(given.igdm_distance, "options.igdm_distance")
    chosen.inner = try text(given.inner, "options.inner")
    chosen.temperature = given.temperature
    chosen.adversarialWeight = given.adversarial_weight
    chosen.epsilon = given.epsilon
    chosen.step = given.step
    chosen.steps = Int(given.steps)
    chosen.learningRate = given.learning_rate
    chosen.momentum = given.momentum
    chosen.weightDecay = given.weight_decay
    chosen.nesterov = try flag(given.nesterov, "options.nesterov")
    chosen.flip = try flag(given.flip, "options.flip")
    chosen.cropPadding = Int(given.crop_padding)
    chosen.schedule = try text(given.schedule, "options.schedule")
    chosen.milestones = try milestones(given)
    chosen.decay = given.decay
    chosen.warmup = given.warmup
    chosen.epochs = Int(given.epochs)
    chosen.batchSize = Int(given.batch_size)
    chosen.stepsPerEpoch = Int(given.steps_per_epoch)
    chosen.seed = given.seed
    chosen.validationCount = Int(given.validation_count)
    chosen.validationSteps = Int(given.validation_steps)
    chosen.mirrorStatistics = try dimension(given.mirror_statistics, "options.mirror_statistics", 0...1) == 1
    try take(details, into: &chosen)
    return chosen
}

private func milestones(_ given: igdm_trainer_options) throws -> [Int]? {
    let count = given.milestone_count
    guard let milestones = try optionalPointer(given.milestones, "options.milestones") else {
        guard count == 0 else {
            throw EngineError.invalid(
                "options.milestone_count", got: UInt(bitPattern: count), want: "0: milestones is NULL")
        }
        return nil
    }
    guard (0...1000).contains(count) else {
        throw EngineError.invalid("options.milestone_count", got: UInt(bitPattern: count), want: "0 ... 1000")
    }
    return (0..<count).map { Int(milestones[$0]) }
}

private func defaultTrainerDetails() -> igdm_trainer_details {
    let defaults = TrainerOptions()
    var details = igdm_trainer_details()
    details.struct_size = UInt32(MemoryLayout<igdm_trainer_details>.size)
    details.distillation_weight = defaults.distillationWeight
    details.trades_beta = defaults.tradesBeta
    details.introspection_start = Int64(defaults.introspectionStart)
    details.introspection_power = defaults.introspectionPower
    details.balance_rate = defaults.balanceRate
    details.igdm_term = termText.pointer
    details.igdm_ramp = rampText.pointer
    details.optimiser = optimiserText.pointer
    details.beta2 = defaults.beta2
    details.adam_epsilon = defaults.adamEpsilon
    details.gradient_clip = defaults.gradientClip
    details.warmup_epochs = defaults.warmupEpochs
    details.awp = defaults.awp
    details.awp_start = Int64(defaults.awpStart)
    details.average = averageText.pointer
    details.ema_decay = defaults.emaDecay
    details.swa_start = Int64(defaults.swaStart)
    details.cutout = Int64(defaults.cutout)
    details.cutmix = defaults.cutmix
    details.consistency_weight = defaults.consistencyWeight
    details.entropy_scale = defaults.entropyScale
    details.entropy_order = defaults.entropyOrder
    details.clean_weight = defaults.cleanWeight
    details.generated_ratio = defaults.generatedRatio
    details.augment = augmentText.pointer
    details.crop_shift = Int64(defaults.cropShift)
    details.erasing = defaults.erasing
    details.erasing_area = defaults.erasingArea
    return details
}

@_cdecl("igdm_trainer_details_init") @implementation
public func igdm_trainer_details_init(_ details: UnsafeMutablePointer<igdm_trainer_details>!) -> Int32 {
    guarded { try pointer(details, "details").pointee = defaultTrainerDetails() }
}

/// Those that the options point to, or the defaults.
func trainerDetails(_ given: igdm_trainer_options) throws -> igdm_trainer_details {
    let details = try Igdm.options(
        given.details, "options.details", defaults: defaultTrainerDetails(), firstSize: FirstSize.trainerDetails)
    var reserved = details.reserved
    let values = withUnsafeBytes(of: &reserved) { Array($0.bindMemory(to: Int64.self)) }
    for value in values + [Int64(details.reserved0), Int64(details.reserved1)] {
        try checkReserved(value, argument: "details")
    }
    return details
}

private func take(_ details: igdm_trainer_details, into chosen: inout TrainerOptions) throws {
    chosen.distillationWeight = details.distillation_weight
    chosen.tradesBeta = details.trades_beta
    chosen.introspectionStart = Int(details.introspection_start)
    chosen.introspectionPower = details.introspection_power
    chosen.balanceRate = details.balance_rate
    chosen.igdmTerm = try text(details.igdm_term, "details.igdm_term")
    chosen.igdmRamp = try text(details.igdm_ramp, "details.igdm_ramp")
    chosen.optimiser = try text(details.optimiser, "details.optimiser")
    chosen.beta2 = details.beta2
    chosen.adamEpsilon = details.adam_epsilon
    chosen.gradientClip = details.gradient_clip
    chosen.warmupEpochs = details.warmup_epochs
    chosen.awp = details.awp
    chosen.awpStart = Int(details.awp_start)
    chosen.average = try text(details.average, "details.average")
    chosen.emaDecay = details.ema_decay
    chosen.swaStart = Int(details.swa_start)
    chosen.cutout = Int(details.cutout)
    chosen.cutmix = details.cutmix
    chosen.consistencyWeight = details.consistency_weight
    chosen.entropyScale = details.entropy_scale
    chosen.entropyOrder = details.entropy_order
    chosen.cleanWeight = details.clean_weight
    chosen.generatedRatio = details.generated_ratio
    chosen.augment = try text(details.augment, "details.augment")
    chosen.cropShift = Int(details.crop_shift)
    chosen.erasing = details.erasing
    chosen.erasingArea = details.erasing_area
}
