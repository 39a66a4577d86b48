import Glibc
import Kernels
import Runtime

/// A classifier: a layer graph, its options and its weights.
public final class Network {
    /// The registry's name: "resnet18", "wrn_28_10", ...; "graph" for one that was made from a description.
    public let architecture: String
    /// With everything that was left to the architecture filled in.
    public let options: NetworkOptions
    public let graph: Graph
    /// All trainable values, contiguous, in the order of `parameters`; so that an optimiser is one loop.
    public let weights: FloatBuffer
    /// All running means and variances.
    public let statistics: FloatBuffer
    /// Counts the changes of the weights: prepared copies carry the version that they were made from.
    private(set) var version = 0

    /// Convolutions by plain sums of products only, without Winograd's algorithm: a few times slower, rounding errors a
    /// few times smaller.
    public var isExact = false {
        didSet {
            guard isExact != oldValue else { return }
            bank = isExact ? nil : FilterBank()
            preparedInference = nil
            preparedTraining = nil
        }
    }

    /// Whether weights that are given to it may be NaN or infinite, and are saved so.
    public var allowsNotFinite = false
    /// What is known of the network besides what it computes.
    public var metadata = Metadata()
    /// What its source computes; gone once the weights have changed, because then it says nothing of them any more.
    public private(set) var golden: GoldenBlock?

    private var bank: FilterBank? = FilterBank()
    private var preparedInference: PreparedNetwork?
    private var preparedTraining: PreparedNetwork?

    /// A network with random weights.
    ///
    /// Convolutions, linear weights and biases are uniform in ±1/√(inputs of an output), PyTorch's default (He et al.
    /// 2015 with a = √5); BatchNorm starts at 1 and 0. Parameter i draws from stream (seed, i).
    public convenience init(architecture: String, options: NetworkOptions, seed: UInt64) throws {
        try self.init(architecture: architecture, options: options)
        initialise(seed: seed)
    }

    func initialise(seed: UInt64) {
        for (index, parameter) in parameters.enumerated() {
            let values = pointer(to: parameter)
            switch parameter.role {
            case .one: values.update(repeating: 1, count: parameter.count)
            case .zero: values.update(repeating: 0, count: parameter.count)
            case .weight(let fanIn):
                var random = CounterRandom(seed: seed, stream: .initialisation, index: UInt64(index))
                let bound = 1 / Float(fanIn).squareRoot()
                for i in 0..<parameter.count { values[i] = bound * (2 * random.uniform() - 1) }
            }
        }
    }

    /// A network whose weights the caller fills in.
    public convenience init(architecture: String, options: NetworkOptions) throws {
        var options = options
        let graph = try Architecture.graph(architecture, &options)
        try self.init(architecture: architecture, options: options, graph: graph)
    }

    /// The same from the layers that the architecture has, or a description, and the options with everything filled in.
    package convenience init(architecture: String, options: NetworkOptions, graph: Graph) throws {
        self.init(
            architecture, options, graph,
            weights: try FloatBuffer(graph.parameters.reduce(0) { $0 + ($1.trainable ? $1.count : 0) }),
            statistics: try FloatBuffer(graph.parameters.reduce(0) { $0 + ($1.trainable ? 0 : $1.count) }))
    }

    private init(
        _ architecture: String, _ options: NetworkOptions, _ graph: Graph, weights: FloatBuffer, statistics: FloatBuffer
    ) {
        self.graph = graph
        self.architecture = architecture
        self.options = options
        self.weights = weights
        self.statistics = statistics
    }

    /// The layers that a network would have, without memory for its weights; fills in what the options leave open.
    public static func graph(_ architecture: String, _ options: inout NetworkOptions) throws -> Graph {
        try Architecture.graph(architecture, &options)
    }

    /// The same architecture, options, weights, metadata and golden block.
    public func copy() throws -> Network {
        let other = try Network(architecture: architecture, options: options, graph: graph)
        other.weights.copy(from: weights)
        other.statistics.copy(from: statistics)
        other.takeSettings(of: self)
        return other
    }

    /// The same with these weights themselves, which must not change as long as the other is in use: it would not see, or see only
    /// some of it, what copies for the kernels were made from.
    public func twin() -> Network {
        let other = Network(architecture, options, graph, weights: weights, statistics: statistics)
        other.takeSettings(of: self)
        return other
    }

    private func takeSettings(of other: Network) {
        isExact = other.isExact
        allowsNotFinite = other.allowsNotFinite
        metadata = other.metadata
        golden = other.golden
    }

    /// In state_dict order.
    public var parameters: [Parameter] { graph.parameters }
    public var trainableCount: Int { weights.count }
    public var multiplyAdds: Int { graph.multiplyAdds }
    public var classes: Int { options.classes }
    public var shape: ImageShape { options.shape }

    /// Where a parameter's values are. Call `weightsChanged()` after writing.
    public func pointer(to parameter: Parameter) -> UnsafeMutablePointer<Float> {
        (parameter.trainable ? weights : statistics).pointer + parameter.offset
    }

    func pointer(to index: Int) -> UnsafeMutablePointer<Float> { pointer(to: parameters[index]) }

    /// To be called after writing to `weights` or `statistics`: copies prepared for the kernels are remade on next use.
    public func weightsChanged() {
        version += 1
        golden = nil
    }

    /// To be called once the weights are there. Throws `shape` for a block of another network.
    public func setGolden(_ block: GoldenBlock?) throws {
        if let block {
            guard block.count >= 1, block.inputs.count == block.count * shape.count,
                block.logits.count == block.count * classes
            else {
                throw EngineError(
                    .shape,
                    "golden block: got \(block.inputs.count) inputs and \(block.logits.count) logits for \(block.count) "
                        + "samples, want \(shape.count) and \(classes) for each")
            }
        }
        golden = block
    }

    /// Weights as the kernels want them, made anew only when they have changed; shared by all passes of a mode.
    func prepared(for mode: PassMode) throws -> PreparedNetwork {
        let prepared = try preparedProgram(training: mode == .training)
        if mode != .inference { try bank?.needBackward() }
        bank?.update(from: self)
        prepared.update(from: self)
        return prepared
    }

    private func preparedProgram(training: Bool) throws -> PreparedNetwork {
        if let existing = training ? preparedTraining : preparedInference { return existing }
        let made = try PreparedNetwork(Program(graph, training: training), bank: bank)
        if training { preparedTraining = made } else { preparedInference = made }
        return made
    }
}
