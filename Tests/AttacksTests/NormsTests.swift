import Kernels
import Runtime
import Testing

@testable import Attacks

@Suite struct NormsTests {
    private func exactDistance(_ a: [Float], _ b: [Float], _ norm: any AttackNorm) -> Double {
        exactLength(zip(a, b).map { Double($0) - Double($1) }, type(of: norm).name)
    }

    @Test(arguments: [Float(0), 1e-30, 1e-9, 1e-4, 8.0 / 255, 0.1, 0.3, 1])
    func projectionStaysInBallAndBoxWithoutTolerance(radius: Float) {
        let count = 500
        for seed in 0..<20 as Range<UInt64> {
            let clean = randomImages(count, seed: seed)
            var random = CounterRandom(seed: seed, stream: .square, index: 0)
            for norm in AttackNorms.all {
                // Far outside, on the border to within rounding, and inside.
                for reach in [Float(3), 1, 1e-3] {
                    var iterate = clean.map { $0 + reach * max(radius, 1e-6) * random.normal() }
                    norm.project(&iterate, around: clean, radius: radius, count: count)
                    #expect(exactDistance(iterate, clean, norm) <= Double(radius))
                    #expect(iterate.allSatisfy { $0 >= 0 && $0 <= 1 })
                }
                var border = clean.map { $0 + (random.uniform() < 0.5 ? radius : -radius) }
                norm.project(&border, around: clean, radius: radius, count: count)
                #expect(exactDistance(border, clean, norm) <= Double(radius))
            }
        }
    }

    @Test func projectionLeavesWhatIsInside() {
        let clean = randomImages(64, seed: 1)
        let inside = clean.map { min(max($0 + 0.01, 0), 1) }
        for norm in AttackNorms.all {
            var iterate = inside
            norm.project(&iterate, around: clean, radius: norm is ManhattanNorm ? 0.7 : 0.2, count: 64)
            #expect(iterate == inside)
        }
    }

    @Test func euclideanProjectionShortensTheDifference() {
        var iterate: [Float] = [0.5 + 0.3, 0.5 - 0.4]
        EuclideanNorm().project(&iterate, around: [0.5, 0.5], radius: 0.25, count: 2)
        #expect(abs(iterate[0] - 0.65) < 1e-6)
        #expect(abs(iterate[1] - 0.3) < 1e-6)
    }

    @Test func stepsFollowTheNorm() {
        var iterate: [Float] = [0.5, 0.5, 0.5]
        MaximumNorm().step(&iterate, along: [3, -1e-30, 0], size: 0.125, count: 3)
        #expect(iterate == [0.625, 0.375, 0.5])
        iterate = [0.5, 0.5, 0.5]
        EuclideanNorm().step(&iterate, along: [3e-30, -4e-30, 0], size: 0.25, count: 3)
        #expect(abs(iterate[0] - 0.65) < 1e-6)
        #expect(abs(iterate[1] - 0.3) < 1e-6)
        #expect(iterate[2] == 0.5)
    }

    @Test func zeroAndUnusableGradientsDoNotMove() {
        for norm in AttackNorms.all {
            for gradient in [Float(0), .nan] {
                var iterate: [Float] = [0.25, 0.75]
                norm.step(&iterate, along: [gradient, gradient], size: 0.1, count: 2)
                #expect(iterate == [0.25, 0.75])
            }
        }
    }

    @Test func randomStartsFillTheBall() {
        let clean = [Float](repeating: 0.5, count: 4)
        for norm in AttackNorms.all {
            var (sum, farthest) = (0.0, 0.0)
            let draws = 2000
            for index in 0..<draws {
                var random = CounterRandom(seed: 5, stream: .attackStart, index: UInt64(index))
                var iterate = [Float](repeating: 0, count: 4)
                norm.randomStart(&iterate, around: clean, radius: 0.2, count: 4, random: &random)
                let length = exactDistance(iterate, clean, norm)
                farthest = max(farthest, length)
                sum += length
            }
            #expect(farthest <= 0.2 * (1 + 1e-6))
            // All lengths, divided by the radius, are distributed as the largest of 4 uniform numbers: mean 4/5.
            #expect(abs(sum / Double(draws) / 0.2 - 0.8) < 0.02)
        }
    }

    /// The projection's definition, tried out: of many points of ball and box none is nearer.
    @Test(arguments: [Float(0.05), 0.4, 1.5])
    func manhattanProjectionIsTheNearestPointOfBallAndBox(radius: Float) {
        let norm = ManhattanNorm()
        let count = 6
        for seed in 0..<40 as Range<UInt64> {
            let clean = randomImages(count, seed: seed)
            var random = CounterRandom(seed: seed, stream: .square, index: 1)
            let point = clean.map { $0 + 0.8 * random.normal() }
            var projected = point
            norm.project(&projected, around: clean, radius: radius, count: count)
            let nearest = exactLength(zip(projected, point).map { Double($0) - Double($1) }, "l2")
            for trial in 0..<3000 {
                // Near the projection, and anywhere.
                let spread: Float = trial % 2 == 0 ? 0.02 : 0.5
                var other = (trial % 4 < 2 ? projected : clean).map { min(max($0 + spread * random.normal(), 0), 1) }
                let length = exactDistance(other, clean, norm)
                if length > Double(radius) {
                    let scale = Float(Double(radius) / length)
                    for i in 0..<count { other[i] = clean[i] + scale * (other[i] - clean[i]) }
                }
                #expect(exactLength(zip(other, point).map { Double($0) - Double($1) }, "l2") >= nearest - 1e-5)
            }
            // And it is no shorter than it has to be.
            let box = exactDistance(point.map { min(max($0, 0), 1) }, clean, norm)
            #expect(exactDistance(projected, clean, norm) >= min(box, Double(radius)) - 1e-5)
        }
    }

    @Test func sparseStepsChangeThePixelsWithTheLargestDerivatives() {
        let norm = ManhattanNorm()
        var iterate: [Float] = [0.5, 0.5, 0.5, 0.5, 1]
        norm.sparseStep(&iterate, along: [0.1, -3, 2, 0, 1], size: 0.5, changing: 2, count: 5)
        #expect(iterate == [0.5, 0.25, 0.75, 0.5, 1])
        // Equal ones move together.
        iterate = [0.5, 0.5, 0.5, 0.5, 1]
        norm.sparseStep(&iterate, along: [2, -2, 1, 0, 0], size: 0.5, changing: 1, count: 5)
        #expect(iterate == [0.75, 0.25, 0.5, 0.5, 1])
        // PGD's step passes over a pixel that is at the end of the box already.
        iterate = [0.5, 0.5, 0.5, 0.5, 1]
        norm.step(&iterate, along: [0.1, -0.2, 0, 0, 7], size: 0.25, count: 5)
        #expect(iterate == [0.5, 0.25, 0.5, 0.5, 1])
    }

    @Test func magnitudesAreSelectedAsBySorting() {
        var random = CounterRandom(seed: 8, stream: .square, index: 2)
        let values = (0..<300).map { i in i % 11 == 0 ? 0 : random.normal() * (i % 7 == 0 ? 1e-20 : 1) }
        let sorted = values.map { abs($0) }.sorted(by: >)
        for k in [1, 2, 17, 150, 272, 300] {
            #expect(magnitude(where: Double(k), isReachedBy: values, 300) { _ in 1 } == sorted[k - 1])
        }
        #expect(magnitude(where: 301, isReachedBy: values, 300) { _ in 1 } == 0)
    }

    @Test func sparsityFollowsTheBestPoint() {
        var schedule = SparsitySchedule(steps: 100, pixels: 1000, start: nil)
        #expect(schedule.window == 4)
        #expect(schedule.number == 200)
        // 900 of 1000 pixels are fewer by more than a twentieth.
        var again = schedule.beginsAgain(900)
        #expect(again)
        #expect(schedule.number == 600)
        again = schedule.beginsAgain(890)
        #expect(!again)
        #expect(SparsitySchedule.shorter(3, whole: 12) == 2)
        #expect(SparsitySchedule.shorter(1.5, whole: 12) == 1.2)
    }
}
