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

    static func divergence(
        _ p: [[Double]], _ q: [[Double]], tau: Double = 1, weights: [Double]? = nil
    ) -> Double {
        var sum = 0.0
        for (i, (p, q)) in zip(p, q).enumerated() {
            let (logP, logQ) = (logSoftmax(p.map { $0 / tau }), logSoftmax(q.map { $0 / tau }))
            for (a, b) in zip(logP, logQ) { sum += (weights?[i] ?? 1) * exp(a) * (a - b) }
        }
        return sum / Double(p.count)
    }

    /// 1 - softmax(t)_y to the power.
    static func distrust(_ t: [[Double]], _ labels: [Int], power: Double) -> [Double] {
        zip(t, labels).map { 1 - pow(exp(logSoftmax($0)[$1]), power) }
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
        var second = 0.0
        var adversarial: [Float]
        var clean: [Float]
        /// What the method makes of 1s.
        var sampleWeights = [Double](repeating: 1, count: MethodTests.count)
    }

    private func run(
        _ method: any DistillationMethod, _ sAdv: [[Double]], _ sClean: [[Double]], _ tAdv: [[Double]],
        _ tClean: [[Double]], epoch: Int = 1, softLabels: [[Float]]? = nil
    ) throws -> Result {
        let zero = [Float](repeating: 0, count: Self.count * Self.classes)
        var result = Result(adversarial: zero, clean: zero)
        let rows = [sAdv, sClean, tAdv, tClean].map { $0.flatMap { $0.map { Float($0) } } }
        let buffers = try rows.map { row in
            let buffer = try FloatBuffer(row.count)
            for (i, value) in row.enumerated() { buffer.pointer[i] = value }
            return buffer
        }
        let soft = try Buffer(copying: (softLabels ?? []).flatMap { $0 })
        let weights = try Buffer<Double>(Self.count)
        weights.pointer.update(repeating: 1, count: Self.count)
        let loss = result.adversarial.withUnsafeMutableBufferPointer { adversarial in
            result.clean.withUnsafeMutableBufferPointer { clean in
                labels.withUnsafeBufferPointer { labels in
                    guard let adversarial = adversarial.baseAddress, let clean = clean.baseAddress,
                        let labels = labels.baseAddress
                    else { return MethodLoss(first: .nan) }
                    return method.loss(
                        LossContext(
                            epoch: epoch, epochs: 100, count: Self.count, classes: Self.classes, labels: labels,
                            softLabels: softLabels == nil ? nil : UnsafePointer(soft.pointer),
                            studentAdversarial: buffers[0].pointer, studentClean: buffers[1].pointer,
                            teacherAdversarial: buffers[2].pointer, teacherClean: buffers[3].pointer,
                            adversarialGradient: adversarial, cleanGradient: clean,
                            sampleWeights: weights.pointer))
                }
            }
        }
        (result.loss, result.second) = (loss.total, loss.second)
        result.sampleWeights = (0..<Self.count).map { weights[$0] }
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
        _ name: String, a: Double = 1, tau: Float = 1, epoch: Int = 1,
        softLabels: [[Float]]? = nil, _ change: (inout MethodOptions) -> Void = { _ in },
        _ formula: (_ sAdv: [[Double]], _ sClean: [[Double]], _ tAdv: [[Double]], _ tClean: [[Double]]) -> MethodLoss
    ) throws {
        var options = MethodOptions()
        options.adversarialWeight = a
        options.temperature = tau
        change(&options)
        let method = try MethodRegistry.named(name).init(options)
        // Through float and back, so that both sides see the same numbers.
        let z = (0..<4).map { logits(UInt64($0)).map { $0.map { Double(Float($0)) } } }
        let result = try run(method, z[0], z[1], z[2], z[3], epoch: epoch, softLabels: softLabels)
        let expected = formula(z[0], z[1], z[2], z[3])
        #expect(abs(result.loss - expected.total) < 1e-6 * max(1, abs(expected.total)))
        #expect(abs(result.second - expected.second) < 1e-6 * max(1, abs(expected.second)))
        let adversarial = differences(z[0]) { formula($0, z[1], z[2], z[3]).total }
        let clean = differences(z[1]) { formula(z[0], $0, z[2], z[3]).total }
        for (got, want) in zip(result.adversarial, adversarial) { #expect(abs(Double(got) - want) < 1e-6) }
        for (got, want) in zip(result.clean, clean) { #expect(abs(Double(got) - want) < 1e-6) }
    }

    private var y: [Int] { labels.map(Int.init) }

    @Test func pgdAT() throws {
        try check("pgd-at") { sAdv, _, _, _ in MethodLoss(first: Plain.crossEntropy(sAdv, y)) }
    }

    @Test(arguments: [(1.0, Float(1)), (1, 30), (0.7, 1), (0.25, 4), (0, 1)])
    func ard(a: Double, tau: Float) throws {
        let t = Double(tau)
        try check("ard", a: a, tau: tau) { sAdv, sClean, _, tClean in
            MethodLoss(
                first: a * t * t * Plain.divergence(tClean, sAdv, tau: t),
                second: (1 - a) * Plain.crossEntropy(sClean, y))
        }
    }

    @Test func rslad() throws {
        try check("rslad") { sAdv, sClean, _, tClean in
            MethodLoss(
                first: 5 * Plain.divergence(tClean, sAdv) / 60, second: Plain.divergence(tClean, sClean) / 60)
        }
    }

    @Test(arguments: [1.0, 0.6, 0])
    func adaAD(a: Double) throws {
        try check("adaad", a: a) { sAdv, sClean, tAdv, tClean in
            MethodLoss(
                first: a * Plain.divergence(tAdv, sAdv), second: (1 - a) * Plain.divergence(tClean, sClean))
        }
    }

    @Test(arguments: [6.0, 0, 1.5])
    func trades(beta: Double) throws {
        try check("trades", { $0.tradesBeta = beta }) { sAdv, sClean, _, _ in
            MethodLoss(
                first: Plain.crossEntropy(sClean, y), second: beta * Plain.divergence(sClean, sAdv))
        }
    }

    @Test(arguments: [0.5, 0, 1])
    func akd(lambda: Double) throws {
        try check("akd", { $0.distillationWeight = lambda }) { sAdv, _, tAdv, _ in
            MethodLoss(
                first: (1 - lambda) * Plain.crossEntropy(sAdv, y), second: lambda * Plain.divergence(tAdv, sAdv))
        }
    }

    @Test(arguments: [(59, 0.1), (60, 0.1), (100, 2)])
    func iad(epoch: Int, power: Double) throws {
        try check("iad", epoch: epoch, { $0.introspectionPower = power }) { sAdv, sClean, tAdv, tClean in
            let distrust = Plain.distrust(tAdv, y, power: power).map { epoch < 60 ? 0 : $0 }
            return MethodLoss(
                first: Plain.divergence(tClean, sAdv), second: Plain.divergence(sClean, sAdv, weights: distrust))
        }
    }

    @Test(arguments: [(2, 0.1), (3, 0.1)])
    func adaIAD(epoch: Int, power: Double) throws {
        try check("adaiad", epoch: epoch, { $0.introspectionStart = 3 }) { sAdv, sClean, tAdv, _ in
            let distrust = Plain.distrust(tAdv, y, power: power).map { epoch < 3 ? 0 : $0 }
            return MethodLoss(
                first: Plain.divergence(tAdv, sAdv), second: Plain.divergence(sClean, sAdv, weights: distrust))
        }
    }

    @Test(arguments: [0.0, 1, 3])
    func dgad(beta: Double) throws {
        func corrected(_ t: [[Double]]) -> [[Double]] {
            zip(t, y).map { row, label in
                var row = row
                let largest = row.firstIndex(of: row.max() ?? 0) ?? 0
                row.swapAt(label, largest)
                return row
            }
        }
        try check("dgad", { $0.consistencyWeight = beta }) { sAdv, sClean, tAdv, tClean in
            var loss = MethodLoss()
            var wrong = 0
            for i in 0..<Self.count {
                let isWrong = tClean[i].firstIndex(of: tClean[i].max() ?? 0) != y[i]
                wrong += isWrong ? 1 : 0
                loss.first += Plain.divergence(
                    [corrected(isWrong ? tClean : tAdv)[i]], [isWrong ? sClean[i] : sAdv[i]])
                for (p, q) in zip(Plain.logSoftmax(sAdv[i]), Plain.logSoftmax(sClean[i])) {
                    loss.second += beta * pow(exp(p) - exp(q), 2) / Double(Self.classes)
                }
            }
            #expect((1..<Self.count).contains(wrong))
            return MethodLoss(first: loss.first / Double(Self.count), second: loss.second / Double(Self.count))
        }
    }

    private static func entropy(_ t: [Double], order: Double) -> Double {
        let p = Plain.logSoftmax(t).map { exp($0) }
        if order == 1 { return -p.reduce(0) { $0 + $1 * log($1) } }
        return log(p.reduce(0) { $0 + pow($1, order) }) / (1 - order)
    }

    @Test(arguments: [(5.0, 1.0, 0.0), (5, 1, 0.5), (2, 0.5, 1), (1, 2, 0)])
    func saad(scale: Double, order: Double, beta: Double) throws {
        func weights(_ t: [[Double]]) -> [Double] {
            let entropies = t.map { Self.entropy($0, order: order) }
            return entropies.map { scale * ($0 - (entropies.min() ?? 0)) }
        }
        func change(_ options: inout MethodOptions) {
            options.entropyScale = scale
            options.entropyOrder = order
            options.cleanWeight = beta
        }
        try check("saad", change) { sAdv, sClean, tAdv, tClean in
            let w = weights(tAdv)
            let rest = w.map { 1 - $0 / (w.max() ?? 1) }
            return MethodLoss(
                first: Plain.divergence(tAdv, sAdv, weights: w),
                second: beta * Plain.divergence(tClean, sClean, weights: rest))
        }
        var options = MethodOptions()
        change(&options)
        let z = (0..<4).map { logits(UInt64($0)).map { $0.map { Double(Float($0)) } } }
        let result = try run(try MethodRegistry.named("saad").init(options), z[0], z[1], z[2], z[3])
        for (got, want) in zip(result.sampleWeights, weights(z[2])) { #expect(abs(got - want) < 1e-9) }
        #expect(result.sampleWeights.contains(0) && result.sampleWeights.contains { $0 > 0.1 })
    }

    /// Where the teacher is equally sure of all samples, none counts.
    @Test func saadOfEqualSamples() throws {
        let same = [[Double]](repeating: [1, 0, 2, 0, -1], count: Self.count)
        var options = MethodOptions()
        options.cleanWeight = 2
        let result = try run(SAAD(options), logits(0), logits(1), same, logits(3))
        #expect(result.sampleWeights == [Double](repeating: 0, count: Self.count))
        #expect(abs(result.loss - 2 * Plain.divergence(logits(3), logits(1))) < 1e-5)
        #expect(result.adversarial.allSatisfy { $0 == 0 })
    }

    @Test(arguments: ["pgd-at", "ard", "rslad", "adaad", "trades", "iad", "akd", "adaiad", "mtard", "dgad"])
    func othersLeaveTheWeightsOfSamplesAlone(name: String) throws {
        let method = try MethodRegistry.named(name).init(MethodOptions())
        let result = try run(method, logits(0), logits(1), logits(2), logits(3), epoch: 60)
        #expect(result.sampleWeights == [Double](repeating: 1, count: Self.count))
    }

    /// In the first step both relative losses are 1.
    @Test func mtardBegins() throws {
        try check("mtard") { sAdv, sClean, tAdv, tClean in
            MethodLoss(first: Plain.divergence(tAdv, sAdv) / 2, second: Plain.divergence(tClean, sClean) / 2)
        }
    }

    @Test func mtardBalancesItsTeachersByTheirRelativeLosses() throws {
        var options = MethodOptions()
        options.balanceRate = 0.25
        let method = try MethodRegistry.named("mtard").init(options)
        func losses(_ k: UInt64) -> (all: [[[Double]]], adversarial: Double, natural: Double) {
            let z = (0..<4).map { logits(10 * k + UInt64($0)) }
            return (z, Plain.divergence(z[2], z[0]), Plain.divergence(z[3], z[1]))
        }
        let first = losses(0)
        _ = try run(method, first.all[0], first.all[1], first.all[2], first.all[3])
        method.commit()
        var natural = 0.5
        for k in 1...5 as ClosedRange<UInt64> {
            let now = losses(k)
            // Steps that are not taken teach nothing.
            _ = try run(method, first.all[0], now.all[1], first.all[2], now.all[3])
            let result = try run(method, now.all[0], now.all[1], now.all[2], now.all[3])
            method.commit()
            let relative = (now.natural / first.natural, now.adversarial / first.adversarial)
            natural -= 0.25 * (natural - relative.0 / (relative.0 + relative.1))
            #expect(abs(result.loss - ((1 - natural) * now.adversarial + natural * now.natural)) < 1e-5)
            #expect(abs(result.second - natural * now.natural) < 1e-5)
        }
        #expect(natural != 0.5)
        let state = try #require(method as? any TrainingState)
        #expect(abs(state.numbers[0].value - natural) < 1e-6)
    }

    /// In every method that has a cross-entropy, also where a row does not quite sum up to 1.
    @Test(arguments: ["pgd-at", "trades", "ard", "akd"]) func crossEntropyWithSoftLabels(_ name: String) throws {
        let soft = (0..<Self.count).map { i in
            (0..<Self.classes).map { c in c == i % Self.classes ? 0.625 : c == 1 ? 0.25 : c == 2 ? 0.125 : 0 as Float }
        }
        #expect(soft.contains { $0.reduce(0, +) != 1 })
        try check(name, a: 0.25, softLabels: soft) { sAdv, sClean, tAdv, tClean in
            func crossEntropy(_ z: [[Double]]) -> Double {
                var sum = 0.0
                for (row, label) in zip(z, soft) {
                    for (p, logarithm) in zip(label, Plain.logSoftmax(row)) { sum -= Double(p) * logarithm }
                }
                return sum / Double(Self.count)
            }
            switch name {
            case "trades": return MethodLoss(first: crossEntropy(sClean), second: 6 * Plain.divergence(sClean, sAdv))
            case "ard":
                return MethodLoss(first: 0.25 * Plain.divergence(tClean, sAdv), second: 0.75 * crossEntropy(sClean))
            case "akd":
                return MethodLoss(first: 0.5 * crossEntropy(sAdv), second: 0.5 * Plain.divergence(tAdv, sAdv))
            default: return MethodLoss(first: crossEntropy(sAdv))
            }
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
        #expect(try needs("trades", a: 1) == [.studentAdversarial, .studentClean])
        #expect(try needs("akd", a: 1) == [.studentAdversarial, .teacherAdversarial])
        let all: LogitNeeds = [.studentAdversarial, .studentClean, .teacherAdversarial, .teacherClean]
        #expect(try needs("iad", a: 1) == all)
        #expect(try needs("adaiad", a: 1) == all.subtracting(.teacherClean))
        #expect(try needs("mtard", a: 1) == all)
        #expect(try needs("dgad", a: 1) == all)
        #expect(try needs("saad", a: 1) == [.studentAdversarial, .teacherAdversarial])
        var options = MethodOptions()
        options.cleanWeight = 0.1
        #expect(SAAD(options).needs == all)
    }

    @Test func adversariesAreThoseOfThePapers() throws {
        func inner(_ name: String) throws -> InnerMaximisation {
            try MethodRegistry.named(name).init(MethodOptions()).inner
        }
        for name in ["pgd-at", "ard", "iad", "akd"] {
            #expect(try inner(name).objective == .crossEntropy)
            #expect(try inner(name).start == .uniform)
        }
        #expect(try inner("rslad").objective == .divergenceFromCleanTeacher)
        for name in ["adaad", "adaiad", "dgad"] { #expect(try inner(name).objective == .divergenceFromTeacher) }
        #expect(try inner("trades").objective == .divergenceFromCleanStudent)
        #expect(try inner("mtard").objective == .crossEntropy)
        #expect(try inner("saad").objective == .divergenceFromLinearisedTeacher)
        for name in ["rslad", "adaad", "adaiad", "trades", "mtard", "dgad", "saad"] {
            #expect(try inner(name).start == .gaussian(scale: 0.001))
        }
    }

    @Test func unknownMethodsListTheKnown() {
        let error = thrownError { _ = try MethodRegistry.named("adr") }
        #expect(
            error?.message
                == "method: got \"adr\", want one of pgd-at, ard, rslad, adaad, trades, iad, akd, adaiad, mtard, dgad, saad"
        )
    }
}
