import Kernels
import Runtime

/// One family of architectures: how its names are read, and how its graph is built.
struct Architecture {
    /// As listed to users; numbers that a name carries are written as capitals: `wrn_D_K`.
    let pattern: String
    /// Fills in the options that are left to the architecture and builds the graph; nil where the name is another's.
    let build: (_ name: String, _ options: inout NetworkOptions) throws -> Graph?
    /// Whether it leaves `shortcutInput` and `finalBN` open.
    var isPreActivated = false

    /// One fixed name.
    init(
        _ name: String, isPreActivated: Bool = false, _ build: @escaping (inout NetworkOptions) throws -> Graph
    ) {
        pattern = name
        self.build = { $0 == name ? try build(&$1) : nil }
        self.isPreActivated = isPreActivated
    }

    init(pattern: String, build: @escaping (String, inout NetworkOptions) throws -> Graph?) {
        self.pattern = pattern
        self.build = build
    }

    /// All architectures; a new family is one file and one line here.
    static let all: [Architecture] =
        resNets + [preActResNet18, wideResNet, deepMindWideResNet, deepMindPreActResNet18] + imageNetResNets
        + [smallCNN, mobileNetV2]

    static func graph(_ name: String, _ options: inout NetworkOptions) throws -> Graph {
        try options.validate()
        for architecture in all {
            let given = options
            guard let graph = try architecture.build(name, &options) else { continue }
            if !architecture.isPreActivated { try given.requireNoPreActivation(name) }
            if let problem = graph.problem {
                throw EngineError(.shape, "\(name) for images \(options.shape): \(problem)")
            }
            return graph
        }
        throw EngineError.unknownName("architecture", got: name, known: architectureNames)
    }
}

/// The names that `Network(architecture:)` knows.
public let architectureNames: [String] = Architecture.all.map(\.pattern)
