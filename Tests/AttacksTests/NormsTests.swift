import Attacks
import Kernels
import Runtime
import Testing

@Suite struct NormsTests {
    private func exactDistances(_ a: [Float], _ b: [Float]) -> (maximum: Double, euclidean: Double) {
        let differences = zip(a, b).map { abs(Double($0) - Double($1)) }
        return (differences.max() ?? 0, differences.reduce(0) { $0 + $1 * $1 }.squareRoot())
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
                    let distance = exactDistances(iterate, clean)
                    let length = norm is MaximumNorm ? distance.maximum : distance.euclidean
                    #expect(length <= Double(radius))
                    #expect(iterate.allSatisfy { $0 >= 0 && $0 <= 1 })
                }
                var border = clean.map { $0 + (random.uniform() < 0.5 ? radius : -radius) }
                norm.project(&border, around: clean, radius: radius, count: count)
                let distance = exactDistances(border, clean)
                #expect((norm is MaximumNorm ? distance.maximum : distance.euclidean) <= Double(radius))
            }
        }
    }

    @Test func projectionLeavesWhatIsInside() {
        let clean = randomImages(64, seed: 1)
        let inside = clean.map { min(max($0 + 0.01, 0), 1) }
        for norm in AttackNorms.all {
            var iterate = inside
            norm.project(&iterate, around: clean, radius: 0.2, count: 64)
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
                let distance = exactDistances(iterate, clean)
                let length = norm is MaximumNorm ? distance.maximum : distance.euclidean
                farthest = max(farthest, length)
                sum += length
            }
            #expect(farthest <= 0.2 * (1 + 1e-6))
            // Both lengths, divided by the radius, are distributed as the largest of 4 uniform numbers: mean 4/5.
            #expect(abs(sum / Double(draws) / 0.2 - 0.8) < 0.02)
        }
    }
}
