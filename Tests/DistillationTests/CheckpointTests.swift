import Networks
import Runtime
import Storage
import Testing

@testable import Distillation

/// Checkpoints of a training: it goes on to the same bits; what does not belong to it is refused, and nothing has changed.
@Suite struct TrainingCheckpointTests {
    private let directory = TemporaryFolder()
    private let samples = Samples(9, seed: 1)

    private static let choices: [@Sendable (inout TrainerOptions) -> Void] = [
        { $0.igdm = 2 },
        {
            $0.optimiser = "adamw"
            $0.learningRate = 0.01
            $0.average = "ema"
            $0.cutmix = 0.5
        },
        {
            $0.method = "mtard"
            $0.average = "swa"
            $0.swaStart = 1
            $0.awp = 0.01
            $0.warmupEpochs = 2
        },
    ]

    private func make(_ student: Network, _ choice: Int, _ change: (inout TrainerOptions) -> Void = { _ in }) throws
        -> Trainer
    {
        try makeTrainer(student, try makeNetwork(seed: 2)) {
            $0.batchSize = 4
            $0.stepsPerEpoch = 0
            $0.cropPadding = 1
            $0.validationSteps = 1
            Self.choices[choice](&$0)
            change(&$0)
        }
    }

    private func bits(_ trainer: Trainer) -> [UInt64] {
        trainer.state.flatMap { part in
            part.numbers.map(\.value.bitPattern)
                + part.tensors.flatMap { $0.values.array.map { UInt64($0.bitPattern) } }
        } + (trainer.student.weights.array + trainer.student.statistics.array).map { UInt64($0.bitPattern) }
    }

    /// Between two epochs data of another length would fit, were they not other data.
    @Test func aRefusedFitChangesNothing() throws {
        let path = directory / "epoch.h5"
        let data = try samples.dataset()
        let first = try make(try makeNetwork(seed: 1), 0)
        try first.fit(train: data) { if $0.kind == .epoch { try first.save(to: path) } }
        let second = try make(try makeNetwork(seed: 1), 0) { $0.epochs = first.options.epochs }
        try second.resume(from: path)
        let before = second.position
        let error = thrownError { try second.fit(train: try Samples(50, seed: 3).dataset()) }
        #expect(error?.message.contains("train: the training was begun with") == true)
        #expect(second.position == before)
    }

    /// A fit that begins with the validation does it in batches of the training's size.
    @Test func aValidationAfterAResumptionTakesWholeBatches() throws {
        struct Stop: Error {}
        let path = directory / "due.h5"
        let data = try samples.dataset()
        func validationEvents(_ trainer: Trainer) -> Int {
            var count = 0
            try? trainer.fit(train: data, validation: data) {
                if $0.kind == .step, $0.batch == 3 { try trainer.save(to: path) }
                if $0.kind == .validation { count += 1 }
                if $0.kind == .epoch { throw Stop() }
            }
            return count
        }
        let wanted = validationEvents(try make(try makeNetwork(seed: 1), 0))
        let resumed = try make(try makeNetwork(seed: 1), 0)
        try resumed.resume(from: path)
        #expect(wanted > 0 && validationEvents(resumed) == wanted)
    }

    /// At every event of a fit (the last batch of an epoch, within a validation and after it among them).
    @Test(arguments: [0, 1, 2])
    func aTrainingGoesOnFromAnyCheckpoint(choice: Int) throws {
        let data = try samples.dataset()
        let whole = try make(try makeNetwork(seed: 1), choice)
        var events: [FitEvent] = []
        try whole.fit(train: data, validation: data) { event in
            try whole.save(to: directory / "\(events.count).h5")
            events.append(event)
        }
        #expect(Set(events.map(\.kind.rawValue)).count == 3)
        for (index, event) in events.enumerated() {
            let path = directory / "\(index).h5"
            let second = try make(try makeNetwork(seed: 9), choice)
            try second.resume(from: path)
            #expect(second.position.stepsPerEpoch == 3)
            var seen: [FitEvent] = []
            try second.fit(train: data, validation: data) { seen.append($0) }
            #expect(bits(second) == bits(whole), "event \(index)")
            // The end of an epoch is told again where it had not been told.
            let epochs = events.dropFirst(index + 1).filter { $0.kind == .epoch }
            let again = seen.filter { $0.kind == .epoch }
            #expect(again.map(\.epoch) == epochs.map(\.epoch))
            #expect(again.map(\.loss) == epochs.map(\.loss))
            #expect(again.map(\.validationRobust) == epochs.map(\.validationRobust))
            #expect(again.map { $0.agreement?.cosine } == epochs.map { $0.agreement?.cosine })
            #expect(try Network.load(path).weights.count == second.student.weights.count)
            #expect(event.epochs == 4)
        }
    }

    @Test func anotherTrainingIsRefused() throws {
        let path = directory / "training.h5"
        let data = try samples.dataset()
        try make(try makeNetwork(seed: 1), 0).save(to: path)
        func refuse(_ words: [String], _ trainer: Trainer, from: String? = nil, code: ErrorCode = .invalidArgument) {
            let before = bits(trainer)
            let error = thrownError { try trainer.resume(from: from ?? path) }
            #expect(error?.code == code)
            for word in words {
                #expect(error?.message.contains(word) == true, "\(error?.message ?? "nothing") lacks \(word)")
            }
            #expect(bits(trainer) == before)
        }
        refuse(
            [
                "igdm: the file has 2.0, this training 3.0", "weight_decay",
                "milestones: the file has default, this training [1]",
            ],
            try make(try makeNetwork(seed: 1), 0) {
                $0.igdm = 3
                $0.weightDecay = 0
                $0.milestones = [1]
            })
        refuse(["optimiser", "average"], try make(try makeNetwork(seed: 1), 1))
        refuse(["student"], try make(try makeNetwork(seed: 1, width: 8), 0))
        let exact = try makeNetwork(seed: 1)
        exact.isExact = true
        refuse(["student", "exact"], try make(exact, 0))
        refuse(
            ["teacher", "weights"],
            try makeTrainer(try makeNetwork(seed: 1), try makeNetwork(seed: 3)) {
                $0.batchSize = 4
                $0.stepsPerEpoch = 0
                $0.cropPadding = 1
                $0.validationSteps = 1
                $0.igdm = 2
            })
        refuse(["nothing"], try make(try makeNetwork(seed: 1), 0), from: directory / "nothing", code: .notFound)
        try makeNetwork(seed: 1).save(to: directory / "model.h5")
        refuse(
            ["training", "igdm_trainer_save"], try make(try makeNetwork(seed: 1), 0), from: directory / "model.h5",
            code: .format)

        // Data are seen when the fit begins.
        let trainer = try make(try makeNetwork(seed: 1), 0)
        #expect(thrownError { try trainer.fit(train: data) { _ in throw EngineError(.cancelled, "") } } != nil)
        try trainer.save(to: path)
        let second = try make(try makeNetwork(seed: 1), 0)
        try second.resume(from: path)
        let other = thrownError { try second.fit(train: try Samples(9, seed: 5).dataset()) }
        #expect(other?.message.contains("train: the training was begun with 9 samples") == true)
        let validated = thrownError { try second.fit(train: data, validation: data) }
        #expect(validated?.message.contains("validation: the training was begun with none") == true)
        try second.fit(train: data)
    }

    /// Every option is a setting, under the name that it has in C.
    @Test func everyOptionIsASetting() {
        let names = TrainerOptions().described.map(\.name)
        #expect(names.count == Mirror(reflecting: TrainerOptions()).children.count)
        for name in ["epsilon", "igdm_distance", "awp_start", "batch_size", "milestones"] {
            #expect(names.contains(name))
        }
    }

    @Test func aTrainingThatHasDivergedIsNotSaved() throws {
        let path = directory / "training.h5"
        let trainer = try make(try makeNetwork(seed: 1), 0)
        try trainer.save(to: path)
        trainer.state[1].tensors[0].values.pointer[3] = .nan
        #expect(thrownError { try trainer.save(to: path) }?.code == .notFinite)
        try make(try makeNetwork(seed: 1), 0).resume(from: path)
    }

    /// Any byte may be another one: an error, or none where it makes no difference, and never anything else.
    @Test func damageIsNoticed() throws {
        let path = directory / "training.h5"
        let trainer = try make(try makeNetwork(seed: 1), 1)
        try trainer.fit(train: try samples.dataset())
        try trainer.save(to: path)
        let good = try #require(try StateFile(path: path).read())
        let target = try make(try makeNetwork(seed: 1), 1)
        try target.resume(from: path)
        let wanted = bits(target)
        var noticed = 0
        for place in stride(from: 11, to: good.count, by: good.count / 150) {
            let kept = good[place]
            good[place] ^= 0x41
            try StateFile(path: path).write(UnsafeRawBufferPointer(start: good.pointer, count: good.count))
            if thrownError({ try target.resume(from: path) }) != nil { noticed += 1 }
            #expect(bits(target) == wanted, "byte \(place)")
            good[place] = kept
        }
        #expect(noticed > 100)
        for length in stride(from: 0, to: good.count, by: good.count / 20) {
            try StateFile(path: path).write(UnsafeRawBufferPointer(start: good.pointer, count: length))
            #expect(thrownError { try target.resume(from: path) } != nil)
        }
        #expect(bits(target) == wanted)
    }

    /// Numbers that no training writes, in a file whose check sum is right.
    @Test(arguments: ["batches", "epochs", "steps", "samples", "steps_per_epoch"])
    func impossiblePositionsAreRefused(name: String) throws {
        let path = directory / "training.h5"
        for value in [-1, 0.5, 1e300, 7e9, name == "batches" ? 3 : -2] {
            let trainer = try make(try makeNetwork(seed: 1), 0)
            try trainer.fit(train: try samples.dataset())
            var checkpoint = try trainer.student.checkpoint()
            let parts = trainer.state.map { part in
                TrainingRecord.Part(
                    name: part.stateName,
                    numbers: part.numbers.map { ($0.name, $0.name == name && part === trainer ? value : $0.value) },
                    tensors: part.tensors)
            }
            try trainer.save(to: path)
            var settings: [TrainingRecord.Setting] = []
            _ = try TrainingRecord.read(
                path, weights: trainer.student.graph.tensorShapes, accept: { settings = $0 }, into: parts)
            checkpoint.training = TrainingRecord(settings: settings, parts: parts)
            try checkpoint.write(to: path)
            let error = thrownError { try make(try makeNetwork(seed: 1), 0).resume(from: path) }
            #expect(error?.code == .format, "\(value)")
            #expect(error?.message.contains("training/position") == true)
        }
    }
}
