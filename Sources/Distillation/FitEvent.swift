import Attacks

/// What `Trainer.fit` reports, after each batch and after each epoch.
public struct FitEvent {
    public enum Kind: Int32, Sendable {
        case step = 1
        case epoch = 2
        /// During validation, after each batch of it; `batch` and `batches` count samples.
        case validation = 3
        /// Before all others, while the check sum of streamed data is taken; `batch` and `batches` count samples.
        case data = 4
    }

    public internal(set) var kind = Kind.step
    /// Counted from 1.
    public internal(set) var epoch = 0
    public internal(set) var epochs = 0
    /// Counted from 1, within the epoch.
    public internal(set) var batch = 0
    public internal(set) var batches = 0
    /// Of the batch; in an epoch's event these five, and `mirrorOutside`, are means over the epoch's samples.
    public internal(set) var loss = 0.0
    public internal(set) var baseLoss = 0.0
    public internal(set) var secondLoss = 0.0
    public internal(set) var igdmLoss = 0.0
    public internal(set) var adversarialAccuracy = 0.0
    public internal(set) var igdmWeight = 0.0
    public internal(set) var learningRate = 0.0
    public internal(set) var mirrorOutside = 0.0
    /// Accuracies in [0,1] in an epoch's event with validation; else -1.
    public internal(set) var validationClean = -1.0
    public internal(set) var validationRobust = -1.0
    /// How alike the input gradients of student and teacher are on the validation images; nil without these or a teacher.
    public internal(set) var agreement: GradientAgreement?
    /// Since the fit began, validation not counted.
    public internal(set) var imagesPerSecond = 0.0
    /// Since the fit began.
    public internal(set) var seconds = 0.0
    /// Estimated time to the end; 0 while nothing is known.
    public internal(set) var etaSeconds = 0.0
}

/// Where a fit stands between two calls: what an epoch has added up, and whether its end is still to be reported.
struct FitProgress {
    private(set) var samples = 0
    private var totals = FitEvent()
    var epochEndDue = false

    /// Adds a batch of `count` samples.
    mutating func add(_ report: StepReport, count: Int) {
        let weight = Double(count)
        samples += count
        totals.loss += weight * report.loss
        totals.baseLoss += weight * report.baseLoss
        totals.secondLoss += weight * report.secondLoss
        totals.igdmLoss += weight * report.igdmLoss
        totals.adversarialAccuracy += weight * report.adversarialAccuracy
        totals.mirrorOutside += weight * report.mirrorOutside
        totals.epoch = report.epoch
        totals.igdmWeight = report.igdmWeight
        totals.learningRate = report.learningRate
    }

    /// For a checkpoint: all of it.
    var numbers: [StateNumber] {
        get {
            [
                .count("epoch_end_due", epochEndDue ? 1 : 0), .count("samples", samples), .real("loss", totals.loss),
                .real("base_loss", totals.baseLoss), .real("igdm_loss", totals.igdmLoss),
                .real("adversarial_accuracy", totals.adversarialAccuracy),
                .real("mirror_outside", totals.mirrorOutside), .count("epoch", totals.epoch),
                .real("igdm_weight", totals.igdmWeight), .real("learning_rate", totals.learningRate),
                .real("second_loss", totals.secondLoss),
            ]
        }
        set {
            let values = newValue.map(\.value)
            epochEndDue = values[0] != 0
            samples = Int(values[1])
            totals.loss = values[2]
            totals.baseLoss = values[3]
            totals.igdmLoss = values[4]
            totals.adversarialAccuracy = values[5]
            totals.mirrorOutside = values[6]
            totals.epoch = Int(values[7])
            totals.igdmWeight = values[8]
            totals.learningRate = values[9]
            totals.secondLoss = values[10]
        }
    }

    /// The epoch's event, without what only the fit knows.
    func epochEvent() -> FitEvent {
        let weight = 1 / Double(max(samples, 1))
        var event = totals
        event.kind = .epoch
        event.loss *= weight
        event.baseLoss *= weight
        event.secondLoss *= weight
        event.igdmLoss *= weight
        event.adversarialAccuracy *= weight
        event.mirrorOutside *= weight
        return event
    }

    static func stepEvent(_ report: StepReport) -> FitEvent {
        var event = FitEvent()
        event.epoch = report.epoch
        event.loss = report.loss
        event.baseLoss = report.baseLoss
        event.secondLoss = report.secondLoss
        event.igdmLoss = report.igdmLoss
        event.adversarialAccuracy = report.adversarialAccuracy
        event.igdmWeight = report.igdmWeight
        event.learningRate = report.learningRate
        event.mirrorOutside = report.mirrorOutside
        return event
    }
}
