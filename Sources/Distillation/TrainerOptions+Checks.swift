import Attacks
import Runtime

extension TrainerOptions {
    /// Names that options take, in the order in which messages list them.
    static let innerNames = ["method", "student"]
    static let optimiserNames = ["sgd", "adamw"]
    static let averageNames = ["none", "ema", "swa"]

    /// More than any training needs, and small enough that products of them do not overflow.
    private static let largestCount = 1_000_000_000
    private static let largestEpochs = 1_000_000

    /// Throws `invalidArgument`, naming the option, for what is out of range or unknown.
    func validate() throws {
        _ = try MethodRegistry.named(method)
        _ = try makeIGDM()
        _ = try PerturbationBudget(epsilon: epsilon, step: step)
        guard Self.innerNames.contains(inner) else {
            throw EngineError.unknownName("inner", got: inner, known: Self.innerNames)
        }
        try Self.check("temperature", temperature, (1e-3...1e6).contains(temperature), "0.001 ... 1000000")
        try Self.check("adversarial_weight", adversarialWeight, (0...1).contains(adversarialWeight), "0 ... 1")
        try Self.check("learning_rate", learningRate, (0...1e3).contains(learningRate), "0 ... 1000")
        try Self.check("momentum", momentum, momentum >= 0 && momentum < 1, "at least 0 and below 1")
        try Self.check("weight_decay", weightDecay, (0...1e3).contains(weightDecay), "0 ... 1000")
        try Self.check("distillation_weight", distillationWeight, (0...1).contains(distillationWeight), "0 ... 1")
        try Self.check("trades_beta", tradesBeta, (0...1e6).contains(tradesBeta), "0 ... 1000000")
        try Self.check("introspection_start", introspectionStart, in: 1...Self.largestEpochs)
        try Self.check(
            "introspection_power", introspectionPower, introspectionPower > 0 && introspectionPower <= 1e3,
            "above 0, at most 1000")
        try Self.check("balance_rate", balanceRate, (0...1).contains(balanceRate), "0 ... 1")
        try Self.check("consistency_weight", consistencyWeight, (0...1e6).contains(consistencyWeight), "0 ... 1000000")
        try Self.check("entropy_scale", entropyScale, (0...1e6).contains(entropyScale), "0 ... 1000000")
        try Self.check(
            "entropy_order", entropyOrder, entropyOrder > 0 && entropyOrder <= 1e3, "above 0, at most 1000")
        try Self.check("clean_weight", cleanWeight, (0...1e6).contains(cleanWeight), "0 ... 1000000")
        try checkOptimiser()
        try Self.check("gradient_clip", gradientClip, (0...1e9).contains(gradientClip), "0 ... 1e9 (0 = no clipping)")
        try Self.check("awp", awp, (0...1).contains(awp), "0 ... 1 (0 = without)")
        try Self.check("awp_start", awpStart, in: 1...Self.largestEpochs)
        try Self.check("ema_decay", emaDecay, emaDecay >= 0 && emaDecay < 1, "at least 0 and below 1")
        try Self.check("swa_start", swaStart, in: 0...Self.largestEpochs)
        _ = try makeAugmentation()
        try Self.check("cutmix", cutmix, (0...1).contains(cutmix), "0 ... 1")
        try Self.check(
            "generated_ratio", generatedRatio, generatedRatio >= 0 && generatedRatio < 1, "at least 0 and below 1")
        try Self.check("steps", steps, in: 1...Self.largestEpochs)
        try Self.check("epochs", epochs, in: 1...Self.largestEpochs)
        try Self.check("batch_size", batchSize, in: 1...Self.largestCount)
        try Self.check("steps_per_epoch", stepsPerEpoch, in: 0...Self.largestCount)
        try Self.check("validation_count", validationCount, in: 0...Int.max)
        try Self.check("validation_steps", validationSteps, in: 0...Self.largestEpochs)
        _ = try makeSchedule()
        try Self.check(
            "warmup_epochs", warmupEpochs, (0...Double(epochs)).contains(warmupEpochs), "0 ... epochs (\(epochs))")
        guard warmupEpochs == 0 || schedule != "onecycle" else {
            throw EngineError.invalid(
                "warmup_epochs", got: "\(warmupEpochs) with onecycle", want: "0: that schedule has its own (warmup)")
        }
        _ = try averageKind()
    }

    private func checkOptimiser() throws {
        guard Self.optimiserNames.contains(optimiser) else {
            throw EngineError.unknownName("optimiser", got: optimiser, known: Self.optimiserNames)
        }
        guard !nesterov || momentum > 0 else {
            throw EngineError.invalid("nesterov", got: "1 with momentum 0", want: "0, or a momentum > 0")
        }
        guard !nesterov || optimiser == "sgd" else {
            throw EngineError.invalid("nesterov", got: "1 with \(optimiser)", want: "0, or optimiser \"sgd\"")
        }
        try Self.check("beta2", beta2, beta2 >= 0 && beta2 < 1, "at least 0 and below 1")
        // Below, it would be 0 as a float, and 0/0 where a gradient is 0.
        try Self.check("adam_epsilon", adamEpsilon, (1e-30...1).contains(adamEpsilon), "1e-30 ... 1")
    }

    /// For `count` values. Throws `outOfMemory`.
    func makeOptimiser(count: Int) throws -> any Optimiser {
        if optimiser == "adamw" {
            return try AdamW(
                count: count, beta1: momentum, beta2: beta2, epsilon: adamEpsilon, weightDecay: weightDecay)
        }
        return try SGD(count: count, momentum: momentum, weightDecay: weightDecay, nesterov: nesterov)
    }

    /// Throws `invalidArgument`.
    func makeAugmentation() throws -> Augmentation {
        try Self.check("crop_padding", cropPadding, in: 0...Self.largestCount)
        try Self.check("crop_shift", cropShift, in: 0...Self.largestCount)
        guard cropShift == 0 || cropPadding == 0 else {
            throw EngineError.invalid(
                "crop_shift", got: "\(cropShift) with crop_padding \(cropPadding)", want: "one of the two, the other 0")
        }
        try Self.check("cutout", cutout, in: 0...Self.largestCount)
        try Self.check("erasing", erasing, (0...1).contains(erasing), "0 ... 1")
        try Self.check("erasing_area", erasingArea, (0.02...1).contains(erasingArea), "0.02 ... 1")
        return Augmentation(
            padding: cropPadding, flip: flip, shift: cropShift,
            policy: AugmentationPolicy(try Self.named("augment", augment)), cutout: cutout, erasing: Float(erasing),
            erasingArea: Float(erasingArea), seed: seed)
    }

    /// nil where no average is kept.
    func averageKind() throws -> WeightAverage.Kind? {
        switch average {
        case "none": return nil
        case "ema": return .exponential(decay: emaDecay)
        case "swa": return .stochastic(start: swaStart == 0 ? epochs * 3 / 4 + 1 : swaStart)
        default: throw EngineError.unknownName("average", got: average, known: Self.averageNames)
        }
    }

    func makeMethod() throws -> any DistillationMethod {
        var options = MethodOptions()
        options.temperature = Float(temperature)
        options.adversarialWeight = adversarialWeight
        options.distillationWeight = distillationWeight
        options.tradesBeta = tradesBeta
        options.introspectionStart = introspectionStart
        options.introspectionPower = introspectionPower
        options.balanceRate = balanceRate
        options.consistencyWeight = consistencyWeight
        options.entropyScale = entropyScale
        options.entropyOrder = entropyOrder
        options.cleanWeight = cleanWeight
        return try MethodRegistry.named(method).init(options)
    }

    /// nil where IGDM is off.
    func makeIGDM() throws -> IGDM? {
        try Self.check("igdm", igdm, igdm >= 0, "a finite number >= 0 (0 = without IGDM)")
        var made = IGDM(
            weight: igdm, mirror: try Self.named("mirror", mirror),
            distance: try Self.named("igdm_distance", igdmDistance))
        made.ramp = try Self.named("igdm_ramp", igdmRamp)
        made.term = try Self.named("igdm_term", igdmTerm)
        return igdm == 0 ? nil : made
    }

    /// The case of that name.
    private static func named<Choice>(_ option: String, _ name: String) throws -> Choice
    where Choice: RawRepresentable<String> & CaseIterable {
        guard let choice = Choice(rawValue: name) else {
            throw EngineError.unknownName(option, got: name, known: Choice.allCases.map(\.rawValue))
        }
        return choice
    }

    /// For epochs in their range.
    func makeSchedule() throws -> Schedule {
        try Self.check("decay", decay, decay > 0 && decay <= 1e3, "above 0, at most 1000")
        try Self.check("warmup", warmup, (0...1).contains(warmup), "0 ... 1")
        let milestones = milestones ?? Schedule.defaultMilestones(epochs: epochs)
        let rising = zip(milestones, milestones.dropFirst()).allSatisfy { $0 < $1 }
        guard rising, milestones.first ?? 1 >= 1 else {
            throw EngineError.invalid("milestones", got: milestones.description, want: "rising epochs, the first >= 1")
        }
        switch schedule {
        case "multistep": return .multistep(milestones: milestones, decay: decay)
        case "cosine": return .cosine
        case "onecycle": return .oneCycle(warmup: warmup)
        case "constant": return .constant
        default: throw EngineError.unknownName("schedule", got: schedule, known: Schedule.names)
        }
    }

    private static func check(_ name: String, _ value: Double, _ inRange: Bool, _ want: String) throws {
        guard inRange, value.isFinite else { throw EngineError.invalid(name, got: value, want: want) }
    }

    private static func check(_ name: String, _ value: Int, in range: ClosedRange<Int>) throws {
        guard range.contains(value) else {
            throw EngineError.invalid(name, got: value, want: "\(range.lowerBound) ... \(range.upperBound)")
        }
    }
}
