import Kernels
import Networks
import Runtime
import Storage
import Testing

@testable import Distillation

/// Images of a second dataset in the batches.
@Suite struct GeneratedDataTests {
    private static let pixel = ImageShape(1, 1, 1)
    private let directory = TemporaryFolder()

    /// Images of one pixel, whose value tells them apart; labels are 0 for originals and 1 for generated ones.
    private func dataset(_ values: [Float], label: Int64) throws -> Dataset {
        try Dataset(
            floats: values, labels: [Int64](repeating: label, count: values.count), count: values.count,
            shape: Self.pixel, classes: 2)
    }

    private func loader(_ originals: [Float], _ generated: [Float], ratio: Double, batchSize: Int) throws -> BatchLoader
    {
        var options = TrainerOptions()
        options.batchSize = batchSize
        options.cropPadding = 0
        options.generatedRatio = ratio
        return try BatchLoader(
            try dataset(originals, label: 0), generated: ratio > 0 ? try dataset(generated, label: 1) : nil, options)
    }

    private func batch(_ loader: BatchLoader, _ epoch: Int, _ batch: Int) throws -> (own: [Float], drawn: [Float]) {
        let loaded = try loader.load(epoch: epoch, batch: batch)
        let values = (0..<loaded.count).map { (loaded.labels[$0], loaded.images[$0]) }
        #expect(values.map(\.0) == values.map(\.0).sorted(), "the generated ones come last")
        return (values.filter { $0.0 == 0 }.map(\.1), values.filter { $0.0 == 1 }.map(\.1))
    }

    @Test func eachBatchHasItsPart() throws {
        let originals = (0..<10).map { Float($0) / 100 }
        let generated = (0..<7).map { 0.5 + Float($0) / 100 }
        for (ratio, sizes) in [
            (0.25, [1, 1, 1]), (0.5, [2, 2, 1]), (0.7, [3, 3, 1]), (0.99, [3, 3, 1]), (0.1, [0, 0, 0]), (0, [0, 0, 0]),
        ] {
            let loader = try loader(originals, generated, ratio: ratio, batchSize: 4)
            var own: [Float] = []
            var drawn: Set<Float> = []
            for epoch in 0..<40 {
                for number in 0..<3 {
                    let found = try batch(loader, epoch, number)
                    #expect(found.drawn.count == sizes[number], "ratio \(ratio)")
                    #expect(found.own.count + found.drawn.count == [4, 4, 2][number])
                    own += found.own
                    drawn.formUnion(found.drawn)
                }
            }
            // The originals are gone through in whole passes, each in an order of its own, whatever an epoch is.
            let passes = stride(from: 0, to: own.count - 9, by: 10).map { Array(own[$0..<$0 + 10]) }
            #expect(passes.count == own.count / 10)
            #expect(passes.allSatisfy { $0.sorted() == originals })
            #expect(Set(passes).count == passes.count)
            #expect(drawn == (ratio >= 0.25 ? Set(generated) : []))
        }
    }

    /// A batch is what it is whichever were loaded before it.
    @Test func aBatchDependsOnItsPlaceAlone() throws {
        let originals = (0..<10).map { Float($0) / 100 }
        let made = try loader(originals, [0.5, 0.6, 0.7], ratio: 0.4, batchSize: 4)
        var inOrder: [[Float]] = []
        for epoch in 0..<5 {
            for number in 0..<3 {
                let found = try batch(made, epoch, number)
                inOrder.append(found.own + found.drawn)
            }
        }
        for place in [14, 3, 7, 0, 8, 2, 2, 13] {
            let fresh = try loader(originals, [0.5, 0.6, 0.7], ratio: 0.4, batchSize: 4)
            for one in [made, fresh] {
                let found = try batch(one, place / 3, place % 3)
                #expect(found.own + found.drawn == inOrder[place])
            }
        }
    }

    /// Two draws of the same image are augmented in their own ways.
    @Test func everyDrawIsAugmentedAnew() throws {
        let shape = ImageShape(1, 8, 8)
        let image = (0..<64).map { Float($0 + 1) / 64 }
        let one = try Dataset(floats: image, labels: [0], count: 1, shape: shape, classes: 2)
        let many = try Dataset(
            floats: [Float](repeating: 0, count: 64 * 64), labels: [Int64](repeating: 0, count: 64), count: 64,
            shape: shape, classes: 2)
        var options = TrainerOptions()
        options.batchSize = 64
        options.generatedRatio = 0.5
        let loaded = try BatchLoader(many, generated: one, options).load(epoch: 0, batch: 0)
        let forms = (32..<64).map { i in (0..<64).map { loaded.images[i * 64 + $0] } }
        #expect(Set(forms).count > 20)
    }

    // Trainings

    private func trainer(
        _ student: Network, _ generated: Dataset?, ratio: Double = 0.4,
        _ change: (inout TrainerOptions) -> Void = { _ in }
    ) throws -> Trainer {
        var options = TrainerOptions()
        options.method = "pgd-at"
        options.epochs = 3
        options.batchSize = 4
        options.cropPadding = 1
        options.steps = 2
        options.epsilon = 0.06
        options.cutmix = 0.5
        options.generatedRatio = ratio
        change(&options)
        return try Trainer(student: student, teachers: Teachers(), options: options, generated: generated)
    }

    @Test func aTrainingGoesOnFromAnyBatch() throws {
        let (train, generated) = (try Samples(10, seed: 1).dataset(), try Samples(7, seed: 2).dataset())
        let whole = try makeNetwork(seed: 1)
        var count = 0
        let first = try trainer(whole, generated)
        try first.fit(train: train) { _ in
            try first.save(to: directory / "\(count).h5")
            count += 1
        }
        #expect(count == 12)
        for event in 0..<count {
            let student = try makeNetwork(seed: 9)
            let second = try trainer(student, generated)
            try second.resume(from: directory / "\(event).h5")
            try second.fit(train: train)
            #expect(student.weights.array == whole.weights.array, "event \(event)")
            #expect(student.statistics.array == whole.statistics.array)
        }
        let plain = try makeNetwork(seed: 1)
        try trainer(plain, nil, ratio: 0).fit(train: train)
        #expect(plain.weights.array != whole.weights.array)
    }

    @Test func otherImagesAreRefused() throws {
        let (train, generated) = (try Samples(10, seed: 1).dataset(), try Samples(7, seed: 2).dataset())
        let path = directory / "training.h5"
        let first = try trainer(try makeNetwork(seed: 1), generated)
        #expect(thrownError { try first.fit(train: train) { _ in throw EngineError(.cancelled, "") } } != nil)
        try first.save(to: path)

        let other = try trainer(try makeNetwork(seed: 1), try Samples(7, seed: 3).dataset())
        try other.resume(from: path)
        let changed = thrownError { try other.fit(train: train) }
        #expect(changed?.message.contains("generated: the training was begun with 7 samples") == true)

        let without = thrownError { try trainer(try makeNetwork(seed: 1), nil, ratio: 0).resume(from: path) }
        #expect(without?.message.contains("generated_ratio: the file has 0.4, this training 0.0") == true)

        // A training without generated images is one of an earlier version; with them it is another one.
        let plain = try trainer(try makeNetwork(seed: 1), nil, ratio: 0)
        try plain.save(to: path)
        let added = thrownError { try trainer(try makeNetwork(seed: 1), generated).resume(from: path) }
        #expect(added?.message.contains("generated_ratio: the file has 0.0, this training 0.4") == true)
    }

    @Test func whatDoesNotFitIsRefused() throws {
        let student = try makeNetwork(seed: 1)
        let generated = try Samples(7, seed: 2).dataset()
        func message(_ generated: Dataset?, _ ratio: Double) -> String {
            thrownError { _ = try trainer(student, generated, ratio: ratio) }?.message ?? "nothing"
        }
        #expect(message(nil, 0.4).hasPrefix("generated: got none, but generated_ratio is 0.4"))
        #expect(message(generated, 0).hasPrefix("generated_ratio: got 0 with generated images"))
        for ratio in [-0.1, 1, .nan, .infinity] {
            #expect(message(generated, ratio).hasPrefix("generated_ratio: got \(ratio), want at least 0 and below 1"))
        }
        let wide = try Samples(4, seed: 1, shape: ImageShape(1, 8, 9)).dataset(shape: ImageShape(1, 8, 9))
        #expect(message(wide, 0.4).hasPrefix("generated: has images"))
    }
}
