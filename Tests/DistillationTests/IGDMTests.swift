import Glibc
import Runtime
import Testing

@testable import Distillation

@Suite struct IGDMTests {
    private func igdm(_ distance: LogitDistance, mirror: IGDM.Mirror = .paper, weight: Double = 1) -> IGDM {
        IGDM(weight: weight, mirror: mirror, distance: distance)
    }

    private func places(
        _ plus: UnsafeMutablePointer<Float>, _ clean: UnsafeMutablePointer<Float>,
        _ minus: UnsafeMutablePointer<Float>
    ) -> IGDM.Places<UnsafeMutablePointer<Float>> {
        IGDM.Places(plus: plus, clean: clean, minus: minus)
    }

    /// Loss and gradients for rows of two classes; each argument is (x+d, x-d).
    private func run(
        _ igdm: IGDM, teacher: ([Float], [Float]), student: ([Float], [Float]), weight: Double,
        sampleWeights: [Double] = [1, 1]
    ) -> (loss: Double, plus: [Float], minus: [Float]) {
        var plus = [Float](repeating: 0, count: student.0.count)
        var minus = plus
        var scratch = [Float](repeating: .nan, count: 6)
        func pointer(_ array: [Float]) -> UnsafeMutablePointer<Float> {
            let memory = UnsafeMutablePointer<Float>.allocate(capacity: array.count)
            for (i, value) in array.enumerated() { memory[i] = value }
            return memory
        }
        let memory = [teacher.0, teacher.1, student.0, student.1].map(pointer)
        defer { for block in memory { block.deallocate() } }
        let loss = plus.withUnsafeMutableBufferPointer { plus in
            minus.withUnsafeMutableBufferPointer { minus in
                scratch.withUnsafeMutableBufferPointer { scratch in
                    guard let p = plus.baseAddress, let m = minus.baseAddress, let s = scratch.baseAddress else {
                        return Double.nan
                    }
                    return igdm.loss(
                        teacher: places(memory[0], memory[0], memory[1]).inputs,
                        student: places(memory[2], memory[2], memory[3]).inputs, count: plus.count / 2, classes: 2,
                        weight: weight, sampleWeights: sampleWeights, gradient: places(p, p, m), scratch: s)
                }
            }
        }
        return (loss, plus, minus)
    }

    // The teacher's differences are (log 3, 0) and (1, 1), the student's (0, 0) and (3, -1).
    private let log3 = Float(log(3.0))
    private var teacher: ([Float], [Float]) { ([2 + log3, 1, 4, 0], [2, 1, 3, -1]) }
    private var student: ([Float], [Float]) { ([5, -1, 2, 0], [5, -1, -1, 1]) }

    @Test func divergenceByHand() {
        let result = run(igdm(.kl), teacher: teacher, student: student, weight: 4)
        // Row 1: KL((3/4, 1/4) ‖ (1/2, 1/2)). Row 2: KL((1/2, 1/2) ‖ (σ, 1-σ)) with σ = 1/(1+exp(-4)).
        let sigma = 1 / (1 + exp(-4.0))
        let first = 0.75 * log(1.5) + 0.25 * log(0.5)
        let second = 0.5 * log(0.5 / sigma) + 0.5 * log(0.5 / (1 - sigma))
        #expect(abs(result.loss - (first + second) / 2) < 1e-6)
        // 4/2 * (Q - P) for S(x+d), and its negative for S(x-d).
        let expected = [-0.5, 0.5, 2 * (sigma - 0.5), -2 * (sigma - 0.5)]
        for (i, want) in expected.enumerated() {
            #expect(abs(Double(result.plus[i]) - want) < 1e-6)
            #expect(result.minus[i] == -result.plus[i])
        }
    }

    @Test(arguments: [LogitDistance.kl, .l1, .l2])
    func samplesCountByTheirWeights(distance: LogitDistance) {
        func row(_ weights: [Double]) -> (loss: Double, plus: [Float], minus: [Float]) {
            run(igdm(distance), teacher: teacher, student: student, weight: 2, sampleWeights: weights)
        }
        let (first, second, both) = (row([1, 0]), row([0, 1]), row([0.5, 4]))
        #expect(abs(both.loss - (0.5 * first.loss + 4 * second.loss)) < 1e-9)
        #expect(first.plus[2...] == [0, 0] && second.plus[..<2] == [0, 0])
        for (got, want) in zip(both.plus, zip(first.plus, second.plus).map { 0.5 * $0 + 4 * $1 }) {
            #expect(abs(got - want) < 1e-6)
        }
    }

    @Test func absoluteAndSquaredDistancesByHand() {
        // Differences of the differences, student minus teacher: (-log 3, 0) and (2, -2).
        let l1 = run(igdm(.l1), teacher: teacher, student: student, weight: 2)
        #expect(abs(l1.loss - (log(3.0) + 4) / 2) < 1e-6)
        #expect(l1.plus == [-1, 0, 1, -1])
        #expect(l1.minus == [1, 0, -1, 1])
        let l2 = run(igdm(.l2), teacher: teacher, student: student, weight: 1)
        #expect(abs(l2.loss - (log(3.0) * log(3.0) + 8) / 2) < 1e-6)
        for (got, want) in zip(l2.plus, [-log(3.0), 0, 2, -2]) { #expect(abs(Double(got) - want) < 1e-6) }
        for (got, want) in zip(l2.minus, l2.plus) { #expect(got == -want) }
    }

    @Test func equalDifferencesCostNothing() {
        let shifted = (teacher.0.map { $0 + 0.5 }, teacher.1.map { $0 + 0.5 })
        for distance in LogitDistance.allCases {
            let result = run(igdm(distance), teacher: teacher, student: shifted, weight: 1)
            #expect(abs(result.loss) < 1e-6)
            #expect(result.plus.allSatisfy { abs($0) < 1e-6 || distance == .l1 })
        }
    }

    @Test func theWeightGrowsToAlphaInTheLastEpoch() {
        let igdm = igdm(.kl, weight: 5)
        #expect(igdm.weight(epoch: 1, epochs: 10) == 0.5)
        #expect(igdm.weight(epoch: 10, epochs: 10) == 5)
    }

    @Test func aConstantRampIsAlphaThroughout() {
        var igdm = igdm(.kl, weight: 5)
        igdm.ramp = .constant
        #expect(igdm.weight(epoch: 1, epochs: 10) == 5)
        #expect(igdm.weight(epoch: 10, epochs: 10) == 5)
    }

    /// The rivals look at the student alone, and both of their sides carry a gradient: checked by differences.
    @Test(arguments: IGDM.Term.allCases.filter { $0 != .igdm }, LogitDistance.allCases)
    func rivalsAgreeWithDifferences(term: IGDM.Term, distance: LogitDistance) throws {
        let (count, classes) = (2, 3)
        var rivals = igdm(distance)
        rivals.term = term
        let size = count * classes
        /// 0 ..< size: S(x+d), then S(x), then S(x-d).
        var point: [Float] = [1, -2, 0.5, 0.25, 3, -1, 0.5, 1, -1, 2, -0.5, 0.75, -1, 0.25, 2, 1.5, -2, 0.125]
        func evaluate(_ point: inout [Float]) throws -> (loss: Double, gradient: [Float]) {
            var gradient = [Float](repeating: 0, count: 3 * size)
            var scratch = [Float](repeating: .nan, count: 3 * classes)
            let loss = try point.withUnsafeMutableBufferPointer { point in
                try gradient.withUnsafeMutableBufferPointer { gradient in
                    try scratch.withUnsafeMutableBufferPointer { scratch in
                        let p = try #require(point.baseAddress)
                        let g = try #require(gradient.baseAddress)
                        // A teacher that is not there: memory of the student, which must not matter.
                        return rivals.loss(
                            teacher: places(p, p, p).inputs, student: places(p, p + size, p + 2 * size).inputs,
                            count: count, classes: classes, weight: 2, sampleWeights: [1, 1],
                            gradient: places(g, g + size, g + 2 * size),
                            scratch: try #require(scratch.baseAddress))
                    }
                }
            }
            return (loss, gradient)
        }
        let gradient = try evaluate(&point).gradient
        for i in 0..<3 * size {
            let value = point[i]
            point[i] = value + 0x1p-7
            let above = try evaluate(&point).loss
            point[i] = value - 0x1p-7
            let below = try evaluate(&point).loss
            point[i] = value
            #expect(abs(2 * (above - below) / 0x1p-6 - Double(gradient[i])) < 1e-3)
        }
        let unused = term == .tradesReg ? 2 : 1
        #expect(gradient[unused * size..<(unused + 1) * size].allSatisfy { $0 == 0 })
    }

    @Test func mirrorsByHand() {
        let images: [Float] = [0.5, 0, 1, 0.25, 0.5, 0.5, 0.5, 0.5]
        let adversarial: [Float] = [0.75, 0.125, 0.875, 0.25, 0.25, 0.5, 1, 0]
        func mirrored(_ mirror: IGDM.Mirror) -> ([Float], Double) {
            var result = [Float](repeating: -9, count: 8)
            var outside = [Int](repeating: -9, count: 2)
            let part = igdm(.kl, mirror: mirror).reflect(
                images, adversarial, count: 2, pixels: 4, into: &result, outside: &outside)
            #expect(outside == [2, 0])
            return (result, part)
        }
        let paper = mirrored(.paper)
        #expect(paper.0 == [0.25, -0.125, 1.125, 0.25, 0.75, 0.5, 0, 1])
        #expect(paper.1 == 0.25)
        let clip = mirrored(.clip)
        #expect(clip.0 == [0.25, 0, 1, 0.25, 0.75, 0.5, 0, 1])
        #expect(clip.1 == 0.25)
    }
}

extension IGDM.Places where Pointer == UnsafeMutablePointer<Float> {
    fileprivate var inputs: IGDM.Places<UnsafePointer<Float>> {
        IGDM.Places<UnsafePointer<Float>>(
            plus: UnsafePointer(plus), clean: UnsafePointer(clean), minus: UnsafePointer(minus))
    }
}
