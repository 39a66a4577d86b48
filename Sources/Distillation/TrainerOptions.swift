import Attacks
import Runtime

/// What a caller may choose about a training. The defaults are the paper's CIFAR settings, as in the C header, section
/// 6.
public struct TrainerOptions {
    /// A name of the registry.
    public var method = "ard"
    /// α of IGDM; 0 = without.
    public var igdm = 0.0
    /// "paper" or "clip".
    public var mirror = "paper"
    /// "kl", "l1" or "l2".
    public var igdmDistance = "kl"
    /// The student's pass over x-d moves its running statistics, as in the paper's code.
    public var mirrorStatistics = true
    /// "method": the method's own adversary; "student": PGD on the student.
    public var inner = "method"
    /// τ of ARD.
    public var temperature = 1.0
    /// a of ARD and AdaAD.
    public var adversarialWeight = 1.0

    /// Inner maximisation, L∞, in units of the [0,1] pixel scale; step 0 means epsilon / 4.
    public var epsilon = 8.0 / 255
    public var step = 0.0
    public var steps = 10

    public var learningRate = 0.1
    public var momentum = 0.9
    public var weightDecay = 5e-4
    public var nesterov = false
    /// Augmentation in `fit`.
    public var flip = true
    public var cropPadding = 4
    /// "multistep", "cosine", "onecycle" or "constant".
    public var schedule = "multistep"
    /// Epochs after which the rate is multiplied by `decay`; nil means after 1/2 and 3/4 of the epochs.
    public var milestones: [Int]?
    public var decay = 0.1
    /// Of "onecycle": part of all steps in which the rate rises.
    public var warmup = 0.3
    public var epochs = 200
    public var batchSize = 128
    /// For callers of `step`; `fit` sets it from the dataset.
    public var stepsPerEpoch = 0
    public var seed: UInt64 = 0

    /// The first so many samples of the validation set; 0 means all.
    public var validationCount = 0
    /// Of the PGD attack in validation; 0 = clean accuracy only.
    public var validationSteps = 10

    public init() {}
}

extension TrainerOptions {
    /// Names for `inner`.
    static let innerNames = ["method", "student"]

    /// More than any training needs, and small enough that products of them do not overflow.
    private static let largestCount = 1_000_000_000
    private static let largestEpochs = 1_000_000

    /// Throws `invalidArgument`, naming the option, for what is out of range or unknown.
    func validate() throws {
        _ = try MethodRegistry.named(method)
        _ = try makeIGDM()
        _ = try PerturbationBudget(epsilon: epsilon, step: step, norm: MaximumNorm.name)
        guard Self.innerNames.contains(inner) else {
            throw EngineError.unknownName("inner", got: inner, known: Self.innerNames)
        }
        try Self.check("temperature", temperature, (1e-3...1e6).contains(temperature), "0.001 ... 1000000")
        try Self.check("adversarial_weight", adversarialWeight, (0...1).contains(adversarialWeight), "0 ... 1")
        try Self.check("learning_rate", learningRate, (0...1e3).contains(learningRate), "0 ... 1000")
        try Self.check("momentum", momentum, momentum >= 0 && momentum < 1, "at least 0 and below 1")
        try Self.check("weight_decay", weightDecay, (0...1e3).contains(weightDecay), "0 ... 1000")
        guard !nesterov || momentum > 0 else {
            throw EngineError.invalid("nesterov", got: "1 with momentum 0", want: "0, or a momentum > 0")
        }
        try Self.check("steps", steps, in: 1...Self.largestEpochs)
        try Self.check("crop_padding", cropPadding, in: 0...Self.largestCount)
        try Self.check("epochs", epochs, in: 1...Self.largestEpochs)
        try Self.check("batch_size", batchSize, in: 1...Self.largestCount)
        try Self.check("steps_per_epoch", stepsPerEpoch, in: 0...Self.largestCount)
        try Self.check("validation_count", validationCount, in: 0...Int.max)
        try Self.check("validation_steps", validationSteps, in: 0...Self.largestEpochs)
        _ = try makeSchedule()
    }

    func makeMethod() throws -> any DistillationMethod {
        var options = MethodOptions()
        options.temperature = Float(temperature)
        options.adversarialWeight = adversarialWeight
        return try MethodRegistry.named(method).init(options)
    }

    /// nil where IGDM is off.
    func makeIGDM() throws -> IGDM? {
        try Self.check("igdm", igdm, igdm >= 0, "a finite number >= 0 (0 = without IGDM)")
        guard let mirror = IGDM.Mirror(rawValue: mirror) else {
            throw EngineError.unknownName("mirror", got: mirror, known: IGDM.Mirror.allCases.map(\.rawValue))
        }
        guard let distance = IGDM.Distance(rawValue: igdmDistance) else {
            throw EngineError.unknownName(
                "igdm_distance", got: igdmDistance, known: IGDM.Distance.allCases.map(\.rawValue))
        }
        return igdm == 0 ? nil : IGDM(weight: igdm, mirror: mirror, distance: distance)
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
