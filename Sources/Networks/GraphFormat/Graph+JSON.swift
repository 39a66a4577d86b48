import JSON
import Kernels
import Runtime

// A layer graph as JSON: docs/graph-format.md. The layers are in order of execution, so that a description has no cycle
// and reading it is one pass.

/// A network without its weights: what a description says.
public struct GraphDescription: Sendable {
    public let graph: Graph
    /// Classes, shape and normalisation; `baseWidth` is 0.
    public let options: NetworkOptions

    /// Of a network that is there.
    public init(graph: Graph, options: NetworkOptions) {
        self.graph = graph
        self.options = options
    }
}

extension GraphDescription {
    static let format = "igdm-graph"
    static let version = 1
    /// Twice those of wrn_1000_K, the deepest network with a name. Planning memory takes the square of their number.
    static let mostLayers = 8192
    static let longestName = 255
    // What each layer may be and all together may not. Who asks for a built-in network by its name has asked for its size.
    /// Weights, 8 GB of them.
    static let mostWeights = 1 << 31
    /// Pixels times filter taps of all convolutions.
    static let largestTables = 1 << 28

    /// Reads a description, which may come from anywhere. `source` is what messages call it.
    ///
    /// Throws `invalidArgument` with the layer and the key of what is wrong: unknown, missing, twice, of the wrong type, out
    /// of range, not a layer before this one, or of sizes that do not fit; `outOfMemory`.
    public init(_ json: JSON, source: String) throws {
        var object = try JSONObject(json, context: source)
        let format = try object.require("format", want: quoted(Self.format)).string(object.label("format"))
        guard format == Self.format else {
            throw EngineError.invalid(object.label("format"), got: quoted(format), want: quoted(Self.format))
        }
        let version = try object.require("version", want: "\(Self.version)")
            .integer(object.label("version"), in: 1...Int(Int32.max))
        guard version <= Self.version else {
            throw EngineError.invalid(
                object.label("version"), got: version, want: "at most \(Self.version): update igdm to read it")
        }
        var options = NetworkOptions()
        options.shape = try Self.shape(&object)
        options.mean = try Self.floats("mean", &object, options.shape.channels)
        options.std = try Self.floats("std", &object, options.shape.channels)
        try Self.within(source) { try options.validate() }
        graph = try Self.layers(&object, input: options.shape, source)
        try object.finish(known: ["format", "version", "input", "mean", "std", "layers", "output"])
        guard let last = graph.nodes.last, last.shape.pixels == 1, (2...1_000_000).contains(last.shape.channels) else {
            throw EngineError.invalid(
                object.label("output"), got: "shape \(graph.nodes.last?.shape ?? options.shape)",
                want: "(classes, 1, 1), 2 ... 1000000 classes")
        }
        options.classes = last.shape.channels
        options.baseWidth = 0
        self.options = options
    }

    /// The same from a text.
    public init(_ text: String, source: String) throws {
        try self.init(JSON.parse(text, source: source), source: source)
    }

    /// With a normalisation from elsewhere, both empty for none. Throws `invalidArgument` where the graph has its own.
    public func normalised(_ values: (mean: [Float], std: [Float])) throws -> GraphDescription {
        guard !values.mean.isEmpty else { return self }
        guard options.mean.isEmpty else {
            throw EngineError.invalid("mean", got: "\(values.mean.count) values", want: "none: the graph has its own")
        }
        var options = options
        (options.mean, options.std) = values
        try options.validate()
        return GraphDescription(graph: graph, options: options)
    }

    private static func shape(_ object: inout JSONObject) throws -> ImageShape {
        let label = object.label("input")
        let want = "[channels, height, width]"
        let values = try object.require("input", want: want).array(label, want: want)
        guard values.count == 3 else { throw EngineError.invalid(label, got: "\(values.count) values", want: want) }
        return ImageShape(
            try values[0].integer("\(label)[0]", in: 1...4096), try values[1].integer("\(label)[1]", in: 1...16384),
            try values[2].integer("\(label)[2]", in: 1...16384))
    }

    private static func floats(_ key: String, _ object: inout JSONObject, _ count: Int) throws -> [Float] {
        guard let json = object.take(key) else { return [] }
        let label = object.label(key)
        let want = "an array of \(count) numbers, one per channel"
        let values = try json.array(label, want: want)
        guard values.count == count else { throw EngineError.invalid(label, got: json.summary, want: want) }
        return try values.enumerated().map { Float(try $1.number("\(label)[\($0)]", in: -1e30...1e30)) }
    }

    private static func layers(_ object: inout JSONObject, input: ImageShape, _ source: String) throws -> Graph {
        let label = object.label("layers")
        let layers = try object.require("layers", want: "an array of layers").array(label, want: "an array of layers")
        guard (1...mostLayers).contains(layers.count) else {
            throw EngineError.invalid(label, got: "\(layers.count) layers", want: "1 ... \(mostLayers)")
        }
        var graph = Graph(input: input)
        try check(graph, source)
        var values = ["input": graph.input]
        var uses = ["input": 0]
        for (index, json) in layers.enumerated() {
            let (name, inputs) = try add(json, to: &graph, values, "\(label)[\(index)]", source)
            values[name] = graph.last
            uses[name] = 0
            for input in inputs { uses[input, default: 0] += 1 }
        }
        let last = graph.nodes[graph.nodes.count - 1].name
        let output = try object.require("output", want: "the name of the last layer").string(object.label("output"))
        guard output == last else {
            throw EngineError.invalid(
                object.label("output"), got: quoted(output), want: "the last layer, \(quoted(last))")
        }
        // In the order of the layers, not of the dictionary.
        if let idle = graph.nodes.first(where: { $0.name != last && uses[$0.name] == 0 }) {
            throw EngineError(.invalidArgument, "\(source): layer \(quoted(idle.name)): no layer uses its output")
        }
        guard graph.parameters.contains(where: \.trainable) else {
            throw EngineError(.invalidArgument, "\(label): got no layer with weights, want at least one")
        }
        try checkParameters(graph, source)
        return graph
    }

    /// Adds one layer; `values` has those before it by name.
    private static func add(
        _ json: JSON, to graph: inout Graph, _ values: [String: Graph.Value], _ place: String, _ source: String
    ) throws -> (name: String, inputs: [String]) {
        var unnamed = try JSONObject(json, context: place)
        let name = try unnamed.require("name", want: "a name of its own").string(unnamed.label("name"))
        guard isName(name), values[name] == nil else {
            throw EngineError.invalid(
                unnamed.label("name"), got: quoted(name),
                want:
                    "a name that no layer before has: 1 ... \(longestName) bytes without / and control characters, not \"input\""
            )
        }
        let layer = "\(source): layer \(quoted(name))"
        var object = try JSONObject(json, context: layer)
        _ = object.take("name")
        let types = LayerType.all.map(\.name)
        let typeName = try object.require("type", want: types.joined(separator: ", ")).string(object.label("type"))
        guard let type = LayerType.all.first(where: { $0.name == typeName }) else {
            throw EngineError.unknownName(object.label("type"), got: shortened(typeName), known: types)
        }
        let inputs = try inputNames(&object, type.inputs)
        let given = try inputs.enumerated().map { index, input in
            guard let value = values[input] else {
                throw EngineError.invalid(
                    object.label("inputs[\(index)]"), got: quoted(input),
                    want: "\"input\" or the name of a layer before this one")
            }
            return value
        }
        let attributes = try LayerValues(type, from: &object)
        try object.finish(known: ["name", "type", "inputs"] + type.attributes.map(\.name))
        try within(layer) { _ = try type.build(&graph, name, given, attributes) }
        try check(graph, layer)
        return (name, inputs)
    }

    private static func inputNames(_ object: inout JSONObject, _ counts: ClosedRange<Int>) throws -> [String] {
        let label = object.label("inputs")
        let (least, most) = (counts.lowerBound, counts.upperBound)
        let want =
            most == 1 ? "an array of one name" : "an array of \(least == most ? "" : "\(least) ... ")\(most) names"
        let values = try object.require("inputs", want: want).array(label, want: want)
        guard counts.contains(values.count) else {
            throw EngineError.invalid(label, got: "\(values.count)", want: want)
        }
        return try values.enumerated().map { try $1.string("\(label)[\($0)]", want: "a name") }
    }

    private static func isName(_ name: String) -> Bool {
        (1...longestName).contains(name.utf8.count) && name != "."
            && !name.unicodeScalars.contains { $0.value < 32 || $0.value == 127 || $0 == "/" }
    }

    /// A name from outside, without what would break a message; `unknownName` puts it in quotes.
    private static func shortened(_ name: String) -> String { String(quoted(name).dropFirst().dropLast()) }

    /// Runs `body`; its errors are about `context`.
    private static func within(_ context: String, _ body: () throws -> Void) throws {
        do {
            try body()
        } catch let error as EngineError {
            throw EngineError(error.code, "\(context): \(error.message)")
        }
    }

    private static func check(_ graph: Graph, _ context: String) throws {
        var problem = graph.problem
        if graph.trainableCount > mostWeights { problem = problem ?? "more than \(mostWeights) weights are too many" }
        if graph.tableEntries > largestTables {
            problem = problem ?? "the images of all convolutions together are too large"
        }
        if let problem { throw EngineError(.invalidArgument, "\(context): \(problem)") }
    }

    private static func checkParameters(_ graph: Graph, _ source: String) throws {
        var names = Set<String>()
        for parameter in graph.parameters where !names.insert(parameter.name).inserted {
            throw EngineError(
                .invalidArgument, "\(source): two layers have a parameter \(quoted(parameter.name)): rename one of them"
            )
        }
    }
}

extension Graph {
    /// The output of the node added last.
    var last: Value { Value(node: nodes.count - 1, shape: nodes[nodes.count - 1].shape) }
}
