import Glibc
import Kernels
import Networks
import Runtime
import Storage
import Testing

@testable import Distillation

let smallShape = ImageShape(1, 8, 8)

/// A network that is small enough for tests: 8×8 images with one channel, three classes unless told otherwise.
func makeNetwork(
    seed: UInt64, architecture: String = "resnet8", width: Int = 4, classes: Int = 3, shape: ImageShape = smallShape
) throws -> Network {
    var options = NetworkOptions()
    options.classes = classes
    options.shape = shape
    options.baseWidth = width
    return try Network(architecture: architecture, options: options, seed: seed)
}

/// Images with labels, in arrays. Each class has its own pattern, to which noise is added.
struct Samples {
    var images: [Float] = []
    var labels: [Int64] = []
    var count: Int { labels.count }

    init(_ count: Int, seed: UInt64, classes: Int = 3, shape: ImageShape = smallShape, noise: Float = 0.1) {
        for sample in 0..<count {
            var random = CounterRandom(seed: seed, stream: .square, index: UInt64(sample))
            let label = random.below(classes)
            var pattern = CounterRandom(seed: 99, stream: .square, index: UInt64(label))
            labels.append(Int64(label))
            for _ in 0..<shape.count {
                images.append(min(max(0.2 + 0.6 * pattern.uniform() + noise * random.normal(), 0), 1))
            }
        }
    }

    func dataset(shape: ImageShape = smallShape, classes: Int = 3) throws -> Dataset {
        try Dataset(floats: images, labels: labels, count: count, shape: shape, classes: classes)
    }
}

/// Images near `samples`, in [0,1].
func perturbed(_ samples: Samples, by epsilon: Float, seed: UInt64 = 5) -> [Float] {
    var random = CounterRandom(seed: seed, stream: .square, index: 1 << 40)
    return samples.images.map { min(max($0 + epsilon * (2 * random.uniform() - 1), 0), 1) }
}

extension Trainer {
    /// A step on arrays.
    @discardableResult
    func step(_ samples: Samples, adversarial: [Float]? = nil, update: Bool = true) throws -> StepReport {
        try samples.images.withUnsafeBufferPointer { images in
            try samples.labels.withUnsafeBufferPointer { labels in
                try (adversarial ?? []).withUnsafeBufferPointer { given in
                    let images = try #require(images.baseAddress)
                    let labels = try #require(labels.baseAddress)
                    return try step(
                        TrainingBatch(
                            images: images, labels: labels, count: samples.count,
                            adversarial: adversarial == nil ? nil : given.baseAddress, update: update))
                }
            }
        }
    }
}

/// A trainer with a short attack; for two teachers it makes the clean one.
func makeTrainer(
    _ student: Network, _ teacher: Network?, _ change: (inout TrainerOptions) -> Void
) throws -> Trainer {
    var options = TrainerOptions()
    options.stepsPerEpoch = 5
    options.epochs = 4
    options.steps = 3
    options.epsilon = 0.06
    change(&options)
    let clean = options.method == "mtard" ? try makeNetwork(seed: 3, architecture: "small_cnn") : nil
    return try Trainer(student: student, teachers: Teachers(robust: teacher, clean: clean), options: options)
}

extension FloatBuffer {
    var array: [Float] { Array(UnsafeBufferPointer(start: pointer, count: count)) }
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

/// A folder that is removed with the files in it.
final class TemporaryFolder {
    private let path: String

    init() {
        var template = Array("/tmp/igdm-tests-XXXXXX".utf8CString)
        path = mkdtemp(&template).map { String(cString: $0) } ?? "/tmp"
    }

    deinit {
        var files = glob_t()
        if glob(path + "/*", 0, nil, &files) == 0 {
            for index in 0..<Int(files.gl_pathc) { files.gl_pathv[index].map { _ = unlink($0) } }
        }
        globfree(&files)
        rmdir(path)
    }

    static func / (folder: TemporaryFolder, name: String) -> String { folder.path + "/" + name }
}
