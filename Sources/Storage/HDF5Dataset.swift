import CHDF5
import Runtime

/// What the elements of a dataset are. `other` carries HDF5's kind of type, for messages.
enum ElementType: Equatable, CustomStringConvertible {
    case float(bits: Int)
    case integer(bits: Int, signed: Bool)
    case other(String)

    var description: String {
        switch self {
        case .float(let bits): "float\(bits)"
        case .integer(let bits, let signed): (signed ? "int" : "uint") + "\(bits)"
        case .other(let kind): kind
        }
    }

    init(of type: hid_t) {
        let bits = H5Tget_size(type) * 8
        switch H5Tget_class(type) {
        case H5T_FLOAT:
            let isPlain =
                bits != 32 || H5Tequal(type, chdf5_float32_little_endian()) > 0
                || H5Tequal(type, chdf5_float32_big_endian()) > 0
            if ElementType.isBrainFloat(type) {
                self = .other("bfloat16")
            } else {
                self = isPlain ? .float(bits: bits) : .other("a 32-bit float that is not IEEE 754's")
            }
        case H5T_INTEGER: self = .integer(bits: bits, signed: H5Tget_sign(type) != H5T_SGN_NONE)
        case let kind: self = .other(ElementType.name(of: kind))
        }
    }

    /// Half of a float32: its sign, its exponent, and 7 bits.
    private static func isBrainFloat(_ type: hid_t) -> Bool {
        var (sign, exponent, exponentBits, mantissa, mantissaBits) = (0, 0, 0, 0, 0)
        return H5Tget_size(type) == 2
            && H5Tget_fields(type, &sign, &exponent, &exponentBits, &mantissa, &mantissaBits) >= 0
            && exponentBits == 8 && mantissaBits == 7
    }

    /// What a type that is no number is called in messages.
    static func name(of kind: H5T_class_t) -> String {
        switch kind {
        case H5T_STRING: "strings"
        case H5T_COMPOUND: "compound values"
        case H5T_ENUM: "an enumeration (or booleans)"
        case H5T_VLEN: "variable-length values"
        case H5T_REFERENCE: "references"
        default: "a type without numbers"
        }
    }
}

/// A dataset of an `HDF5File`. One that exists has its data in the file, whole: its shape is no empty claim.
struct HDF5Dataset: ~Copyable {
    let label: String
    let path: String
    let shape: [Int]
    let type: ElementType
    /// Elements.
    let count: Int
    /// Of a chunk, decompressed; 0 where there are none.
    var chunkBytes: Int { chunks?.bytes ?? 0 }
    private let chunks: HDF5Chunks?
    private let object: HDF5Object

    init(_ object: consuming HDF5Object, label: String, in file: borrowing HDF5File) throws {
        let path = file.path
        func bad(_ problem: String) -> EngineError { EngineError(.format, "\(quoted(path)): \(label): \(problem)") }
        func damaged() -> EngineError { bad("is damaged (\(hdf5Reason()))") }

        // The layout comes first: asking a virtual dataset for its shape would open the files that it refers to.
        let creation = try HDF5Object(H5Dget_create_plist(object.id), else: damaged())
        let layout = H5Pget_layout(creation.id)
        guard layout == H5D_COMPACT || layout == H5D_CONTIGUOUS || layout == H5D_CHUNKED,
            layout != H5D_CONTIGUOUS || H5Pget_external_count(creation.id) == 0
        else { throw bad("got data in other files (virtual or external storage), want them in this file") }

        let type = try HDF5Object(H5Dget_type(object.id), else: damaged())
        let space = try HDF5Object(H5Dget_space(object.id), else: damaged())
        let rank = H5Sget_simple_extent_ndims(space.id)
        guard H5Sget_simple_extent_type(space.id) != H5S_NULL, rank >= 0 else { throw bad("is empty, want numbers") }
        var dimensions = [hsize_t](repeating: 0, count: Int(rank))
        try check(H5Sget_simple_extent_dims(space.id, &dimensions, nil), else: damaged())

        let shape = dimensions.map { Int(clamping: $0) }
        guard let count = elementCount(shape), let bytes = elementCount([count, H5Tget_size(type.id)]) else {
            throw bad("shape \(described(shape)) is too large")
        }
        guard count > 0 else { throw bad("shape \(described(shape)) is empty, want numbers") }

        var chunks: HDF5Chunks?
        let isCompressed = H5Pget_nfilters(creation.id) > 0
        try HDF5Dataset.checkFilters(creation, error: bad)
        if layout == H5D_CHUNKED {
            // A chunk is decompressed as a whole; small datasets that may grow have chunks larger than themselves.
            var chunk = [hsize_t](repeating: 0, count: Int(rank))
            // Chunks with fewer dimensions than the dataset send HDF5 into an endless loop.
            guard H5Pget_chunk(creation.id, rank, &chunk) == rank else { throw damaged() }
            guard let size = elementCount(chunk.map { Int(clamping: $0) } + [H5Tget_size(type.id)]),
                size <= max(bytes, 1 << 24)
            else { throw bad("chunks of shape \(described(chunk.map { Int(clamping: $0) })) are too large") }
            chunks = HDF5Chunks(creation, shape: chunk.map { Int(clamping: $0) }, bytes: size)
        }
        // Deflate makes data at most 1032 times smaller. What claims more was never written, or is made up.
        let stored = Int(clamping: H5Dget_storage_size(object.id))
        guard stored <= file.size, stored >= bytes / (isCompressed ? 1100 : 1) else {
            let there = min(stored, file.size)
            throw bad("shape \(described(shape)) needs \(bytes) bytes, but the file has \(there) of them")
        }
        self.label = label
        self.path = path
        self.shape = shape
        self.type = ElementType(of: type.id)
        self.count = count
        self.chunks = chunks
        self.object = object
    }

    /// Reads all elements as floats (from float32) into `values`, room for `count`.
    func readFloats(into values: UnsafeMutablePointer<Float>) throws { try read(chdf5_native_float(), values) }

    /// Reads all elements as bytes (from uint8) into `values`, room for `count`.
    func readBytes(into values: UnsafeMutablePointer<UInt8>) throws { try read(chdf5_native_uint8(), values) }

    /// Reads all elements (integers of any kind; what does not fit becomes the nearest that does) into `values`.
    func readIntegers(into values: UnsafeMutablePointer<Int64>) throws { try read(chdf5_native_int64(), values) }

    /// Reads `rows` of the first dimension as floats (from float32).
    func readFloats(rows: Range<Int>, into values: UnsafeMutablePointer<Float>) throws {
        try read(rows, chdf5_native_float(), values)
    }

    /// Reads `rows` of the first dimension as bytes (from uint8).
    func readBytes(rows: Range<Int>, into values: UnsafeMutablePointer<UInt8>) throws {
        try read(rows, chdf5_native_uint8(), values)
    }

    private func read(_ rows: Range<Int>, _ type: hid_t, _ values: UnsafeMutableRawPointer) throws {
        func unreadable() -> EngineError {
            EngineError(
                .format,
                "\(quoted(path)): \(label): rows \(rows.lowerBound) ... \(rows.upperBound - 1) cannot be read "
                    + "(\(hdf5Reason()))")
        }
        try checkChunks(rows)
        var start = shape.map { _ in hsize_t(0) }
        var counts = shape.map { hsize_t($0) }
        (start[0], counts[0]) = (hsize_t(rows.lowerBound), hsize_t(rows.count))
        let there = try HDF5Object(H5Dget_space(object.id), else: unreadable())
        try check(H5Sselect_hyperslab(there.id, H5S_SELECT_SET, start, nil, counts, nil), else: unreadable())
        let here = try HDF5Object(H5Screate_simple(Int32(counts.count), counts, nil), else: unreadable())
        try check(
            H5Dread(object.id, type, here.id, there.id, chdf5_default_properties(), values), else: unreadable())
    }

    /// Refuses data whose chunks are not as large as they say: `HDF5Chunks` says why.
    func checkChunks(_ rows: Range<Int>) throws {
        try chunks?.check(object.id, of: shape, rows: rows) {
            EngineError(.format, "\(quoted(path)): \(label): is damaged: \($0)")
        }
    }

    private func read(_ type: hid_t, _ values: UnsafeMutableRawPointer) throws {
        if let rows = shape.first { try checkChunks(0..<rows) }
        let all = chdf5_whole_extent()
        try check(
            H5Dread(object.id, type, all, all, chdf5_default_properties(), values),
            else: EngineError(.format, "\(quoted(path)): \(label): cannot be read (\(hdf5Reason()))"))
    }

    /// Only filters whose output cannot outgrow what the file claims by much, each once: gzip twice would make a gigabyte
    /// out of a kilobyte, the others take sizes from the file without a look. Nor is a plug-in loaded for a file.
    private static func checkFilters(_ creation: borrowing HDF5Object, error: (String) -> EngineError) throws {
        var allowed = [H5Z_FILTER_DEFLATE, H5Z_FILTER_SHUFFLE, H5Z_FILTER_FLETCHER32]
        for index in 0..<UInt32(max(H5Pget_nfilters(creation.id), 0)) {
            var flags: UInt32 = 0
            var values = 0
            var name = [CChar](repeating: 0, count: 64)
            let filter = H5Pget_filter2(creation.id, index, &flags, &values, nil, name.count, &name, nil)
            guard let place = allowed.firstIndex(of: filter) else {
                name[name.count - 1] = 0
                let title = quoted(String(cString: name))
                throw error(
                    "is stored through the filter \(title) (number \(filter)), want gzip, shuffle and fletcher32, each at "
                        + "most once; write it again without compression or with gzip")
            }
            allowed.remove(at: place)
        }
    }
}
