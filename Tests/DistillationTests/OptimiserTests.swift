import Glibc
import Kernels
import Networks
import Runtime
import Testing

@testable import Distillation

@Suite struct OptimiserTests {
    @Test func momentumByHand() throws {
        let sgd = try SGD(count: 1, momentum: 0.5, weightDecay: 0.25, nesterov: false)
        var w: [Float] = [2]
        // g' = 1 + 0.25*2 = 1.5, v = 1.5, w = 2 - 0.5*1.5
        sgd.step(&w, gradients: [1], learningRate: 0.5)
        #expect(w == [1.25])
        // g' = -1 + 0.25*1.25 = -0.6875, v = 0.75 - 0.6875 = 0.0625, w = 1.25 - 1*0.0625
        sgd.step(&w, gradients: [-1], learningRate: 1)
        #expect(w == [1.1875])
    }

    @Test func nesterovByHand() throws {
        let sgd = try SGD(count: 1, momentum: 0.5, weightDecay: 0, nesterov: true)
        var w: [Float] = [1]
        // v = 1, step = 1 + 0.5*1
        sgd.step(&w, gradients: [1], learningRate: 0.5)
        #expect(w == [0.25])
        // v = 0.5 + 2 = 2.5, step = 2 + 0.5*2.5 = 3.25
        sgd.step(&w, gradients: [2], learningRate: 1)
        #expect(w == [-3])
    }

    @Test func everyValueIsUpdatedOnce() throws {
        let count = 100_003
        let sgd = try SGD(count: count, momentum: 0.9, weightDecay: 0, nesterov: false)
        var w = [Float](repeating: 1, count: count)
        let g = (0..<count).map { Float($0 % 7) }
        sgd.step(&w, gradients: g, learningRate: 0.5)
        #expect(zip(w, g).allSatisfy { $0 == 1 - 0.5 * $1 })
    }
}

@Suite struct AdamWTests {
    @Test func twoStepsByHand() throws {
        let adam = try AdamW(count: 1, beta1: 0.5, beta2: 0.75, epsilon: 0.5, weightDecay: 0.25)
        var w: [Float] = [2]
        // w = (1 - 0.5*0.25) 2 = 1.75; m = 1.5, m^ = 3; v = 2.25, v^ = 9; w = 1.75 - 0.5 * 3 / (3 + 0.5)
        adam.step(&w, gradients: [3], learningRate: 0.5)
        var expected = 1.75 - 1.5 / 3.5
        #expect(abs(Double(w[0]) - expected) < 1e-6)
        // m = 0.75 - 0.5 = 0.25, m^ = 0.25/0.75; v = 1.6875 + 0.25 = 1.9375, v^ = 1.9375/0.4375
        adam.step(&w, gradients: [-1], learningRate: 1)
        expected = 0.75 * expected - (0.25 / 0.75) / ((1.9375 / 0.4375).squareRoot() + 0.5)
        #expect(abs(Double(w[0]) - expected) < 1e-6)
    }

    @Test func everyValueIsUpdatedOnce() throws {
        let count = 40_003
        let adam = try AdamW(count: count, beta1: 0.9, beta2: 0.999, epsilon: 1e-12, weightDecay: 0)
        var w = [Float](repeating: 1, count: count)
        // The first step is the learning rate along the sign.
        adam.step(&w, gradients: (0..<count).map { Float($0 % 3 - 1) }, learningRate: 0.5)
        for i in 0..<count { #expect(abs(w[i] - (1 - 0.5 * Float(i % 3 - 1))) < 1e-5) }
    }
}

@Suite struct GradientClippingTests {
    private func scale(_ values: [Float], limit: Double) throws -> Float {
        let gradients = try FloatBuffer(values.count)
        for (i, value) in values.enumerated() { gradients.pointer[i] = value }
        return GradientClipping(limit: limit).scale(gradients)
    }

    @Test func onlyLongGradientsAreShortened() throws {
        #expect(try scale([3, 4], limit: 6) == 1)
        #expect(abs(try scale([3, 4], limit: 2.5) - 0.5) < 1e-6)
        #expect(try scale([0, 0], limit: 1) == 1)
        // More values than go side by side: 11 of length 2.
        #expect(abs(try scale([Float](repeating: 2, count: 11), limit: 1) - Float(1 / 44.0.squareRoot())) < 1e-6)
    }

    @Test func theScaleComesBeforeWeightDecayAndMomentum() throws {
        let sgd = try SGD(count: 1, momentum: 0.5, weightDecay: 0.25, nesterov: false)
        var w: [Float] = [2]
        // g' = 0.5*4 + 0.25*2 = 2.5
        sgd.step(&w, gradients: [4], scale: 0.5, learningRate: 0.5)
        #expect(w == [0.75])
    }
}

@Suite struct WeightAverageTests {
    /// Puts `value` everywhere in the network and its negative in the statistics.
    private func set(_ network: Network, _ value: Float) {
        network.weights.fill(value)
        network.statistics.fill(-value)
    }

    private func run(_ kind: WeightAverage.Kind, _ values: [(Float, epoch: Int?)]) throws -> (Float?, Float?, Int) {
        let network = try makeNetwork(seed: 1)
        let average = try WeightAverage(kind, of: network)
        for (value, epoch) in values {
            set(network, value)
            average.add(network, finishedEpoch: epoch)
        }
        average.write(to: network)
        let (weights, statistics) = (Set(network.weights.array), Set(network.statistics.array))
        #expect(weights.count == 1 && statistics.count == 1)
        return (weights.first, statistics.first, average.count)
    }

    @Test func exponentialByHand() throws {
        // 8; 8 + (4-8)/4 = 7; 7 + (3-7)/4 = 6
        let result = try run(.exponential(decay: 0.75), [(8, nil), (4, 1), (3, nil)])
        #expect(result == (6, -6, 3))
    }

    @Test func stochasticTakesTheEndsOfItsEpochs() throws {
        let result = try run(
            .stochastic(start: 2), [(100, nil), (50, 1), (100, nil), (2, 2), (100, nil), (5, 3), (8, 4)])
        #expect(result == (5, -5, 3))
    }

    @Test func statisticsAreThoseOfTheData() throws {
        let samples = Samples(10, seed: 3)
        let network = try makeNetwork(seed: 1)
        let other = try network.copy()
        let pass = try TrainingPass(other, capacity: 4)
        var logits = [Float](repeating: 0, count: 12)
        var expected = [Double](repeating: 0, count: other.statistics.count)
        // Batches of 4, 4 and 2: a pass from statistics s leaves 0.9 s + 0.1 b.
        for (first, count) in [(0, 4), (4, 4), (8, 2)] {
            let before = other.statistics.array
            let images = Array(samples.images[first * smallShape.count..<(first + count) * smallShape.count])
            try pass.forward(images, count: count, logits: &logits, updateStatistics: true)
            for (i, after) in other.statistics.array.enumerated() {
                expected[i] += (Double(after) - 0.9 * Double(before[i])) / 0.1 / 3
            }
        }
        try reestimateStatistics(of: network, on: samples.dataset(), batchSize: 4)
        for (got, want) in zip(network.statistics.array, expected) {
            #expect(abs(Double(got) - want) < 1e-4 * max(1, abs(want)))
        }
    }
}

@Suite struct ScheduleTests {
    private func factors(_ schedule: Schedule, epochs: Int, stepsPerEpoch: Int) -> [Double] {
        (0..<epochs * stepsPerEpoch).map { schedule.factor(step: $0, epochs: epochs, stepsPerEpoch: stepsPerEpoch) }
    }

    @Test func multistepFallsAfterItsEpochs() {
        let factors = factors(.multistep(milestones: [2, 3], decay: 0.5), epochs: 5, stepsPerEpoch: 2)
        #expect(factors == [1, 1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25])
    }

    @Test func defaultMilestones() {
        #expect(Schedule.defaultMilestones(epochs: 200) == [100, 150])
        #expect(Schedule.defaultMilestones(epochs: 5) == [2, 3])
        #expect(Schedule.defaultMilestones(epochs: 2) == [1])
        #expect(Schedule.defaultMilestones(epochs: 1) == [])
    }

    @Test func cosineFallsToZeroAfterTheLastStep() {
        let factors = factors(.cosine, epochs: 2, stepsPerEpoch: 2)
        let half = 0.5.squareRoot()
        for (got, want) in zip(factors, [1, (1 + half) / 2, 0.5, (1 - half) / 2]) { #expect(abs(got - want) < 1e-12) }
    }

    /// PyTorch's OneCycleLR with 10 steps and pct_start 0.3: up in steps 0 … 2, down in steps 2 … 9.
    @Test func oneCycleByHand() {
        let factors = factors(.oneCycle(warmup: 0.3), epochs: 5, stepsPerEpoch: 2)
        #expect(abs(factors[0] - 0.04) < 1e-12)
        #expect(abs(factors[1] - 0.52) < 1e-12)
        #expect(abs(factors[2] - 1) < 1e-12)
        let end = 0.04 / 1e4
        for step in 3..<10 {
            let expected = end + (1 - end) * (1 + cos(Double.pi * Double(step - 2) / 7)) / 2
            #expect(abs(factors[step] - expected) < 1e-12)
        }
        #expect(abs(factors[9] - end) < 1e-12)
    }

    @Test func oneCycleWithExtremeWarmups() {
        for warmup in [0, 0.1, 0.5, 1] {
            for steps in 1...4 {
                let factors = factors(.oneCycle(warmup: warmup), epochs: 1, stepsPerEpoch: steps)
                #expect(factors.allSatisfy { $0.isFinite && $0 >= 0.04 / 1e4 - 1e-15 && $0 <= 1 + 1e-12 })
            }
        }
        #expect(abs(factors(.oneCycle(warmup: 1), epochs: 1, stepsPerEpoch: 4)[3] - 1) < 1e-12)
    }

    @Test func warmUpRisesToTheSchedule() {
        #expect((0..<6).map { Schedule.warmUp(step: $0, steps: 4) } == [0.25, 0.5, 0.75, 1, 1, 1])
        for steps in [0, 1] { #expect(Schedule.warmUp(step: 0, steps: steps) == 1) }
    }

    @Test func constantAndBeyondTheEnd() {
        #expect(factors(.constant, epochs: 2, stepsPerEpoch: 2) == [1, 1, 1, 1])
        let schedule = Schedule.multistep(milestones: [1], decay: 0.1)
        #expect(schedule.factor(step: 1000, epochs: 2, stepsPerEpoch: 2) == 0.1)
        let last = Schedule.cosine.factor(step: 3, epochs: 2, stepsPerEpoch: 2)
        #expect(Schedule.cosine.factor(step: 4, epochs: 2, stepsPerEpoch: 2) == last)
    }
}

@Suite struct AugmentationTests {
    private let shape = ImageShape(2, 4, 5)
    private var image: [Float] { (0..<40).map { Float($0 + 1) } }

    private func apply(_ augmentation: Augmentation, key: UInt64) -> [Float] {
        var result = [Float](repeating: -1, count: 40)
        var spare = [UInt8](repeating: 0, count: 80)
        augmentation.apply(image, into: &result, shape: shape, key: key, spare: &spare)
        return result
    }

    /// The image moved by (down, right), with zeros from outside, and mirrored or not.
    private func moved(_ down: Int, _ right: Int, _ mirrored: Bool) -> [Float] {
        var result = [Float](repeating: 0, count: 40)
        for c in 0..<2 {
            for y in 0..<4 {
                for x in 0..<5 {
                    let sourceX = (mirrored ? 4 - x : x) + right
                    guard (0..<4).contains(y + down), (0..<5).contains(sourceX) else { continue }
                    result[(c * 4 + y) * 5 + x] = image[(c * 4 + y + down) * 5 + sourceX]
                }
            }
        }
        return result
    }

    @Test func offLeavesTheImage() {
        let off = Augmentation(padding: 0, flip: false, seed: 1)
        for key in 0..<20 as Range<UInt64> { #expect(apply(off, key: key) == image) }
    }

    @Test func flipsAboutHalf() {
        let flip = Augmentation(padding: 0, flip: true, seed: 1)
        let mirrored = moved(0, 0, true)
        var count = 0
        for key in 0..<400 as Range<UInt64> {
            let result = apply(flip, key: key)
            #expect(result == image || result == mirrored)
            if result == mirrored { count += 1 }
        }
        #expect((160...240).contains(count))
    }

    @Test func cropsTakeEveryOffsetWithTheSameShiftInAllChannels() {
        let crop = Augmentation(padding: 2, flip: true, seed: 1)
        var expected: [[Float]: Int] = [:]
        for down in -2...2 {
            for right in -2...2 {
                for mirrored in [false, true] { expected[moved(down, right, mirrored)] = 0 }
            }
        }
        #expect(expected.count == 50)
        for key in 0..<1500 as Range<UInt64> {
            let result = apply(crop, key: key)
            #expect(expected[result] != nil)
            expected[result, default: 0] += 1
        }
        #expect(expected.values.allSatisfy { $0 > 5 })
    }

    @Test func cutoutClearsASquareAroundARandomPixel() {
        var seen: Set<[Float]> = []
        for key in 0..<200 as Range<UInt64> {
            let result = apply(Augmentation(padding: 0, flip: false, cutout: 2, seed: 1), key: key)
            seen.insert(result)
            let cleared = (0..<20).filter { result[$0] == 0 }
            #expect(cleared == (0..<20).filter { result[20 + $0] == 0 })
            let (rows, columns) = (Set(cleared.map { $0 / 5 }), Set(cleared.map { $0 % 5 }))
            #expect(cleared.count == rows.count * columns.count)
            #expect((1...2).contains(rows.count) && (1...2).contains(columns.count))
            for i in 0..<40 where result[i] != 0 { #expect(result[i] == image[i]) }
        }
        #expect(seen.count == 20)
        // A square as large as the image leaves nothing where its centre is the image's.
        let enormous = apply(Augmentation(padding: 0, flip: false, cutout: 1_000_000_000, seed: 1), key: 1)
        #expect(enormous.allSatisfy { $0 == 0 })
    }

    @Test func cutoutLeavesTheCropAsItWas() {
        for key in 0..<20 as Range<UInt64> {
            let plain = apply(Augmentation(padding: 1, flip: true, seed: 1), key: key)
            let cut = apply(Augmentation(padding: 1, flip: true, cutout: 2, seed: 1), key: key)
            #expect(zip(plain, cut).allSatisfy { $1 == 0 || $0 == $1 })
        }
    }

    @Test func cutMixTakesARectangleOfTheNextImage() throws {
        let count = 50
        let augmentation = Augmentation(padding: 0, flip: false, seed: 1)
        let mix = try CutMix(
            part: 0.5, augmentation: augmentation, shape: shape, classes: count, capacity: count)
        // Image i is i everywhere and has the label i.
        var images = (0..<count).flatMap { [Float](repeating: Float($0), count: 40) }
        var labels = (0..<Int64(count)).map { $0 }
        var copy = [Float](repeating: 0, count: images.count)
        var soft = (0..<count).flatMap { i in (0..<count).map { $0 == i ? 1 : 0 as Float } }
        mix.apply(&images, &labels, &soft, count: count, copy: &copy, key: { UInt64($0) })
        var mixed = 0
        for i in 0..<count {
            let next = (i + 1) % count
            let own = (0..<40).filter { images[40 * i + $0] == Float(i) }.count
            let other = (0..<40).filter { images[40 * i + $0] == Float(next) }.count
            #expect(own + other == 40)
            mixed += other > 0 ? 1 : 0
            #expect(labels[i] == Int64(own >= other ? i : next))
            for c in 0..<count {
                let part = c == i ? own : c == next ? other : 0
                #expect(abs(soft[i * count + c] - Float(part) / 40) < 1e-6)
            }
        }
        #expect((10...40).contains(mixed))
    }

    @Test func theKeyDecides() {
        let crop = Augmentation(padding: 2, flip: true, seed: 1)
        #expect(apply(crop, key: 7) == apply(crop, key: 7))
        let other = Augmentation(padding: 2, flip: true, seed: 2)
        #expect((0..<20 as Range<UInt64>).contains { apply(crop, key: $0) != apply(other, key: $0) })
    }
}
