import Attacks
import Kernels
import Runtime
import Storage

extension Dataset: ImageSource {
    /// A part of a dataset, in whatever order, has the random numbers of the whole.
    public func key(_ index: Int) -> UInt64 { UInt64(place(index)) }
}

extension Trainer {
    /// Trains from the current position to the last epoch.
    ///
    /// - Parameters:
    ///   - train: shuffled anew each time it has been gone through, which takes an epoch or, with generated images, longer;
    ///     augmented as the options say; the last batch of an epoch may be smaller.
    ///   - validation: evaluated after each epoch, where given.
    ///   - onEvent: called after each batch, also of the validation, and each epoch, and while streamed data are looked at. What it throws ends the fit; the student keeps what it has
    ///     learned, and a further fit goes on from there, to the same bits as one that was never stopped.
    /// Throws `shape` (dataset and student), `invalidArgument` (a position inside an epoch of another length, a crop
    /// wider than the image), `notFinite` (the student keeps the weights before that step), `outOfMemory`, `busy`.
    public func fit(
        train: Dataset, validation: Dataset? = nil, onEvent: ((FitEvent) throws -> Void)? = nil
    ) throws {
        try exclusively {
            try checkFit(train, "train")
            if let validation { try checkFit(validation, "validation") }
            try checkCrop()
            let batches = try checkedStepsPerEpoch(for: train)
            try checkData(describe(train: train, validation: validation, onEvent))
            // From here on the fit is under way; one that was refused has changed nothing.
            stepsPerEpoch = batches
            // For the validation too, which may come first after a resumption.
            _ = try prepareMemory(capacity: min(options.batchSize, train.count))
            mirrorWarningDue = true
            warnOfUnreadLabels(train)
            var clock = FitClock()
            let loader = try BatchLoader(train, generated: generated, options)
            while true {
                if fitProgress.epochEndDue {
                    try finishEpoch(validation, &clock, onEvent)
                }
                guard epochsDone < options.epochs else { return }
                let batch = try loader.load(epoch: epochsDone, batch: batchesDone)
                beginNext(loader)
                // What is called from here on has the data to itself, and the host its threads.
                let report: StepReport
                do {
                    defer { loader.finish() }
                    report = try perform(batch)
                }
                clock.count(images: batch.count)
                fitProgress.add(report, count: batch.count)
                fitProgress.epochEndDue = batchesDone == 0
                var event = FitProgress.stepEvent(report)
                event.batch = fitProgress.epochEndDue ? stepsPerEpoch : batchesDone
                try send(event, clock, validates: validation != nil, onEvent)
            }
        }
    }

    private func warnOfUnreadLabels(_ train: Dataset) {
        guard !method.readsSoftLabels else { return }
        for (name, data) in [("train", train), ("generated", generated)] where data?.hasSoftLabels == true {
            Log.warning(
                "\(name): has soft labels, which \(options.method) with these options never looks at: its loss has no "
                    + "cross-entropy")
        }
    }

    /// Has the loader begin with the batch after the one that is due.
    private func beginNext(_ loader: BatchLoader) {
        let isLast = batchesDone + 1 == stepsPerEpoch
        let epoch = epochsDone + (isLast ? 1 : 0)
        if epoch < options.epochs { loader.begin(epoch: epoch, batch: isLast ? 0 : batchesDone + 1) }
    }

    func checkFit(_ dataset: Dataset, _ name: String) throws {
        let (shape, classes) = (student.options.shape, student.options.classes)
        guard dataset.shape == shape, dataset.classes == classes else {
            throw EngineError(
                .shape,
                "\(name): has images \(dataset.shape) in \(dataset.classes) classes, the student takes \(shape) in "
                    + "\(classes)")
        }
        guard dataset.count >= 1 else { throw EngineError(.shape, "\(name): has no samples, want at least 1") }
    }

    private func checkCrop() throws {
        let (padding, shape) = (options.cropPadding, student.options.shape)
        guard padding <= min(shape.height, shape.width) else {
            throw EngineError.invalid(
                "crop_padding", got: padding,
                want: "at most \(min(shape.height, shape.width)), the smaller side of the image; 0 = no crop")
        }
        guard options.cropShift < min(shape.height, shape.width) else {
            throw EngineError.invalid(
                "crop_shift", got: options.cropShift,
                want: "less than \(min(shape.height, shape.width)), the smaller side of the image; 0 = none")
        }
    }

    /// The data in words. Of streamed ones every image is read, of which events tell.
    private func describe(
        train: Dataset, validation: Dataset?, _ onEvent: ((FitEvent) throws -> Void)?
    ) throws -> TrainingData {
        let clock = FitClock()
        func describe(_ dataset: Dataset) throws -> String {
            let sum = try dataset.checksum { [self] done in
                guard dataset.isStreamed else { return }
                var event = FitEvent()
                event.kind = .data
                event.epoch = min(epochsDone + 1, options.epochs)
                event.batch = done
                event.batches = dataset.count
                try send(event, clock, validates: validation != nil, onEvent)
            }
            return "\(dataset.count) samples, check sum \(sum.text)"
        }
        return TrainingData(
            train: try describe(train), validation: try validation.map(describe) ?? "none",
            generated: try generated.map(describe) ?? "none")
    }

    private func checkedStepsPerEpoch(for train: Dataset) throws -> Int {
        let batches = (train.count - 1) / options.batchSize + 1
        guard batches == stepsPerEpoch || batchesDone == 0 else {
            throw EngineError(
                .invalidArgument,
                "train: the trainer stands at batch \(batchesDone) of \(stepsPerEpoch) in an epoch, and this dataset "
                    + "has \(batches) batches; give the dataset that the epoch was begun with")
        }
        return batches
    }

    private func finishEpoch(
        _ validation: Dataset?, _ clock: inout FitClock, _ onEvent: ((FitEvent) throws -> Void)?
    ) throws {
        var event = fitProgress.epochEvent()
        event.batch = stepsPerEpoch
        if let validation {
            clock.beginValidation()
            let result = try validate(validation) { [event, clock] progress, part in
                var (now, clock) = (event, clock)
                now.kind = .validation
                now.batch = progress.done
                now.batches = progress.total
                clock.advanceValidation(part: part)
                try self.send(now, clock, validates: true, onEvent)
            }
            event.validationClean = result.rows[0].accuracy
            if result.rows.count > 1 { event.validationRobust = result.rows[1].accuracy }
            event.agreement = result.agreement
            clock.endValidation()
        }
        fitProgress = FitProgress()
        try send(event, clock, validates: validation != nil, onEvent)
    }

    /// Rows for clean images and, where the options say so, under PGD; agreement with the teacher, where there is one.
    ///
    /// - Parameter progress: also receives the part that is done of the whole validation.
    private func validate(
        _ dataset: Dataset, progress: @escaping (RunProgress, _ part: Double) throws -> Void
    ) throws -> Evaluation {
        let memory = try prepareMemory(capacity: 1)
        var evaluation = EvaluationOptions()
        evaluation.attacks = options.validationSteps > 0 ? "pgd-\(options.validationSteps)" : ""
        evaluation.epsilon = options.epsilon
        evaluation.step = options.step
        evaluation.seed = options.seed
        evaluation.batchSize = memory.capacity
        evaluation.count = min(options.validationCount, dataset.count)
        // Passes of each stage, one with its way back as three.
        let attack = Double(options.validationSteps > 0 ? 3 * options.validationSteps + 1 : 0)
        let gradients = memory.teacherInference == nil ? 0.0 : 6
        let monitor = RunMonitor(progress: {
            let (before, own) =
                switch $0.stage {
                case "clean": (0.0, 1.0)
                case "gradients": (1 + attack, gradients)
                default: (1, attack)
                }
            let done = before + own * Double($0.done) / Double(max($0.total, 1))
            try progress($0, done / (1 + attack + gradients))
        })
        return try evaluate(
            memory.studentInference, on: dataset, teacher: memory.teacherInference, options: evaluation,
            monitor: monitor)
    }

    private func send(
        _ event: FitEvent, _ clock: FitClock, validates: Bool, _ onEvent: ((FitEvent) throws -> Void)?
    ) throws {
        guard let onEvent else { return }
        var event = event
        event.epochs = options.epochs
        if event.kind == .step || event.kind == .epoch { event.batches = stepsPerEpoch }
        let stepsLeft = (options.epochs - epochsDone) * stepsPerEpoch - batchesDone
        let epochsLeft = options.epochs - epochsDone + (fitProgress.epochEndDue ? 1 : 0)
        event.seconds = clock.seconds
        event.imagesPerSecond = clock.imagesPerSecond
        event.etaSeconds =
            event.kind == .data ? 0 : clock.estimate(steps: stepsLeft, validations: validates ? epochsLeft : 0)
        try onEvent(event)
    }
}
