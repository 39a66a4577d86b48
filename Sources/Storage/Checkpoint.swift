import CHDF5
import Kernels
import Networks
import Runtime

/// A named array: a weight or a running statistic under its state_dict name. Copies share their values.
public struct NamedTensor: Sendable {
    public var name: String
    public var shape: [Int]
    /// As many as the product of `shape`, last dimension fastest.
    public var values: Buffer<Float>

    public init(name: String, shape: [Int], values: Buffer<Float>) {
        self.name = name
        self.shape = shape
        self.values = values
    }
}

/// What is known of an array before it is read.
public typealias TensorShape = (name: String, shape: [Int])

/// The contents of a checkpoint file, whose layout docs/checkpoint-format.md describes. Knows no architectures.
public struct Checkpoint: Sendable {
    /// The newest version of the layout that this library reads. It writes the oldest that says everything: 1 without a
    /// graph, 2 with one.
    public static let formatVersion = 2
    var version: Int { graph == nil ? 1 : 2 }

    public var architecture: String
    public var classes: Int
    public var shape: ImageShape
    public var baseWidth: Int
    /// Per channel; both empty where the network has no normalisation.
    public var mean: [Float]
    public var std: [Float]
    /// nil where the architecture has no such option or its own value.
    public var shortcutInput: String?
    public var finalBN: Bool
    public var metadata: Metadata
    public var golden: GoldenBlock?
    /// The description of a network that has no architecture with a name.
    public var graph: String?
    /// In state_dict order.
    public var weights: [NamedTensor]
    /// Where it is one of a training that is under way.
    public var training: TrainingRecord?

    public init(
        architecture: String, classes: Int, shape: ImageShape, baseWidth: Int, mean: [Float] = [], std: [Float] = [],
        shortcutInput: String? = nil, finalBN: Bool = false, metadata: Metadata = Metadata(),
        golden: GoldenBlock? = nil,
        graph: String? = nil, weights: [NamedTensor] = []
    ) {
        self.architecture = architecture
        self.classes = classes
        self.shape = shape
        self.baseWidth = baseWidth
        self.mean = mean
        self.std = std
        self.shortcutInput = shortcutInput
        self.finalBN = finalBN
        self.metadata = metadata
        self.golden = golden
        self.graph = graph
        self.weights = weights
    }

    /// Makes `path` hold this checkpoint, whole, or leaves it as it was. The bytes depend on the contents only.
    ///
    /// Throws `io` with the operating system's reason, `notFinite` for a NaN or infinity in the weights (which readers
    /// refuse) unless `allowNotFinite`, `shape` or `invalidArgument` for what cannot be written.
    public func write(to path: String, allowNotFinite: Bool = false) throws {
        if !allowNotFinite { try requireFinite(weights, in: "weights") }
        // HDF5 builds the file in memory and we write it out: so a full disk is an ordinary failure of write(2), and
        // never one that HDF5 meets in the middle of its work.
        let image = try withHDF5 { try fileImage() }
        try replaceFile(at: path, with: UnsafeRawBufferPointer(start: image.pointer, count: image.count))
    }

    /// Reads a whole checkpoint. Throws `notFound`, `io` or `format`; values are not checked.
    public static func read(_ path: String) throws -> Checkpoint {
        try withHDF5 {
            let file = try CheckpointFile(path)
            var checkpoint = try file.description()
            checkpoint.weights = try file.weights()
            checkpoint.golden = try file.golden(shape: checkpoint.shape, classes: checkpoint.classes)
            return checkpoint
        }
    }

    /// Reads only the arrays under `weights/`; the file needs no attributes of ours. Where it is known what there must
    /// be, `expecting` refuses everything else before memory is taken for it.
    ///
    /// Throws `notFound`, `io` or `format`; values are not checked.
    public static func readWeights(_ path: String, expecting: [TensorShape]? = nil) throws -> [NamedTensor] {
        try withHDF5 { try CheckpointFile(path).weights(expecting: expecting) }
    }
}
