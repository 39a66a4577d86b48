import CHDF5
import JSON
import Kernels
import Networks
import Runtime

/// A checkpoint file that is open for reading: first its description; then, when that has told what to expect, its
/// weights. Used inside `withHDF5`.
struct CheckpointFile: ~Copyable {
    let file: HDF5File

    init(_ path: String) throws {
        file = try HDF5File(
            path, want: "HDF5; python -m igdm convert makes a checkpoint of files of PyTorch and safetensors")
    }

    /// Everything but the weights. Sizes are in ranges whose products cannot overflow; whether a network can have them
    /// is for the network to say.
    func description() throws -> Checkpoint {
        guard file.hasAttribute("format", of: file.root) else {
            throw file.formatError(
                "attribute format",
                "is missing: this is no igdm checkpoint. A file that only has arrays under weights/ is loaded into an "
                    + "existing model with load_weights (igdm_model_load_weights)")
        }
        let format = try file.string("format", of: file.root)
        guard format == "igdm" else {
            throw file.formatError("attribute format", "got \(quoted(format)), want \"igdm\"")
        }
        let version = try formatVersion()
        let sizes = 1...1_000_000
        let shape = ImageShape(
            try file.integer("channels", of: file.root, in: sizes),
            try file.integer("height", of: file.root, in: sizes),
            try file.integer("width", of: file.root, in: sizes))
        var checkpoint = Checkpoint(
            architecture: try file.string("architecture", of: file.root),
            classes: try file.integer("classes", of: file.root, in: sizes), shape: shape,
            baseWidth: try file.integer("base_width", of: file.root, in: version == 1 ? sizes : 0...1_000_000))
        if version > 1 { checkpoint.graph = try graph() }
        if file.hasAttribute("mean", of: file.root) || file.hasAttribute("std", of: file.root) {
            checkpoint.mean = try file.floats("mean", of: file.root, count: shape.channels)
            checkpoint.std = try file.floats("std", of: file.root, count: shape.channels)
        }
        if file.hasAttribute("shortcut_input", of: file.root) {
            checkpoint.shortcutInput = try file.string("shortcut_input", of: file.root)
        }
        if file.hasAttribute("final_bn", of: file.root) {
            checkpoint.finalBN = try file.integer("final_bn", of: file.root, in: 0...1) == 1
        }
        if file.has("metadata", in: file.root) {
            let group = try file.openGroup("metadata", in: file.root, label: "metadata")
            for key in try file.attributeNames(of: group) {
                let value = try file.string(key, of: group)
                do { try checkpoint.metadata.set(key, to: value) } catch let error as EngineError {
                    throw file.formatError("metadata", error.message)
                }
            }
        }
        return checkpoint
    }

    func formatVersion() throws -> Int {
        let version = try file.integer("format_version", of: file.root, in: 1...Int(Int32.max))
        guard version <= Checkpoint.formatVersion else {
            throw file.formatError(
                "attribute format_version",
                "got \(version), want at most \(Checkpoint.formatVersion): a newer igdm wrote this file; update igdm")
        }
        return version
    }

    /// The text of the dataset `graph`; what it means is for the network to say.
    private func graph() throws -> String {
        guard file.has("graph", in: file.root) else { throw file.formatError("graph", "is missing, want a dataset") }
        let dataset = try file.openDataset("graph", in: file.root, label: "graph")
        guard dataset.type == .integer(bits: 8, signed: false), dataset.count <= JSON.longestText else {
            throw file.formatError(
                "graph", "got \(dataset.count) of type \(dataset.type), want uint8, at most \(JSON.longestText)")
        }
        let bytes = try Buffer<UInt8>(dataset.count)
        try dataset.readBytes(into: bytes.pointer)
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw file.formatError("graph", "got bytes that are no UTF-8, want UTF-8")
        }
        return text
    }

    /// The arrays under `weights/`, without PyTorch's batch counters and the `sub_block1` of some
    /// TRADES-style files, which no computation uses.
    func weights(expecting: [TensorShape]? = nil) throws -> [NamedTensor] {
        let shapes = try weightShapes(expecting: expecting)
        let group = try file.openGroup("weights", in: file.root, label: "weights")
        return try shapes.map { name, shape in
            NamedTensor(name: name, shape: shape, values: try read(try open(name, in: group)))
        }
    }

    /// What `weights` would read, as far as it is known without reading.
    func weightShapes(expecting: [TensorShape]? = nil) throws -> [TensorShape] {
        guard file.has("weights", in: file.root) else { throw file.formatError("weights", "is missing, want a group") }
        let group = try file.openGroup("weights", in: file.root, label: "weights")
        let names = try file.names(in: group, label: "weights").filter {
            !$0.hasSuffix("num_batches_tracked") && !$0.hasPrefix("sub_block1.")
        }
        // Names first: of a foreign file they say more than the first array that is amiss.
        if let expecting { try requireSame(names, expecting.map(\.name), in: quoted(file.path)) }
        let shapes = try names.map { name in (name, try open(name, in: group).shape) }
        if let expecting { try requireMatch(shapes, expecting, in: quoted(file.path)) }
        return shapes
    }

    private func open(_ name: String, in group: borrowing HDF5Object) throws -> HDF5Dataset {
        try floats(name, in: group, label: "weights/\(quoted(name))")
    }

    /// A dataset that is sound, and of float32.
    func floats(_ name: String, in group: borrowing HDF5Object, label: String) throws -> HDF5Dataset {
        let dataset = try file.openDataset(name, in: group, label: label)
        guard dataset.type == .float(bits: 32) else {
            throw file.formatError(label, "got \(dataset.type), want float32")
        }
        return dataset
    }

    func read(_ dataset: borrowing HDF5Dataset) throws -> Buffer<Float> {
        let values = try Buffer<Float>(dataset.count)
        try dataset.readFloats(into: values.pointer)
        return values
    }
}

/// Throws a `format` error about the names that `found` lacks and those that it has too many.
func requireSame(_ found: [String], _ wanted: [String], in source: String) throws {
    let foundSet = Set(found)
    let wantedSet = Set(wanted)
    let missing = wanted.filter { !foundSet.contains($0) }
    let unexpected = found.filter { !wantedSet.contains($0) }
    guard !missing.isEmpty || !unexpected.isEmpty else {
        guard found.count == wanted.count else {
            throw EngineError(
                .format, "\(source): weights: got \(found.count) arrays, want \(wanted.count): one is there twice")
        }
        return
    }
    var problems: [String] = []
    if !missing.isEmpty { problems.append("\(missing.count) missing: \(listed(missing))") }
    if !unexpected.isEmpty { problems.append("\(unexpected.count) unexpected: \(listed(unexpected))") }
    throw EngineError(.format, "\(source): weights: " + problems.joined(separator: "; "))
}

/// The same for names and shapes; the order does not matter.
func requireMatch(_ found: [TensorShape], _ wanted: [TensorShape], in source: String) throws {
    try requireSame(found.map(\.name), wanted.map(\.name), in: source)
    let shapes = Dictionary(wanted.map { ($0.name, $0.shape) }, uniquingKeysWith: { first, _ in first })
    for tensor in found {
        guard let shape = shapes[tensor.name], shape != tensor.shape else { continue }
        throw EngineError(
            .format,
            "\(source): weights/\(quoted(tensor.name)): got shape \(described(tensor.shape)), want \(described(shape))")
    }
}
