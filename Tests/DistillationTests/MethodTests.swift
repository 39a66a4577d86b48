import Glibc
import Kernels
import Runtime
import Testing

@testable import Distillation

/// The formulas of the methods once more, in double precision and without any sharing of code.
private enum Plain {
    static func logSoftmax(_ row: [Double]) -> [Double] {
        let largest = row.max() ?? 0
        let sum = row.reduce(0) { $0 + exp($1 - largest) }
        return row.map { $0 - largest - log(sum) }
    }

    static func crossEntropy(_ z: [[Double]], _ labels: [Int]) -> Double {
        zip(z, labels).reduce(0) { $0 - logSoftmax($1.0)[$1.1] } / Double(z.count)
    }

    static func divergence(_ p: [[Double]], _ q: [[Double]], tau: Double = 1) -> Double {
        var sum = 0.0
        for (p, q) in zip(p, q) {
            let (logP, logQ) = (logSoftmax(p.map { $0 / tau }), logSoftmax(q.map { $0 / tau }))
            for (a, b) in zip(logP, logQ) { sum += exp(a) * (a - b) }
        }
        return sum / Double(p.count)
    }
}

@Suite struct MethodTests {
    private static let (count, classes) = (6, 5)
    private let labels: [Int64] = [0, 4, 2, 2, 1, 3]

    /// Random logits, row by row.
    private func logits(_ index: UInt64) -> [[Double]] {
        var random = CounterRandom(seed: 3, stream: .initialisation, index: index)
        return (0..<Self.count).map { _ in (0..<Self.classes).map { _ in Double(2 * random.normal()) } }
    }

    private struct Result {
        var loss = 0.0
        var adversarial: [Float]
        var clean: [Float]
    }

    private func run(
        _ method: any DistillationMethod, _ sAdv: [[Double]], _ sClean: [[Double]], _ tAdv: [[Double]],
        _ tClean: [[Double]]
    ) throws -> Result {
        let zero = [Float](repeating: 0, count: Self.count * Self.classes)
        var result = Result(adversarial: zero, clean: zero)
        let rows = [sAdv, sClean, tAdv, tClean].map { $0.flatMap { $0.map { Float($0) } } }
        let buffers = try rows.map { row in
            let buffer = try FloatBuffer(row.count)
            for (i, value) in row.enumerated() { buffer.pointer[i] = value }
            return buffer
        }
        result.loss = result.adversarial.withUnsafeMutableBufferPointer { adversarial in
            result.clean.withUnsafeMutableBufferPointer { clean in
                labels.withUnsafeBufferPointer { labels in
                    guard let adversarial = adversarial.baseAddress, let clean = clean.baseAddress,
                        let labels = labels.baseAddress
                    else { return .nan }
                    return method.loss(
                        LossContext(
                            epoch: 1, epochs: 2, count: Self.count, classes: Self.classes, labels: labels,
                            studentAdversarial: buffers[0].pointer, studentClean: buffers[1].pointer,
                            teacherAdversarial: buffers[2].pointer, teacherClean: buffers[3].pointer,
                            adversarialGradient: adversarial, cleanGradient: clean))
                }
            }
        }
        return result
    }

    private func differences(_ point: [[Double]], _ function: ([[Double]]) -> Double) -> [Double] {
        var gradient: [Double] = []
        for i in point.indices {
            for c in point[i].indices {
                var (up, down) = (point, point)
                up[i][c] += 1e-5
                down[i][c] -= 1e-5
                gradient.append((function(up) - function(down)) / 2e-5)
            }
        }
        return gradient
    }

    /// Value and both gradients of `method` against the formula.
    private func check(
        _ name: String, a: Double = 1, tau: Float = 1,
        _ formula: (_ sAdv: [[Double]], _ sClean: [[Double]], _ tAdv: [[Double]], _ tClean: [[Double]]) -> Double
    ) throws {
        var options = MethodOptions()
        options.adversarialWeight = a
        options.temperature = tau
        let method = try MethodRegistry.named(name).init(options)
        // Through float and back, so that both sides see the same numbers.
        let z = (0..<4).map { logits(UInt64($0)).map { $0.map { Double(Float($0)) } } }
        let result = try run(method, z[0], z[1], z[2], z[3])
        let expected = formula(z[0], z[1], z[2], z[3])
        #expect(abs(result.loss - expected) < 1e-6 * max(1, abs(expected)))
        let adversarial = differences(z[0]) { formula($0, z[1], z[2], z[3]) }
        let clean = differences(z[1]) { formula(z[0], $0, z[2], z[3]) }
        for (got, want) in zip(result.adversarial, adversarial) { #expect(abs(Double(got) - want) < 1e-6) }
        for (got, want) in zip(result.clean, clean) { #expect(abs(Double(got) - want) < 1e-6) }
    }

    private var y: [Int] { labels.map(Int.init) }

    @Test func pgdAT() throws {
        try check("pgd-at") { sAdv, _, _, _ in Plain.crossEntropy(sAdv, y) }
    }

    @Test(arguments: [(1.0, Float(1)), (1, 30), (0.7, 1), (0.25, 4), (0, 1)])
    func ard(a: Double, tau: Float) throws {
        let t = Double(tau)
        try check("ard", a: a, tau: tau) { sAdv, sClean, _, tClean in
            a * t * t * Plain.divergence(tClean, sAdv, tau: t) + (1 - a) * Plain.crossEntropy(sClean, y)
        }
    }

    @Test func rslad() throws {
        try check("rslad") { sAdv, sClean, _, tClean in
            (5 * Plain.divergence(tClean, sAdv) + Plain.divergence(tClean, sClean)) / 60
        }
    }

    @Test(arguments: [1.0, 0.6, 0])
    func adaAD(a: Double) throws {
        try check("adaad", a: a) { sAdv, sClean, tAdv, tClean in
            a * Plain.divergence(tAdv, sAdv) + (1 - a) * Plain.divergence(tClean, sClean)
        }
    }

    @Test func onlyPassesThatAreReadAreAskedFor() throws {
        func needs(_ name: String, a: Double) throws -> LogitNeeds {
            var options = MethodOptions()
            options.adversarialWeight = a
            return try MethodRegistry.named(name).init(options).needs
        }
        #expect(try needs("pgd-at", a: 1) == .studentAdversarial)
        #expect(try needs("ard", a: 1) == [.studentAdversarial, .teacherClean])
        #expect(try needs("ard", a: 0.5) == [.studentAdversarial, .teacherClean, .studentClean])
        #expect(try needs("ard", a: 0) == .studentClean)
        #expect(try needs("rslad", a: 1) == [.studentAdversarial, .studentClean, .teacherClean])
        #expect(try needs("adaad", a: 1) == [.studentAdversarial, .teacherAdversarial])
        #expect(try needs("adaad", a: 0) == [.studentClean, .teacherClean])
    }

    @Test func adversariesAreThoseOfThePapers() throws {
        func inner(_ name: String) throws -> InnerMaximisation {
            try MethodRegistry.named(name).init(MethodOptions()).inner
        }
        for name in ["pgd-at", "ard"] {
            #expect(try inner(name).objective == .crossEntropy)
            #expect(try inner(name).start == .uniform)
        }
        #expect(try inner("rslad").objective == .divergenceFromCleanTeacher)
        #expect(try inner("adaad").objective == .divergenceFromTeacher)
        for name in ["rslad", "adaad"] { #expect(try inner(name).start == .gaussian(scale: 0.001)) }
    }

    @Test func unknownMethodsListTheKnown() {
        let error = thrownError { _ = try MethodRegistry.named("adr") }
        #expect(error?.message == "method: got \"adr\", want one of pgd-at, ard, rslad, adaad")
    }
}
