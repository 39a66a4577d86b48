import Attacks
import Kernels
import Runtime
import Testing

@Suite struct GradientAttackTests {
    private let shape = ImageShape(1, 2, 2)
    /// Pushes pixel 0 up, pixel 1 down, pixel 2 not at all, pixel 3 up, for a sample of class 0.
    private var linear: LinearClassifier {
        LinearClassifier(shape: ImageShape(1, 2, 2), weights: [[-1, 2, 0, -0.5], [1, -2, 0, 0.5]])
    }

    @Test func fgsmIsOneSignedStep() throws {
        let clean: [Float] = [0.5, 0.5, 0.5, 0.95]
        let result = try attack(linear, clean, [0]) {
            $0.attack = "fgsm"; $0.epsilon = 0.125
        }
        #expect(result.images == [0.625, 0.375, 0.5, 1])
        let other = try attack(linear, clean, [1]) {
            $0.attack = "fgsm"; $0.epsilon = 0.125
        }
        #expect(other.images == [0.375, 0.625, 0.5, 0.95 - 0.125])
    }

    @Test func fastGradientMethodInEuclideanNorm() throws {
        let clean: [Float] = [0.5, 0.5, 0.5, 0.5]
        let result = try attack(linear, clean, [0]) {
            $0.attack = "fgsm"; $0.norm = "l2"; $0.epsilon = 0.25
        }
        let length = Float(1 + 4 + 0.25).squareRoot()
        for (value, weight) in zip(result.images, [Float(1), -2, 0, 0.5]) {
            #expect(abs(value - (0.5 + 0.25 * weight / length)) < 1e-6)
        }
    }

    @Test func pgdTakesItsStepsByHand() throws {
        // Nearest centre in one dimension: the centres at 0.25 (class 0) and 0.75, so the loss of class 0 grows
        // upwards.
        let model = NearestCentre(shape: ImageShape(1, 1, 1), centres: [[0.25], [0.75]])
        func run(_ steps: Int) throws -> Float {
            try attack(model, [0.25], [0]) {
                $0.randomStart = false
                $0.epsilon = 0.25
                $0.step = 0.0625
                $0.steps = steps
            }.images[0]
        }
        #expect(try run(1) == 0.3125)
        #expect(try run(3) == 0.4375)
        #expect(try run(4) == 0.5)
        #expect(try run(9) == 0.5)
    }

    @Test func cwIsPGDOnTheMargin() throws {
        let model = LinearClassifier(shape: shape, classes: 5, seed: 3)
        let images = randomImages(12 * 4, seed: 2)
        let labels = randomLabels(12, classes: 5, seed: 2)
        let cw = try attack(model, images, labels) {
            $0.attack = "cw"; $0.randomStart = false
        }
        let margin = try attack(model, images, labels) {
            $0.loss = "margin"
            $0.steps = 30
            $0.randomStart = false
        }
        #expect(cw.images == margin.images)
        #expect(cw.success == margin.success)
        #expect(cw.images != images)
    }

    @Test func bimIsPGDFromTheImage() throws {
        let model = LinearClassifier(shape: shape, classes: 5, seed: 3)
        let images = randomImages(12 * 4, seed: 2)
        let labels = randomLabels(12, classes: 5, seed: 2)
        let bim = try attack(model, images, labels) { $0.attack = "bim" }
        let pgd = try attack(model, images, labels) {
            $0.steps = 10
            $0.randomStart = false
        }
        #expect(bim.images == pgd.images)
        #expect(bim.images != images)
    }

    @Test func momentumIsEachSamplesOwn() throws {
        // With early stop those that go on keep their own sums though others leave the batch before them, on a model whose
        // gradients turn on the way, so that a sum of another sample leads elsewhere.
        let shape = ImageShape(1, 3, 3)
        let model = centres(shape)
        let (images, labels) = try samples(model, 40)
        func run(_ range: Range<Int>) throws -> (images: [Float], firstSuccess: [Int64]) {
            let count = range.count
            var result = Array(images[9 * range.lowerBound..<9 * range.upperBound])
            var firstSuccess = [Int64](repeating: 0, count: count)
            try result.withUnsafeMutableBufferPointer { result in
                try firstSuccess.withUnsafeMutableBufferPointer { firstSuccess in
                    let memory = try #require(result.baseAddress)
                    var outputs = AttackOutputs(adversarial: memory)
                    outputs.firstSuccess = firstSuccess.baseAddress
                    var options = AttackOptions()
                    (options.attack, options.norm, options.epsilon, options.step) = ("mi-fgsm", "l2", 0.6, 0.03)
                    (options.steps, options.earlyStop) = (12, true)
                    try runAttack(
                        on: model, images: memory, labels: Array(labels[range]), count: count, options: options,
                        batchSize: count, outputs: outputs)
                }
            }
            return (result, firstSuccess)
        }
        let whole = try run(0..<40)
        // They leave in many different steps, and some never.
        #expect(Set(whole.firstSuccess).count >= 6 && whole.firstSuccess.contains(-1))
        for s in 0..<40 {
            let alone = try run(s..<s + 1)
            #expect(alone.images == Array(whole.images[9 * s..<9 * s + 9]))
            #expect(alone.firstSuccess[0] == whole.firstSuccess[s])
        }
    }

    /// On the margin the gradients are those of the weights, (2, -4, 0, 1), and in the first pixel less the shift.
    @Test func gradientsAreAveragedOverPasses() throws {
        func step(_ shifts: [Float], eot: Int) throws -> (images: [Float], passes: Int) {
            let model = RandomisedClassifier(linear, shifts: shifts)
            let result = try attack(model, [0.5, 0.5, 0.5, 0.5], [0]) {
                ($0.attack, $0.norm, $0.loss, $0.expectation) = ("fgsm", "l2", "margin", eot)
                $0.epsilon = 0.25
            }
            return (result.images, model.passes)
        }
        func moved(_ slopes: [Float]) -> [Float] {
            let length = slopes.reduce(0) { $0 + $1 * $1 }.squareRoot()
            return slopes.map { 0.5 + 0.25 * $0 / length }
        }
        func expect(_ images: [Float], _ wanted: [Float]) {
            for (value, other) in zip(images, wanted) { #expect(abs(value - other) < 1e-6) }
        }
        let first = try step([8, 0, -2], eot: 1)
        expect(first.images, moved([2 - 8, -4, 0, 1]))
        // One pass more judges the result.
        #expect(first.passes == 2)
        let mean = try step([8, 0, -2, 5], eot: 3)
        expect(mean.images, moved([2 - 2, -4, 0, 1]))
        #expect(mean.passes == 4)
    }

    @Test func passesOverWhichGradientsAreAveragedAreCounted() throws {
        var (forwards, backwards): ([Int64], [Int64]) = ([0, 0], [0, 0])
        var images = randomImages(8, seed: 1)
        try images.withUnsafeMutableBufferPointer { images in
            try forwards.withUnsafeMutableBufferPointer { forwards in
                try backwards.withUnsafeMutableBufferPointer { backwards in
                    let memory = try #require(images.baseAddress)
                    var outputs = AttackOutputs(adversarial: memory)
                    (outputs.forwards, outputs.backwards) = (forwards.baseAddress, backwards.baseAddress)
                    var options = AttackOptions()
                    (options.steps, options.expectation, options.restarts) = (4, 5, 2)
                    try runAttack(
                        on: linear, images: memory, labels: [0, 1], count: 2, options: options, batchSize: 2,
                        outputs: outputs)
                }
            }
        }
        #expect(forwards == [42, 42])
        #expect(backwards == [40, 40])
    }

    /// Gradients over their L1 length, by hand, on a model whose gradient turns on the way.
    @Test(arguments: [0, 0.5, 1])
    func momentumDecaysAsAsked(decay: Double) throws {
        let shape = ImageShape(1, 1, 2)
        let model = NearestCentre(shape: shape, centres: [[0.2, 0.9], [0.9, 0.8], [0.6, 0.1]], sharpness: 6)
        let start: [Float] = [0.45, 0.6]
        let (step, steps) = (0.05, 8)
        let result = try attack(model, start, [0]) {
            ($0.attack, $0.norm, $0.loss, $0.epsilon, $0.step, $0.steps) = ("mi-fgsm", "l2", "ce", 0.6, step, steps)
            $0.momentumDecay = decay
        }.images
        var (x, sum) = (start.map { Double($0) }, [0.0, 0.0])
        for _ in 0..<steps {
            var logits = [Float](repeating: 0, count: 3)
            try model.forward(x.map { Float($0) }, count: 1, logits: &logits, retain: true)
            var (cotangent, slope): ([Float], [Float]) = ([0, 0, 0], [0, 0])
            _ = crossEntropy(logits, label: 0, classes: 3, scale: 1, gradient: &cotangent)
            try model.inputGradient(cotangent, count: 1, gradient: &slope)
            let length = Double(slope.reduce(0) { $0 + abs($1) })
            for i in 0..<2 { sum[i] = decay * sum[i] + Double(slope[i]) / length }
            let size = (sum[0] * sum[0] + sum[1] * sum[1]).squareRoot()
            for i in 0..<2 { x[i] += step * sum[i] / size }
        }
        for i in 0..<2 { #expect(abs(Double(result[i]) - x[i]) < 1e-5) }
        let plain = try attack(model, start, [0]) {
            ($0.attack, $0.norm, $0.epsilon, $0.step, $0.steps) = ("bim", "l2", 0.6, step, steps)
        }.images
        // Without decay nothing accumulates; with it the path is another.
        let difference = zip(result, plain).map { abs($0 - $1) }.max() ?? 0
        #expect(decay == 0 ? difference < 1e-6 : difference > 1e-3)
    }

    @Test func randomFGSMGoesToACornerAndThenAlongTheSigns() throws {
        let clean: [Float] = [0.5, 0.5, 0.5, 0.5]
        var corners = Set<Float>()
        for seed in 0..<8 {
            let result = try attack(linear, clean, [0]) {
                $0.attack = "r-fgsm"; $0.epsilon = 0.25; $0.step = 0.125; $0.seed = UInt64(seed)
            }.images
            // The gradient's signs are those of fgsmIsOneSignedStep, 0 for the third pixel.
            #expect(result[0] == 0.75 || result[0] == 0.5)
            #expect(result[1] == 0.25 || result[1] == 0.5)
            #expect(result[2] == 0.375 || result[2] == 0.625)
            corners.insert(result[2])
        }
        #expect(corners.count == 2)
        #expect(
            thrownError {
                _ = try attack(linear, clean, [0]) {
                    $0.attack = "r-fgsm"; $0.norm = "l2"
                }
            }?.message == "norm: got \"l2\", want linf for r-fgsm")
    }

    /// A cube without size has one corner, the image: what remains is FGSM.
    @Test func randomFGSMWithoutRoomForACornerIsFGSM() throws {
        let images = randomImages(10 * 4, seed: 6)
        let labels = randomLabels(10, classes: 2, seed: 6)
        func run(_ name: String, _ change: (inout AttackOptions) -> Void = { _ in }) throws -> [Float] {
            try attack(linear, images, labels) {
                ($0.attack, $0.epsilon) = (name, 0.25)
                change(&$0)
            }.images
        }
        let whole = try run("r-fgsm") { $0.step = 0.25 }
        let (fgsm, half, nowhere) = (try run("fgsm"), try run("r-fgsm"), try run("r-fgsm") { $0.epsilon = 0 })
        #expect(whole == fgsm && whole != images && whole != half)
        #expect(nowhere == images)
        // So is the loss that is flat at the image refused.
        let error = thrownError { _ = try run("r-fgsm") { ($0.step, $0.loss) = (0.25, "kl") } }
        #expect(error?.message.contains("no gradient at the image") == true)
    }

    @Test func marginBeyondKappaIsLeftAlone() throws {
        // Misclassified by more than kappa: the loss is flat there and the image stays.
        let clean: [Float] = [1, 0, 0.5, 1]
        let result = try attack(linear, clean, [0]) {
            $0.attack = "cw"; $0.kappa = 0.5; $0.randomStart = false
        }
        #expect(result.images == clean)
        #expect(result.success == [1])
    }

    @Test(arguments: ["linf", "l2"], ["ce", "margin", "kl"])
    func resultsLieInTheBallAndTheBox(norm: String, loss: String) throws {
        let shape = ImageShape(3, 5, 4)
        let model = LinearClassifier(shape: shape, classes: 4, seed: 9)
        let images = randomImages(30 * shape.count, seed: 4)
        let labels = randomLabels(30, classes: 4, seed: 4)
        for epsilon in [1e-7, 8.0 / 255, 0.1, 0.75] {
            for randomStart in [true, false] where randomStart || loss != "kl" {
                let result = try attack(model, images, labels) {
                    $0.norm = norm
                    $0.loss = loss
                    $0.epsilon = epsilon
                    $0.randomStart = randomStart
                    $0.restarts = 2
                    $0.steps = 5
                }.images
                #expect(result.allSatisfy { $0 >= 0 && $0 <= 1 })
                for s in 0..<30 {
                    let differences = (s * shape.count..<(s + 1) * shape.count).map {
                        Double(result[$0]) - Double(images[$0])
                    }
                    let length =
                        norm == "linf"
                        ? differences.map { abs($0) }.max() ?? 0
                        : differences.reduce(0) { $0 + $1 * $1 }.squareRoot()
                    #expect(length <= epsilon)
                    if epsilon > 1e-3 { #expect(length > 0) }
                }
            }
        }
    }

    @Test(arguments: ["fgsm", "pgd", "cw", "bim", "mi-fgsm", "tpgd"], ["linf", "l2"])
    func radiusZeroReturnsTheImage(name: String, norm: String) throws {
        let images = randomImages(10 * 4, seed: 6)
        let result = try attack(linear, images, randomLabels(10, classes: 2, seed: 6)) {
            $0.attack = name
            $0.norm = norm
            $0.epsilon = 0
        }
        #expect(result.images == images)
    }

    @Test func aZeroGradientStays() throws {
        let flat = LinearClassifier(shape: shape, weights: [[0, 0, 0, 0], [0, 0, 0, 0]], bias: [1, 0])
        let images = randomImages(4 * 4, seed: 8)
        for norm in ["linf", "l2"] {
            let result = try attack(flat, images, [0, 0, 1, 1]) {
                $0.norm = norm; $0.randomStart = false
            }
            #expect(result.images == images)
            #expect(result.success == [0, 0, 1, 1])
        }
    }

    @Test(arguments: ["linf", "l2"], [false, true])
    func aSampleDoesNotDependOnItsBatch(norm: String, earlyStop: Bool) throws {
        let shape = ImageShape(1, 3, 3)
        let model = NearestCentre(
            shape: shape, centres: (0..<3).map { randomImages(9, seed: 40 + UInt64($0)) }, sharpness: 4)
        let images = randomImages(20 * 9, seed: 7)
        let labels = try predictions(model, images)
        func run(_ range: Range<Int>, batchSize: Int) throws -> (images: [Float], success: [UInt8]) {
            try attack(
                model, Array(images[range.lowerBound * 9..<range.upperBound * 9]), Array(labels[range]),
                firstIndex: range.lowerBound, batchSize: batchSize
            ) {
                $0.norm = norm
                $0.epsilon = norm == "linf" ? 0.06 : 0.15
                $0.restarts = 3
                $0.earlyStop = earlyStop
                $0.seed = 5
            }
        }
        let whole = try run(0..<20, batchSize: 64)
        #expect(whole.success.contains(0))
        #expect(whole.success.contains(1))
        let parts = try run(0..<20, batchSize: 7)
        #expect(parts.images == whole.images)
        #expect(parts.success == whole.success)
        for sample in 0..<20 {
            let alone = try run(sample..<sample + 1, batchSize: 1)
            #expect(alone.images == Array(whole.images[sample * 9..<(sample + 1) * 9]))
            #expect(alone.success[0] == whole.success[sample])
        }
    }

    @Test func aSampleFollowsItsKeyWhereverItStandsInTheBatch() throws {
        let model = LinearClassifier(shape: shape, classes: 3, seed: 1)
        let objective = try ClassifierObjective(model, loss: .crossEntropy, capacity: 6)
        var options = AttackOptions()
        options.steps = 2
        let loop = try GradientAttack(objective, plan: try options.plan(), capacity: 6)
        let images = randomImages(6 * 4, seed: 3)
        let labels = randomLabels(6, classes: 3, seed: 3)
        func run(_ order: [Int]) throws -> [[Float]] {
            let permuted = order.flatMap { images[$0 * 4..<($0 + 1) * 4] }
            let keys = order.map { UInt64($0) }
            var result = [Float](repeating: 0, count: 24)
            try permuted.withUnsafeBufferPointer { images in
                try order.map({ labels[$0] }).withUnsafeBufferPointer { labels in
                    try keys.withUnsafeBufferPointer { keys in
                        let images = try #require(images.baseAddress)
                        let labels = try #require(labels.baseAddress)
                        let keys = try #require(keys.baseAddress)
                        let batch = AttackBatch(images: images, labels: labels, keys: keys, count: 6)
                        try loop.run(batch, into: &result, success: nil)
                    }
                }
            }
            var bySample = [[Float]](repeating: [], count: 6)
            for (place, sample) in order.enumerated() { bySample[sample] = Array(result[place * 4..<(place + 1) * 4]) }
            return bySample
        }
        #expect(try run([0, 1, 2, 3, 4, 5]) == run([4, 2, 5, 0, 3, 1]))
    }

    @Test func seedsAndRestartsDrawAnew() throws {
        let images = randomImages(4, seed: 3)
        func start(_ seed: UInt64, _ first: Int) throws -> [Float] {
            try attack(linear, images, [0], firstIndex: first) {
                $0.epsilon = 0.1
                $0.step = 1e-7
                $0.steps = 1
                $0.seed = seed
            }.images
        }
        #expect(try start(1, 0) == start(1, 0))
        #expect(try start(1, 0) != start(2, 0))
        #expect(try start(1, 0) != start(1, 1))
    }

    @Test func oneAndSeveralThreadsAgree() throws {
        let shape = ImageShape(3, 8, 8)
        let model = LinearClassifier(shape: shape, classes: 4, seed: 2)
        let images = randomImages(16 * shape.count, seed: 5)
        let labels = randomLabels(16, classes: 4, seed: 5)
        let threads = WorkerPool.threads
        defer { WorkerPool.setThreads(threads) }
        let results = try [1, 2, 3].map { count in
            WorkerPool.setThreads(count)
            return try attack(model, images, labels) {
                $0.norm = "l2"; $0.epsilon = 0.5; $0.steps = 4
            }.images
        }
        #expect(results[0] == results[1])
        #expect(results[0] == results[2])
    }

    @Test func restartsAreNeverWeaker() throws {
        let shape = ImageShape(1, 3, 3)
        let model = NearestCentre(
            shape: shape, centres: (0..<4).map { randomImages(9, seed: 60 + UInt64($0)) }, sharpness: 4)
        let images = randomImages(60 * 9, seed: 12)
        let labels = try predictions(model, images)
        func losses(_ images: [Float]) throws -> [Float] {
            var logits = [Float](repeating: 0, count: 60 * 4)
            try model.forward(images, count: 60, logits: &logits, retain: false)
            return (0..<60).map { s in
                crossEntropy(
                    Array(logits[s * 4..<(s + 1) * 4]), label: Int(labels[s]), classes: 4, scale: 1, gradient: nil)
            }
        }
        var previous: (images: [Float], success: [UInt8])?
        for restarts in [1, 2, 5] {
            let now = try attack(model, images, labels) {
                $0.epsilon = 0.1
                $0.steps = 2
                $0.restarts = restarts
            }
            if let previous {
                let (before, after) = (try losses(previous.images), try losses(now.images))
                for s in 0..<60 {
                    #expect(now.success[s] >= previous.success[s])
                    if now.success[s] == previous.success[s] { #expect(after[s] >= before[s]) }
                }
                #expect(now.images != previous.images)
            }
            previous = now
        }
    }

    @Test func earlyStopRestsAtTheFirstMisclassifiedIterate() throws {
        let model = NearestCentre(shape: ImageShape(1, 1, 1), centres: [[0.25], [0.75]])
        func run(_ image: Float, earlyStop: Bool) throws -> (images: [Float], success: [UInt8]) {
            try attack(model, [image], [0]) {
                $0.randomStart = false
                $0.epsilon = 0.25
                $0.step = 0.0625
                $0.steps = 4
                $0.earlyStop = earlyStop
            }
        }
        // The border is at 0.5, where class 0 still wins as the first of equals.
        let rested = try run(0.4375, earlyStop: true)
        #expect(rested.images == [0.5625])
        #expect(rested.success == [1])
        #expect(try run(0.4375, earlyStop: false).images == [0.6875])
        #expect(try run(0.625, earlyStop: true).images == [0.625])
        #expect(try run(0.25, earlyStop: true).success == [0])
    }

    @Test func earlyStopResultsAreMisclassifiedWhereItSaysSo() throws {
        let shape = ImageShape(1, 3, 3)
        let model = NearestCentre(
            shape: shape, centres: (0..<3).map { randomImages(9, seed: 40 + UInt64($0)) }, sharpness: 4)
        let images = randomImages(50 * 9, seed: 21)
        let labels = try predictions(model, images)
        let result = try attack(model, images, labels, batchSize: 16) {
            $0.epsilon = 0.08
            $0.earlyStop = true
            $0.restarts = 2
        }
        let after = try predictions(model, result.images)
        for s in 0..<50 { #expect((after[s] != labels[s]) == (result.success[s] == 1)) }
        #expect(result.success.contains(1))
        #expect(result.success.contains(0))
    }

    @Test func divergenceFromGivenTargets() throws {
        // Target certain of class 1: maximising KL pushes towards class 0, that is downwards along w_1 - w_0.
        let result = try attack(linear, [0.5, 0.5, 0.5, 0.5], [0], target: [-20, 20]) {
            $0.loss = "kl"
            $0.randomStart = false
            $0.epsilon = 0.125
        }
        #expect(result.images == [0.375, 0.625, 0.5, 0.375])
    }

    @Test func divergenceFromTheCleanOutputNeedsARandomStart() throws {
        let images = randomImages(4, seed: 2)
        let error = thrownError {
            _ = try attack(linear, images, [0]) {
                $0.loss = "kl"; $0.randomStart = false
            }
        }
        #expect(error?.code == .invalidArgument)
        #expect(error?.message.contains("random_start") == true)
        let result = try attack(linear, images, [0]) {
            $0.loss = "kl"; $0.epsilon = 0.1
        }
        #expect(result.images != images)
    }

    @Test func cancellingStopsAtAnyPassAndTouchesNothing() throws {
        let images = randomImages(9 * 4, seed: 2)
        let labels = randomLabels(9, classes: 2, seed: 2)
        func run(stopAt: Int) throws -> (calls: Int, error: EngineError?) {
            var options = AttackOptions()
            options.steps = 3
            options.restarts = 2
            var calls = 0
            var result = [Float](repeating: 7, count: images.count)
            var success = [UInt8](repeating: 9, count: 9)
            let monitor = RunMonitor(checkpoint: {
                calls += 1
                if calls == stopAt { throw EngineError(.cancelled, "stop") }
            })
            let error = thrownError {
                try withOutputs(&result, &success) { outputs in
                    _ = try runAttack(
                        on: linear, images: images, labels: labels, count: 9, options: options, batchSize: 4,
                        monitor: monitor, outputs: outputs)
                }
            }
            if error != nil {
                #expect(result.allSatisfy { $0 == 7 })
                #expect(success.allSatisfy { $0 == 9 })
            }
            return (calls, error)
        }
        let whole = try run(stopAt: 0)
        #expect(whole.error == nil)
        // 3 batches, 2 restarts, 3 steps and the pass that judges the result.
        #expect(whole.calls == 3 * 2 * 4)
        for stop in 1...whole.calls {
            let stopped = try run(stopAt: stop)
            #expect(stopped.error?.code == .cancelled)
            #expect(stopped.calls == stop)
        }
    }

    /// Who asks for it gets what an attack had found when it was stopped: a misclassified iterate of every sample that had one.
    @Test func whatIsStoppedKeepsTheIteratesThatSucceeded() throws {
        let (count, images) = (8, randomImages(8 * 4, seed: 2))
        var options = AttackOptions()
        (options.epsilon, options.step, options.steps, options.randomStart) = (0.3, 0.03, 12, false)
        let logits = try FloatBuffer(count * 2)
        try linear.forward(images, count: count, logits: logits.pointer, retain: false)
        let labels = (0..<count).map { Int64(argmax(logits.pointer + $0 * 2, 2)) }
        var counts: [Int] = []
        for stop in [1, 4, 8, 12] {
            var calls = 0
            var result = [Float](repeating: 7, count: images.count)
            var success = [UInt8](repeating: 9, count: count)
            let first = try Buffer<Int64>(count)
            let monitor = RunMonitor(checkpoint: {
                calls += 1
                if calls == stop { throw EngineError(.cancelled, "stop") }
            })
            let error = thrownError {
                try withOutputs(&result, &success) { given in
                    var outputs = given
                    outputs.firstSuccess = first.pointer
                    outputs.interrupted = { _ in }
                    _ = try runAttack(
                        on: linear, images: images, labels: labels, count: count, options: options, batchSize: count,
                        monitor: monitor, outputs: outputs)
                }
            }
            #expect(error?.code == .cancelled)
            try linear.forward(result, count: count, logits: logits.pointer, retain: false)
            for i in 0..<count {
                #expect((success[i] == 1) == (first[i] >= 0))
                #expect((success[i] == 1) == (argmax(logits.pointer + i * 2, 2) != Int(labels[i])))
                for j in i * 4..<i * 4 + 4 { #expect(abs(result[j] - images[j]) <= 0.3) }
            }
            counts.append(success.count { $0 == 1 })
        }
        #expect(counts[0] == 0 && counts[3] > 0 && counts == counts.sorted())
    }

    @Test func progressCountsSamples() throws {
        var seen: [Int] = []
        let monitor = RunMonitor(progress: { progress in
            #expect(progress.stage == "fgsm")
            #expect(progress.total == 9)
            seen.append(progress.done)
        })
        _ = try attack(
            linear, randomImages(36, seed: 1), randomLabels(9, classes: 2, seed: 1), batchSize: 4, monitor: monitor
        ) { $0.attack = "fgsm" }
        #expect(seen == [4, 8, 9])
    }

    @Test func theResultMayReplaceTheImages() throws {
        var images = randomImages(10 * 4, seed: 2)
        let labels = randomLabels(10, classes: 2, seed: 2)
        let expected = try attack(linear, images, labels) { $0.epsilon = 0.2 }.images
        var options = AttackOptions()
        options.epsilon = 0.2
        try images.withUnsafeMutableBufferPointer {
            let memory = try #require($0.baseAddress)
            try runAttack(
                on: linear, images: memory, labels: labels, count: 10, options: options, batchSize: 3,
                outputs: AttackOutputs(adversarial: memory))
        }
        #expect(images == expected)
    }

    @Test(arguments: [Float.nan, .infinity])
    func aModelThatIsNotFiniteIsReported(value: Float) {
        let broken = BrokenClassifier(shape: shape, value: value)
        for loss in ["ce", "margin"] {
            let error = thrownError { _ = try attack(broken, randomImages(4, seed: 1), [0]) { $0.loss = loss } }
            #expect(error?.code == .notFinite)
        }
    }

    @Test func badArraysAreRefused() {
        let good = randomImages(4, seed: 1)
        #expect(thrownError { _ = try attack(linear, [0, 0, 2, 0], [0]) { _ in } }?.code == .invalidArgument)
        #expect(thrownError { _ = try attack(linear, [0, 0, .nan, 0], [0]) { _ in } }?.code == .notFinite)
        #expect(thrownError { _ = try attack(linear, good, [2]) { _ in } }?.code == .invalidArgument)
        let error = thrownError { _ = try attack(linear, good, [0], target: [0, .nan]) { $0.loss = "kl" } }
        #expect(error?.code == .notFinite)
    }
}
