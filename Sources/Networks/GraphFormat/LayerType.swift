import JSON
import Kernels
import Runtime

/// One kind of layer in the description of a graph: decoder, encoder and docs/graph-format.md all follow this table.
struct LayerType: Sendable {
    /// The value of `type`.
    let name: String
    let inputs: ClosedRange<Int>
    let attributes: [LayerAttribute]
    /// Endings of the names of its parameters, in order; `[ ]` where an attribute decides whether it is there.
    var parameters = ""
    let meaning: String
    /// Adds the layer to a graph; its attributes are complete and within their bounds. What does not fit is noted in the
    /// graph.
    let build: @Sendable (inout Graph, _ name: String, _ inputs: [Graph.Value], LayerValues) throws -> Graph.Value
    /// The attributes of a node of this type, in the order of the table.
    let describe: @Sendable (Graph.Node) -> [JSON]
}

/// A key of a layer, beside `name`, `type` and `inputs`.
struct LayerAttribute: Sendable {
    enum Kind: Sendable {
        case integer(ClosedRange<Int>)
        case number(ClosedRange<Double>)
        case flag
        /// [height, width], or one integer for both.
        case pair(ClosedRange<Int>)
        /// [top, left, bottom, right], or one integer for all.
        case sides(ClosedRange<Int>)
    }

    let name: String
    let kind: Kind
    /// What a missing key means; nil: it must be there.
    var fallback: JSON?
    /// Came later: descriptions of layers that do without it stay as they were, for older readers and digests.
    var isAddition = false

    /// As the documentation has it: `stride` 1 ... 1024 = 1
    var summary: String {
        let values =
            switch kind {
            case .integer(let range): "\(range.lowerBound) ... \(range.upperBound)"
            case .number(let range): "\(range.lowerBound) ... \(range.upperBound)"
            case .flag: "true or false"
            case .pair(let range): "[height, width] or one for both, \(range.lowerBound) ... \(range.upperBound)"
            case .sides(let range):
                "[top, left, bottom, right] or one for all, \(range.lowerBound) ... \(range.upperBound)"
            }
        return "`\(name)` \(values)" + (fallback.map { " (\($0.summary))" } ?? "")
    }
}

/// The attributes of one layer, by their names.
struct LayerValues {
    enum Value {
        case integers([Int])
        case number(Double)
        case flag(Bool)
    }

    private var values: [(name: String, value: Value)] = []

    /// Takes every attribute of `type` out of the layer's object; throws `invalidArgument` for one that is missing or out of
    /// its bounds.
    init(_ type: LayerType, from object: inout JSONObject) throws {
        for attribute in type.attributes {
            let label = object.label(attribute.name)
            let json =
                try object.take(attribute.name) ?? attribute.fallback
                ?? object.require(attribute.name, want: attribute.summary)
            values.append((attribute.name, try Self.value(json, attribute.kind, label)))
        }
    }

    private static func value(_ json: JSON, _ kind: LayerAttribute.Kind, _ label: String) throws -> Value {
        switch kind {
        case .integer(let range): .integers([try json.integer(label, in: range)])
        case .number(let range): .number(try json.number(label, in: range))
        case .flag: .flag(try json.flag(label))
        case .pair(let range): .integers(try several(json, 2, range, label, "[height, width]"))
        case .sides(let range): .integers(try several(json, 4, range, label, "[top, left, bottom, right]"))
        }
    }

    private static func several(
        _ json: JSON, _ count: Int, _ range: ClosedRange<Int>, _ label: String, _ form: String
    ) throws -> [Int] {
        guard case .array(let values) = json else {
            return [Int](repeating: try json.integer(label, in: range), count: count)
        }
        guard values.count == count else {
            throw EngineError.invalid(label, got: json.summary, want: "\(form), or one integer for all")
        }
        return try values.enumerated().map { try $1.integer("\(label)[\($0)]", in: range) }
    }

    func integers(_ name: String) -> [Int] {
        guard case .integers(let found)? = values.first(where: { $0.name == name })?.value else { return [0, 0, 0, 0] }
        return found
    }

    func integer(_ name: String) -> Int { integers(name)[0] }

    func pair(_ name: String) -> (Int, Int) { (integers(name)[0], integers(name)[1]) }

    func float(_ name: String) -> Float {
        guard case .number(let found)? = values.first(where: { $0.name == name })?.value else { return 0 }
        return Float(found)
    }

    func flag(_ name: String) -> Bool {
        guard case .flag(let found)? = values.first(where: { $0.name == name })?.value else { return false }
        return found
    }
}

extension JSON {
    /// An array, or one integer for all where they are the same.
    init(oneFor values: [Int]) {
        if let first = values.first, values.allSatisfy({ $0 == first }) {
            self = .integer(first)
        } else {
            self.init(values)
        }
    }
}
