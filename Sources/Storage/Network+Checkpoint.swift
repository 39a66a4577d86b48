import Networks
import Runtime

extension Network {
    /// The network that a checkpoint file describes, with its weights.
    ///
    /// Throws `notFound`, `io`, `format` (with the name of what is missing, unexpected, misshapen or of the wrong type)
    /// or, unless `allowNotFinite`, `notFinite`.
    public static func load(_ path: String, allowNotFinite: Bool = false) throws -> Network {
        try withHDF5 {
            let file = try CheckpointFile(path)
            let description = try file.description()
            // A description can ask for any amount of memory: it is believed when the file has the weights for it.
            var options = description.networkOptions
            let graph = try description.graph(&options, path: path)
            _ = try file.weightShapes(expecting: graph.tensorShapes)
            let network = try Network(architecture: description.architecture, options: options, graph: graph)
            network.allowsNotFinite = allowNotFinite
            try network.assignWeights(from: file.weights(expecting: graph.tensorShapes), source: quoted(path))
            network.allowsNotFinite = false
            network.metadata = description.metadata
            try network.setGolden(file.golden(shape: network.shape, classes: network.classes))
            return network
        }
    }

    /// Replaces the weights by those of an HDF5 file that has them under `weights/`. Errors as `load`; the network is
    /// unchanged on failure.
    public func loadWeights(_ path: String) throws {
        let tensors = try Checkpoint.readWeights(path, expecting: graph.tensorShapes)
        try assignWeights(from: tensors, source: quoted(path))
    }

    /// Writes a checkpoint file, whole or not at all. Errors as `Checkpoint.write`.
    public func save(to path: String) throws { try checkpoint().write(to: path, allowNotFinite: allowsNotFinite) }

    /// All that a file says of this network, the weights copied.
    public func checkpoint() throws -> Checkpoint {
        Checkpoint(
            architecture: architecture, classes: options.classes, shape: options.shape, baseWidth: options.baseWidth,
            mean: options.mean, std: options.std,
            shortcutInput: options.shortcutInput == .standard ? nil : options.shortcutInput?.rawValue,
            finalBN: options.finalBN, metadata: metadata, golden: golden,
            graph: architecture == Network.graphArchitecture ? try graphText() : nil,
            weights: try parameters.map { parameter in
                let values = UnsafeBufferPointer(start: pointer(to: parameter), count: parameter.count)
                return NamedTensor(name: parameter.name, shape: parameter.shape, values: try Buffer(copying: values))
            })
    }

    /// Replaces all weights and running statistics, in any order; all or none of them.
    ///
    /// Throws `format` where names are missing or unexpected, shapes differ, or a running variance is negative;
    /// `notFinite` for a NaN or infinity, unless `allowsNotFinite`. `source` is what messages call the origin of the tensors.
    public func assignWeights(from tensors: [NamedTensor], source: String = "weights") throws {
        try requireMatch(tensors.map { ($0.name, $0.shape) }, graph.tensorShapes, in: source)
        if !allowsNotFinite { try requireFinite(tensors, in: source) }
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
}

extension Graph {
    public var tensorShapes: [TensorShape] { parameters.map { ($0.name, $0.shape) } }
}

extension Checkpoint {
    var networkOptions: NetworkOptions {
        var options = NetworkOptions()
        options.classes = classes
        options.shape = shape
        options.baseWidth = baseWidth
        options.mean = mean
        options.std = std
        options.finalBN = finalBN
        return options
    }

    /// The layers of the network that is described, without memory for its weights. What the network refuses is the file's
    /// fault here, not the caller's.
    func graph(_ options: inout NetworkOptions, path: String) throws -> Graph {
        do {
            options.shortcutInput = try shortcutInput.map(ShortcutInput.init(named:))
            guard let text = self.graph else { return try Network.graph(architecture, &options) }
            let described = try GraphDescription(text, source: "graph")
            guard architecture == Network.graphArchitecture, described.options == options else {
                throw EngineError(
                    .format,
                    "graph: its input, classes or normalisation are not those of the attributes, or architecture is not "
                        + "\"\(Network.graphArchitecture)\"")
            }
            return described.graph
        } catch let error as EngineError where [.invalidArgument, .shape, .format].contains(error.code) {
            throw EngineError(.format, "\(quoted(path)): \(error.message)")
        }
    }
}
