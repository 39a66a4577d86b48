import CIgdm
import JSON
import Kernels
import Networks
import Runtime
import Storage

// Section 2 of the header: models as layer graphs, and weights by a map.

@_cdecl("igdm_model_create_from_graph") @implementation
public func igdm_model_create_from_graph(
    _ json: UnsafePointer<CChar>!, _ options: UnsafePointer<igdm_model_options>!,
    _ model: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    guarded {
        let text = try unicode(json, "json", longest: JSON.longestText)
        let given = try modelOptions(options)
        let model = try pointer(model, "model")
        guard given.shortcut_input == nil else {
            throw EngineError.invalid("options.shortcut_input", got: "a pointer", want: "NULL: the graph says it")
        }
        _ = try dimension(given.final_bn, "options.final_bn", 0...0)
        let description = try GraphDescription(text, source: "json")
        try checkSizes(given, description.options)
        let normalised = try description.normalised(normalisation(given, channels: description.options.shape.channels))
        let made = try Network(normalised, seed: given.seed)
        model.pointee = HandleTable.register(ModelHandle(made))
    }
}

/// Sizes are the graph's: an option may have its default, or say the same.
private func checkSizes(_ given: igdm_model_options, _ graph: NetworkOptions) throws {
    let defaults = defaultModelOptions()
    let sizes: [(String, KeyPath<igdm_model_options, Int64>, Int)] = [
        ("classes", \.classes, graph.classes), ("channels", \.channels, graph.shape.channels),
        ("height", \.height, graph.shape.height), ("width", \.width, graph.shape.width),
        ("base_width", \.base_width, graph.baseWidth),
    ]
    for (name, field, value) in sizes where ![defaults[keyPath: field], Int64(value)].contains(given[keyPath: field]) {
        throw EngineError.invalid(
            "options.\(name)", got: given[keyPath: field],
            want: "\(value), as the graph says, or the default, \(defaults[keyPath: field])")
    }
}

@_cdecl("igdm_model_get_graph") @implementation
public func igdm_model_get_graph(
    _ model: OpaquePointer!, _ json: UnsafeMutablePointer<UnsafePointer<CChar>?>!
) -> Int32 {
    guarded {
        let handle: ModelHandle = try HandleTable.get(model, "model")
        let json = try pointer(json, "json")
        json.pointee = try locked([handle]) { try handle.graph() }
    }
}

@_cdecl("igdm_model_load_mapped") @implementation
public func igdm_model_load_mapped(
    _ model: OpaquePointer!, _ path: UnsafePointer<CChar>!, _ map: UnsafePointer<CChar>!
) -> Int32 {
    guarded {
        let handle: ModelHandle = try HandleTable.get(model, "model")
        let path = try Igdm.path(path, "path")
        let map = try WeightMap(unicode(map, "map", longest: JSON.longestText), source: "map")
        try locked([handle]) { try handle.network.loadMapped(path, map: map, source: "map") }
    }
}
