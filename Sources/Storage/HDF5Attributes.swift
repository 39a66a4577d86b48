import CHDF5
import Runtime

/// Attributes of a group of an `HDF5File`, written by us or by anybody: strings of a fixed length, integers and floats
/// of any size.
extension HDF5File {
    func hasAttribute(_ name: String, of object: borrowing HDF5Object) -> Bool {
        H5Aexists(object.id, name) > 0
    }

    /// The names of all attributes of `object`, sorted.
    func attributeNames(of object: borrowing HDF5Object) throws -> [String] {
        var names: [String] = []
        let status = withUnsafeMutablePointer(to: &names) { pointer in
            H5Aiterate2(
                object.id, H5_INDEX_NAME, H5_ITER_INC, nil,
                { _, name, _, context in
                    guard let name, let context else { return -1 }
                    context.assumingMemoryBound(to: [String].self).pointee.append(String(cString: name))
                    return 0
                }, pointer)
        }
        try check(status, else: formatError("attributes", "cannot be listed (\(hdf5Reason()))"))
        return names
    }

    func string(_ name: String, of object: borrowing HDF5Object) throws -> String {
        let attribute = try openAttribute(name, of: object, kind: H5T_STRING, count: 1, want: "a string")
        let type = try HDF5Object(H5Aget_type(attribute.id), else: unreadable(name))
        // HDF5 follows the addresses of these without looking: a damaged file would crash the process.
        guard H5Tis_variable_str(type.id) == 0 else {
            throw formatError(
                "attribute \(name)", "got a string of variable length, want a fixed length (h5py: numpy.bytes_(...))")
        }
        let size = H5Tget_size(type.id)
        guard size <= 1 << 16 else {
            throw formatError("attribute \(name)", "got a string of \(size) bytes, want at most \(1 << 16)")
        }
        var bytes = [UInt8](repeating: 0, count: size)
        try check(H5Aread(attribute.id, type.id, &bytes), else: unreadable(name))
        let end = bytes.firstIndex(of: 0) ?? bytes.count
        return String(decoding: bytes[..<end], as: UTF8.self)
    }

    func integer(_ name: String, of object: borrowing HDF5Object, in range: ClosedRange<Int>) throws -> Int {
        let attribute = try openAttribute(name, of: object, kind: H5T_INTEGER, count: 1, want: "an integer")
        var value: Int64 = 0
        try check(H5Aread(attribute.id, chdf5_native_int64(), &value), else: unreadable(name))
        guard range.contains(Int(value)) else {
            throw formatError("attribute \(name)", "got \(value), want \(range.lowerBound) ... \(range.upperBound)")
        }
        return Int(value)
    }

    func double(_ name: String, of object: borrowing HDF5Object) throws -> Double {
        let attribute = try openAttribute(name, of: object, kind: H5T_FLOAT, count: 1, want: "a float64")
        var value = 0.0
        try check(H5Aread(attribute.id, chdf5_native_double(), &value), else: unreadable(name))
        return value
    }

    func floats(_ name: String, of object: borrowing HDF5Object, count: Int) throws -> [Float] {
        let want = "\(count) floats, one per channel"
        let attribute = try openAttribute(name, of: object, kind: H5T_FLOAT, count: count, want: want)
        var values = [Float](repeating: 0, count: count)
        try check(H5Aread(attribute.id, chdf5_native_float(), &values), else: unreadable(name))
        return values
    }

    private func openAttribute(
        _ name: String, of object: borrowing HDF5Object, kind: H5T_class_t, count: Int, want: String
    ) throws -> HDF5Object {
        guard hasAttribute(name, of: object) else {
            throw formatError("attribute \(name)", "is missing, want \(want)")
        }
        let attribute = try HDF5Object(
            H5Aopen(object.id, name, chdf5_default_properties()), else: unreadable(name))
        let type = try HDF5Object(H5Aget_type(attribute.id), else: unreadable(name))
        let space = try HDF5Object(H5Aget_space(attribute.id), else: unreadable(name))
        let points = H5Sget_simple_extent_npoints(space.id)
        guard H5Tget_class(type.id) == kind, points == count else {
            throw formatError("attribute \(name)", "got \(points) of type \(ElementType(of: type.id)), want \(want)")
        }
        return attribute
    }

    private func unreadable(_ name: String) -> EngineError {
        formatError("attribute \(name)", "cannot be read (\(hdf5Reason()))")
    }
}
