import Kernels
import Runtime
import Testing

@testable import Attacks

/// What every attack in stages promises.
@Suite struct StagedAttackTests {
    /// An attack in a norm that it takes, with radii that break some of the samples.
    struct Case: Sendable, CustomTestStringConvertible {
        let name: String
        let norm: String
        var testDescription: String { "\(name) \(norm)" }
        /// The published numbers of queries are for real images.
        private var isSlow: Bool { ["square", "noise-gaussian", "noise-uniform"].contains(name) }
        var steps: Int {
            if Corruption.all.contains(where: { $0.name == name }) { return 5 }
            return isSlow
                ? 60 : name == "hopskipjump" || name == "spsa" ? 4 : ["ddn": 40, "fmn": 150, "cw-l2": 20][name] ?? 12
        }
        var radius: Double {
            let noise: [String: Double] = ["linf": 0.2, "l2": 1.4, "l1": 10]
            let others: [String: Double] = ["linf": 0.06, "l2": 0.5, "l1": 2.5, "l0": 2]
            return (name.hasPrefix("noise") ? noise : others)[norm] ?? 0
        }

        func set(_ options: inout AttackOptions) {
            options.attack = name
            options.norm = norm
            options.epsilon = radius
            options.steps = name == "autoattack" ? 0 : steps
            options.search.spsaDirections = 8
            options.search.jumpDirections = 20
            (options.search.cwSearches, options.search.cwConstant, options.search.cwRate) = (3, 1, 0.05)
            // The borders of the toys are nearer than those of networks.
            if norm == "l2" { (options.search.fmnStep, options.search.fmnLastStep) = (0.05, 0.0005) }
        }
    }

    static let norms = [
        "apgd-ce": ["linf", "l2", "l1"], "apgd-dlr": ["linf", "l2", "l1"], "apgd-t": ["linf", "l2", "l1"],
        "fab": ["linf", "l2", "l1"], "fab-t": ["linf", "l2", "l1"], "square": ["linf", "l2", "l1"],
        "deepfool": ["linf", "l2"], "ddn": ["l2"], "cw-l2": ["l2"], "fmn": ["linf", "l2", "l1", "l0"],
        "spsa": ["linf", "l2", "l1"],
        "noise-gaussian": ["linf", "l2", "l1"], "noise-uniform": ["linf", "l2", "l1"], "hopskipjump": ["linf", "l2"],
    ]
    static let cases = norms.sorted { $0.key < $1.key }.flatMap { attack in
        attack.value.map { Case(name: attack.key, norm: $0) }
    }
    private let shape = ImageShape(2, 6, 6)

    @Test(arguments: cases)
    func resultsAreInTheBallOrUntouched(_ one: Case) throws {
        let model = centres(shape)
        let (images, labels) = try samples(model, 40)
        let before = try predictions(model, images)
        for earlyStop in [true, false] {
            let result = try attack(model, images, labels) {
                one.set(&$0)
                $0.earlyStop = earlyStop
            }
            let after = try predictions(model, result.images)
            var broken = 0
            for s in 0..<40 {
                let pixels = s * shape.count..<(s + 1) * shape.count
                let same = Array(result.images[pixels]) == Array(images[pixels])
                #expect((result.success[s] == 1) == (after[s] != labels[s]))
                if before[s] != labels[s] || result.success[s] == 0 {
                    #expect(same)
                    continue
                }
                broken += 1
                #expect(result.images[pixels].allSatisfy { $0 >= 0 && $0 <= 1 })
                let moved = pixels.map { Double(result.images[$0]) - Double(images[$0]) }
                #expect(exactLength(moved, one.norm) <= one.radius)
            }
            #expect(broken > 0)
            #expect(result.success.contains(0))
        }
    }

    @Test(arguments: cases)
    func batchesOrderAndThreadsChangeNothing(_ one: Case) throws {
        let model = centres(shape)
        let (images, labels) = try samples(model, 23)
        func run(_ batchSize: Int, samples: Range<Int> = 0..<23) throws -> (images: [Float], success: [UInt8]) {
            let pixels = shape.count
            return try attack(
                model, Array(images[samples.lowerBound * pixels..<samples.upperBound * pixels]), Array(labels[samples]),
                firstIndex: samples.lowerBound, batchSize: batchSize
            ) {
                one.set(&$0)
                $0.restarts = 2
                $0.seed = 3
            }
        }
        let whole = try run(64)
        for size in [1, 5] {
            let parts = try run(size)
            #expect(parts.images == whole.images)
            #expect(parts.success == whole.success)
        }
        let alone = try run(4, samples: 11..<12)
        #expect(alone.images == Array(whole.images[11 * shape.count..<12 * shape.count]))
        let threads = WorkerPool.threads
        defer { WorkerPool.setThreads(threads) }
        for count in [1, 3] {
            WorkerPool.setThreads(count)
            #expect(try run(64).images == whole.images)
        }
    }

    @Test(arguments: cases)
    func moreRestartsNeverHelpTheModel(_ one: Case) throws {
        let model = centres(shape)
        let (images, labels) = try samples(model, 40)
        func run(restarts: Int, steps: Int) throws -> [UInt8] {
            try attack(model, images, labels) {
                one.set(&$0)
                $0.steps = steps
                $0.restarts = restarts
            }.success
        }
        let few = try run(restarts: 1, steps: 4)
        for (a, b) in zip(few, try run(restarts: 4, steps: 4)) { #expect(b >= a) }
        // These plan their whole schedule by the number of steps: there more of them promise nothing for one sample.
        guard !one.name.hasPrefix("apgd"), !["ddn", "fmn", "cw-l2"].contains(one.name) else { return }
        for (a, b) in zip(few, try run(restarts: 1, steps: 30)) { #expect(b >= a) }
    }

    @Test(arguments: cases + AttackNorms.names.map { Case(name: "autoattack", norm: $0) })
    func radiusZeroReturnsTheImage(_ one: Case) throws {
        let model = centres(shape)
        let (images, labels) = try samples(model, 10)
        let result = try attack(model, images, labels) {
            one.set(&$0)
            $0.epsilon = 0
        }
        #expect(result.images == images)
        #expect(result.success.contains(0))
    }

    @Test(arguments: [2, 3, 4], cases)
    func fewClassesAreEnough(classes: Int, one: Case) throws {
        let model = centres(ImageShape(1, 4, 4), classes: classes)
        let (images, labels) = try samples(model, 20)
        let result = try attack(model, images, labels) {
            one.set(&$0)
            $0.epsilon *= one.name.hasPrefix("noise") ? 3 : 6
        }
        #expect(result.success.contains(1))
        var options = AttackOptions()
        one.set(&options)
        let fallback = try #require(try options.stages(classes: classes)).first?.fallback
        let mustTell = one.name == "apgd-t" || one.name == "fab-t" || (one.name == "apgd-dlr" && classes == 2)
        #expect((fallback != nil) == mustTell)
    }

    @Test func everyAttackInStagesIsHere() throws {
        let staged = AttackRegistry.all.filter { if case .stages = $0.kind { true } else { false } }
        let corruptions = Corruption.all.map(\.name)
        #expect(Set(staged.map(\.name)) == Set(Self.norms.keys).union(["autoattack"] + corruptions))
    }

    @Test func normsThatAnAttackHasNotAreRefused() throws {
        for (name, norms) in Self.norms {
            for norm in AttackNorms.names + ["l0"] where !norms.contains(norm) {
                let error = thrownError {
                    var options = AttackOptions()
                    Case(name: name, norm: norm).set(&options)
                    _ = try options.stages(classes: 5)
                }
                #expect(error?.code == .invalidArgument)
                #expect(error?.message.hasPrefix("norm: got ") == true)
            }
        }
    }
}
