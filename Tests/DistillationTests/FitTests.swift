import Kernels
import Networks
import Runtime
import Storage
import Testing

@testable import Distillation

@Suite struct FitTests {
    private func trainer(
        _ student: Network, _ teacher: Network?, _ change: (inout TrainerOptions) -> Void = { _ in }
    ) throws -> Trainer {
        try makeTrainer(student, teacher) {
            $0.stepsPerEpoch = 0
            $0.epochs = 3
            $0.batchSize = 8
            $0.cropPadding = 1
            $0.steps = 2
            $0.igdm = 2
            $0.validationSteps = 2
            change(&$0)
        }
    }

    /// A student and a teacher, the same ones each time.
    private func models() throws -> (student: Network, teacher: Network) {
        (try makeNetwork(seed: 1), try makeNetwork(seed: 2))
    }

    @Test func learns() throws {
        let (train, test) = (try Samples(160, seed: 1).dataset(), try Samples(60, seed: 2).dataset())
        let student = try makeNetwork(seed: 1)
        let trainer = try makeTrainer(student, nil) {
            $0.method = "pgd-at"
            $0.stepsPerEpoch = 0
            $0.epochs = 6
            $0.batchSize = 16
            $0.cropPadding = 0
            $0.flip = false
            $0.epsilon = 0.03
            $0.schedule = "onecycle"
        }
        var epochs: [FitEvent] = []
        try trainer.fit(train: train, validation: test) { if $0.kind == .epoch { epochs.append($0) } }
        let (first, last) = (try #require(epochs.first), try #require(epochs.last))
        #expect(epochs.count == 6)
        #expect(last.loss < 0.5 * first.loss)
        #expect(last.adversarialAccuracy > first.adversarialAccuracy)
        #expect(last.validationClean > 0.9)
        #expect(last.validationRobust > 0.8)
        #expect(last.validationRobust <= last.validationClean)
    }

    @Test func aStudentLearnsFromATeacher() throws {
        let train = try Samples(160, seed: 1).dataset()
        let teacher = try makeNetwork(seed: 3, width: 8)
        func configure(_ options: inout TrainerOptions) {
            options.stepsPerEpoch = 0
            options.batchSize = 16
            options.cropPadding = 0
            options.flip = false
            options.epsilon = 0.03
            options.epochs = 5
            options.schedule = "onecycle"
        }
        try makeTrainer(teacher, nil) {
            configure(&$0)
            $0.method = "pgd-at"
        }.fit(train: train)
        let teacherBefore = (teacher.weights.array, teacher.statistics.array)
        for method in ["ard", "rslad", "adaad"] {
            let student = try makeNetwork(seed: 1)
            let trainer = try makeTrainer(student, teacher) {
                configure(&$0)
                $0.method = method
                $0.igdm = method == "rslad" ? 0.1 : 1
                $0.learningRate = method == "rslad" ? 0.5 : 0.1
            }
            var epochs: [FitEvent] = []
            try trainer.fit(train: train) { if $0.kind == .epoch { epochs.append($0) } }
            let (first, last) = (try #require(epochs.first), try #require(epochs.last))
            #expect(last.baseLoss < 0.6 * first.baseLoss, "\(method)")
            #expect(last.adversarialAccuracy > 0.8, "\(method)")
        }
        #expect(teacher.weights.array == teacherBefore.0)
        #expect(teacher.statistics.array == teacherBefore.1)
    }

    @Test func eventsTellTheWholeStory() throws {
        // 20 samples in batches of 8: 8, 8 and 4.
        let samples = Samples(20, seed: 1)
        let (student, teacher) = try models()
        let trainer = try trainer(student, teacher) { $0.epochs = 2 }
        var events: [FitEvent] = []
        try trainer.fit(train: try samples.dataset(), validation: try Samples(10, seed: 2).dataset()) {
            if $0.kind != .validation { events.append($0) }
        }
        #expect(events.map(\.kind) == [.step, .step, .step, .epoch, .step, .step, .step, .epoch])
        #expect(events.map(\.epoch) == [1, 1, 1, 1, 2, 2, 2, 2])
        #expect(events.map(\.batch) == [1, 2, 3, 3, 1, 2, 3, 3])
        #expect(events.allSatisfy { $0.batches == 3 && $0.epochs == 2 })
        #expect(events.map(\.igdmWeight) == [1, 1, 1, 1, 2, 2, 2, 2])
        #expect(events.allSatisfy { $0.imagesPerSecond > 0 && $0.seconds >= 0 && $0.etaSeconds >= 0 })
        #expect(events[7].etaSeconds == 0)
        #expect(events[0].etaSeconds > 0)
        for event in events {
            #expect(abs(event.loss - (event.baseLoss + event.igdmWeight * event.igdmLoss)) < 1e-9)
            #expect((event.validationClean >= 0) == (event.kind == .epoch))
            #expect((event.validationRobust >= 0) == (event.kind == .epoch))
        }
        let mean = (8 * events[0].loss + 8 * events[1].loss + 4 * events[2].loss) / 20
        #expect(abs(events[3].loss - mean) < 1e-9)
        let accuracy =
            (8 * events[0].adversarialAccuracy + 8 * events[1].adversarialAccuracy + 4 * events[2].adversarialAccuracy)
            / 20
        #expect(abs(events[3].adversarialAccuracy - accuracy) < 1e-9)
    }

    @Test func withoutValidationThereIsNone() throws {
        let (student, teacher) = try models()
        var robust: [Double] = []
        try trainer(student, teacher) { $0.epochs = 1 }.fit(train: try Samples(9, seed: 1).dataset()) {
            #expect($0.validationClean == -1)
            robust.append($0.validationRobust)
        }
        #expect(robust == [-1, -1, -1])
        let other = try trainer(try makeNetwork(seed: 1), teacher) {
            $0.epochs = 1
            $0.validationSteps = 0
            $0.validationCount = 1
        }
        var last = FitEvent()
        try other.fit(train: try Samples(9, seed: 1).dataset(), validation: try Samples(5, seed: 2).dataset()) {
            last = $0
        }
        #expect(last.validationClean == 0 || last.validationClean == 1)
        #expect(last.validationRobust == -1)
    }

    @Test func cancelledAnywhereItGoesOnToTheSameBits() throws {
        let (train, validation) = (try Samples(20, seed: 1).dataset(), try Samples(6, seed: 2).dataset())
        func describe(_ event: FitEvent) -> [Double] {
            [
                Double(event.kind.rawValue), Double(event.epoch), Double(event.batch), event.loss, event.baseLoss,
                event.igdmLoss, event.adversarialAccuracy, event.learningRate, event.mirrorOutside,
                event.validationClean, event.validationRobust,
            ]
        }
        func run(cancelAfter: Int?) throws -> (bits: [UInt32], events: [[Double]], cancellations: Int) {
            let (student, teacher) = try models()
            let trainer = try trainer(student, teacher) { $0.epochs = 2 }
            var events: [[Double]] = []
            var cancellations = 0
            while true {
                var inThisFit = 0
                let error = thrownError {
                    try trainer.fit(train: train, validation: validation) { event in
                        guard event.kind != .validation else { return }
                        events.append(describe(event))
                        inThisFit += 1
                        if inThisFit == cancelAfter { throw EngineError(.cancelled, "stop") }
                    }
                }
                guard let error else { break }
                #expect(error.code == .cancelled)
                cancellations += 1
            }
            let values = student.weights.array + student.statistics.array
            return (values.map(\.bitPattern), events, cancellations)
        }
        let whole = try run(cancelAfter: nil)
        #expect(whole.events.count == 8)
        for after in 1...8 {
            let parts = try run(cancelAfter: after)
            #expect(parts.cancellations == 8 / after)
            #expect(parts.events == whole.events)
            #expect(parts.bits == whole.bits)
        }
    }

    @Test func seedsDecideAndThreadsDoNot() throws {
        let train = try Samples(20, seed: 1).dataset()
        let threads = WorkerPool.threads
        defer { WorkerPool.setThreads(threads) }
        func run(seed: UInt64, threads: Int) throws -> [Float] {
            WorkerPool.setThreads(threads)
            let (student, teacher) = try models()
            try trainer(student, teacher) {
                $0.seed = seed
                $0.epochs = 2
            }.fit(train: train)
            return student.weights.array + student.statistics.array
        }
        let first = try run(seed: 1, threads: 1)
        #expect(try run(seed: 1, threads: 2) == first)
        #expect(try run(seed: 2, threads: 2) != first)
    }

    @Test func everySampleIsSeenOnceAnEpochInANewOrder() throws {
        // The value of the single pixel tells the samples apart.
        let shape = ImageShape(1, 1, 1)
        let images = (0..<10).map { Float($0) / 10 }
        let dataset = try Dataset(
            floats: images, labels: [Int64](repeating: 0, count: 10), count: 10, shape: shape, classes: 2)
        var options = TrainerOptions()
        options.batchSize = 4
        options.cropPadding = 0
        let loader = try BatchLoader(dataset, generated: nil, options)
        func epoch(_ epoch: Int) throws -> [Float] {
            var seen: [Float] = []
            for batch in 0..<3 {
                let loaded = try loader.load(epoch: epoch, batch: batch)
                #expect(loaded.count == [4, 4, 2][batch])
                seen += (0..<loaded.count).map { loaded.images[$0] }
            }
            return seen
        }
        let (first, second) = (try epoch(0), try epoch(1))
        #expect(first.sorted() == images)
        #expect(second.sorted() == images)
        #expect(first != images)
        #expect(first != second)
        #expect(try epoch(0) == first)
    }

    /// What a thread makes ahead is what is made when it is asked for; what nobody asks for is forgotten.
    @Test func batchesMadeAheadAreTheSame() throws {
        let dataset = try Samples(10, seed: 1).dataset()
        var options = TrainerOptions()
        options.batchSize = 4
        options.cropPadding = 2
        options.cutmix = 0.5
        let (plain, ahead) = (
            try BatchLoader(dataset, generated: nil, options), try BatchLoader(dataset, generated: nil, options)
        )
        func values(_ batch: TrainingBatch) -> [Float] {
            (0..<batch.count * dataset.shape.count).map { batch.images[$0] }
                + (0..<batch.count * dataset.classes).map { batch.softLabels![$0] }
                + (0..<batch.count).map { Float(batch.labels[$0]) }
        }
        for (asked, begun) in [
            ((0, 0), (0, 1)), ((0, 1), (0, 2)), ((0, 2), (1, 0)), ((2, 1), (2, 2)), ((2, 2), (0, 0)),
        ] {
            let wanted = values(try plain.load(epoch: asked.0, batch: asked.1))
            let found = try ahead.load(epoch: asked.0, batch: asked.1)
            ahead.begin(epoch: begun.0, batch: begun.1)
            #expect(values(found) == wanted, "while another one is made")
            ahead.finish()
            #expect(values(found) == wanted)
        }
    }

    @Test func aFinishedTrainingStays() throws {
        let (student, teacher) = try models()
        let trainer = try trainer(student, teacher) { $0.epochs = 1 }
        let train = try Samples(8, seed: 1).dataset()
        try trainer.fit(train: train)
        let weights = student.weights.array
        var events = 0
        try trainer.fit(train: train) { _ in events += 1 }
        #expect(events == 0)
        #expect(student.weights.array == weights)
    }

    @Test func aLossThatIsNotFiniteKeepsTheWeightsBeforeIt() throws {
        let (student, teacher) = try models()
        let trainer = try trainer(student, teacher)
        let head = try #require(teacher.parameters.last { $0.trainable })
        var kept: [Float] = []
        let error = thrownError {
            try trainer.fit(train: try Samples(20, seed: 1).dataset()) { event in
                guard event.batch == 2 else { return }
                kept = student.weights.array + student.statistics.array
                teacher.pointer(to: head)[0] = .infinity
                teacher.weightsChanged()
            }
        }
        #expect(error?.code == .notFinite)
        #expect(error?.message.hasPrefix("step 3: ") == true)
        #expect(student.weights.array + student.statistics.array == kept)
    }

    @Test func callbacksCannotTrainTheSameTrainer() throws {
        let (student, teacher) = try models()
        let trainer = try trainer(student, teacher) { $0.epochs = 1 }
        let samples = Samples(8, seed: 1)
        let train = try samples.dataset()
        var refused = 0
        try trainer.fit(train: train) { _ in
            if thrownError({ try trainer.step(samples) })?.code == .busy { refused += 1 }
            if thrownError({ try trainer.fit(train: train) })?.code == .busy { refused += 1 }
        }
        #expect(refused == 4)
        try trainer.step(samples)
    }

    @Test func dataThatDoesNotFitIsRefused() throws {
        let (student, teacher) = try models()
        let good = try Samples(20, seed: 1).dataset()
        let otherShape = ImageShape(1, 4, 4)
        let small = try Samples(8, seed: 1, shape: otherShape).dataset(shape: otherShape)
        let manyClasses = try Samples(8, seed: 1, classes: 5).dataset(classes: 5)
        let trainer = try trainer(student, teacher)
        for bad in [small, manyClasses] {
            let asTrain = thrownError { try trainer.fit(train: bad) }
            #expect(asTrain?.code == .shape)
            #expect(asTrain?.message.hasPrefix("train: ") == true)
            let asValidation = thrownError { try trainer.fit(train: good, validation: bad) }
            #expect(asValidation?.message.hasPrefix("validation: ") == true)
        }
        let padded = try self.trainer(student, teacher) { $0.cropPadding = 9 }
        #expect(thrownError { try padded.fit(train: good) }?.message.hasPrefix("crop_padding: got 9") == true)

        // Cancelled inside an epoch, it cannot go on with another number of batches.
        _ = thrownError { try trainer.fit(train: good) { _ in throw EngineError(.cancelled, "stop") } }
        let other = thrownError { try trainer.fit(train: try good.subset(first: 0, count: 8)) }
        #expect(other?.code == .invalidArgument)
        #expect(other?.message.contains("batch 1 of 3") == true)
        try trainer.fit(train: good)
    }
}
