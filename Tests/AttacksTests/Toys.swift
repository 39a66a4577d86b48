import Attacks
import Kernels
import Runtime
import Testing

/// Logits `W x + b`: its input gradient is known by heart.
final class LinearClassifier: DifferentiableClassifier {
    let classes: Int
    let shape: ImageShape
    let weights: [Float]
    let bias: [Float]
    var hasGradient = true
    private(set) var passes = 0

    init(shape: ImageShape, weights: [[Float]], bias: [Float]? = nil) {
        self.shape = shape
        classes = weights.count
        self.weights = weights.flatMap { $0 }
        self.bias = bias ?? [Float](repeating: 0, count: weights.count)
    }

    /// Random weights from `seed`.
    convenience init(shape: ImageShape, classes: Int, seed: UInt64) {
        var random = CounterRandom(seed: seed, stream: .initialisation, index: 0)
        self.init(
            shape: shape, weights: (0..<classes).map { _ in (0..<shape.count).map { _ in random.normal() } })
    }

    func forward(
        _ images: UnsafePointer<Float>, count: Int, logits: UnsafeMutablePointer<Float>, retain: Bool
    ) throws {
        passes += 1
        for s in 0..<count {
            for c in 0..<classes {
                var sum = bias[c]
                for i in 0..<shape.count { sum += weights[c * shape.count + i] * images[s * shape.count + i] }
                logits[s * classes + c] = sum
            }
        }
    }

    func inputGradient(
        _ cotangent: UnsafePointer<Float>, count: Int, gradient: UnsafeMutablePointer<Float>
    ) throws {
        for s in 0..<count {
            for i in 0..<shape.count {
                var sum: Float = 0
                for c in 0..<classes { sum += cotangent[s * classes + c] * weights[c * shape.count + i] }
                gradient[s * shape.count + i] = sum
            }
        }
    }
}

/// Logits `-sharpness * ‖x - centre_c‖²`: the nearest centre wins, and the gradient changes from step to step.
final class NearestCentre: DifferentiableClassifier {
    let shape: ImageShape
    let centres: [[Float]]
    let sharpness: Float
    var classes: Int { centres.count }
    private var images: [Float] = []

    init(shape: ImageShape, centres: [[Float]], sharpness: Float = 1) {
        self.shape = shape
        self.centres = centres
        self.sharpness = sharpness
    }

    func forward(
        _ images: UnsafePointer<Float>, count: Int, logits: UnsafeMutablePointer<Float>, retain: Bool
    ) throws {
        if retain { self.images = Array(UnsafeBufferPointer(start: images, count: count * shape.count)) }
        for s in 0..<count {
            for c in 0..<classes {
                var sum: Float = 0
                for i in 0..<shape.count {
                    let difference = images[s * shape.count + i] - centres[c][i]
                    sum -= sharpness * difference * difference
                }
                logits[s * classes + c] = sum
            }
        }
    }

    func inputGradient(
        _ cotangent: UnsafePointer<Float>, count: Int, gradient: UnsafeMutablePointer<Float>
    ) throws {
        for s in 0..<count {
            for i in 0..<shape.count {
                var sum: Float = 0
                for c in 0..<classes {
                    let difference = images[s * shape.count + i] - centres[c][i]
                    sum -= cotangent[s * classes + c] * 2 * sharpness * difference
                }
                gradient[s * shape.count + i] = sum
            }
        }
    }
}

/// A model that is random: to each pass its logits get the next of `shifts` times the image's first pixel, for class 0.
final class RandomisedClassifier: DifferentiableClassifier {
    let model: LinearClassifier
    let shifts: [Float]
    var classes: Int { model.classes }
    var shape: ImageShape { model.shape }
    private(set) var passes = 0
    private var shift: Float = 0

    init(_ model: LinearClassifier, shifts: [Float]) { (self.model, self.shifts) = (model, shifts) }

    func forward(
        _ images: UnsafePointer<Float>, count: Int, logits: UnsafeMutablePointer<Float>, retain: Bool
    ) throws {
        shift = shifts[passes % shifts.count]
        passes += 1
        try model.forward(images, count: count, logits: logits, retain: retain)
        for s in 0..<count { logits[s * classes] += shift * images[s * shape.count] }
    }

    func inputGradient(
        _ cotangent: UnsafePointer<Float>, count: Int, gradient: UnsafeMutablePointer<Float>
    ) throws {
        try model.inputGradient(cotangent, count: count, gradient: gradient)
        for s in 0..<count { gradient[s * shape.count] += shift * cotangent[s * classes] }
    }
}

/// A classifier whose logits are `value`.
final class BrokenClassifier: DifferentiableClassifier {
    let classes = 2
    let shape: ImageShape
    let value: Float

    init(shape: ImageShape, value: Float) {
        self.shape = shape
        self.value = value
    }

    func forward(
        _ images: UnsafePointer<Float>, count: Int, logits: UnsafeMutablePointer<Float>, retain: Bool
    ) throws {
        logits.update(repeating: value, count: count * classes)
    }

    func inputGradient(
        _ cotangent: UnsafePointer<Float>, count: Int, gradient: UnsafeMutablePointer<Float>
    ) throws {
        gradient.update(repeating: 0, count: count * shape.count)
    }
}

/// Images and labels in arrays.
struct ArraySource: ImageSource {
    let shape: ImageShape
    let classes: Int
    let images: [Float]
    let labels: [Int64]
    var count: Int { labels.count }

    func readImages(_ count: Int, into result: UnsafeMutablePointer<Float>, row: (Int) -> Int) {
        for place in 0..<count {
            for i in 0..<shape.count { result[place * shape.count + i] = images[row(place) * shape.count + i] }
        }
    }

    func label(_ index: Int) -> Int { Int(labels[index]) }
}

/// `count` values in [0,1], with many exactly at its ends, as in real images.
func randomImages(_ count: Int, seed: UInt64) -> [Float] {
    var random = CounterRandom(seed: seed, stream: .initialisation, index: 1)
    return (0..<count).map { _ in min(max(1.4 * random.uniform() - 0.2, 0), 1) }
}

func randomLabels(_ count: Int, classes: Int, seed: UInt64) -> [Int64] {
    var random = CounterRandom(seed: seed, stream: .initialisation, index: 2)
    return (0..<count).map { _ in Int64(random.below(classes)) }
}

/// The class that `model` gives each image, as labels.
func predictions(_ model: any DifferentiableClassifier, _ images: [Float]) throws -> [Int64] {
    let count = images.count / model.shape.count
    var logits = [Float](repeating: 0, count: count * model.classes)
    try model.forward(images, count: count, logits: &logits, retain: false)
    return (0..<count).map { s in
        logits.withUnsafeBufferPointer { row in
            row.baseAddress.map { Int64(argmax($0 + s * model.classes, model.classes)) } ?? -1
        }
    }
}

/// `runAttack` on arrays.
func attack(
    _ model: any DifferentiableClassifier, _ images: [Float], _ labels: [Int64], firstIndex: Int = 0,
    batchSize: Int = 64, target: [Float]? = nil, monitor: RunMonitor = RunMonitor(),
    _ change: (inout AttackOptions) -> Void
) throws -> (images: [Float], success: [UInt8]) {
    var options = AttackOptions()
    change(&options)
    var result = [Float](repeating: -1, count: images.count)
    var success = [UInt8](repeating: 9, count: labels.count)
    try withOutputs(&result, &success) { outputs in
        _ = try runAttack(
            on: model, images: images, labels: labels, count: labels.count, targetLogits: target, options: options,
            indices: .from(firstIndex), batchSize: batchSize, monitor: monitor, outputs: outputs)
    }
    return (result, success)
}

/// Arrays as the outputs of `runAttack`.
func withOutputs(
    _ images: inout [Float], _ success: inout [UInt8], _ body: (AttackOutputs) throws -> Void
) throws {
    try images.withUnsafeMutableBufferPointer { images in
        try success.withUnsafeMutableBufferPointer { success in
            var outputs = AttackOutputs(adversarial: try #require(images.baseAddress))
            outputs.success = success.baseAddress
            try body(outputs)
        }
    }
}

/// The error that `body` throws.
func thrownError(_ body: () throws -> Void) -> EngineError? {
    do {
        try body()
        return nil
    } catch {
        return error as? EngineError
    }
}

/// The length of a vector in the norm of that name.
func exactLength(_ vector: [Double], _ norm: String) -> Double {
    switch norm {
    case "linf": vector.map { abs($0) }.max() ?? 0
    case "l2": vector.reduce(0) { $0 + $1 * $1 }.squareRoot()
    case "l1": vector.reduce(0) { $0 + abs($1) }
    default: Double(vector.count { $0 != 0 })
    }
}

/// Five centres, so that all losses have the classes that they are made for.
func centres(_ shape: ImageShape, classes: Int = 5) -> NearestCentre {
    NearestCentre(
        shape: shape, centres: (0..<classes).map { randomImages(shape.count, seed: 70 + UInt64($0)) }, sharpness: 2)
}

/// Images with the classes that the model gives them, but for some that are misclassified already.
func samples(_ model: any DifferentiableClassifier, _ count: Int) throws -> (images: [Float], labels: [Int64]) {
    let images = randomImages(count * model.shape.count, seed: 31)
    var labels = try predictions(model, images)
    for s in stride(from: 0, to: count, by: 7) { labels[s] = (labels[s] + 1) % Int64(model.classes) }
    return (images, labels)
}
