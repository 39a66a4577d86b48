import CHDF5
import Glibc
import Kernels
import Networks
import Runtime
import Storage
import Testing

/// A directory that is removed with everything in it.
final class TemporaryDirectory {
    let path: String

    init() {
        let parent = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
        var template = Array((parent + "/igdm-tests-XXXXXX").utf8CString)
        path = mkdtemp(&template).map { String(cString: $0) } ?? parent
    }

    deinit {
        for name in names { unlink(self / name) }
        rmdir(path)
    }

    static func / (directory: TemporaryDirectory, name: String) -> String { directory.path + "/" + name }

    /// Everything that is there, hidden files included.
    var names: [String] {
        guard let stream = opendir(path) else { return [] }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != "." && name != ".." { names.append(name) }
        }
        return names.sorted()
    }
}

func writeBytes(_ bytes: [UInt8], to path: String) {
    let file = fopen(path, "wb")
    #expect(file != nil && fwrite(bytes, 1, bytes.count, file) == bytes.count)
    fclose(file)
}

func readBytes(_ path: String) -> [UInt8] {
    guard let file = fopen(path, "rb") else { return [] }
    defer { fclose(file) }
    fseek(file, 0, SEEK_END)
    var bytes = [UInt8](repeating: 0, count: ftell(file))
    rewind(file)
    #expect(fread(&bytes, 1, bytes.count, file) == bytes.count)
    return bytes
}

/// Expects an `EngineError` of this code whose message contains all of `parts`.
func expectError(
    _ code: ErrorCode, _ parts: [String], location: SourceLocation = #_sourceLocation, _ body: () throws -> Void
) {
    do {
        try body()
        Issue.record("no error, want \(code) with \(parts)", sourceLocation: location)
    } catch let error as EngineError {
        #expect(error.code == code, "\(error.message)", sourceLocation: location)
        for part in parts {
            #expect(error.message.contains(part), "want \"\(part)\" in: \(error.message)", sourceLocation: location)
        }
    } catch {
        Issue.record(error, sourceLocation: location)
    }
}

/// Some numbers in a buffer.
func buffer(_ values: [Float]) -> Buffer<Float> {
    guard let buffer = try? Buffer(copying: values) else { fatalError("no memory for \(values.count) floats") }
    return buffer
}

extension NamedTensor {
    init(name: String, shape: [Int], values: [Float]) {
        self.init(name: name, shape: shape, values: buffer(values))
    }
}

/// Writes HDF5 files as others may: any type, any layout, any link.
final class RawFile {
    let id: hid_t

    init(_ path: String) {
        id = H5Fcreate(path, chdf5_truncate(), 0, 0)
        #expect(id >= 0)
    }

    /// Opens an existing file for changes.
    init(changing path: String) {
        id = H5Fopen(path, 1, 0)
        #expect(id >= 0)
    }

    /// Tests run side by side and HDF5 is not made for it: a file may outlive the block that opened it.
    deinit { withHDF5 { #expect(H5Fclose(id) >= 0) } }

    func group(_ name: String) { #expect(H5Gclose(H5Gcreate2(id, name, 0, 0, 0)) >= 0) }

    func remove(_ name: String) { #expect(H5Ldelete(id, name, 0) >= 0) }

    /// A dataset of elements of type `type` from floats; without values it is never written.
    func dataset(
        _ name: String, _ shape: [Int], _ values: [Float]?, type: hid_t = chdf5_float32_little_endian(),
        creation: hid_t = 0
    ) {
        let space = H5Screate_simple(Int32(shape.count), shape.map { hsize_t($0) }, nil)
        let dataset = H5Dcreate2(id, name, type, space, 0, creation, 0)
        #expect(dataset >= 0)
        if let values { #expect(H5Dwrite(dataset, chdf5_native_float(), 0, 0, 0, values) >= 0) }
        H5Dclose(dataset)
        H5Sclose(space)
    }

    func replace(
        _ name: String, _ shape: [Int], _ values: [Float]?, type: hid_t = chdf5_float32_little_endian()
    ) {
        remove(name)
        dataset(name, shape, values, type: type)
    }

    func setAttribute(_ name: String, _ value: String) {
        let type = H5Tcopy(chdf5_c_string())
        H5Tset_size(type, max(value.utf8.count, 1))
        setAttribute(name, type, shape: [], Array(value.utf8) + [0])
        H5Tclose(type)
    }

    /// As h5py writes a `str`.
    func setVariableAttribute(_ name: String, _ value: String) {
        let type = H5Tcopy(chdf5_c_string())
        H5Tset_size(type, chdf5_variable_length())
        value.withCString { setAttribute(name, type, shape: [], [$0]) }
        H5Tclose(type)
    }

    func setAttribute(_ name: String, _ value: Int64) { setAttribute(name, chdf5_native_int64(), shape: [], [value]) }

    func setAttribute(_ name: String, _ values: [Double]) {
        setAttribute(name, chdf5_native_double(), shape: [values.count], values)
    }

    private func setAttribute<Element: BitwiseCopyable>(
        _ name: String, _ type: hid_t, shape: [Int], _ values: [Element]
    ) {
        if H5Aexists(id, name) > 0 { H5Adelete(id, name) }
        let space = shape.isEmpty ? H5Screate(H5S_SCALAR) : H5Screate_simple(1, shape.map { hsize_t($0) }, nil)
        let attribute = H5Acreate2(id, name, type, space, 0, 0)
        #expect(attribute >= 0 && H5Awrite(attribute, type, values) >= 0)
        H5Aclose(attribute)
        H5Sclose(space)
    }

    func removeAttribute(_ name: String) { #expect(H5Adelete(id, name) >= 0) }
}

/// Elements of two bytes, which C has no name for.
func makeFloat16() -> hid_t {
    let type = H5Tcopy(chdf5_float32_little_endian())
    H5Tset_fields(type, 15, 10, 5, 0, 10)
    H5Tset_size(type, 2)
    H5Tset_ebias(type, 15)
    return type
}

func metadata(_ texts: [String: String]) -> Metadata {
    var metadata = Metadata()
    for (key, value) in texts { #expect(throws: Never.self) { try metadata.set(key, to: value) } }
    return metadata
}

/// A float32 without its lower half.
func makeBFloat16() -> hid_t {
    let type = H5Tcopy(chdf5_float32_little_endian())
    H5Tset_fields(type, 15, 7, 8, 0, 7)
    H5Tset_size(type, 2)
    return type
}

/// A small network with weights that are all different.
func makeNetwork(seed: UInt64 = 1) throws -> Network {
    var options = NetworkOptions()
    options.classes = 3
    options.shape = ImageShape(2, 6, 5)
    options.baseWidth = 4
    options.mean = [0.25, 0.5]
    options.std = [0.5, 2]
    return try Network(architecture: "small_cnn", options: options, seed: seed)
}

func values(of network: Network) -> [Float] {
    Array(UnsafeBufferPointer(start: network.weights.pointer, count: network.weights.count))
        + Array(UnsafeBufferPointer(start: network.statistics.pointer, count: network.statistics.count))
}
