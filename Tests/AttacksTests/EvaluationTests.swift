import Attacks
import Kernels
import Runtime
import Testing

@Suite struct EvaluationTests {
    private let shape = ImageShape(1, 1, 1)
    /// The border between class 0 (below) and class 1 is at 0.5.
    private var model: NearestCentre { NearestCentre(shape: ImageShape(1, 1, 1), centres: [[0.25], [0.75]]) }
    /// Right with room 0.3, right with room 0.05, wrong, right at class 1 with room 0.1.
    private var source: ArraySource {
        ArraySource(shape: shape, classes: 2, images: [0.2, 0.45, 0.6, 0.6], labels: [0, 0, 0, 1])
    }

    private func options(_ change: (inout EvaluationOptions) -> Void) -> EvaluationOptions {
        var options = EvaluationOptions()
        change(&options)
        return options
    }

    @Test func rowsFollowTheListAndTheRadius() throws {
        let table = try evaluate(model, on: source, options: options { $0.epsilon = 0.08 })
        #expect(table.rows.map(\.name) == ["clean", "fgsm", "pgd-20", "cw"])
        #expect(Array(table.rows[0].flags) == [1, 1, 0, 1])
        for row in table.rows.dropFirst() {
            #expect(Array(row.flags) == [1, 0, 0, 1])
            #expect(row.correct == 2)
            #expect(row.count == 4)
            #expect(row.accuracy == 0.5)
            #expect(row.seconds >= 0)
        }
        #expect(table.agreement == nil)
        let wide = try evaluate(
            model, on: source,
            options: options {
                $0.epsilon = 0.2; $0.attacks = "pgd-40"
            })
        #expect(Array(wide.rows[1].flags) == [1, 0, 0, 0])
        #expect(try evaluate(model, on: source, options: options { $0.attacks = "" }).rows.count == 1)
    }

    @Test func countTakesTheFirstSamples() throws {
        let table = try evaluate(
            model, on: source,
            options: options {
                $0.count = 2; $0.attacks = "fgsm"
            })
        #expect(table.rows.allSatisfy { $0.count == 2 })
    }

    @Test func batchSizeChangesNothing() throws {
        let shape = ImageShape(1, 3, 3)
        let model = NearestCentre(
            shape: shape, centres: (0..<3).map { randomImages(9, seed: 40 + UInt64($0)) }, sharpness: 4)
        let images = randomImages(41 * 9, seed: 7)
        var labels = try predictions(model, images)
        for s in stride(from: 0, to: 41, by: 5) { labels[s] = (labels[s] + 1) % 3 }
        let source = ArraySource(shape: shape, classes: 3, images: images, labels: labels)
        let tables = try [1, 7, 128].map { size in
            try evaluate(
                model, on: source, teacher: LinearClassifier(shape: shape, classes: 3, seed: 1),
                options: options {
                    $0.batchSize = size; $0.epsilon = 0.06; $0.restarts = 2; $0.attacks = "pgd-3,cw-3"
                })
        }
        for table in tables {
            #expect(table.rows.map { Array($0.flags) } == tables[0].rows.map { Array($0.flags) })
            #expect(table.agreement?.cosine == tables[0].agreement?.cosine)
            #expect(table.agreement?.distance == tables[0].agreement?.distance)
        }
        #expect(tables[0].rows[0].correct == 32)
        #expect(tables[0].rows[1].correct < 32)
    }

    @Test func samplesMisclassifiedCleanAreNotAttacked() throws {
        let blind = LinearClassifier(shape: shape, weights: [[0], [0]], bias: [0, 1])
        let source = ArraySource(shape: shape, classes: 2, images: [0.2, 0.4], labels: [0, 0])
        let table = try evaluate(blind, on: source, options: options { $0.attacks = "pgd-20" })
        #expect(table.rows.map(\.correct) == [0, 0])
        #expect(blind.passes == 1)
    }

    @Test func agreementWithATeacherByHand() throws {
        // Two classes, logits ∓w·x: the gradient of the cross-entropy is proportional to the difference of the rows.
        let shape = ImageShape(1, 1, 2)
        let student = LinearClassifier(shape: shape, weights: [[0, 0], [2, 0]])
        let teacher = LinearClassifier(shape: shape, weights: [[0, 0], [0, 2]])
        let source = ArraySource(shape: shape, classes: 2, images: [0, 0, 0, 0], labels: [0, 1])
        func measure(_ a: LinearClassifier, _ b: LinearClassifier) throws -> GradientAgreement {
            try #require(try evaluate(a, on: source, teacher: b, options: options { $0.attacks = "" }).agreement)
        }
        // At x = 0 both give probability 1/2, so the gradients are ±(1, 0) and ±(0, 1).
        let orthogonal = try measure(student, teacher)
        #expect(abs(orthogonal.cosine) < 1e-12)
        #expect(abs(orthogonal.distance - 2.0.squareRoot()) < 1e-6)
        let same = try measure(student, student)
        #expect(abs(same.cosine - 1) < 1e-12)
        #expect(same.distance == 0)
        let flat = LinearClassifier(shape: shape, weights: [[0, 0], [0, 0]])
        let vanishing = try measure(student, flat)
        #expect(vanishing.cosine == 0)
        #expect(abs(vanishing.distance - 1) < 1e-6)
    }

    @Test func progressNamesTheStages() throws {
        var seen: [String] = []
        let monitor = RunMonitor(progress: { seen.append("\($0.stage) \($0.done)/\($0.total)") })
        _ = try evaluate(
            model, on: source, teacher: model,
            options: options {
                $0.attacks = "fgsm"; $0.batchSize = 2
            },
            monitor: monitor)
        #expect(
            seen == [
                "clean 2/4", "clean 4/4", "fgsm 2/3", "fgsm 3/3", "gradients 2/4", "gradients 4/4",
            ])
    }

    @Test func cancellingStopsAtAnyPass() throws {
        func run(stopAt: Int) -> (calls: Int, error: EngineError?) {
            var calls = 0
            let monitor = RunMonitor(checkpoint: {
                calls += 1
                if calls == stopAt { throw EngineError(.cancelled, "stop") }
            })
            let error = thrownError {
                _ = try evaluate(
                    model, on: source, teacher: model,
                    options: options {
                        $0.attacks = "fgsm,pgd-2"; $0.batchSize = 3
                    },
                    monitor: monitor)
            }
            return (calls, error)
        }
        let whole = run(stopAt: 0)
        #expect(whole.error == nil)
        #expect(whole.calls == 2 + 2 + 3 + 4)
        for stop in 1...whole.calls {
            #expect(run(stopAt: stop).error?.code == .cancelled)
        }
    }

    /// Attacks on samples of which some fall at once, some late and some never, stopped at any pass.
    @Test(arguments: [("fgsm,pgd-3,apgd-ce-4,square-6", ""), ("pgd-3,apgd-t-3,pgd-2", "least-likely")])
    func anEvaluationThatIsStoppedKeepsWhatItFound(attacks: String, target: String) throws {
        let shape = ImageShape(1, 3, 3)
        let model = centres(shape)
        let (images, labels) = try samples(model, 30)
        let source = ArraySource(shape: shape, classes: 5, images: images, labels: labels)
        func run(stopAt: Int) throws -> (evaluation: Evaluation?, error: EngineError?, calls: Int) {
            var calls = 0
            var kept: Evaluation?
            let monitor = RunMonitor(checkpoint: {
                calls += 1
                if calls == stopAt { throw EngineError(.cancelled, "stop") }
            })
            let chosen = options {
                ($0.attacks, $0.target, $0.epsilon, $0.batchSize) = (attacks, target, 0.2, 8)
                ($0.restarts, $0.keepsSamples) = (2, true)
            }
            let error = thrownError {
                kept = try evaluate(model, on: source, options: chosen, monitor: monitor) { kept = $0 }
            }
            return (kept, error, calls)
        }
        let whole = try run(stopAt: 0)
        let rows = try #require(whole.evaluation).rows
        #expect(whole.error == nil && rows.allSatisfy { $0.unfinished == 0 })
        let all = try rows.dropFirst().map { try found($0, shape.count) }
        var unfinished = Set<Int>()
        for stop in 1...whole.calls {
            let stopped = try run(stopAt: stop)
            #expect(stopped.error?.code == .cancelled)
            guard let kept = stopped.evaluation else {
                // The clean row takes four passes.
                #expect(stop <= 4)
                continue
            }
            #expect(stop > 4 && kept.rows.count >= 2)
            for (i, row) in kept.rows.enumerated() {
                #expect(row.name == rows[i].name)
                let isLast = i == kept.rows.count - 1
                if row.unfinished > 0 { unfinished.insert(i) }
                if !isLast || row.unfinished == 0 { #expect(Array(row.flags) == Array(rows[i].flags)) }
                #expect((rows[i].correct...rows[i].correct + row.unfinished).contains(row.correct))
                #expect(row.correctQuantised == (isLast ? -1 : rows[i].correctQuantised))
                guard i > 0 else { continue }
                let here = try found(row, shape.count)
                for s in 0..<30 {
                    #expect(row.flags[s] >= rows[i].flags[s])
                    #expect(here.success[s] == 1 - row.flags[s])
                    let image = Array(here.images[s * 9..<s * 9 + 9])
                    let isLeft = image == Array(images[s * 9..<s * 9 + 9])
                    #expect(image == Array(all[i - 1].images[s * 9..<s * 9 + 9]) || (isLeft && row.unfinished > 0))
                }
            }
        }
        #expect(unfinished == Set(1..<rows.count))
    }

    @Test(arguments: ["", "least-likely"])
    func whatASmallerRadiusHasBrokenIsNotAttackedAgain(target: String) throws {
        let shape = ImageShape(1, 3, 3)
        let model = centres(shape)
        let (images, labels) = try samples(model, 40)
        let source = ArraySource(shape: shape, classes: 5, images: images, labels: labels)
        func run(_ epsilon: Double, after smaller: Evaluation? = nil) throws -> Evaluation {
            let chosen = options {
                ($0.attacks, $0.target, $0.epsilon) = ("pgd-2,apgd-t-2", target, epsilon)
                $0.keepsSamples = true
            }
            return try evaluate(model, on: source, options: chosen, after: smaller)
        }
        let small = try run(0.1)
        let (alone, nested) = (try run(0.15), try run(0.15, after: small))
        for i in 1...2 {
            let (inner, outer, whole) = (
                try found(small.rows[i], 9), try found(alone.rows[i], 9), try found(nested.rows[i], 9)
            )
            let left = small.rows[i].flags
            #expect(left.contains(0) && nested.rows[i].flags.contains(1))
            var survivors = 0
            for s in 0..<40 {
                let there = left[s] == 1 ? outer : inner
                #expect(nested.rows[i].flags[s] == left[s] & alone.rows[i].flags[s])
                #expect(whole.success[s] == there.success[s])
                #expect(whole.images[9 * s..<9 * s + 9] == there.images[9 * s..<9 * s + 9])
                survivors += Int(nested.rows[i].flags[s])
            }
            let totals = try #require(nested.rows[i].samples).totals(seconds: 0)
            #expect(totals.successes == whole.success.count { $0 == 1 })
            #expect(nested.rows[i].correctQuantised >= survivors)
        }
        #expect(nested.rows[1].correct < small.rows[1].correct)
        #expect(
            thrownError { _ = try run(0.05, after: small) }?.message.hasPrefix("smaller: got one at epsilon 0.1")
                == true)
    }

    /// What the attack of a row has found.
    private func found(_ row: EvaluationRow, _ pixels: Int) throws -> (images: [Float], success: [UInt8]) {
        var images = [Float](repeating: -1, count: row.count * pixels)
        var success = [UInt8](repeating: 9, count: row.count)
        let samples = try #require(row.samples)
        try withOutputs(&images, &success) { try samples.write(to: $0) }
        return (images, success)
    }

    @Test func attacksWithoutTheGradientThatTheyNeedAreRefusedAtOnce() throws {
        let blind = LinearClassifier(shape: shape, classes: 2, seed: 1)
        blind.hasGradient = false
        for list in ["square-2,pgd-2", "square-2,apgd-ce-2"] {
            let error = thrownError { _ = try evaluate(blind, on: source, options: options { $0.attacks = list }) }
            #expect(error?.message.contains("has no gradient") == true)
        }
        #expect(blind.passes == 0)
    }

    @Test func badArgumentsAreRefused() {
        func error(_ teacher: LinearClassifier? = nil, _ change: (inout EvaluationOptions) -> Void) -> EngineError? {
            thrownError { _ = try evaluate(model, on: source, teacher: teacher, options: options(change)) }
        }
        #expect(error { $0.attacks = "fgsm,foo" }?.message.contains("\"foo\"") == true)
        #expect(error { $0.count = 5 }?.message.hasPrefix("count: got 5") == true)
        #expect(error { $0.count = -1 }?.code == .invalidArgument)
        #expect(error { $0.batchSize = 0 }?.code == .invalidArgument)
        #expect(error { $0.epsilon = -1 }?.code == .invalidArgument)
        #expect(error { $0.norm = "l3" }?.code == .invalidArgument)
        let threeClasses = LinearClassifier(shape: shape, classes: 3, seed: 1)
        #expect(error(threeClasses) { _ in }?.code == .shape)
        let wider = LinearClassifier(shape: ImageShape(1, 1, 2), classes: 2, seed: 1)
        #expect(error(wider) { _ in }?.message.hasPrefix("teacher:") == true)
    }

    @Test func aModelThatIsNotFiniteIsReported() {
        let broken = BrokenClassifier(shape: shape, value: .nan)
        let error = thrownError { _ = try evaluate(broken, on: source, options: options { $0.attacks = "" }) }
        #expect(error?.code == .notFinite)
    }
}
