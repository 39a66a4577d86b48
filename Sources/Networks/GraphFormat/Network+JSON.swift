import JSON
import Kernels
import Runtime

extension Network {
    /// What `architecture` says of a network that was made from a description.
    public static let graphArchitecture = "graph"

    /// A network with random weights from a description; `init(architecture:options:seed:)` says which.
    public convenience init(_ description: GraphDescription, seed: UInt64) throws {
        try self.init(description)
        initialise(seed: seed)
    }

    /// A network from a description, whose weights the caller fills in.
    public convenience init(_ description: GraphDescription) throws {
        try self.init(architecture: Self.graphArchitecture, options: description.options, graph: description.graph)
    }

    /// The description of this network, whatever it was made from. A network made from it has the same parameters and, with
    /// the same weights, computes the same bits.
    public func graphText() throws -> String { try GraphDescription(graph: graph, options: options).text() }
}

extension GraphDescription {
    /// As JSON, one layer to a line.
    public func text() throws -> String {
        var head: [(key: String, value: JSON)] = [
            ("format", .string(Self.format)), ("version", .integer(Self.version)),
            ("input", JSON([options.shape.channels, options.shape.height, options.shape.width])),
        ]
        if !options.mean.isEmpty {
            head.append(("mean", .array(options.mean.map { JSON($0) })))
            head.append(("std", .array(options.std.map { JSON($0) })))
        }
        let layers = try graph.nodes.dropFirst().map { try layer($0).text() }
        let output = try JSON.string(graph.nodes[graph.nodes.count - 1].name).text()
        let start = try JSON.object(head).text().dropLast()
        return start + ",\n \"layers\": [\n  " + layers.joined(separator: ",\n  ") + "],\n \"output\": " + output
            + "}\n"
    }

    private func layer(_ node: Graph.Node) throws -> JSON {
        let name = node.operation.typeName
        guard let type = LayerType.all.first(where: { $0.name == name }) else {
            throw EngineError(.internal, "no layer type is called \(name)")
        }
        var members: [(key: String, value: JSON)] = [
            ("name", .string(node.name)), ("type", .string(name)),
            ("inputs", .array(node.inputs.map { .string(graph.nodes[$0].name) })),
        ]
        for (attribute, value) in zip(type.attributes, type.describe(node))
        where !attribute.isAddition || attribute.fallback?.summary != value.summary {
            members.append((attribute.name, value))
        }
        return .object(members)
    }
}
