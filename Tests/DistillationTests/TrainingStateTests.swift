import Networks
import Runtime
import Testing

@testable import Distillation

/// Everything that changes from step to step is in the student or in `Trainer.state`.
@Suite struct TrainingStateTests {
    private static let choices: [(name: String, change: @Sendable (inout TrainerOptions) -> Void)] = [
        ("sgd", { $0.igdm = 2 }),
        (
            "adamw, ema",
            {
                $0.optimiser = "adamw"
                $0.learningRate = 0.01
                $0.average = "ema"
                $0.emaDecay = 0.5
            }
        ),
        (
            "mtard, swa, awp",
            {
                $0.method = "mtard"
                $0.average = "swa"
                $0.swaStart = 1
                $0.awp = 0.01
                $0.warmupEpochs = 2
            }
        ),
        (
            "saad, igdm",
            {
                $0.method = "saad"
                $0.igdm = 2
                $0.cleanWeight = 0.5
            }
        ),
    ]

    /// Stopped after some steps of an epoch and taken up by a new trainer, a training gives the same bits.
    @Test(arguments: choices.indices)
    func aTrainingTakenUpIsTheSame(choice: Int) throws {
        let samples = Samples(9, seed: 1)
        func make(_ student: Network) throws -> Trainer {
            try makeTrainer(student, try makeNetwork(seed: 2)) {
                $0.stepsPerEpoch = 2
                Self.choices[choice].change(&$0)
            }
        }
        let student = try makeNetwork(seed: 1)
        let whole = try make(student)
        for _ in 0..<3 { try whole.step(samples) }

        let other = try student.copy()
        let second = try make(other)
        #expect(second.state.map(\.stateName) == whole.state.map(\.stateName))
        #expect(Set(whole.state.map(\.stateName)).count == whole.state.count)
        for (from, to) in zip(whole.state, second.state) {
            #expect(from.numbers.map(\.name) == to.numbers.map(\.name))
            to.numbers = from.numbers
            for (source, target) in zip(from.tensors, to.tensors) { target.values.copy(from: source.values) }
        }
        for _ in 0..<4 {
            let reports = (try whole.step(samples), try second.step(samples))
            #expect(reports.0.loss == reports.1.loss)
            #expect(reports.0.step == reports.1.step)
        }
        #expect(student.weights.array == other.weights.array)
        #expect(student.statistics.array == other.statistics.array)
        for (from, to) in zip(whole.state, second.state) {
            #expect(from.numbers.map(\.value) == to.numbers.map(\.value))
            for (source, target) in zip(from.tensors, to.tensors) {
                #expect(source.values.array == target.values.array)
            }
        }
    }
}

@Suite struct TrainingOptionTests {
    private let samples = Samples(8, seed: 1)

    /// The gradient is that of the weights moved along the plain gradient, layer by layer; the step starts from the
    /// weights as they were.
    @Test func weightPerturbationByHand() throws {
        let adversarial = perturbed(samples, by: 0.06)
        let student = try makeNetwork(seed: 1)
        let moved = try student.copy()
        let before = student.weights.array
        func options(_ options: inout TrainerOptions) {
            options.method = "trades"
            options.momentum = 0
            options.weightDecay = 0
        }
        let plain = try makeTrainer(moved, nil, options)
        try plain.step(samples, adversarial: adversarial, update: false)
        for parameter in moved.parameters where parameter.trainable && parameter.shape.count > 1 {
            let gradient = Array(try plain.gradient(of: parameter.name))
            let weights = moved.pointer(to: parameter)
            let length = (0..<parameter.count).reduce(0.0) { $0 + Double(weights[$1]) * Double(weights[$1]) }
            let slope = gradient.reduce(0.0) { $0 + Double($1) * Double($1) }
            let reach = 0.01 * (length / slope).squareRoot()
            for i in 0..<parameter.count { weights[i] += Float(reach * Double(gradient[i])) }
        }
        moved.weightsChanged()
        let expected = try plain.step(samples, adversarial: adversarial, update: false)

        let trainer = try makeTrainer(student, nil) {
            options(&$0)
            $0.awp = 0.01
        }
        let report = try trainer.step(samples, adversarial: adversarial)
        #expect(abs(report.loss - expected.loss) < 1e-5 * expected.loss)
        for parameter in student.parameters where parameter.trainable {
            let (got, want) = (try trainer.gradient(of: parameter.name), try plain.gradient(of: parameter.name))
            let largest = want.reduce(0) { max($0, abs($1)) }
            let weights = student.pointer(to: parameter)
            for i in 0..<parameter.count {
                #expect(abs(got[i] - want[i]) <= 1e-3 * largest + 1e-6)
                #expect(weights[i] == before[parameter.offset + i] - 0.1 * got[i])
            }
        }
    }

    @Test func perturbationBeginsWithItsEpoch() throws {
        func weights(_ awp: Double, start: Int) throws -> [Float] {
            let student = try makeNetwork(seed: 1)
            let trainer = try makeTrainer(student, nil) {
                $0.method = "pgd-at"
                $0.stepsPerEpoch = 1
                $0.awp = awp
                $0.awpStart = start
            }
            try trainer.step(samples)
            return student.weights.array
        }
        #expect(try weights(0.01, start: 2) == weights(0, start: 1))
        #expect(try weights(0.01, start: 1) != weights(0, start: 1))
    }

    @Test func aFailedPerturbationLeavesTheStudentAsItWas() throws {
        let student = try makeNetwork(seed: 1)
        let trainer = try makeTrainer(student, nil) {
            $0.method = "pgd-at"
            $0.awp = 0.01
        }
        for i in 0..<student.weights.count { student.weights.pointer[i] *= 1e30 }
        student.weightsChanged()
        let (weights, statistics) = (student.weights.array, student.statistics.array)
        #expect(thrownError { try trainer.step(samples) }?.code == .notFinite)
        #expect(student.weights.array == weights)
        #expect(student.statistics.array == statistics)
    }

    @Test func averagesAreToBeHadWhenThereIsOne() throws {
        func trainer(_ average: String) throws -> Trainer {
            try makeTrainer(try makeNetwork(seed: 1), nil) {
                $0.method = "pgd-at"
                $0.average = average
                $0.stepsPerEpoch = 2
                $0.epochs = 2
            }
        }
        let none = try trainer("none")
        #expect(thrownError { _ = try none.averageModel() }?.message.contains("keeps no average") == true)
        let swa = try trainer("swa")
        for _ in 0..<3 { try swa.step(samples) }
        #expect(thrownError { _ = try swa.averageModel() }?.message.contains("swa_start") == true)
        try swa.step(samples)
        // One epoch of two is in it: the student as it is.
        #expect(try swa.averageModel().weights.array == swa.student.weights.array)
        let estimated = try swa.averageModel(statisticsFrom: samples.dataset())
        #expect(estimated.weights.array == swa.student.weights.array)
        #expect(estimated.statistics.array != swa.student.statistics.array)
        let misshapen = try Samples(4, seed: 1, classes: 2).dataset(classes: 2)
        #expect(thrownError { _ = try swa.averageModel(statisticsFrom: misshapen) }?.code == .shape)
    }

    /// Without mixing, a fit gives what it gave; with it, other weights, but the same ones for any number of threads.
    @Test func mixedFits() throws {
        let data = try Samples(20, seed: 1).dataset()
        let threads = WorkerPool.threads
        defer { WorkerPool.setThreads(threads) }
        func fit(threads: Int, _ change: (inout TrainerOptions) -> Void) throws -> [Float] {
            WorkerPool.setThreads(threads)
            let student = try makeNetwork(seed: 1)
            let trainer = try makeTrainer(student, nil) {
                $0.method = "trades"
                $0.stepsPerEpoch = 0
                $0.epochs = 1
                $0.batchSize = 8
                $0.cropPadding = 1
                change(&$0)
            }
            try trainer.fit(train: data)
            return student.weights.array
        }
        let plain = try fit(threads: 1) { _ in }
        for change in [
            { $0.cutmix = 0.7 }, { $0.cutout = 3 }, { $0.gradientClip = 0.01 }, { $0.augment = "autoaugment" },
            { $0.augment = "trivialaugment" }, { $0.augment = "idbh-color" }, { $0.erasing = 0.5 },
            {
                $0.cropPadding = 0
                $0.cropShift = 3
            },
        ]
            as [(inout TrainerOptions) -> Void]
        {
            let changed = try fit(threads: 1, change)
            #expect(changed != plain)
            #expect(try fit(threads: 2, change) == changed)
        }
    }
}
