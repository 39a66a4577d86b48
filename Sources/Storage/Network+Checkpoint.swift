import Networks
import Runtime

extension Network {
    /// The network that a checkpoint file describes, with its weights.
    ///
    /// Throws `notFound`, `io`, `format` (with the name of what is missing, unexpected, misshapen or of the wrong type)
    /// or `notFinite`.
    public static func load(_ path: String) throws -> Network {
        try withHDF5 {
            let file = try CheckpointFile(path)
            let network = try Network(describedBy: file.description(), path: path)
            try network.assignWeights(from: file.weights(expecting: network.tensorShapes), source: quoted(path))
            return network
        }
    }

    /// Replaces the weights by those of an HDF5 file that has them under `weights/`. Errors as `load`; the network is
    /// unchanged on failure.
    public func loadWeights(_ path: String) throws {
        let tensors = try Checkpoint.readWeights(path, expecting: tensorShapes)
        try assignWeights(from: tensors, source: quoted(path))
    }

    /// Writes a checkpoint file, whole or not at all. Errors as `Checkpoint.write`.
    public func save(to path: String, metadata: [(key: String, value: String)] = []) throws {
        try Checkpoint(
            architecture: architecture, classes: options.classes, shape: options.shape, baseWidth: options.baseWidth,
            mean: options.mean, std: options.std,
            shortcutInput: options.shortcutInput == .standard ? nil : options.shortcutInput?.rawValue,
            finalBN: options.finalBN, metadata: metadata,
            weights: try parameters.map { parameter in
                let values = UnsafeBufferPointer(start: pointer(to: parameter), count: parameter.count)
                return NamedTensor(name: parameter.name, shape: parameter.shape, values: try Buffer(copying: values))
            }
        ).write(to: path)
    }

    /// Replaces all weights and running statistics, in any order; all or none of them.
    ///
    /// Throws `format` where names are missing or unexpected, shapes differ, or a running variance is negative;
    /// `notFinite` for a NaN or infinity. `source` is what messages call the origin of the tensors.
    public func assignWeights(from tensors: [NamedTensor], source: String = "weights") throws {
        try requireMatch(tensors.map { ($0.name, $0.shape) }, tensorShapes, in: source)
        try requireFinite(tensors, in: source)
        for tensor in tensors {
            guard tensor.values.count == elementCount(tensor.shape) else {
                throw EngineError(
                    .format,
                    "\(source): \(quoted(tensor.name)): got \(tensor.values.count) values, "
                        + "want \(described(tensor.shape))")
            }
            if tensor.name.hasSuffix("running_var"), let negative = tensor.values.first(where: { $0 < 0 }) {
                throw EngineError(
                    .format, "\(source): \(quoted(tensor.name)): got a variance of \(negative), want none below 0")
            }
        }
        let byName = Dictionary(tensors.map { ($0.name, $0.values) }, uniquingKeysWith: { first, _ in first })
        for parameter in parameters {
            guard let values = byName[parameter.name] else { continue }
            pointer(to: parameter).update(from: values.pointer, count: parameter.count)
        }
        weightsChanged()
    }

    private var tensorShapes: [TensorShape] { parameters.map { ($0.name, $0.shape) } }

    /// What the network refuses in a description is the file's fault here, not the caller's.
    private convenience init(describedBy description: Checkpoint, path: String) throws {
        var options = NetworkOptions()
        options.classes = description.classes
        options.shape = description.shape
        options.baseWidth = description.baseWidth
        options.mean = description.mean
        options.std = description.std
        options.finalBN = description.finalBN
        do {
            options.shortcutInput = try description.shortcutInput.map(ShortcutInput.init(named:))
            try self.init(architecture: description.architecture, options: options)
        } catch let error as EngineError where error.code == .invalidArgument || error.code == .shape {
            throw EngineError(.format, "\(quoted(path)): \(error.message)")
        }
    }
}
