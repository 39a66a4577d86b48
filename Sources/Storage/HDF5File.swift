import CHDF5
import Runtime

/// An HDF5 file that is open for reading. It may come from anywhere, so nothing in it is taken for granted: only hard
/// links are followed (soft and external ones could lead out of the file), and a dataset is checked before its data are
/// touched. All of it, opening and closing included, happens inside `withHDF5`.
struct HDF5File: ~Copyable {
    let path: String
    /// Bytes in the file.
    var size: Int { input.size }
    /// Whether nobody has written to it since it was opened.
    var isUnchanged: Bool { input.isUnchanged }
    /// Of decompressed chunks, which may be as large as this to be kept: of a larger one every row costs the whole.
    static let cacheBytes = 32 << 20
    let root: HDF5Object
    /// Of addresses and lengths in the file.
    let addressBytes: Int
    let lengthBytes: Int

    private let input: InputFile
    /// Bytes before what HDF5 calls address 0.
    private let base: Int

    /// Throws `notFound`, `io`, or `format` for a file that HDF5 does not take for one of its own; `want` is what its message
    /// asks for.
    init(_ path: String, want: String = "HDF5") throws {
        let input = try InputFile(path)
        if input.isBeingWritten {
            throw EngineError(.io, "cannot read \(quoted(path)): it is open for writing; close it first")
        }
        guard H5Fis_hdf5(path) > 0 else {
            throw EngineError(.format, "\(quoted(path)): got \(input.size) bytes that are no HDF5 file, want \(want)")
        }
        func damaged() -> EngineError {
            EngineError(.format, "\(quoted(path)): damaged or truncated HDF5 file (\(hdf5Reason()))")
        }
        let access = try HDF5Object(H5Pcreate(chdf5_file_access()), else: damaged())
        // Locks where the file system has them; their absence is no reason to fail.
        try check(H5Pset_file_locking(access.id, true, true), else: damaged())
        // The number of slots is a prime, as HDF5 asks for.
        try check(H5Pset_cache(access.id, 0, 12_421, HDF5File.cacheBytes, 0.75), else: damaged())
        let file = try HDF5Object(H5Fopen(path, chdf5_read_only(), access.id), else: damaged())
        let creation = try HDF5Object(H5Fget_create_plist(file.id), else: damaged())
        var (addressBytes, lengthBytes, base) = (0, 0, hsize_t(0))
        try check(H5Pget_sizes(creation.id, &addressBytes, &lengthBytes), else: damaged())
        try check(H5Pget_userblock(creation.id, &base), else: damaged())
        // An open group keeps its file open.
        let root = try HDF5Object(H5Gopen2(file.id, "/", chdf5_default_properties()), else: damaged())
        self.path = path
        self.root = root
        self.addressBytes = addressBytes
        self.lengthBytes = lengthBytes
        self.input = input
        self.base = Int(clamping: base)
    }

    /// The bytes at an address of the file; nil where they are not all there.
    func bytes(at address: Int, count: Int) throws -> ByteReader? {
        guard base <= size, (0...size - base).contains(address), (0...size - base - address).contains(count) else {
            return nil
        }
        return ByteReader(try input.read(count, at: base + address))
    }

    /// A `format` error about `item` of this file: `"w.h5": weights/conv1.weight: got ..., want ...`
    func formatError(_ item: String, _ problem: String) -> EngineError {
        EngineError(.format, "\(quoted(path)): \(item): \(problem)")
    }

    /// Whether `group` has a link of that name.
    func has(_ name: String, in group: borrowing HDF5Object) -> Bool {
        H5Lexists(group.id, name, chdf5_default_properties()) > 0
    }

    /// The names of all links of `group`, in the order of their creation where the file has recorded it, else by name.
    func names(in group: borrowing HDF5Object, label: String) throws -> [String] {
        let properties = try HDF5Object(
            H5Gget_create_plist(group.id), else: formatError(label, "cannot be listed (\(hdf5Reason()))"))
        var order: UInt32 = 0
        let isOrdered = H5Pget_link_creation_order(properties.id, &order) >= 0 && order != 0
        var names: [String] = []
        let status = withUnsafeMutablePointer(to: &names) { pointer in
            let index = isOrdered ? H5_INDEX_CRT_ORDER : H5_INDEX_NAME
            return H5Literate(
                group.id, index, H5_ITER_INC, nil,
                { _, name, _, context in
                    guard let name, let context else { return -1 }
                    context.assumingMemoryBound(to: [String].self).pointee.append(String(cString: name))
                    return 0
                }, pointer)
        }
        try check(status, else: formatError(label, "cannot be listed (\(hdf5Reason()))"))
        return names
    }

    /// The group `name` of `parent`; `label` is what messages call it.
    func openGroup(_ name: String, in parent: borrowing HDF5Object, label: String) throws -> HDF5Object {
        guard try find(name, in: parent, label: label).type == H5O_TYPE_GROUP else {
            throw formatError(label, "got something else, want a group")
        }
        return try open(name, in: parent, label: label)
    }

    /// The dataset `name` of `parent`; `label` is what messages call it.
    func openDataset(_ name: String, in parent: borrowing HDF5Object, label: String) throws -> HDF5Dataset {
        let found = try find(name, in: parent, label: label)
        switch found.type {
        case H5O_TYPE_DATASET:
            try checkDescription(found.header, label: label)
            return try HDF5Dataset(try open(name, in: parent, label: label), label: label, in: self)
        case H5O_TYPE_GROUP: throw formatError(label, "got a group, want a dataset")
        default: throw formatError(label, "got a named type, want a dataset")
        }
    }

    /// What is known of an object before it is opened. It has to be in this file.
    private func find(
        _ name: String, in parent: borrowing HDF5Object, label: String
    ) throws -> (type: H5O_type_t, header: [HeaderMessage]) {
        var link = H5L_info_t()
        try check(H5Lget_info(parent.id, name, &link, chdf5_default_properties()), else: unreadable(label))
        guard link.type == H5L_TYPE_HARD else {
            let got = link.type == H5L_TYPE_SOFT ? "a soft link" : "an external link"
            throw formatError(label, "got \(got), want the data itself: links are not followed")
        }
        let header = try header(at: link.u.address, label: label)
        var info = H5O_info_t()
        try check(
            H5Oget_info_by_name2(parent.id, name, &info, UInt32(H5O_INFO_BASIC), chdf5_default_properties()),
            else: unreadable(label))
        return (info.type, header)
    }

    private func open(_ name: String, in parent: borrowing HDF5Object, label: String) throws -> HDF5Object {
        try HDF5Object(H5Oopen(parent.id, name, chdf5_default_properties()), else: unreadable(label))
    }

    private func unreadable(_ label: String) -> EngineError {
        formatError(label, "cannot be opened (\(hdf5Reason()))")
    }
}
