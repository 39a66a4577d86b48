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
    /// λ of AKD.
    public var distillationWeight = 0.5
    /// β of TRADES.
    public var tradesBeta = 6.0
    /// IAD and AdaIAD: the first epoch of introspection, counted from 1, and the power of the teacher's probability.
    public var introspectionStart = 60
    public var introspectionPower = 0.1
    /// Of MTARD's weights.
    public var balanceRate = 0.025
    /// β of DGAD.
    public var consistencyWeight = 1.0
    /// Of SAAD: s and γ of the weights of samples, and β.
    public var entropyScale = 5.0
    public var entropyOrder = 1.0
    public var cleanWeight = 0.0
    /// "igdm", "trades-reg" or "trades-like": what `igdm` is the weight of.
    public var igdmTerm = "igdm"
    /// "linear" or "constant".
    public var igdmRamp = "linear"

    /// Inner maximisation, L∞, in units of the [0,1] pixel scale; step 0 means epsilon / 4.
    public var epsilon = 8.0 / 255
    public var step = 0.0
    public var steps = 10

    /// "sgd" or "adamw"; for the latter momentum is β₁.
    public var optimiser = "sgd"
    public var beta2 = 0.999
    public var adamEpsilon = 1e-8
    public var learningRate = 0.1
    public var momentum = 0.9
    public var weightDecay = 5e-4
    public var nesterov = false
    /// Largest L2 norm of the gradient; 0 = no clipping.
    public var gradientClip = 0.0
    /// γ of adversarial weight perturbation, from the epoch `awpStart` on, counted from 1; 0 = without.
    public var awp = 0.0
    public var awpStart = 1
    /// "none", "ema" or "swa".
    public var average = "none"
    public var emaDecay = 0.999
    /// Counted from 1; 0 = the one after 3/4 of the epochs.
    public var swaStart = 0

    /// Augmentation in `fit`.
    public var flip = true
    public var cropPadding = 4
    /// Most rows and columns together that CropShift cuts off; 0 = none. Not together with `cropPadding`.
    public var cropShift = 0
    /// A name of `AugmentationPolicy`.
    public var augment = "none"
    /// How likely a random rectangle of zeros is, and its largest part of the area.
    public var erasing = 0.0
    public var erasingArea = 0.33
    /// Side of a square of zeros; 0 = none.
    public var cutout = 0
    /// Part of the samples that are mixed with another one.
    public var cutmix = 0.0
    /// Part of each batch that comes from the generated images, where there are any.
    public var generatedRatio = 0.0
    /// "multistep", "cosine", "onecycle" or "constant".
    public var schedule = "multistep"
    /// Epochs after which the rate is multiplied by `decay`; nil means after 1/2 and 3/4 of the epochs.
    public var milestones: [Int]?
    public var decay = 0.1
    /// Of "onecycle": part of all steps in which the rate rises.
    public var warmup = 0.3
    /// Epochs in which the rate rises to that of the schedule; not for "onecycle".
    public var warmupEpochs = 0.0
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
