import Glibc
import Kernels
import Runtime
import Testing

/// The losses again, written plainly in double precision, as the yardstick.
private enum Plain {
    static func logSoftmax(_ row: [Double]) -> [Double] {
        let largest = row.max() ?? 0
        let sum = row.reduce(0) { $0 + exp($1 - largest) }
        return row.map { $0 - largest - log(sum) }
    }

    static func crossEntropy(_ row: [Double], _ label: Int) -> Double { -logSoftmax(row)[label] }

    static func klDivergence(_ p: [Double], _ q: [Double], _ temperature: Double = 1) -> Double {
        let logP = logSoftmax(p.map { $0 / temperature })
        let logQ = logSoftmax(q.map { $0 / temperature })
        return zip(logP, logQ).reduce(0) { $0 + exp($1.0) * ($1.0 - $1.1) }
    }

    /// Central differences of `function` at `point`.
    static func gradient(_ point: [Double], _ function: ([Double]) -> Double) -> [Double] {
        let h = 1e-5
        return point.indices.map { i in
            var up = point
            var down = point
            up[i] += h
            down[i] -= h
            return (function(up) - function(down)) / (2 * h)
        }
    }
}

private func randomRow(_ count: Int, _ index: UInt64, spread: Float = 3) -> [Float] {
    var random = CounterRandom(seed: 11, stream: .initialisation, index: index)
    return (0..<count).map { _ in spread * random.normal() }
}

private func largestDifference(_ a: [Float], _ b: [Double]) -> Double {
    zip(a, b).map { abs(Double($0) - $1) }.max() ?? 0
}

@Suite struct LossesTests {
    @Test(arguments: [2, 3, 10, 100])
    func crossEntropyMatchesDefinitionAndDifferences(classes: Int) {
        for sample in 0..<5 {
            let row = randomRow(classes, UInt64(sample))
            let exact = row.map(Double.init)
            let label = (sample * 7) % classes
            var gradient = [Float](repeating: 0.25, count: classes)
            let loss = crossEntropy(row, label: label, classes: classes, scale: 0.5, gradient: &gradient)
            #expect(abs(Double(loss) - Plain.crossEntropy(exact, label)) < 1e-6 * max(1, Double(loss)))
            let expected = Plain.gradient(exact) { Plain.crossEntropy($0, label) }.map { 0.25 + 0.5 * $0 }
            #expect(largestDifference(gradient, expected) < 1e-6)
            #expect(crossEntropy(row, label: label, classes: classes, scale: 1, gradient: nil) == loss)
        }
    }

    @Test(arguments: [(2, Float(1)), (10, 1), (10, 4), (100, 30)])
    func divergenceMatchesDefinitionAndDifferences(classes: Int, temperature: Float) {
        for sample in 0..<5 {
            let p = randomRow(classes, UInt64(sample))
            let q = randomRow(classes, UInt64(sample + 100))
            let (exactP, exactQ, tau) = (p.map(Double.init), q.map(Double.init), Double(temperature))
            var dp = [Float](repeating: 1, count: classes)
            var dq = [Float](repeating: -1, count: classes)
            let loss = klDivergence(
                target: p, model: q, classes: classes, temperature: temperature, scale: 2, dq: &dq, dp: &dp)
            let expected = Plain.klDivergence(exactP, exactQ, tau)
            #expect(abs(Double(loss) - expected) < 1e-6 * max(1, expected))
            let gradientQ = Plain.gradient(exactQ) { Plain.klDivergence(exactP, $0, tau) }.map { -1 + 2 * $0 }
            let gradientP = Plain.gradient(exactP) { Plain.klDivergence($0, exactQ, tau) }.map { 1 + 2 * $0 }
            #expect(largestDifference(dq, gradientQ) < 1e-6)
            #expect(largestDifference(dp, gradientP) < 1e-5)
        }
    }

    @Test func divergenceOfEqualRowsIsZeroWithZeroGradient() {
        let row = randomRow(10, 3)
        var dp = [Float](repeating: 0, count: 10)
        var dq = dp
        #expect(klDivergence(target: row, model: row, classes: 10, scale: 1, dq: &dq, dp: &dp) == 0)
        #expect(dq.allSatisfy { $0 == 0 })
        #expect(dp.allSatisfy { $0 == 0 })
    }

    @Test func divergenceIgnoresAShiftOfTheLogits() {
        let p: [Float] = [1, 2, 3]
        let q: [Float] = [3, 1, 2]
        let shifted = q.map { $0 + 64 }
        let a = klDivergence(target: p, model: q, classes: 3, scale: 1, dq: nil, dp: nil)
        let b = klDivergence(target: p, model: shifted, classes: 3, scale: 1, dq: nil, dp: nil)
        #expect(abs(a - b) < 1e-6)
        #expect(a > 0.5)
    }

    @Test func confidentRowsStayFiniteAndKeepAGradient() {
        let row: [Float] = [800, -800, 0]
        var gradient = [Float](repeating: 0, count: 3)
        #expect(crossEntropy(row, label: 1, classes: 3, scale: 1, gradient: &gradient) == 1600)
        #expect(gradient == [1, -1, 0])

        let sure: [Float] = [40, 0]
        var small = [Float](repeating: 0, count: 2)
        let loss = crossEntropy(sure, label: 0, classes: 2, scale: 1, gradient: &small)
        #expect(loss >= 0)
        #expect(small[0] < 0)
        #expect(small[1] > 0)
        #expect(abs(Double(small[0]) / -exp(-40.0) - 1) < 1e-6)

        let divergence = klDivergence(target: row, model: row.reversed(), classes: 3, scale: 1, dq: nil, dp: nil)
        #expect(divergence == 800)
    }

    @Test func notANumberIsPassedOn() {
        let bad: [Float] = [0, .nan, 1]
        let good: [Float] = [0, 2, 1]
        #expect(crossEntropy(bad, label: 0, classes: 3, scale: 1, gradient: nil).isNaN)
        #expect(klDivergence(target: good, model: bad, classes: 3, scale: 1, dq: nil, dp: nil).isNaN)
        #expect(klDivergence(target: bad, model: good, classes: 3, scale: 1, dq: nil, dp: nil).isNaN)
    }

    @Test func marginTakesTheStrongestWrongClass() {
        let row: [Float] = [1, 5, 3, 5]
        var gradient = [Float](repeating: 0, count: 4)
        #expect(marginLoss(row, label: 2, classes: 4, kappa: 50, scale: 2, gradient: &gradient) == 2)
        #expect(gradient == [0, 2, -2, 0])
        gradient = [0, 0, 0, 0]
        #expect(marginLoss(row, label: 1, classes: 4, kappa: 50, scale: 1, gradient: &gradient) == 0)
        #expect(gradient == [0, -1, 0, 1])
        gradient = [0, 0, 0, 0]
        #expect(marginLoss(row, label: 0, classes: 4, kappa: 1.5, scale: 1, gradient: &gradient) == 1.5)
        #expect(gradient == [0, 0, 0, 0])
        #expect(marginLoss([2, -1], label: 0, classes: 2, kappa: 0, scale: 1, gradient: nil) == -3)
    }

    @Test func argmaxIsTheFirstOfEquals() {
        #expect(argmax([1, 3, 3, 2], 4) == 1)
        #expect(argmax([-1], 1) == 0)
        #expect(argmax([-5, -4, -9], 3) == 1)
    }
}
