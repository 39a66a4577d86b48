import Glibc
import Kernels
import Runtime
import Testing

@testable import Attacks

/// Attacks that look for the nearest misclassified point, and those without gradients, where the truth is known.
@Suite struct SearchAttackTests {
    private let shape = ImageShape(1, 5, 6)

    /// A border that is a hyperplane, so far away that the box does not matter; and the distance of each sample to it in a norm,
    /// |f| over the dual norm of the normal.
    private func plane(_ count: Int, _ dual: String) -> (model: LinearClassifier, images: [Float], distances: [Double])
    {
        var random = CounterRandom(seed: 3, stream: .initialisation, index: 9)
        let normal = (0..<shape.count).map { _ in random.normal() }
        let level = normal.reduce(0) { $0 + 0.5 * $1 }
        let model = LinearClassifier(
            shape: shape, weights: [normal, [Float](repeating: 0, count: shape.count)], bias: [0.25 - level, 0])
        var images = (0..<count * shape.count).map { _ in 0.5 + 0.02 * random.normal() }
        var distances: [Double] = []
        for s in 0..<count {
            func height() -> Double {
                (0..<shape.count).reduce(Double(model.bias[0])) {
                    $0 + Double(normal[$1]) * Double(images[s * shape.count + $1])
                }
            }
            // On the side of class 0.
            if height() < 0 {
                for i in 0..<shape.count { images[s * shape.count + i] = 1 - images[s * shape.count + i] }
            }
            distances.append(height() / exactLength(normal.map { Double($0) }, dual))
        }
        return (model, images, distances)
    }

    @Test(arguments: [
        ("deepfool", "linf", 1.03), ("deepfool", "l2", 1.03), ("ddn", "l2", 1.02), ("cw-l2", "l2", 1.02),
        ("fmn", "linf", 1.02),
        ("fmn", "l2", 1.02),
        ("fmn", "l1", 1.1), ("fab", "linf", 1.06), ("fab", "l2", 1.06), ("fab", "l1", 1.06),
        ("hopskipjump", "linf", 1.5),
        ("hopskipjump", "l2", 1.1),
    ])
    func theNearestPointIsAlmostAsNearAsTheBorder(name: String, norm: String, excess: Double) throws {
        let count = 8
        let (model, images, distances) = plane(count, ["linf": "l1", "l2": "l2", "l1": "linf"][norm] ?? "")
        let result = try attack(model, images, [Int64](repeating: 0, count: count)) {
            $0.attack = name
            $0.norm = norm
            $0.epsilon = 10
            $0.search.jumpDirections = 50
            // Adam's first step moves all pixels at once: by less than the border is away.
            $0.search.cwRate = 0.001
            $0.steps = name == "hopskipjump" ? 30 : 0
        }
        for s in 0..<count {
            #expect(result.success[s] == 1)
            let pixels = s * shape.count..<(s + 1) * shape.count
            let length = exactLength(pixels.map { Double(result.images[$0]) - Double(images[$0]) }, norm)
            #expect(length >= distances[s] * (1 - 1e-5))
            // DeepFool's constant is 1e-4.
            #expect(length <= distances[s] * excess + 2e-4, "\(name) \(norm): \(length / distances[s])")
        }
    }

    @Test func theFewestPixelsAreFound() throws {
        // One pixel is worth as much as all others together.
        var weights = [Float](repeating: 0.05, count: shape.count)
        weights[7] = 4
        let model = LinearClassifier(
            shape: shape, weights: [weights, [Float](repeating: 0, count: shape.count)], bias: [-1, 0])
        let image = [Float](repeating: 0.5, count: shape.count)
        let result = try attack(model, image, [0]) {
            $0.attack = "fmn"
            $0.norm = "l0"
            $0.epsilon = 3
        }
        #expect(result.success == [1])
        #expect(zip(result.images, image).count { $0 != $1 } == 1)
    }

    /// Adam's first step moves every w by the learning rate, whatever the gradient's length.
    @Test func theFirstStepOfCarliniAndWagnerByHand() throws {
        let image: [Float] = (0..<shape.count).map { 0.1 + 0.02 * Float($0) }
        let gradient: [Float] = (0..<shape.count).map { $0 % 2 == 0 ? 3 : -0.5 }
        var options = AttackOptions()
        (options.attack, options.norm, options.epsilon) = ("cw-l2", "l2", 1)
        options.search.cwConstant = 10
        let plan = try options.plan()
        let memory = try FloatBuffer(CarliniWagnerRun.planes * shape.count)
        try image.withUnsafeBufferPointer { clean in
            let start = try #require(clean.baseAddress)
            let sample = AttackSample(clean: start, logits: start, label: 1, key: 0, shape: shape, classes: 2)
            let run = CarliniWagnerRun(sample, plan, options.search, run: 0, memory: memory.pointer)
            for i in 0..<shape.count { #expect(abs(run.query[i] - image[i]) < 1e-6) }
            #expect(run.receive(logits: [0, 1], loss: -1, gradient: gradient))
            for i in 0..<shape.count {
                let w = atanh(2 * Double(image[i]) - 1) + (i % 2 == 0 ? 0.01 : -0.01)
                #expect(abs(Double(run.query[i]) - (tanh(w) + 1) / 2) < 1e-6)
            }
        }
    }

    @Test func carliniAndWagnerSucceedWithTheMarginAskedFor() throws {
        let model = centres(shape)
        let (images, labels) = try samples(model, 12)
        func run(_ confidence: Double, target: String = "") throws -> (images: [Float], success: [UInt8]) {
            try attack(model, images, labels) {
                ($0.attack, $0.norm, $0.epsilon, $0.steps, $0.target) = ("cw-l2", "l2", 3, 60, target)
                ($0.search.cwConfidence, $0.search.cwRate, $0.search.cwSearches) = (confidence, 0.03, 5)
            }
        }
        let before = try predictions(model, images)
        let (plain, sure) = (try run(0), try run(0.5))
        var compared = 0
        for s in 0..<12 where before[s] == labels[s] && sure.success[s] == 1 {
            var logits = [Float](repeating: 0, count: 5)
            let found = Array(sure.images[s * shape.count..<(s + 1) * shape.count])
            try model.forward(found, count: 1, logits: &logits, retain: false)
            #expect(marginLoss(logits, label: Int(labels[s]), classes: 5, kappa: 9, scale: 1, gradient: nil) >= 0.5)
            func length(_ result: [Float]) -> Double {
                exactLength(
                    (s * shape.count..<(s + 1) * shape.count).map { Double(result[$0]) - Double(images[$0]) }, "l2")
            }
            #expect(plain.success[s] == 1 && length(plain.images) < length(sure.images))
            compared += 1
        }
        #expect(compared > 5)
        let aimed = try run(0, target: "3")
        let after = try predictions(model, aimed.images)
        #expect(aimed.success.contains(1))
        for s in 0..<12 { #expect((aimed.success[s] == 1) == (after[s] == 3)) }
    }

    @Test func spsaClimbsWithoutAGradient() throws {
        let (model, images, distances) = plane(6, "l1")
        for (part, succeeds) in [(1.3, true), (0.95, false)] {
            for s in 0..<6 {
                let image = Array(images[s * shape.count..<(s + 1) * shape.count])
                let result = try attack(BlindClassifier(model), image, [0]) {
                    $0.attack = "spsa"
                    $0.epsilon = part * distances[s]
                    $0.steps = 40
                    $0.search.spsaDirections = 64
                    $0.search.spsaRate = distances[s] / 5
                }
                #expect((result.success[0] == 1) == succeeds)
            }
        }
    }

    @Test(arguments: ["spsa", "noise-gaussian", "noise-uniform", "hopskipjump", "square"])
    func blackBoxesAreEnough(name: String) throws {
        let model = centres(shape)
        let (images, labels) = try samples(model, 12)
        let one = StagedAttackTests.Case(name: name, norm: "linf")
        func run(_ model: any DifferentiableClassifier) throws -> (images: [Float], success: [UInt8]) {
            try attack(model, images, labels) {
                one.set(&$0)
                $0.epsilon *= 2
            }
        }
        let blind = try run(BlindClassifier(model))
        #expect(blind.success.contains(1))
        #expect(blind.images == (try run(model)).images)
    }

    /// The distance of noise from the image is the radius, but for what the box takes.
    @Test(arguments: ["noise-gaussian", "noise-uniform"], AttackNorms.names)
    func noiseReachesTheBorder(name: String, norm: String) throws {
        let image = [Float](repeating: 0.5, count: shape.count)
        let plan = try {
            var options = AttackOptions()
            (options.attack, options.norm, options.epsilon) = (name, norm, norm == "l1" ? 2 : 0.3)
            return try options.plan()
        }()
        let memory = try FloatBuffer(shape.count)
        try image.withUnsafeBufferPointer { clean in
            let start = try #require(clean.baseAddress)
            let run = NoiseRun(
                AttackSample(clean: start, logits: start, label: 0, key: 4, shape: shape, classes: 2), plan,
                { name == "noise-gaussian" ? $0.normal() : 2 * $0.uniform() - 1 }, run: 0, memory: memory.pointer)
            let moved = (0..<shape.count).map { Double(run.query[$0]) - 0.5 }
            let length = exactLength(moved, norm)
            #expect(length <= Double(plan.epsilon))
            #expect(length >= Double(plan.epsilon) * (1 - 1e-5))
        }
    }

    @Test func tuningOutOfRangeIsNamed() {
        let changes: [(String, (inout SearchTuning) -> Void)] = [
            ("deepfool_overshoot", { $0.deepFoolOvershoot = -0.1 }), ("ddn_gamma", { $0.ddnGamma = 1 }),
            ("ddn_radius", { $0.ddnRadius = 0 }), ("fmn_step", { $0.fmnStep = .infinity }),
            ("fmn_last_step", { $0.fmnLastStep = .nan }), ("fmn_gamma", { $0.fmnGamma = 0 }),
            ("fmn_last_gamma", { $0.fmnLastGamma = 2 }), ("spsa_delta", { $0.spsaDelta = 0 }),
            ("spsa_rate", { $0.spsaRate = -1 }), ("spsa_directions", { $0.spsaDirections = 0 }),
            ("jump_directions", { $0.jumpDirections = 1_000_001 }),
            ("jump_most_directions", { $0.jumpMostDirections = 0 }), ("jump_gamma", { $0.jumpGamma = .infinity }),
            ("cw_rate", { $0.cwRate = 0 }), ("cw_constant", { $0.cwConstant = -1 }),
            ("cw_searches", { $0.cwSearches = 0 }),
            ("cw_confidence", { $0.cwConfidence = -1 }), ("cw_confidence", { $0.cwConfidence = .infinity }),
        ]
        for (name, change) in changes {
            var options = AttackOptions()
            options.attack = "deepfool"
            change(&options.search)
            let error = thrownError { _ = try options.stages(classes: 3) }
            #expect(error?.code == .invalidArgument)
            #expect(error?.message.hasPrefix("\(name): got ") == true)
        }
    }
}

/// A classifier without its gradient.
final class BlindClassifier: DifferentiableClassifier {
    private let inner: any DifferentiableClassifier
    var classes: Int { inner.classes }
    var shape: ImageShape { inner.shape }
    var hasGradient: Bool { false }

    init(_ inner: any DifferentiableClassifier) { self.inner = inner }

    func forward(
        _ images: UnsafePointer<Float>, count: Int, logits: UnsafeMutablePointer<Float>, retain: Bool
    ) throws { try inner.forward(images, count: count, logits: logits, retain: false) }

    func inputGradient(
        _ cotangent: UnsafePointer<Float>, count: Int, gradient: UnsafeMutablePointer<Float>
    ) throws { throw EngineError(.internal, "a classifier without gradients was asked for one") }
}
