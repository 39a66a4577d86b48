import CHDF5
import Networks
import Runtime

/// The writing side of the format: the bytes of the file, made in memory. Used inside `withHDF5`.
extension Checkpoint {
    func fileImage() throws -> Buffer<UInt8> {
        try validateForWriting()
        let floats =
            weights.reduce(0) { $0 + $1.values.count } + (golden?.inputs.count ?? 0) + (training?.floats ?? 0)
        let bytes = floats * MemoryLayout<Float>.stride + (graph?.utf8.count ?? 0)
        let access = try object(H5Pcreate(chdf5_file_access()))
        // Memory grows by this step; the right one from the start spares copies.
        try check(H5Pset_fapl_core(access.id, bytes + (1 << 16), false))
        // Nothing newer than HDF5 1.8, which every reader knows. The oldest form of the file's header is a must: where
        // a newer one has a checksum, H5Fget_file_image makes it wrong (HDF5 before 2.0).
        try check(H5Pset_libver_bounds(access.id, H5F_LIBVER_EARLIEST, H5F_LIBVER_V18))
        let creation = try groupCreation(chdf5_file_creation())
        let file = try object(H5Fcreate("igdm checkpoint", chdf5_truncate(), creation.id, access.id))
        let root = try object(H5Gopen2(file.id, "/", chdf5_default_properties()))
        try writeDescription(to: root)
        if let graph { try write(Buffer(copying: graph.utf8), of: [graph.utf8.count], as: "graph", to: root) }
        try writeMetadata(to: root)
        try writeWeights(to: root)
        try writeGolden(to: root)
        try writeTraining(to: root)

        try check(H5Fflush(file.id, H5F_SCOPE_GLOBAL))
        let size = H5Fget_file_image(file.id, nil, 0)
        guard size > 0 else { throw failure() }
        let image = try Buffer<UInt8>(size)
        guard H5Fget_file_image(file.id, image.pointer, size) == size else { throw failure() }
        return image
    }

    private func validateForWriting() throws {
        try training?.requireFinite()
        var names = Set<String>()
        for tensor in weights {
            guard isLinkName(tensor.name), names.insert(tensor.name).inserted else {
                throw EngineError.invalid("weight name", got: quoted(tensor.name), want: "a unique name without /")
            }
            guard !tensor.values.isEmpty, elementCount(tensor.shape) == tensor.values.count else {
                throw EngineError(
                    .shape,
                    "\(quoted(tensor.name)): got \(tensor.values.count) values for shape \(described(tensor.shape))")
            }
        }
    }

    private func isLinkName(_ name: String) -> Bool {
        !name.isEmpty && name != "." && !name.utf8.contains { $0 == 0 || $0 == UInt8(ascii: "/") }
    }

    private func writeDescription(to root: borrowing HDF5Object) throws {
        try write("igdm", as: "format", to: root)
        try write(version, as: "format_version", to: root)
        try write(architecture, as: "architecture", to: root)
        try write(classes, as: "classes", to: root)
        try write(shape.channels, as: "channels", to: root)
        try write(shape.height, as: "height", to: root)
        try write(shape.width, as: "width", to: root)
        try write(baseWidth, as: "base_width", to: root)
        if !mean.isEmpty { try write(mean, as: "mean", to: root) }
        if !std.isEmpty { try write(std, as: "std", to: root) }
        // Only what differs from the default, which leaves the files of all other models as they always were.
        if let shortcutInput { try write(shortcutInput, as: "shortcut_input", to: root) }
        if finalBN { try write(1, as: "final_bn", to: root) }
    }

    private func writeMetadata(to root: borrowing HDF5Object) throws {
        guard !metadata.entries.isEmpty else { return }
        let group = try makeGroup("metadata", in: root)
        for entry in metadata.entries { try write(entry.value, as: entry.key, to: group) }
    }

    private func writeWeights(to root: borrowing HDF5Object) throws {
        let group = try makeGroup("weights", in: root)
        for tensor in weights { try write(tensor.values, of: tensor.shape, as: tensor.name, to: group) }
    }

    private func writeGolden(to root: borrowing HDF5Object) throws {
        guard let golden else { return }
        let group = try makeGroup("golden", in: root)
        try write(golden.source, as: "source", to: group)
        let images = [golden.count, shape.channels, shape.height, shape.width]
        try write(golden.inputs, of: images, as: "inputs", to: group)
        try write(golden.logits, of: [golden.count, classes], as: "logits", to: group)
    }

    /// How a training is laid out: docs/checkpoint-format.md.
    private func writeTraining(to root: borrowing HDF5Object) throws {
        guard let training else { return }
        let group = try makeGroup(TrainingRecord.group, in: root)
        try write(TrainingRecord.version, as: "version", to: group)
        try write(training.checksum(with: weights), as: "checksum", to: group)
        let settings = try makeGroup(TrainingRecord.settingsGroup, in: group)
        for setting in training.settings { try write(setting.value, as: setting.name, to: settings) }
        for part in training.parts {
            let group = try makeGroup(part.name, in: group)
            for number in part.numbers { try write(number.value, as: number.name, to: group) }
            for tensor in part.tensors {
                try write(
                    tensor.values.pointer, chdf5_native_float(), of: [tensor.values.count], as: tensor.name,
                    chdf5_float32_little_endian(), to: group)
            }
        }
    }

    /// A dataset of floats.
    private func write(
        _ values: Buffer<Float>, of shape: [Int], as name: String, to group: borrowing HDF5Object
    ) throws {
        try write(
            values.pointer, chdf5_native_float(), of: shape, as: name, chdf5_float32_little_endian(), to: group)
    }

    /// A dataset of bytes.
    private func write(
        _ values: Buffer<UInt8>, of shape: [Int], as name: String, to group: borrowing HDF5Object
    ) throws {
        try write(values.pointer, chdf5_native_uint8(), of: shape, as: name, chdf5_uint8(), to: group)
    }

    private func write(
        _ values: UnsafeRawPointer, _ type: hid_t, of shape: [Int], as name: String, _ stored: hid_t,
        to group: borrowing HDF5Object
    ) throws {
        let creation = try objectCreation(chdf5_dataset_creation())
        let defaults = chdf5_default_properties()
        let all = chdf5_whole_extent()
        let space = try makeSpace(shape)
        let dataset = try object(
            H5Dcreate2(group.id, name, stored, space.id, defaults, creation.id, defaults))
        try check(H5Dwrite(dataset.id, type, all, all, defaults, values))
    }

    private func makeGroup(_ name: String, in parent: borrowing HDF5Object) throws -> HDF5Object {
        let creation = try groupCreation(chdf5_group_creation())
        let defaults = chdf5_default_properties()
        return try object(H5Gcreate2(parent.id, name, defaults, creation.id, defaults))
    }

    /// How objects are made: without time stamps, so that bytes depend on the contents only; and with the order of
    /// attributes recorded, for the sake of HDF5's newer object headers, which have checksums. Everything is kept in
    /// those headers (`most` is HDF5's limit): its heaps, for larger things, have none, and damaged ones crash HDF5.
    private func objectCreation(_ kind: hid_t) throws -> HDF5Object {
        let creation = try object(H5Pcreate(kind))
        try check(H5Pset_obj_track_times(creation.id, false))
        try check(H5Pset_attr_creation_order(creation.id, UInt32(H5P_CRT_ORDER_TRACKED)))
        try check(H5Pset_attr_phase_change(creation.id, most, 0))
        return creation
    }

    /// The same for groups, which also record the order of their members.
    private func groupCreation(_ kind: hid_t) throws -> HDF5Object {
        let creation = try objectCreation(kind)
        try check(H5Pset_link_creation_order(creation.id, UInt32(H5P_CRT_ORDER_TRACKED)))
        try check(H5Pset_link_phase_change(creation.id, most, 0))
        return creation
    }

    private var most: UInt32 { 65535 }

    private func makeSpace(_ shape: [Int]) throws -> HDF5Object {
        try object(H5Screate_simple(Int32(shape.count), shape.map { hsize_t($0) }, nil))
    }

    /// Strings have a fixed length, in UTF-8, filled up with zeros: those of variable length would lie in a heap.
    private func write(_ value: String, as name: String, to parent: borrowing HDF5Object) throws {
        let bytes = Array(value.utf8) + [0]
        let type = try object(H5Tcopy(chdf5_c_string()))
        try check(H5Tset_size(type.id, max(bytes.count - 1, 1)))
        try check(H5Tset_strpad(type.id, H5T_STR_NULLPAD))
        try check(H5Tset_cset(type.id, H5T_CSET_UTF8))
        let attribute = try makeAttribute(name, type.id, try object(H5Screate(H5S_SCALAR)), in: parent)
        try check(H5Awrite(attribute.id, type.id, bytes))
    }

    private func write(_ value: Int, as name: String, to parent: borrowing HDF5Object) throws {
        let scalar = try object(H5Screate(H5S_SCALAR))
        let attribute = try makeAttribute(name, chdf5_int64_little_endian(), scalar, in: parent)
        var number = Int64(value)
        try check(H5Awrite(attribute.id, chdf5_native_int64(), &number))
    }

    private func write(_ value: Double, as name: String, to parent: borrowing HDF5Object) throws {
        let scalar = try object(H5Screate(H5S_SCALAR))
        let attribute = try makeAttribute(name, chdf5_float64_little_endian(), scalar, in: parent)
        var number = value
        try check(H5Awrite(attribute.id, chdf5_native_double(), &number))
    }

    private func write(_ values: [Float], as name: String, to parent: borrowing HDF5Object) throws {
        let space = try makeSpace([values.count])
        let attribute = try makeAttribute(name, chdf5_float32_little_endian(), space, in: parent)
        try check(H5Awrite(attribute.id, chdf5_native_float(), values))
    }

    private func makeAttribute(
        _ name: String, _ type: hid_t, _ space: borrowing HDF5Object, in parent: borrowing HDF5Object
    ) throws -> HDF5Object {
        let defaults = chdf5_default_properties()
        return try object(H5Acreate2(parent.id, name, type, space.id, defaults, defaults))
    }

    // Everything happens in memory, with names and shapes that have been checked: only its lack makes these fail.

    private func object(_ id: hid_t) throws -> HDF5Object { try HDF5Object(id, else: failure()) }

    private func check(_ status: herr_t) throws { try Storage.check(status, else: failure()) }

    private func failure() -> EngineError {
        EngineError(.outOfMemory, "cannot build the checkpoint in memory (\(hdf5Reason()))")
    }
}

/// Throws `notFinite` for the first NaN or infinity.
func requireFinite(_ tensors: [NamedTensor], in source: String) throws {
    for tensor in tensors {
        guard let index = tensor.values.firstIndex(where: { !$0.isFinite }) else { continue }
        throw EngineError(
            .notFinite,
            "\(source): \(quoted(tensor.name)): got \(tensor.values[index]) at element \(index), want finite numbers")
    }
}
