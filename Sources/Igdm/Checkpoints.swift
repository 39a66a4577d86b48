import CIgdm
import Kernels
import Networks
import Runtime
import Storage

// Section 2 of the header: checkpoint files, described without their weights.

final class CheckpointHandle: Handle {
    override class var typeName: String { "igdm_checkpoint" }

    let description: CheckpointDescription
    // Strings handed out, valid as long as the handle.
    let architecture: StaticText
    let goldenSource: StaticText
    let names: [StaticText]
    let metadata: [(key: StaticText, value: StaticText)]
    private var graphText: StaticText?

    init(_ description: CheckpointDescription) {
        self.description = description
        architecture = StaticText(description.checkpoint.architecture)
        goldenSource = StaticText(description.golden?.source ?? "")
        names = description.graph.parameters.map { StaticText($0.name) }
        metadata = description.checkpoint.metadata.entries.map { (StaticText($0.key), StaticText($0.value)) }
    }

    func graph() throws -> UnsafePointer<CChar> {
        let found = GraphDescription(graph: description.graph, options: description.options)
        let text = try graphText ?? StaticText(found.text())
        graphText = text
        return text.pointer
    }
}

@_cdecl("igdm_checkpoint_open") @implementation
public func igdm_checkpoint_open(
    _ path: UnsafePointer<CChar>!, _ checkpoint: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    guarded {
        let path = try Igdm.path(path, "path")
        let checkpoint = try pointer(checkpoint, "checkpoint")
        checkpoint.pointee = HandleTable.register(CheckpointHandle(try CheckpointDescription.read(path)))
    }
}

@_cdecl("igdm_checkpoint_get_info") @implementation
public func igdm_checkpoint_get_info(
    _ checkpoint: OpaquePointer!, _ info: UnsafeMutablePointer<igdm_checkpoint_info>!
) -> Int32 {
    guarded {
        let handle: CheckpointHandle = try HandleTable.get(checkpoint, "checkpoint")
        let description = handle.description
        let (file, graph) = (description.checkpoint, description.graph)
        var result = igdm_checkpoint_info()
        result.format_version = Int64(description.formatVersion)
        result.file_bytes = Int64(description.bytes)
        result.architecture = handle.architecture.pointer
        result.classes = Int64(file.classes)
        result.channels = Int64(file.shape.channels)
        result.height = Int64(file.shape.height)
        result.width = Int64(file.shape.width)
        result.base_width = Int64(file.baseWidth)
        result.parameter_count = Int64(graph.trainableCount)
        result.multiply_adds = Int64(graph.multiplyAdds)
        result.has_normalisation = file.mean.isEmpty ? 0 : 1
        result.array_count = Int64(handle.names.count)
        result.metadata_count = Int64(handle.metadata.count)
        result.golden_count = Int64(description.golden?.count ?? 0)
        result.golden_source = handle.goldenSource.pointer
        result.shortcut_input = shortcutInputText(description.options)
        result.final_bn = description.options.finalBN ? 1 : 0
        try fill(info, "info", result, firstSize: FirstSize.checkpointInfo)
    }
}

@_cdecl("igdm_checkpoint_get_normalisation") @implementation
public func igdm_checkpoint_get_normalisation(
    _ checkpoint: OpaquePointer!, _ mean: UnsafeMutablePointer<Float>!, _ std: UnsafeMutablePointer<Float>!
) -> Int32 {
    guarded {
        let handle: CheckpointHandle = try HandleTable.get(checkpoint, "checkpoint")
        let file = handle.description.checkpoint
        try writeNormalisation(file.mean, file.std, channels: file.shape.channels, mean, std)
    }
}

@_cdecl("igdm_checkpoint_get_graph") @implementation
public func igdm_checkpoint_get_graph(
    _ checkpoint: OpaquePointer!, _ json: UnsafeMutablePointer<UnsafePointer<CChar>?>!
) -> Int32 {
    guarded {
        let handle: CheckpointHandle = try HandleTable.get(checkpoint, "checkpoint")
        let json = try pointer(json, "json")
        json.pointee = try locked([handle]) { try handle.graph() }
    }
}

@_cdecl("igdm_checkpoint_parameter_info") @implementation
public func igdm_checkpoint_parameter_info(
    _ checkpoint: OpaquePointer!, _ index: Int, _ name: UnsafeMutablePointer<UnsafePointer<CChar>?>!,
    _ shape: UnsafeMutablePointer<Int64>!, _ dimensions: UnsafeMutablePointer<Int64>!,
    _ trainable: UnsafeMutablePointer<Int32>!
) -> Int32 {
    guarded {
        let handle: CheckpointHandle = try HandleTable.get(checkpoint, "checkpoint")
        let parameters = handle.description.graph.parameters
        try writeParameterInfo(parameters, handle.names, index, name, shape, dimensions, trainable)
    }
}

@_cdecl("igdm_checkpoint_metadata_entry") @implementation
public func igdm_checkpoint_metadata_entry(
    _ checkpoint: OpaquePointer!, _ index: Int, _ key: UnsafeMutablePointer<UnsafePointer<CChar>?>!,
    _ value: UnsafeMutablePointer<UnsafePointer<CChar>?>!
) -> Int32 {
    guarded {
        let handle: CheckpointHandle = try HandleTable.get(checkpoint, "checkpoint")
        let key = try optionalPointer(key, "key")
        let value = try optionalPointer(value, "value")
        try checkIndex(index, handle.metadata.count, "entries")
        key?.pointee = handle.metadata[index].key.pointer
        value?.pointee = handle.metadata[index].value.pointer
    }
}

@_cdecl("igdm_checkpoint_release") @implementation
public func igdm_checkpoint_release(_ checkpoint: OpaquePointer!) {
    HandleTable.release(checkpoint, as: CheckpointHandle.self)
}
