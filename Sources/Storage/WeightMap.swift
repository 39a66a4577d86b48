import JSON
import Kernels
import Networks
import Runtime

/// Where a foreign HDF5 file has the weights of a network, and how their axes are to be turned: docs/weight-map.md.
public struct WeightMap: Sendable {
    struct Entry {
        let parameter: String
        let path: String
        /// Axis i of the result is axis `transpose[i]` of the dataset; nil: as it is.
        let transpose: [Int]?
    }

    /// In the order of the text.
    let entries: [Entry]

    /// Reads a map, which may come from anywhere. `source` is what messages call it. Throws `invalidArgument` with the name
    /// and key of what is wrong, `outOfMemory`.
    public init(_ text: String, source: String) throws {
        guard case .object(let members) = try JSON.parse(text, source: source) else {
            throw EngineError.invalid(source, got: "no object", want: "an object of names and datasets")
        }
        entries = try members.map { try Entry($0.key, $0.value, "\(source): \(quoted($0.key))") }
    }
}

extension WeightMap.Entry {
    fileprivate init(_ name: String, _ json: JSON, _ context: String) throws {
        parameter = name
        if case .string(let path) = json {
            self.path = path
            transpose = nil
            return
        }
        guard case .object = json else {
            throw EngineError.invalid(context, got: json.summary, want: "the path of a dataset, or an object with path")
        }
        var object = try JSONObject(json, context: context)
        path = try object.require("path", want: "the path of a dataset").string(object.label("path"))
        transpose = try object.take("transpose").map { try Self.axes($0, object.label("transpose")) }
        try object.finish(known: ["path", "transpose"])
    }

    private static func axes(_ json: JSON, _ label: String) throws -> [Int] {
        let want = "each axis of the dataset once, [3, 2, 0, 1] for example"
        let axes = try json.array(label, want: want).map { try $0.integer(label, in: 0...31) }
        guard axes.sorted() == Array(axes.indices) else { throw EngineError.invalid(label, got: "\(axes)", want: want) }
        return axes
    }
}

extension Network {
    /// Replaces the weights by those that `map` names in an HDF5 file of any origin; all or none of them.
    ///
    /// Throws `invalidArgument` where the map does not have every parameter once and nothing else; `notFound` (the file, or
    /// a dataset), `io`, `format` with the parameter and the dataset that does not fit; `notFinite`.
    public func loadMapped(_ path: String, map: WeightMap, source: String) throws {
        try check(map, source)
        let tensors = try withHDF5 {
            let file = try HDF5File(path)
            // Shapes first: nothing is read for a map that does not fit.
            for entry in map.entries { _ = try open(entry, in: file) }
            return try map.entries.map { try read($0, in: file) }
        }
        try assignWeights(from: tensors, source: quoted(path))
    }

    private func check(_ map: WeightMap, _ source: String) throws {
        let wanted = Set(parameters.map(\.name))
        let found = Set(map.entries.map(\.parameter))
        let missing = parameters.map(\.name).filter { !found.contains($0) }
        let unexpected = map.entries.map(\.parameter).filter { !wanted.contains($0) }
        var problems: [String] = []
        if !missing.isEmpty { problems.append("\(missing.count) missing: \(listed(missing))") }
        if !unexpected.isEmpty { problems.append("\(unexpected.count) unexpected: \(listed(unexpected))") }
        guard problems.isEmpty else {
            throw EngineError.invalid(
                source, got: problems.joined(separator: "; "), want: "every parameter of the model and no other name")
        }
    }

    /// The dataset of an entry, whose type and shape fit.
    private func open(_ entry: WeightMap.Entry, in file: borrowing HDF5File) throws -> HDF5Dataset {
        let dataset = try find(entry, in: file)
        let label = "\(quoted(entry.parameter)) from dataset \(quoted(entry.path))"
        switch dataset.type {
        case .float(bits: 16), .float(bits: 32), .float(bits: 64): break
        default: throw file.formatError(label, "got \(dataset.type), want float32, float64 or float16")
        }
        let axes = entry.transpose ?? Array(dataset.shape.indices)
        guard axes.count == dataset.shape.count else {
            throw file.formatError(
                label, "got shape \(described(dataset.shape)), want \(axes.count) axes: the map's transpose is \(axes)")
        }
        let turned = axes.map { dataset.shape[$0] }
        let wanted = parameters.first { $0.name == entry.parameter }?.shape ?? []
        // Axes of length 1 hold no order.
        guard turned.filter({ $0 != 1 }) == wanted.filter({ $0 != 1 }) else {
            let got = described(dataset.shape) + (entry.transpose == nil ? "" : ", transposed \(described(turned))")
            throw file.formatError(label, "got shape \(got), want \(described(wanted))")
        }
        return dataset
    }

    private func find(_ entry: WeightMap.Entry, in file: borrowing HDF5File) throws -> HDF5Dataset {
        do {
            return try file.openDataset(path: entry.path)
        } catch let error as EngineError {
            throw EngineError(error.code, "\(quoted(entry.parameter)): \(error.message)")
        }
    }

    private func read(_ entry: WeightMap.Entry, in file: borrowing HDF5File) throws -> NamedTensor {
        let dataset = try open(entry, in: file)
        var values = try Buffer<Float>(dataset.count)
        try dataset.readFloats(into: values.pointer)
        if let axes = entry.transpose { values = try transposed(values, dataset.shape, axes) }
        let shape = parameters.first { $0.name == entry.parameter }?.shape ?? []
        return NamedTensor(name: entry.parameter, shape: shape, values: values)
    }
}

/// The array with axis i of the result being axis `axes[i]` of `values`, whose shape is `shape`.
private func transposed(_ values: Buffer<Float>, _ shape: [Int], _ axes: [Int]) throws -> Buffer<Float> {
    var strides = [Int](repeating: 1, count: shape.count)
    for axis in shape.indices.dropLast().reversed() { strides[axis] = strides[axis + 1] * shape[axis + 1] }
    let result = try Buffer<Float>(values.count)
    let lengths = axes.map { shape[$0] }
    let steps = axes.map { strides[$0] }
    var position = [Int](repeating: 0, count: axes.count)
    var from = 0
    for to in 0..<values.count {
        result.pointer[to] = values.pointer[from]
        // The next position: the last axis runs fastest.
        for axis in axes.indices.reversed() {
            position[axis] += 1
            from += steps[axis]
            if position[axis] < lengths[axis] { break }
            from -= steps[axis] * lengths[axis]
            position[axis] = 0
        }
    }
    return result
}
