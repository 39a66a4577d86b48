import Kernels
import Runtime

extension Dataset {
    /// Two datasets of an HDF5 file: `images`, (N, C, H, W), uint8 or float32 in [0,1] of either byte order, and
    /// `labels`, (N), integers of any kind, or (N, classes), floating-point numbers, soft labels. Both are paths inside the file.
    /// `classes` 0 means the largest label + 1, or as many as soft labels have. With `streams` the images stay in the file, see
    /// `StreamedImages`.
    ///
    /// Throws `notFound` (the file, or a name in it), `io`, `format`; `invalidArgument` for values or labels out of
    /// range; `notFinite`.
    public static func openHDF5(
        path: String, images: String, labels: String, classes: Int, streams: Bool = false
    ) throws -> Dataset {
        try withHDF5 {
            let file = try HDF5File(path)
            let (pixels, count, shape) =
                streams ? try streamImages(images, of: file) : try readImages(images, of: file)
            if let soft = try readSoftLabels(labels, of: file, count: count, classes: classes) {
                // They take the place of what a dataset begins with.
                let none = try Buffer<Int64>(count)
                return try Dataset(
                    pixels, labels: none.pointer, count: count, shape: shape, classes: soft.count / count, source: path
                ).softlyLabelled(soft.pointer, argument: "\(quoted(path)): \(labels)")
            }
            let numbers = try readLabels(labels, of: file, count: count)
            var classes = classes
            // Within the range of classes, whatever the labels: they are checked like any others.
            if classes == 0, let largest = numbers.max() { classes = Int(min(max(largest, 1), 1 << 30)) + 1 }
            return try Dataset(
                pixels, labels: numbers.pointer, count: count, shape: shape, classes: classes, source: path)
        }
    }

    private static func readImages(
        _ name: String, of file: borrowing HDF5File
    ) throws -> (pixels: Pixels, count: Int, shape: ImageShape) {
        let dataset = try file.openDataset(path: name)
        let shape = try imageShape(of: dataset, name, in: file)
        let pixels: Pixels
        switch dataset.type {
        case .integer(bits: 8, signed: false):
            let buffer = try Buffer<UInt8>(dataset.count)
            try dataset.readBytes(into: buffer.pointer)
            pixels = .bytes(buffer)
        default:
            let buffer = try FloatBuffer(dataset.count)
            try dataset.readFloats(into: buffer.pointer)
            pixels = .floats(buffer)
        }
        return (pixels, dataset.shape[0], shape)
    }

    private static func streamImages(
        _ name: String, of file: borrowing HDF5File
    ) throws -> (pixels: Pixels, count: Int, shape: ImageShape) {
        let images = try StreamedImages(path: file.path, name: name)
        return (.streamed(images), images.count, images.shape)
    }

    /// Of one image; refuses what cannot be images.
    static func imageShape(
        of dataset: borrowing HDF5Dataset, _ name: String, in file: borrowing HDF5File
    ) throws -> ImageShape {
        guard dataset.shape.count == 4 else {
            throw file.formatError(quoted(name), "got shape \(described(dataset.shape)), want (N, C, H, W)")
        }
        switch dataset.type {
        case .integer(bits: 8, signed: false), .float(bits: 32): break
        default: throw file.formatError(quoted(name), "got \(dataset.type), want uint8 or float32")
        }
        return ImageShape(dataset.shape[1], dataset.shape[2], dataset.shape[3])
    }

    /// nil: the labels are no table.
    private static func readSoftLabels(
        _ name: String, of file: borrowing HDF5File, count: Int, classes: Int
    ) throws -> FloatBuffer? {
        let dataset = try file.openDataset(path: name)
        guard dataset.shape.count == 2, dataset.shape[0] == count else { return nil }
        let width = dataset.shape[1]
        guard case .float = dataset.type else {
            throw file.formatError(
                quoted(name),
                "got \(dataset.type) of shape \(described(dataset.shape)), want integers of shape (\(count)), or floating-point "
                    + "probabilities (\(count), classes)")
        }
        guard classes == 0 ? width >= 2 : width == classes else {
            let wanted = "(\(count), \(classes == 0 ? "2 or more" : String(classes)))"
            throw file.formatError(quoted(name), "got shape \(described(dataset.shape)), want \(wanted)")
        }
        let values = try FloatBuffer(dataset.count)
        try dataset.readFloats(into: values.pointer)
        return values
    }

    private static func readLabels(_ name: String, of file: borrowing HDF5File, count: Int) throws -> Buffer<Int64> {
        let dataset = try file.openDataset(path: name)
        guard dataset.shape == [count] else {
            throw file.formatError(
                quoted(name),
                "got shape \(described(dataset.shape)), want (\(count)), one label for each image, or (\(count), classes)"
            )
        }
        guard case .integer = dataset.type else {
            throw file.formatError(
                quoted(name), "got \(dataset.type), want integers, or a table (\(count), classes) of probabilities")
        }
        let numbers = try Buffer<Int64>(count)
        try dataset.readIntegers(into: numbers.pointer)
        return numbers
    }
}

extension HDF5File {
    /// The dataset at a path from the root, such as `train/images`. Throws `notFound` with the names that there are.
    func openDataset(path name: String) throws -> HDF5Dataset {
        let parts = name.split(separator: "/").map(String.init)
        // A group can be a member of itself: no path may lead round for ever.
        guard (1...64).contains(parts.count) else {
            throw EngineError.invalid(
                "dataset name", got: quoted(name), want: "a path inside the file, at most 64 deep")
        }
        return try openDataset(parts[...], in: root, whole: name)
    }

    private func openDataset(
        _ parts: ArraySlice<String>, in group: borrowing HDF5Object, whole name: String
    ) throws -> HDF5Dataset {
        let part = parts[parts.startIndex]
        try require(part, in: group, whole: name)
        if parts.count == 1 { return try openDataset(part, in: group, label: quoted(name)) }
        let next = try openGroup(part, in: group, label: quoted(name))
        return try openDataset(parts.dropFirst(), in: next, whole: name)
    }

    private func require(_ part: String, in group: borrowing HDF5Object, whole name: String) throws {
        guard !has(part, in: group) else { return }
        let there = try names(in: group, label: quoted(name))
        throw EngineError(
            .notFound,
            "\(quoted(path)): got no dataset \(quoted(name)), want one of the names that it has: \(listed(there))")
    }
}
