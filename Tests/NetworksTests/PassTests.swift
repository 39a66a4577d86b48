import Glibc
import Kernels
import Runtime
import Testing

@testable import Networks

func exponential(_ x: Double) -> Double { exp(x) }
func complementaryError(_ x: Double) -> Double { erfc(x) }

func randomFloats(_ count: Int, seed: UInt64) -> [Float] {
    var random = CounterRandom(seed: seed, stream: .shuffle, index: 7)
    return (0..<count).map { _ in random.uniform() }
}

/// A small network with random weights, running statistics and normalisation. Convolutions are √6 times the default, He
/// et al.'s scale (arXiv 1502.01852, eq. 10): a deep network would lose the image on the way to the logits.
func testNetwork(
    _ architecture: String, _ shape: ImageShape, baseWidth: Int, shortcutInput: ShortcutInput? = nil,
    finalBN: Bool = false
) throws -> Network {
    var options = NetworkOptions()
    options.classes = 5
    options.shape = shape
    options.baseWidth = baseWidth
    options.shortcutInput = shortcutInput
    options.finalBN = finalBN
    options.mean = (0..<shape.channels).map { 0.3 + 0.1 * Float($0) }
    options.std = (0..<shape.channels).map { 0.2 + 0.05 * Float($0) }
    let network = try Network(architecture: architecture, options: options, seed: 3)
    randomise(network)
    return network
}

/// The same from the layers of a description.
func testNetwork(layers: String, _ shape: ImageShape) throws -> Network {
    let mean = (0..<shape.channels).map { "\(0.3 + 0.1 * Float($0))" }.joined(separator: ", ")
    let std = (0..<shape.channels).map { "\(0.2 + 0.05 * Float($0))" }.joined(separator: ", ")
    let text = """
        {"format": "igdm-graph", "version": 1, "input": [\(shape.channels), \(shape.height), \(shape.width)],
         "mean": [\(mean)], "std": [\(std)], "layers": [\(layers)], "output": "logits"}
        """
    let network = try Network(GraphDescription(text, source: "json"), seed: 3)
    randomise(network)
    return network
}

private func randomise(_ network: Network) {
    for (index, parameter) in network.parameters.enumerated() {
        let random = randomFloats(parameter.count, seed: UInt64(index + 1))
        let values = network.pointer(to: parameter)
        for i in 0..<parameter.count where parameter.shape.count == 1 {
            let isScale = parameter.name.hasSuffix("running_var") || parameter.name.hasSuffix(".weight")
            values[i] = isScale ? 0.5 + random[i] : random[i] - 0.5
        }
        for i in 0..<parameter.count where parameter.shape.count == 3 { values[i] = random[i] - 0.5 }
        for i in 0..<parameter.count where parameter.shape.count == 4 { values[i] *= Float(6).squareRoot() }
    }
    network.weightsChanged()
}

struct NetworkCase: CustomTestStringConvertible {
    let architecture: String
    let shape: ImageShape
    let baseWidth: Int
    var shortcutInput: ShortcutInput?
    var finalBN = false
    /// The layers of a description; nil: a built-in architecture.
    var layers: String?
    var testDescription: String {
        "\(architecture) \(shape) width \(baseWidth)\(shortcutInput.map { " \($0)" } ?? "")\(finalBN ? " final BN" : "")"
    }

    func network() throws -> Network {
        guard let layers else {
            return try testNetwork(
                architecture, shape, baseWidth: baseWidth, shortcutInput: shortcutInput, finalBN: finalBN)
        }
        return try testNetwork(layers: layers, shape)
    }

    static let all = [
        NetworkCase(architecture: "resnet8", shape: ImageShape(1, 9, 7), baseWidth: 3),
        NetworkCase(architecture: "resnet14", shape: ImageShape(2, 6, 6), baseWidth: 4),
        NetworkCase(architecture: "resnet18", shape: ImageShape(3, 8, 8), baseWidth: 2),
        NetworkCase(architecture: "wrn_10_1", shape: ImageShape(3, 7, 9), baseWidth: 0),
        NetworkCase(architecture: "wrn_16_2", shape: ImageShape(1, 4, 4), baseWidth: 0),
        NetworkCase(architecture: "small_cnn", shape: ImageShape(1, 11, 10), baseWidth: 5),
        NetworkCase(architecture: "mobilenet_v2", shape: ImageShape(2, 9, 11), baseWidth: 3),
        NetworkCase(architecture: "resnet50", shape: ImageShape(2, 5, 6), baseWidth: 1),
        NetworkCase(architecture: "imagenet_resnet18", shape: ImageShape(3, 19, 24), baseWidth: 3),
        NetworkCase(architecture: "preact_resnet18", shape: ImageShape(3, 7, 8), baseWidth: 3),
        NetworkCase(
            architecture: "preact_resnet18", shape: ImageShape(2, 8, 6), baseWidth: 4, shortcutInput: .raw),
        NetworkCase(
            architecture: "preact_resnet18", shape: ImageShape(1, 9, 9), baseWidth: 3, shortcutInput: .activated,
            finalBN: true),
        NetworkCase(
            architecture: "preact_resnet18", shape: ImageShape(3, 8, 8), baseWidth: 2, shortcutInput: .raw,
            finalBN: true),
        NetworkCase(architecture: "dm_wrn_10_1", shape: ImageShape(3, 4, 6), baseWidth: 0),
        NetworkCase(architecture: "dm_wrn_10_1", shape: ImageShape(1, 5, 7), baseWidth: 0),
        NetworkCase(architecture: "dm_preact_resnet18", shape: ImageShape(3, 8, 8), baseWidth: 3),
        NetworkCase(architecture: "dm_preact_resnet18", shape: ImageShape(2, 9, 6), baseWidth: 4),
    ]

    /// A sample's activations fill half a second-level cache.
    static let large = [
        NetworkCase(architecture: "mobilenet_v2", shape: ImageShape(3, 20, 20), baseWidth: 16),
        NetworkCase(architecture: "resnet50", shape: ImageShape(3, 20, 18), baseWidth: 24),
    ]
}

@Suite struct PassTests {
    private let count = 3

    @Test(arguments: NetworkCase.all + NetworkCase.graphs + NetworkCase.branches)
    func inferenceMatchesReference(_ test: NetworkCase) throws {
        let network = try test.network()
        let images = randomFloats(count * test.shape.count, seed: 11)
        let expected = ReferenceForward(network).logits(images.map(Double.init), count: count, training: false)
        let pass = try InferencePass(network, capacity: count)
        for retain in [false, true] {
            var logits = [Float](repeating: 0, count: count * 5)
            try pass.forward(images, count: count, logits: &logits, retain: retain)
            for (a, b) in zip(logits, expected) { #expect(abs(Double(a) - b) < 1e-4 * max(1, abs(b))) }
        }
    }

    @Test(arguments: NetworkCase.all + NetworkCase.graphs + NetworkCase.branches)
    func inputGradientMatchesFiniteDifferences(_ test: NetworkCase) throws {
        let network = try test.network()
        let images = randomFloats(count * test.shape.count, seed: 11)
        let cotangent = randomFloats(count * 5, seed: 12)
        let pass = try InferencePass(network, capacity: 4)
        var logits = [Float](repeating: 0, count: count * 5)
        var gradient = [Float](repeating: 0, count: images.count)
        try pass.forward(images, count: count, logits: &logits, retain: true)
        try pass.inputGradient(cotangent, count: count, gradient: &gradient)
        let reference = ReferenceForward(network)
        func loss(_ x: [Double]) -> Double {
            zip(reference.logits(x, count: count, training: false), cotangent).reduce(0) { $0 + $1.0 * Double($1.1) }
        }
        compare(gradient, at: images.map(Double.init), loss)
    }

    @Test(arguments: NetworkCase.all + NetworkCase.graphs + NetworkCase.branches)
    func parameterGradientsMatchFiniteDifferences(_ test: NetworkCase) throws {
        let network = try test.network()
        let images = randomFloats(count * test.shape.count, seed: 11)
        let cotangent = randomFloats(count * 5, seed: 12)
        let pass = try TrainingPass(network, capacity: count)
        var logits = [Float](repeating: 0, count: count * 5)
        var gradient = [Float](repeating: 0, count: network.trainableCount)
        try pass.forward(images, count: count, logits: &logits, updateStatistics: false)
        let reference = ReferenceForward(network)
        let expected = reference.logits(images.map(Double.init), count: count, training: true)
        for (a, b) in zip(logits, expected) { #expect(abs(Double(a) - b) < 1e-4 * max(1, abs(b))) }
        try pass.backward(cotangent, count: count, addingTo: &gradient)
        func loss(_ w: [Double]) -> Double {
            var moved = reference
            moved.weights = w
            return zip(moved.logits(images.map(Double.init), count: count, training: true), cotangent)
                .reduce(0) { $0 + $1.0 * Double($1.1) }
        }
        compare(gradient, at: reference.weights, loss)
    }

    /// Compares some coordinates of a gradient with central differences. A ReLU may have its corner between the two
    /// points; two step sizes that disagree show it, and the coordinate is passed over. Most must remain.
    private func compare(_ gradient: [Float], at point: [Double], _ loss: ([Double]) -> Double) {
        let scale = Double(gradient.map { abs($0) }.max() ?? 0)
        #expect(scale > 0)
        var compared = 0
        let tries = 40
        for k in 0..<tries {
            let i = k * (point.count - 1) / (tries - 1)
            func difference(_ step: Double) -> Double {
                var up = point
                var down = point
                up[i] += step
                down[i] -= step
                return (loss(up) - loss(down)) / (2 * step)
            }
            let fine = difference(1e-6)
            guard abs(fine - difference(2e-6)) < 1e-6 * scale else { continue }
            compared += 1
            #expect(abs(Double(gradient[i]) - fine) < 2e-4 * scale, "coordinate \(i)")
        }
        #expect(compared > tries / 2)
    }

    /// Little work for the largest activation of all: until it is wanted again, other values lie in its place. Where a sum reads it too it stays.
    @Test(arguments: [("resnet18", true), ("mobilenet_v2", true), ("preact_resnet18", false)])
    func theFirstConvolutionIsMadeAgain(_ architecture: String, _ isMadeAgain: Bool) throws {
        let network = try testNetwork(architecture, ImageShape(3, 32, 32), baseWidth: 8)
        let program = Program(network.graph, training: true)
        let first = try #require(program.steps.first { $0.isConvolution })
        let plan = MemoryPlan(program, mode: .training, capacity: 4)
        #expect((plan.remade[first.output] != nil) == isMadeAgain)
        let start = try #require(plan.activation[first.output]).start
        let sharing = program.steps.contains { step in
            step.output != first.output
                && plan.activation[step.output].map { !$0.isLocal && $0.start == start } ?? false
        }
        #expect(sharing == isMadeAgain)
        #expect(MemoryPlan(program, mode: .inputGradient, capacity: 4).remade[first.output] == nil)
    }

    /// PyTorch's rule: running ← running + 0.1·(batch − running), with the unbiased variance.
    @Test func runningStatisticsFollowTheBatch() throws {
        let network = try testNetwork("small_cnn", ImageShape(1, 6, 6), baseWidth: 4)
        guard let mean = network.parameters.first(where: { $0.name == "bn1.running_mean" }),
            let variance = network.parameters.first(where: { $0.name == "bn1.running_var" }),
            let filter = network.parameters.first(where: { $0.name == "conv1.weight" })
        else { throw EngineError(.internal, "small_cnn has lost its first layer") }
        let before = (network.pointer(to: mean)[0], network.pointer(to: variance)[0])
        // A constant image and a filter that only looks at the centre: every activation of channel 0 is known.
        for i in 0..<9 { network.pointer(to: filter)[i] = i == 4 ? 2 : 0 }
        network.weightsChanged()
        var images = [Float](repeating: 0.5, count: 2 * 36)
        for i in 36..<72 { images[i] = 1 }
        let values = images.map { ($0 - network.options.mean[0]) / network.options.std[0] * 2 }
        let mu = values.reduce(0, +) / 72
        let unbiased = values.reduce(0) { $0 + ($1 - mu) * ($1 - mu) } / 71
        let pass = try TrainingPass(network, capacity: 2)
        var logits = [Float](repeating: 0, count: 10)
        try pass.forward(images, count: 2, logits: &logits, updateStatistics: true)
        #expect(abs(network.pointer(to: mean)[0] - (before.0 + 0.1 * (mu - before.0))) < 1e-5)
        #expect(abs(network.pointer(to: variance)[0] - (before.1 + 0.1 * (unbiased - before.1))) < 1e-4)
    }

    /// Logits and input gradients of a sample are the same in any batch, bit for bit.
    @Test(arguments: NetworkCase.all + NetworkCase.graphs + NetworkCase.branches)
    func sampleDoesNotDependOnItsBatch(_ test: NetworkCase) throws {
        let network = try test.network()
        let images = randomFloats(7 * test.shape.count, seed: 21)
        let cotangent = randomFloats(7 * 5, seed: 22)
        func run(_ first: Int, _ count: Int, capacity: Int) throws -> ([Float], [Float]) {
            let pass = try InferencePass(network, capacity: capacity)
            var logits = [Float](repeating: 0, count: count * 5)
            var gradient = [Float](repeating: 0, count: count * test.shape.count)
            let x = Array(images[(first * test.shape.count)..<((first + count) * test.shape.count)])
            try pass.forward(x, count: count, logits: &logits, retain: true)
            try pass.inputGradient(
                Array(cotangent[(first * 5)..<((first + count) * 5)]), count: count, gradient: &gradient)
            return (logits, gradient)
        }
        let all = try run(0, 7, capacity: 7)
        for (first, count, capacity) in [(0, 1, 1), (2, 3, 5), (6, 1, 7)] {
            let part = try run(first, count, capacity: capacity)
            #expect(part.0 == Array(all.0[(first * 5)..<((first + count) * 5)]))
            #expect(part.1 == Array(all.1[(first * test.shape.count)..<((first + count) * test.shape.count)]))
        }
    }

    /// A pass planned for a large batch, whose steps run together over a few samples at a time, gives the same bits.
    @Test(arguments: NetworkCase.all + NetworkCase.graphs + NetworkCase.branches + NetworkCase.large)
    func trainingDoesNotDependOnTheCapacity(_ test: NetworkCase) throws {
        let images = randomFloats(count * test.shape.count, seed: 11)
        let cotangent = randomFloats(count * 5, seed: 12)
        func run(capacity: Int) throws -> [Float] {
            let network = try test.network()
            let pass = try TrainingPass(network, capacity: capacity)
            var logits = [Float](repeating: 0, count: count * 5)
            var gradient = [Float](repeating: 0, count: network.trainableCount)
            try pass.forward(images, count: count, logits: &logits, updateStatistics: true)
            try pass.backward(cotangent, count: count, addingTo: &gradient)
            return logits + gradient + (0..<network.statistics.count).map { network.statistics.pointer[$0] }
        }
        let small = try run(capacity: count)
        for capacity in [16, 200] { #expect(try run(capacity: capacity) == small) }
    }

    /// Where activations are large the backward pass of training too runs over a few samples at a time, each piece with
    /// weight gradients of its own. Along the gradient of one parameter's weights the loss grows by the gradient's length.
    @Test(arguments: NetworkCase.large)
    func piecesOfTheBackwardPassAreAllCounted(_ test: NetworkCase) throws {
        let count = 19
        let images = randomFloats(count * test.shape.count, seed: 11)
        let cotangent = randomFloats(count * 5, seed: 12)
        let network = try test.network()
        let program = try network.prepared(for: .training).program
        let pieces = MemoryPlan(program, mode: .training, capacity: count).backwardSegments
            .filter { $0.steps.count > 1 && ($0.samples ?? count) < count }
        let pass = try TrainingPass(network, capacity: count)
        var logits = [Float](repeating: 0, count: count * 5)
        func loss() throws -> Double {
            try pass.forward(images, count: count, logits: &logits, updateStatistics: false)
            return zip(logits, cotangent).reduce(0) { $0 + Double($1.0) * Double($1.1) }
        }
        _ = try loss()
        var gradient = [Float](repeating: 0, count: network.trainableCount)
        try pass.backward(cotangent, count: count, addingTo: &gradient)
        var seen = 0
        for index in pieces.flatMap(\.steps) {
            guard case .convolution(_, let weight, _, _) = program.steps[index].kind else { continue }
            seen += 1
            let parameter = network.parameters[weight]
            let slope = Array(gradient[parameter.offset..<parameter.offset + parameter.count])
            let length = slope.reduce(0) { $0 + Double($1) * Double($1) }.squareRoot()
            let weights = network.pointer(to: weight)
            let before = (0..<parameter.count).map { weights[$0] }
            let size = 1e-4 * before.reduce(0) { $0 + Double($1) * Double($1) }.squareRoot()
            func moved(_ sign: Double) throws -> Double {
                for i in 0..<parameter.count {
                    weights[i] = before[i] + Float(sign * size * Double(slope[i]) / length)
                }
                network.weightsChanged()
                return try loss()
            }
            let growth = (try moved(1) - moved(-1)) / (2 * size)
            weights.update(from: before, count: parameter.count)
            network.weightsChanged()
            #expect(abs(growth / length - 1) < 0.08, "\(parameter.name): \(growth), want \(length)")
        }
        #expect(seen > 3)
    }

    /// Weight gradients and running statistics are the same for any number of threads, bit for bit.
    @Test(arguments: NetworkCase.all + NetworkCase.graphs + NetworkCase.branches + NetworkCase.large)
    func threadsDoNotChangeTraining(_ test: NetworkCase) throws {
        let images = randomFloats(33 * test.shape.count, seed: 31)
        let cotangent = randomFloats(33 * 5, seed: 32)
        func run(threads: Int) throws -> [Float] {
            let before = WorkerPool.threads
            WorkerPool.setThreads(threads)
            defer { WorkerPool.setThreads(before) }
            let network = try test.network()
            let pass = try TrainingPass(network, capacity: 40)
            var logits = [Float](repeating: 0, count: 33 * 5)
            var gradient = [Float](repeating: 0, count: network.trainableCount)
            try pass.forward(images, count: 33, logits: &logits, updateStatistics: true)
            try pass.backward(cotangent, count: 33, addingTo: &gradient)
            return logits + gradient + (0..<network.statistics.count).map { network.statistics.pointer[$0] }
        }
        let one = try run(threads: 1)
        for threads in [2, 3, 8] { #expect(try run(threads: threads) == one) }
    }
}
