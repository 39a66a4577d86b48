import Attacks
import CIgdm
import Distillation
import Kernels
import Runtime
import Storage

// Section 3 of the header: datasets.

final class DatasetHandle: Handle {
    override class var typeName: String { "igdm_dataset" }
    let dataset: Dataset
    init(_ dataset: Dataset) { self.dataset = dataset }
}

/// Makes a dataset and hands it out; nothing is written where making it fails.
private func create(_ out: UnsafeMutablePointer<OpaquePointer?>?, _ make: () throws -> Dataset) -> Int32 {
    guarded {
        let out = try pointer(out, "dataset")
        out.pointee = HandleTable.register(DatasetHandle(try make()))
    }
}

private func classCount(_ classes: Int64, atLeast: Int = 2) throws -> Int {
    try dimension(classes, "classes", atLeast...1_000_000)
}

@_cdecl("igdm_dataset_from_floats") @implementation
public func igdm_dataset_from_floats(
    _ images: UnsafePointer<Float>!, _ labels: UnsafePointer<Int64>!, _ count: Int, _ channels: Int64,
    _ height: Int64, _ width: Int64, _ classes: Int64, _ dataset: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    create(dataset) {
        let images = try pointer(images, "images")
        let labels = try pointer(labels, "labels")
        let shape = try imageShape(channels, height, width)
        let count = try sampleCount(count, floatsPerSample: shape.count, atLeast: 1)
        return try Dataset(
            floats: images, labels: labels, count: count, shape: shape, classes: try classCount(classes))
    }
}

@_cdecl("igdm_dataset_from_bytes") @implementation
public func igdm_dataset_from_bytes(
    _ images: UnsafePointer<UInt8>!, _ labels: UnsafePointer<Int64>!, _ count: Int, _ channels: Int64,
    _ height: Int64, _ width: Int64, _ classes: Int64, _ dataset: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    create(dataset) {
        let images = try pointer(images, "images")
        let labels = try pointer(labels, "labels")
        let shape = try imageShape(channels, height, width)
        let count = try sampleCount(count, floatsPerSample: shape.count, atLeast: 1)
        return try Dataset(
            bytes: images, labels: labels, count: count, shape: shape, classes: try classCount(classes))
    }
}

@_cdecl("igdm_dataset_open_idx") @implementation
public func igdm_dataset_open_idx(
    _ images_path: UnsafePointer<CChar>!, _ labels_path: UnsafePointer<CChar>!, _ classes: Int64,
    _ dataset: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    create(dataset) {
        try Dataset.openIDX(
            images: try path(images_path, "images_path"), labels: try path(labels_path, "labels_path"),
            classes: try classCount(classes))
    }
}

@_cdecl("igdm_dataset_open_cifar") @implementation
public func igdm_dataset_open_cifar(
    _ folder: UnsafePointer<CChar>!, _ classes: Int64, _ split: UnsafePointer<CChar>!,
    _ dataset: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    create(dataset) {
        try Dataset.openCIFAR(
            folder: try path(folder, "folder"), classes: try classCount(classes), split: try text(split, "split"))
    }
}

@_cdecl("igdm_dataset_open_hdf5") @implementation
public func igdm_dataset_open_hdf5(
    _ path: UnsafePointer<CChar>!, _ images_name: UnsafePointer<CChar>!, _ labels_name: UnsafePointer<CChar>!,
    _ classes: Int64, _ dataset: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    create(dataset) {
        try openHDF5(path, images_name, labels_name, classes, streams: false)
    }
}

@_cdecl("igdm_dataset_stream_hdf5") @implementation
public func igdm_dataset_stream_hdf5(
    _ path: UnsafePointer<CChar>!, _ images_name: UnsafePointer<CChar>!, _ labels_name: UnsafePointer<CChar>!,
    _ classes: Int64, _ dataset: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    create(dataset) {
        try openHDF5(path, images_name, labels_name, classes, streams: true)
    }
}

private func openHDF5(
    _ path: UnsafePointer<CChar>?, _ imagesName: UnsafePointer<CChar>?, _ labelsName: UnsafePointer<CChar>?,
    _ classes: Int64, streams: Bool
) throws -> Dataset {
    let path = try Igdm.path(path, "path")
    let images = try optionalPointer(imagesName, "images_name").map { String(cString: $0) } ?? "images"
    let labels = try optionalPointer(labelsName, "labels_name").map { String(cString: $0) } ?? "labels"
    // 0: as many as the labels say.
    let classes = classes == 0 ? 0 : try classCount(classes)
    return try Dataset.openHDF5(path: path, images: images, labels: labels, classes: classes, streams: streams)
}

@_cdecl("igdm_dataset_subset") @implementation
public func igdm_dataset_subset(
    _ dataset: OpaquePointer!, _ first: Int, _ count: Int, _ subset: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    guarded {
        let handle: DatasetHandle = try HandleTable.get(dataset, "dataset")
        try checkRange(handle.dataset, first, count)
        guard count >= 1 else { throw EngineError.invalid("count", got: count, want: "at least 1") }
        let subset = try pointer(subset, "subset")
        let part = try handle.dataset.subset(first: first, count: count)
        subset.pointee = HandleTable.register(DatasetHandle(part))
    }
}

@_cdecl("igdm_dataset_select") @implementation
public func igdm_dataset_select(
    _ dataset: OpaquePointer!, _ samples: UnsafePointer<Int64>!, _ count: Int,
    _ selection: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    guarded {
        let handle: DatasetHandle = try HandleTable.get(dataset, "dataset")
        let samples = try pointer(samples, "samples")
        let count = try sampleCount(count, floatsPerSample: 2, atLeast: 1)
        let selection = try pointer(selection, "selection")
        let part = try handle.dataset.selection(UnsafeBufferPointer(start: samples, count: count))
        selection.pointee = HandleTable.register(DatasetHandle(part))
    }
}

@_cdecl("igdm_dataset_hold_out") @implementation
public func igdm_dataset_hold_out(
    _ dataset: OpaquePointer!, _ count: Int, _ others: UnsafeMutablePointer<OpaquePointer?>!,
    _ held_out: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    guarded {
        let handle: DatasetHandle = try HandleTable.get(dataset, "dataset")
        guard count >= 1, count < handle.dataset.count else {
            throw EngineError.invalid(
                "count", got: UInt(bitPattern: count),
                want: "at least 1, and less than the \(handle.dataset.count) samples of the dataset")
        }
        let others = try pointer(others, "others")
        let heldOut = try pointer(held_out, "held_out")
        let parts = try handle.dataset.holdingOut(count)
        others.pointee = HandleTable.register(DatasetHandle(parts.others))
        heldOut.pointee = HandleTable.register(DatasetHandle(parts.heldOut))
    }
}

@_cdecl("igdm_dataset_with_soft_labels") @implementation
public func igdm_dataset_with_soft_labels(
    _ dataset: OpaquePointer!, _ soft_labels: UnsafePointer<Float>!,
    _ labelled: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    guarded {
        let handle: DatasetHandle = try HandleTable.get(dataset, "dataset")
        let softLabels = try pointer(soft_labels, "soft_labels")
        let labelled = try pointer(labelled, "labelled")
        let made = try handle.dataset.softlyLabelled(softLabels)
        labelled.pointee = HandleTable.register(DatasetHandle(made))
    }
}

/// first ..< first + count inside the dataset, without overflow.
private func checkRange(_ dataset: Dataset, _ first: Int, _ count: Int) throws {
    guard first >= 0, first <= dataset.count else {
        throw EngineError.invalid("first", got: UInt(bitPattern: first), want: "0 ... \(dataset.count)")
    }
    guard count >= 0, count <= dataset.count - first else {
        throw EngineError.invalid(
            "count", got: UInt(bitPattern: count),
            want: "at most \(dataset.count - first): the dataset has \(dataset.count) samples, first is \(first)")
    }
}

@_cdecl("igdm_dataset_get_info") @implementation
public func igdm_dataset_get_info(
    _ dataset: OpaquePointer!, _ info: UnsafeMutablePointer<igdm_dataset_info>!
) -> Int32 {
    guarded {
        let handle: DatasetHandle = try HandleTable.get(dataset, "dataset")
        var result = igdm_dataset_info()
        result.count = Int64(handle.dataset.count)
        result.classes = Int64(handle.dataset.classes)
        result.channels = Int64(handle.dataset.shape.channels)
        result.height = Int64(handle.dataset.shape.height)
        result.width = Int64(handle.dataset.shape.width)
        result.has_soft_labels = handle.dataset.hasSoftLabels ? 1 : 0
        result.has_bytes = handle.dataset.hasBytes ? 1 : 0
        try fill(info, "info", result, firstSize: FirstSize.datasetInfo)
    }
}

@_cdecl("igdm_dataset_read") @implementation
public func igdm_dataset_read(
    _ dataset: OpaquePointer!, _ first: Int, _ count: Int, _ images: UnsafeMutablePointer<Float>!,
    _ labels: UnsafeMutablePointer<Int64>!
) -> Int32 {
    guarded {
        let handle: DatasetHandle = try HandleTable.get(dataset, "dataset")
        let data = handle.dataset
        try checkRange(data, first, count)
        let images = try optionalPointer(images, "images")
        let labels = try optionalPointer(labels, "labels")
        if let images { try data.readImages(first..<first + count, into: images) }
        if let labels { for i in 0..<count { labels[i] = Int64(data.label(first + i)) } }
    }
}

@_cdecl("igdm_dataset_read_soft_labels") @implementation
public func igdm_dataset_read_soft_labels(
    _ dataset: OpaquePointer!, _ first: Int, _ count: Int, _ soft_labels: UnsafeMutablePointer<Float>!
) -> Int32 {
    guarded {
        let handle: DatasetHandle = try HandleTable.get(dataset, "dataset")
        try checkRange(handle.dataset, first, count)
        let softLabels = try pointer(soft_labels, "soft_labels")
        handle.dataset.readSoftLabels(count, into: softLabels) { first + $0 }
    }
}

@_cdecl("igdm_dataset_release") @implementation
public func igdm_dataset_release(_ dataset: OpaquePointer!) { HandleTable.release(dataset, as: DatasetHandle.self) }
