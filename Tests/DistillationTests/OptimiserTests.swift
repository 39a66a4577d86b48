import Glibc
import Kernels
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
        augmentation.apply(image, into: &result, shape: shape, key: key)
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

    @Test func theKeyDecides() {
        let crop = Augmentation(padding: 2, flip: true, seed: 1)
        #expect(apply(crop, key: 7) == apply(crop, key: 7))
        let other = Augmentation(padding: 2, flip: true, seed: 2)
        #expect((0..<20 as Range<UInt64>).contains { apply(crop, key: $0) != apply(other, key: $0) })
    }
}
