import Glibc
import Kernels
import Networks
import Runtime
import Testing

@testable import Distillation

/// Method and α of IGDM: every method without and with it, and the cases where a clean term comes in.
private let variants: [(method: String, igdm: Double, a: Double)] = [
    ("pgd-at", 0, 1), ("pgd-at", 3, 1), ("ard", 0, 1), ("ard", 3, 1), ("ard", 0, 0.5), ("ard", 3, 0.5), ("ard", 0, 0),
    ("rslad", 0, 1), ("rslad", 3, 1), ("adaad", 0, 1), ("adaad", 3, 1), ("adaad", 3, 0.5), ("adaad", 0, 0),
    ("trades", 0, 1), ("trades", 3, 1), ("iad", 0, 1), ("iad", 3, 1), ("akd", 0, 1), ("akd", 3, 1), ("adaiad", 0, 1),
    ("adaiad", 3, 1), ("mtard", 0, 1), ("mtard", 3, 1), ("dgad", 0, 1), ("dgad", 3, 1), ("saad", 0, 1),
    ("saad", 3, 1),
]

@Suite struct TrainerTests {
    private let samples = Samples(7, seed: 1)

    private func trainer(
        _ student: Network, _ variant: (method: String, igdm: Double, a: Double),
        _ change: (inout TrainerOptions) -> Void = { _ in }
    ) throws -> Trainer {
        try makeTrainer(student, try makeNetwork(seed: 2)) {
            $0.method = variant.method
            $0.igdm = variant.igdm
            $0.adversarialWeight = variant.a
            $0.introspectionStart = 1
            change(&$0)
        }
    }

    /// The loss as a function of the weights is what the gradients say: along the gradient g it grows by h ‖g‖².
    @Test(arguments: variants)
    func gradientsAreThoseOfTheLoss(variant: (method: String, igdm: Double, a: Double)) throws {
        let student = try makeNetwork(seed: 1)
        let trainer = try trainer(student, variant)
        let adversarial = perturbed(samples, by: 0.06)
        let report = try trainer.step(samples, adversarial: adversarial, update: false)
        let trainable = student.parameters.filter(\.trainable)
        let gradient = try trainable.flatMap { Array(try trainer.gradient(of: $0.name)) }
        let squares = gradient.reduce(0.0) { $0 + Double($1) * Double($1) }
        #expect(squares > 0)
        let before = student.weights.array
        // A step that changes the loss by 0.1 %: few activations change sign on the way.
        let h = 0.0005 * report.loss / squares
        func loss(_ factor: Double) throws -> Double {
            var next = 0
            for parameter in trainable {
                for i in 0..<parameter.count {
                    student.weights.pointer[parameter.offset + i] =
                        before[parameter.offset + i] + Float(factor * Double(gradient[next]))
                    next += 1
                }
            }
            student.weightsChanged()
            return try trainer.step(samples, adversarial: adversarial, update: false).loss
        }
        let slope = (try loss(h) - loss(-h)) / (2 * h)
        #expect(abs(slope / squares - 1) < 0.005)
    }

    /// Statistics move once per student pass, in the order x+d, x (where the loss reads it), x-d (unless told not to).
    @Test(arguments: variants)
    func statisticsFollowThePassesInTheirOrder(variant: (method: String, igdm: Double, a: Double)) throws {
        let student = try makeNetwork(seed: 1)
        let expected = try student.copy()
        let adversarial = perturbed(samples, by: 0.06)
        try trainer(student, variant).step(samples, adversarial: adversarial)

        let readsClean =
            ["rslad", "trades", "iad", "adaiad", "mtard", "dgad"].contains(variant.method)
            || (["ard", "adaad"].contains(variant.method) && variant.a < 1)
        let mirrored = zip(samples.images, adversarial).map { $0 - ($1 - $0) }
        var passes = [adversarial]
        if readsClean { passes.append(samples.images) }
        if variant.igdm > 0 { passes.append(mirrored) }
        let pass = try TrainingPass(expected, capacity: samples.count)
        var logits = [Float](repeating: 0, count: samples.count * 3)
        for images in passes {
            try pass.forward(images, count: samples.count, logits: &logits, updateStatistics: true)
        }
        #expect(student.statistics.array == expected.statistics.array)
    }

    @Test func mirrorLeavesTheStatisticsAloneWhereAsked() throws {
        let student = try makeNetwork(seed: 1)
        let expected = try student.copy()
        let adversarial = perturbed(samples, by: 0.06)
        let trainer = try makeTrainer(student, try makeNetwork(seed: 2)) {
            $0.igdm = 3
            $0.mirrorStatistics = false
        }
        try trainer.step(samples, adversarial: adversarial)
        let pass = try TrainingPass(expected, capacity: samples.count)
        var logits = [Float](repeating: 0, count: samples.count * 3)
        try pass.forward(adversarial, count: samples.count, logits: &logits, updateStatistics: true)
        #expect(student.statistics.array == expected.statistics.array)
        #expect(student.weights.array != expected.weights.array)
    }

    @Test func oneStepOfPGDATByHand() throws {
        let student = try makeNetwork(seed: 1)
        let expected = try student.copy()
        let adversarial = perturbed(samples, by: 0.06)
        let trainer = try makeTrainer(student, nil) {
            $0.method = "pgd-at"
            $0.learningRate = 0.25
            $0.weightDecay = 0.125
        }
        let report = try trainer.step(samples, adversarial: adversarial)

        let pass = try TrainingPass(expected, capacity: samples.count)
        var logits = [Float](repeating: 0, count: samples.count * 3)
        try pass.forward(adversarial, count: samples.count, logits: &logits, updateStatistics: true)
        var cotangent = [Float](repeating: 0, count: logits.count)
        var (loss, correct) = (0.0, 0)
        for i in 0..<samples.count {
            let row = Array(logits[3 * i..<3 * i + 3])
            var slope: [Float] = [0, 0, 0]
            let label = Int(samples.labels[i])
            loss += Double(
                crossEntropy(row, label: label, classes: 3, scale: 1 / Float(samples.count), gradient: &slope))
            correct += argmax(row, 3) == label ? 1 : 0
            cotangent.replaceSubrange(3 * i..<3 * i + 3, with: slope)
        }
        let gradient = try FloatBuffer(expected.weights.count)
        try pass.backward(cotangent, count: samples.count, addingTo: gradient.pointer)

        #expect(abs(report.loss - loss / Double(samples.count)) < 1e-9)
        #expect(report.baseLoss == report.loss)
        #expect(report.igdmLoss == 0)
        #expect(report.adversarialAccuracy == Double(correct) / Double(samples.count))
        #expect(report.learningRate == 0.25)
        #expect(report.step == 1)
        #expect(report.epoch == 1)
        #expect(student.statistics.array == expected.statistics.array)
        let (after, before, g) = (student.weights.array, expected.weights.array, gradient.array)
        for i in after.indices { #expect(after[i] == before[i] - 0.25 * (g[i] + 0.125 * before[i])) }
        for parameter in student.parameters where parameter.trainable {
            let got = Array(try trainer.gradient(of: parameter.name))
            #expect(got == Array(g[parameter.offset..<parameter.offset + parameter.count]))
        }
        #expect(Array(try trainer.lastAdversarial()) == adversarial)
    }

    @Test func igdmAddsItsWeightedLoss() throws {
        let adversarial = perturbed(samples, by: 0.06)
        func report(_ change: (inout TrainerOptions) -> Void) throws -> StepReport {
            try trainer(try makeNetwork(seed: 1), ("ard", 0, 1), change).step(
                samples, adversarial: adversarial, update: false)
        }
        let without = try report { _ in }
        let with = try report { $0.igdm = 8 }
        #expect(without.igdmWeight == 0)
        #expect(without.mirrorOutside == 0)
        #expect(with.igdmWeight == 2)
        #expect(with.baseLoss == without.baseLoss)
        #expect(with.igdmLoss > 0)
        #expect(with.loss == with.baseLoss + 2 * with.igdmLoss)
        for distance in ["l1", "l2"] {
            let other = try report {
                $0.igdm = 8
                $0.igdmDistance = distance
            }
            #expect(other.igdmLoss > 0)
            #expect(other.igdmLoss != with.igdmLoss)
        }
    }

    @Test func mirrorClipsOnlyWhereAsked() throws {
        var border = samples
        border.images = border.images.map { $0 < 0.5 ? 0 : 1 }
        let adversarial = border.images.map { $0 == 0 ? Float(0.05) : 0.95 }
        func report(_ mirror: String) throws -> StepReport {
            try trainer(try makeNetwork(seed: 1), ("ard", 3, 1)) { $0.mirror = mirror }.step(
                border, adversarial: adversarial)
        }
        let (paper, clip) = (try report("paper"), try report("clip"))
        #expect(paper.mirrorOutside == 1)
        #expect(clip.mirrorOutside == 1)
        #expect(paper.baseLoss == clip.baseLoss)
        #expect(paper.igdmLoss != clip.igdmLoss)
    }

    @Test func theMirrorWarningComesOnceAndOnlyForPaper() throws {
        final class Received: @unchecked Sendable { var messages: [String] = [] }
        let received = Received()
        let thread = pthread_self()
        // Other tests train at the same time on other threads.
        Log.setSink { level, message in
            if level == .warning, pthread_equal(pthread_self(), thread) != 0 { received.messages.append(message) }
        }
        defer { Log.setSink(nil) }
        var border = samples
        border.images = border.images.map { $0 < 0.5 ? 0 : 1 }
        for mirror in ["clip", "paper"] {
            let trainer = try trainer(try makeNetwork(seed: 1), ("ard", 3, 1)) { $0.mirror = mirror }
            for _ in 0..<3 { try trainer.step(border) }
        }
        #expect(received.messages.count == 1)
        #expect(received.messages.first?.contains("mirror = \"clip\"") == true)
    }

    @Test(arguments: variants)
    func anAttackIsFoundInsideTheBall(variant: (method: String, igdm: Double, a: Double)) throws {
        let trainer = try trainer(try makeNetwork(seed: 1), variant)
        try trainer.step(samples)
        let adversarial = Array(try trainer.lastAdversarial())
        #expect(adversarial.count == samples.images.count)
        #expect(adversarial != samples.images)
        for (got, clean) in zip(adversarial, samples.images) {
            #expect(got >= 0 && got <= 1)
            #expect(abs(Double(got) - Double(clean)) <= 0.06)
        }
    }

    @Test func theInnerAttackRaisesItsObjective() throws {
        // The divergence of student from teacher at x_adv, read off as AdaAD's loss.
        func loss(inner: String, steps: Int) throws -> Double {
            let student = try makeNetwork(seed: 1)
            // Statistics that fit the data, so that inference and training mode agree roughly.
            let warm = try makeTrainer(student, try makeNetwork(seed: 2)) {
                $0.method = "ard"
                $0.learningRate = 0
                $0.weightDecay = 0
            }
            let many = Samples(64, seed: 4)
            for _ in 0..<40 { try warm.step(many, adversarial: many.images) }
            let trainer = try makeTrainer(student, try makeNetwork(seed: 2)) {
                $0.method = "adaad"
                $0.inner = inner
                $0.steps = steps
                $0.epsilon = 0.1
            }
            return try trainer.step(many, update: false).loss
        }
        let (weak, strong) = (try loss(inner: "method", steps: 1), try loss(inner: "method", steps: 10))
        #expect(strong > weak)
        #expect(try loss(inner: "student", steps: 10) != strong)
    }

    @Test func withoutUpdateNothingChanges() throws {
        let student = try makeNetwork(seed: 1)
        let (weights, statistics) = (student.weights.array, student.statistics.array)
        let trainer = try trainer(student, ("rslad", 3, 1))
        let first = try trainer.step(samples, update: false)
        let adversarial = Array(try trainer.lastAdversarial())
        let second = try trainer.step(samples, update: false)
        #expect(student.weights.array == weights)
        #expect(student.statistics.array == statistics)
        #expect(first.loss == second.loss)
        #expect(first.step == 0)
        #expect(Array(try trainer.lastAdversarial()) == adversarial)
        #expect(try trainer.step(samples).loss == first.loss)
        #expect(student.weights.array != weights)
        #expect(student.statistics.array != statistics)
    }

    @Test func positionFollowsTheSteps() throws {
        let trainer = try trainer(try makeNetwork(seed: 1), ("pgd-at", 4, 1)) {
            $0.stepsPerEpoch = 2
            $0.epochs = 4
            $0.learningRate = 1e-3
            $0.milestones = [1, 3]
        }
        var seen: [StepReport] = []
        for _ in 0..<9 { seen.append(try trainer.step(samples)) }
        #expect(seen.map(\.step) == Array(1...9))
        #expect(seen.map(\.epoch) == [1, 1, 2, 2, 3, 3, 4, 4, 4])
        #expect(seen.map(\.igdmWeight) == [1, 1, 2, 2, 3, 3, 4, 4, 4])
        for (report, factor) in zip(seen, [1, 1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01]) {
            #expect(abs(report.learningRate - 1e-3 * factor) < 1e-12)
        }
    }

    @Test(arguments: variants)
    func oneAndTwoThreadsGiveTheSameBits(variant: (method: String, igdm: Double, a: Double)) throws {
        let threads = WorkerPool.threads
        defer { WorkerPool.setThreads(threads) }
        let weights = try [1, 2].map { count in
            WorkerPool.setThreads(count)
            let student = try makeNetwork(seed: 1)
            let trainer = try trainer(student, variant)
            for _ in 0..<3 { try trainer.step(samples) }
            return student.weights.array + student.statistics.array
        }
        #expect(weights[0] == weights[1])
    }

    @Test func batchesMayGrowAndShrink() throws {
        let (one, other) = (try makeNetwork(seed: 1), try makeNetwork(seed: 1))
        let (first, second) = (try trainer(one, ("ard", 3, 0.5)), try trainer(other, ("ard", 3, 0.5)))
        // Memory that once held a larger batch gives the same bits.
        try second.step(Samples(30, seed: 8), update: false)
        for count in [3, 9, 2] {
            let batch = Samples(count, seed: UInt64(count))
            #expect(try first.step(batch).loss == second.step(batch).loss)
            #expect(try first.lastAdversarial().count == count * smallShape.count)
        }
        #expect(one.weights.array == other.weights.array)
    }

    @Test func aLossThatIsNotFiniteChangesNothing() throws {
        for (poisonStudent, poisonTeacher) in [(true, false), (false, true)] {
            let student = try makeNetwork(seed: 1)
            let teacher = try makeNetwork(seed: 2)
            let trainer = try makeTrainer(student, teacher) { $0.igdm = 3 }
            try trainer.step(samples)
            let head = try #require(student.parameters.last { $0.trainable })
            let poisoned = poisonStudent ? student : teacher
            if poisonStudent || poisonTeacher {
                poisoned.pointer(to: head)[0] = .nan
                poisoned.weightsChanged()
            }
            let (weights, statistics) = (student.weights.array.map(\.bitPattern), student.statistics.array)
            for adversarial in [nil, perturbed(samples, by: 0.06)] {
                let error = thrownError { try trainer.step(samples, adversarial: adversarial) }
                #expect(error?.code == .notFinite)
                #expect(error?.message.hasPrefix("step 2: ") == true)
                #expect(student.weights.array.map(\.bitPattern) == weights)
                #expect(student.statistics.array == statistics)
                #expect(thrownError { _ = try trainer.lastAdversarial() }?.code == .notFound)
            }
            // Mended, it goes on.
            poisoned.pointer(to: head)[0] = 0.1
            poisoned.weightsChanged()
            #expect(try trainer.step(samples).step == 2)
        }
    }

    @Test func hugeWeightsOverflowIntoAnErrorNotIntoTheStudent() throws {
        let student = try makeNetwork(seed: 1)
        let trainer = try makeTrainer(student, nil) {
            $0.method = "pgd-at"
        }
        // Filters this large overflow in the first layers.
        for i in 0..<student.weights.count { student.weights.pointer[i] *= 1e30 }
        student.weightsChanged()
        var failed = false
        for _ in 0..<20 where !failed {
            let before = (student.weights.array, student.statistics.array)
            do {
                try trainer.step(samples)
            } catch let error as EngineError {
                failed = true
                #expect(error.code == .notFinite)
                #expect(student.weights.array == before.0)
                #expect(student.statistics.array == before.1)
            }
        }
        #expect(failed)
    }

    @Test func badBatchesAreRefused() throws {
        let trainer = try trainer(try makeNetwork(seed: 1), ("ard", 0, 1))
        #expect(thrownError { _ = try trainer.gradient(of: "fc.weight") }?.code == .notFound)
        #expect(thrownError { _ = try trainer.lastAdversarial() }?.code == .notFound)
        func error(_ change: (inout Samples) -> Void, adversarial: [Float]? = nil) -> EngineError? {
            var bad = samples
            change(&bad)
            return thrownError { try trainer.step(bad, adversarial: adversarial) }
        }
        #expect(error({ $0.labels[2] = 3 })?.message == "labels: sample 2: got 3, want 0 ... 2")
        #expect(error({ $0.images[70] = 1.5 })?.message.hasPrefix("images: sample 1, value 6: got 1.5") == true)
        #expect(error({ $0.images[0] = .nan })?.code == .notFinite)
        var outside = samples.images
        outside[3] = -0.5
        #expect(error({ _ in }, adversarial: outside)?.message.hasPrefix("adversarial: sample 0") == true)
        let noPosition = try self.trainer(try makeNetwork(seed: 1), ("ard", 0, 1)) { $0.stepsPerEpoch = 0 }
        #expect(thrownError { try noPosition.step(samples) }?.message.hasPrefix("steps_per_epoch: got 0") == true)
        try trainer.step(samples)
        let unknown = thrownError { _ = try trainer.gradient(of: "conv9.weight") }
        #expect(unknown?.code == .notFound)
        #expect(unknown?.message.contains("conv9.weight") == true)
        let statistic = try #require(trainer.student.parameters.first { !$0.trainable })
        #expect(thrownError { _ = try trainer.gradient(of: statistic.name) }?.code == .notFound)
    }
}
