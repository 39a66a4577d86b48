import Attacks
import Kernels
import Runtime
import Testing

/// What `runAttack` tells beside the images.
@Suite struct AttackReportTests {
    /// All outputs of one run, as arrays.
    private struct Report: Equatable {
        var images: [Float]
        var success: [UInt8]
        var firstSuccess: [Int64]
        var linf: [Double]
        var l2: [Double]
        var l1: [Double]
        var forwards: [Int64]
        var backwards: [Int64]
        var totals: [Int]
    }

    private func report(
        _ model: any DifferentiableClassifier, _ images: [Float], _ labels: [Int64], batchSize: Int = 64,
        target: [Float]? = nil, _ change: (inout AttackOptions) -> Void
    ) throws -> Report {
        let count = labels.count
        var options = AttackOptions()
        change(&options)
        let result = try FloatBuffer(images.count)
        let success = try Buffer<UInt8>(count)
        let numbers = try (0..<3).map { _ in try Buffer<Int64>(count) }
        let distances = try (0..<3).map { _ in try Buffer<Double>(count) }
        var outputs = AttackOutputs(adversarial: result.pointer)
        outputs.success = success.pointer
        (outputs.firstSuccess, outputs.forwards, outputs.backwards) =
            (numbers[0].pointer, numbers[1].pointer, numbers[2].pointer)
        (outputs.linf, outputs.l2, outputs.l1) = (distances[0].pointer, distances[1].pointer, distances[2].pointer)
        let totals = try runAttack(
            on: model, images: images, labels: labels, count: count, targetLogits: target, options: options,
            batchSize: batchSize, outputs: outputs)
        #expect(totals.seconds > 0)
        func array<T>(_ buffer: Buffer<T>) -> [T] { (0..<buffer.count).map { buffer[$0] } }
        return Report(
            images: (0..<images.count).map { result.pointer[$0] }, success: array(success),
            firstSuccess: array(numbers[0]), linf: array(distances[0]), l2: array(distances[1]),
            l1: array(distances[2]), forwards: array(numbers[1]), backwards: array(numbers[2]),
            totals: [totals.successes, totals.forwards, totals.backwards])
    }

    /// One pixel; class 0 up to 0.5, class 1 above; steps of 1/16 upwards from the image.
    private func climb(_ images: [Float], restarts: Int = 1, earlyStop: Bool) throws -> Report {
        let model = NearestCentre(shape: ImageShape(1, 1, 1), centres: [[0.25], [0.75]])
        return try report(model, images, [Int64](repeating: 0, count: images.count)) {
            $0.randomStart = false
            $0.epsilon = 0.25
            $0.step = 0.0625
            $0.steps = 4
            $0.restarts = restarts
            $0.earlyStop = earlyStop
        }
    }

    @Test func theFirstSuccessAndThePassesByHand() throws {
        // Misclassified at once, after two steps, after four, never.
        let images: [Float] = [0.625, 0.4375, 0.3125, 0.25]
        let whole = try climb(images, earlyStop: false)
        #expect(whole.success == [1, 1, 1, 0])
        #expect(whole.firstSuccess == [0, 2, 4, -1])
        #expect(whole.forwards == [5, 5, 5, 5])
        #expect(whole.backwards == [4, 4, 4, 4])
        #expect(whole.totals == [3, 20, 16])
        #expect(whole.linf == [0.25, 0.25, 0.25, 0.25])

        let rested = try climb(images, earlyStop: true)
        #expect(rested.firstSuccess == whole.firstSuccess)
        #expect(rested.forwards == [1, 3, 5, 5])
        #expect(rested.backwards == [1, 3, 4, 4])
        #expect(rested.linf == [0, 0.125, 0.25, 0.25])
        #expect(rested.totals == [3, 14, 12])
    }

    @Test func restartsCountOn() throws {
        let twice = try climb([0.4375, 0.25], restarts: 2, earlyStop: true)
        #expect(twice.firstSuccess == [2, -1])
        #expect(twice.forwards == [3, 10])
        #expect(twice.backwards == [3, 8])

        // From random starts some samples are broken in a later run only.
        let model = NearestCentre(
            shape: ImageShape(1, 3, 3), centres: (0..<3).map { randomImages(9, seed: 40 + UInt64($0)) }, sharpness: 4)
        let images = randomImages(50 * 9, seed: 21)
        let labels = try predictions(model, images)
        let many = try report(model, images, labels, batchSize: 16) {
            $0.epsilon = 0.08
            $0.step = 0.01
            $0.steps = 2
            $0.restarts = 6
            $0.earlyStop = true
        }
        for s in 0..<50 {
            #expect((many.firstSuccess[s] >= 0) == (many.success[s] == 1))
            #expect(many.firstSuccess[s] >= 0 || many.forwards[s] == 6 * 3)
        }
        #expect(many.firstSuccess.contains { $0 > 2 })
    }

    @Test func aMisclassifiedIterateNeedNotBeTheResult() throws {
        // Away from a target that is certain of class 1, the image's class, means towards its label, 0.
        let model = LinearClassifier(shape: ImageShape(1, 2, 2), weights: [[-1, 2, 0, -0.5], [1, -2, 0, 0.5]])
        let result = try report(model, [0.625, 0.375, 0.5, 0.5], [0], target: [-20, 20]) {
            $0.loss = "kl"
            $0.randomStart = false
            $0.epsilon = 0.125
        }
        #expect(result.success == [0])
        #expect(result.firstSuccess == [0])
    }

    @Test func distancesAreThoseOfTheResult() throws {
        let model = LinearClassifier(shape: ImageShape(1, 2, 2), weights: [[-1, 2, 0, -0.5], [1, -2, 0, 0.5]])
        let result = try report(model, [0.5, 0.5, 0.5, 0.9375], [0]) {
            $0.attack = "fgsm"
            $0.epsilon = 0.125
        }
        // Two pixels move by the radius, one not at all, one to the end of the box.
        #expect(result.linf == [0.125])
        #expect(result.l1 == [0.3125])
        #expect(result.l2 == [(2 * 0.015625 + 0.00390625).squareRoot()])
        #expect(result.forwards == [2])
        #expect(result.backwards == [1])
    }

    @Test func theModelsOwnOutputAsTargetIsAPassToo() throws {
        let model = LinearClassifier(shape: ImageShape(1, 2, 2), classes: 3, seed: 4)
        let result = try report(model, randomImages(20, seed: 2), [0, 1, 2, 0, 1], batchSize: 2) {
            $0.loss = "kl"
            $0.steps = 3
        }
        #expect(result.forwards == [5, 5, 5, 5, 5])
        #expect(result.backwards == [3, 3, 3, 3, 3])
    }

    @Test func nothingDependsOnTheBatch() throws {
        let model = NearestCentre(
            shape: ImageShape(1, 3, 3), centres: (0..<3).map { randomImages(9, seed: 40 + UInt64($0)) }, sharpness: 4)
        let images = randomImages(30 * 9, seed: 7)
        let labels = try predictions(model, images)
        let reports = try [1, 7, 64].map { size in
            try report(model, images, labels, batchSize: size) {
                $0.epsilon = 0.08
                $0.restarts = 2
                $0.earlyStop = true
            }
        }
        #expect(reports[0] == reports[1])
        #expect(reports[0] == reports[2])
        #expect(reports[0].success.contains(1))
        #expect(reports[0].success.contains(0))
    }
}
