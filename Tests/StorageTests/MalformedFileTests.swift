import CHDF5
import Glibc
import Networks
import Runtime
import Storage
import Testing

/// Files as they should not be: each is refused with an error that names what is wrong, and harms nothing.
@Suite struct MalformedFileTests {
    private let directory = TemporaryDirectory()

    /// A change to a good checkpoint of `makeNetwork`, and what `Network.load` says then.
    struct Case: CustomTestStringConvertible, Sendable {
        let testDescription: String
        let code: ErrorCode
        let parts: [String]
        let change: @Sendable (RawFile) -> Void

        init(
            _ title: String, code: ErrorCode = .format, _ parts: [String],
            _ change: @escaping @Sendable (RawFile) -> Void
        ) {
            testDescription = title
            self.code = code
            self.parts = parts
            self.change = change
        }
    }

    private static func replaceBias(_ file: RawFile, _ type: hid_t) {
        file.remove("weights/fc.bias")
        file.dataset("weights/fc.bias", [3], [1, 2, 3], type: type)
    }

    /// Replaces fc.bias by a dataset whose creation properties `configure` sets.
    private static func replaceBias(_ file: RawFile, shape: [Int] = [3], _ configure: (hid_t) -> Void) {
        file.remove("weights/fc.bias")
        let creation = H5Pcreate(chdf5_dataset_creation())
        configure(creation)
        file.dataset("weights/fc.bias", shape, nil, creation: creation)
        H5Pclose(creation)
    }

    static let cases: [Case] = [
        Case("no format", ["attribute format", "load_weights"]) { $0.removeAttribute("format") },
        Case("foreign format", ["attribute format", "\"keras\"", "\"igdm\""]) { $0.setAttribute("format", "keras") },
        Case("format is a number", ["attribute format", "int64", "string"]) { $0.setAttribute("format", 1) },
        Case("format of variable length", ["attribute format", "variable length", "numpy.bytes_"]) {
            $0.setVariableAttribute("format", "igdm")
        },
        Case("newer version", ["format_version", "got 3", "at most 2", "update"]) {
            $0.setAttribute("format_version", 3)
        },
        Case("version 2 without a graph", ["graph: is missing", "dataset"]) { $0.setAttribute("format_version", 2) },
        Case("version 0", ["format_version", "got 0"]) { $0.setAttribute("format_version", 0) },
        Case("version is text", ["format_version", "strings", "integer"]) { $0.setAttribute("format_version", "one") },
        Case("no version", ["format_version", "missing"]) { $0.removeAttribute("format_version") },
        Case("no architecture", ["attribute architecture", "missing"]) { $0.removeAttribute("architecture") },
        Case("unknown architecture", ["architecture", "vgg16", "resnet8"]) { $0.setAttribute("architecture", "vgg16") },
        Case("no classes", ["attribute classes", "missing"]) { $0.removeAttribute("classes") },
        Case("one class", ["classes", "got 1"]) { $0.setAttribute("classes", 1) },
        Case("negative classes", ["attribute classes", "got -3"]) { $0.setAttribute("classes", -3) },
        Case("huge classes", ["attribute classes", "9223372036854775807"]) { $0.setAttribute("classes", Int64.max) },
        Case("fractional classes", ["attribute classes", "float64"]) { $0.setAttribute("classes", [3]) },
        Case("no channels", ["attribute channels", "missing"]) { $0.removeAttribute("channels") },
        Case("no height", ["attribute height", "missing"]) { $0.removeAttribute("height") },
        Case("width 0", ["attribute width", "got 0"]) { $0.setAttribute("width", 0) },
        Case("huge base width", ["base_width", "got 1000000"]) { $0.setAttribute("base_width", 1_000_000) },
        Case("another base width", ["got shape", "want"]) { $0.setAttribute("base_width", 5) },
        Case("mean without std", ["attribute std", "missing"]) { $0.removeAttribute("std") },
        Case("three means for two channels", ["attribute mean", "got 3", "2 floats"]) {
            $0.setAttribute("mean", [0, 0, 0])
        },
        Case("std 0", ["std[1]", "got 0"]) { $0.setAttribute("std", [1, 0]) },
        Case("extreme std", ["std[0]", "1e-07", "1e-6"]) { $0.setAttribute("std", [1e-7, 1]) },
        Case("mean not finite", ["mean[0]", "nan"]) { $0.setAttribute("mean", [.nan, 0]) },
        Case("extreme mean", ["mean[1]", "10000000", "1e6"]) { $0.setAttribute("mean", [0, 1e7]) },

        Case("no weights", ["weights", "missing"]) { $0.remove("weights") },
        Case("weights is a dataset", ["weights", "want a group"]) {
            $0.remove("weights")
            $0.dataset("weights", [1], [1])
        },
        Case("weights is a soft link", ["weights", "soft link"]) {
            H5Lmove($0.id, "weights", $0.id, "elsewhere", 0, 0)
            H5Lcreate_soft("/elsewhere", $0.id, "weights", 0, 0)
        },
        Case("weights is an external link", ["weights", "external link"]) {
            $0.remove("weights")
            H5Lcreate_external("other.h5", "/weights", $0.id, "weights", 0, 0)
        },
        Case("weights is the root", ["22 missing", "1 unexpected", "\"weights\""]) {
            $0.remove("weights")
            H5Lcreate_hard($0.id, "/", $0.id, "weights", 0, 0)
        },
        Case("weights goes round in a circle", ["1 unexpected", "\"circle\""]) {
            H5Lcreate_hard($0.id, "/weights", $0.id, "weights/circle", 0, 0)
        },
        Case("a circle in place of an array", ["fc.bias", "group", "dataset"]) {
            $0.remove("weights/fc.bias")
            H5Lcreate_hard($0.id, "/", $0.id, "weights/fc.bias", 0, 0)
        },
        Case("another case of a name", ["1 missing", "1 unexpected", "\"FC.bias\""]) {
            H5Lmove($0.id, "weights/fc.bias", $0.id, "weights/FC.bias", 0, 0)
        },
        Case("a missing array", ["1 missing", "\"fc.bias\""]) { $0.remove("weights/fc.bias") },
        Case("an unexpected array", ["1 unexpected", "\"extra\""]) { $0.dataset("weights/extra", [1], [1]) },
        Case("a subgroup", ["1 unexpected", "\"layer1\""]) { $0.group("weights/layer1") },
        Case("a group in place of an array", ["fc.bias", "group", "dataset"]) {
            $0.remove("weights/fc.bias")
            $0.group("weights/fc.bias")
        },
        Case("a type in place of an array", ["fc.bias", "named type"]) {
            $0.remove("weights/fc.bias")
            let type = H5Tcopy(chdf5_native_float())
            H5Tcommit2($0.id, "weights/fc.bias", type, 0, 0, 0)
            H5Tclose(type)
        },
        Case("a soft link", ["fc.bias", "soft link"]) {
            $0.remove("weights/fc.bias")
            H5Lcreate_soft("/weights/fc.weight", $0.id, "weights/fc.bias", 0, 0)
        },
        Case("an external link", ["fc.bias", "external link"]) {
            $0.remove("weights/fc.bias")
            H5Lcreate_external("other.h5", "/x", $0.id, "weights/fc.bias", 0, 0)
        },
        Case("float64", ["fc.bias", "float64", "float32"]) { replaceBias($0, chdf5_native_double()) },
        Case("float16", ["fc.bias", "float16", "float32"]) {
            let type = makeFloat16()
            replaceBias($0, type)
            H5Tclose(type)
        },
        Case("bfloat16", ["fc.bias", "bfloat16", "float32"]) {
            let type = makeBFloat16()
            replaceBias($0, type)
            H5Tclose(type)
        },
        Case("int8", ["fc.bias", "int8", "float32"]) { replaceBias($0, chdf5_native_int8()) },
        Case("strings", ["fc.bias", "strings"]) { file in
            file.remove("weights/fc.bias")
            file.dataset("weights/fc.bias", [3], nil, type: chdf5_c_string())
        },
        Case("int64", ["fc.bias", "int64", "float32"]) { replaceBias($0, chdf5_native_int64()) },
        Case("uint8", ["fc.bias", "uint8", "float32"]) { replaceBias($0, chdf5_native_uint8()) },
        Case("32 bits that are no IEEE float", ["fc.bias", "IEEE"]) {
            let type = H5Tcopy(chdf5_float32_little_endian())
            H5Tset_ebias(type, 100)
            replaceBias($0, type)
            H5Tclose(type)
        },
        Case("wrong length", ["fc.bias", "got shape (4)", "want (3)"]) {
            $0.remove("weights/fc.bias")
            $0.dataset("weights/fc.bias", [4], [1, 2, 3, 4])
        },
        Case("wrong rank", ["fc.bias", "got shape (3, 1)", "want (3)"]) {
            $0.remove("weights/fc.bias")
            $0.dataset("weights/fc.bias", [3, 1], [1, 2, 3])
        },
        Case("no elements", ["fc.bias", "(0)", "empty"]) {
            $0.remove("weights/fc.bias")
            $0.dataset("weights/fc.bias", [0], [])
        },
        Case("a huge claim", ["fc.bias", "4000000000000 bytes"]) { file in
            replaceBias(file, shape: [1_000_000, 1_000_000]) { _ in }
        },
        Case("a claim beyond 64 bits", ["fc.bias", "too large"]) { file in
            replaceBias(file, shape: [1 << 31, 1 << 31, 1]) { creation in
                var chunk: [hsize_t] = [1, 1, 1]
                H5Pset_chunk(creation, 3, &chunk)
            }
        },
        Case("huge chunks", ["fc.bias", "chunks", "too large"]) { file in
            file.remove("weights/fc.bias")
            let creation = H5Pcreate(chdf5_dataset_creation())
            var chunk: [hsize_t] = [1 << 29]
            H5Pset_chunk(creation, 1, &chunk)
            var size: [hsize_t] = [3]
            var limit: [hsize_t] = [1 << 40]
            let space = H5Screate_simple(1, &size, &limit)
            H5Dclose(H5Dcreate2(file.id, "weights/fc.bias", chdf5_native_float(), space, 0, creation, 0))
            H5Sclose(space)
            H5Pclose(creation)
        },
        Case("never written", ["fc.bias", "needs 12 bytes", "has 0"]) { file in replaceBias(file) { _ in } },
        Case("external storage", ["fc.bias", "external storage"]) { file in
            replaceBias(file) { _ = H5Pset_external($0, "raw.bin", 0, 12) }
        },
        Case("virtual", ["fc.bias", "virtual"]) { file in
            replaceBias(file) { creation in
                var size: [hsize_t] = [3]
                let space = H5Screate_simple(1, &size, nil)
                H5Pset_virtual(creation, space, "other.h5", "/x", space)
                H5Sclose(space)
            }
        },
        Case("an unknown filter", ["fc.bias", "filter", "number 31999", "gzip"]) { file in
            replaceBias(file) { creation in
                var chunk: [hsize_t] = [3]
                H5Pset_chunk(creation, 1, &chunk)
                H5Pset_filter(creation, 31999, UInt32(H5Z_FLAG_OPTIONAL), 0, nil)
            }
        },
        Case("gzip twice", ["fc.bias", "filter", "deflate", "at most once"]) { file in
            replaceBias(file, shape: [3]) { creation in
                var chunk: [hsize_t] = [3]
                H5Pset_chunk(creation, 1, &chunk)
                H5Pset_deflate(creation, 9)
                H5Pset_filter(creation, H5Z_FILTER_DEFLATE, 0, 1, [9])
            }
        },
        Case("n-bit", ["fc.bias", "filter", "number 5"]) { file in
            replaceBias(file) { creation in
                var chunk: [hsize_t] = [3]
                H5Pset_chunk(creation, 1, &chunk)
                H5Pset_nbit(creation)
            }
        },
        Case("scale and offset", ["fc.bias", "filter", "number 6"]) { file in
            replaceBias(file) { creation in
                var chunk: [hsize_t] = [3]
                H5Pset_chunk(creation, 1, &chunk)
                H5Pset_scaleoffset(creation, H5Z_SO_FLOAT_DSCALE, 2)
            }
        },
        Case("NaN", code: .notFinite, ["fc.bias", "nan", "element 1"]) {
            $0.remove("weights/fc.bias")
            $0.dataset("weights/fc.bias", [3], [0, .nan, 0])
        },
        Case("infinity", code: .notFinite, ["fc.bias", "inf", "element 2"]) {
            $0.remove("weights/fc.bias")
            $0.dataset("weights/fc.bias", [3], [0, 0, -.infinity])
        },
        Case("a negative variance", ["bn1.running_var", "-0.5"]) {
            $0.remove("weights/bn1.running_var")
            $0.dataset("weights/bn1.running_var", [4], [1, 1, -0.5, 1])
        },
    ]

    @Test(arguments: cases) func isRefused(_ malformed: Case) throws {
        let path = directory / "m.h5"
        try makeNetwork().save(to: path)
        withHDF5 { malformed.change(RawFile(changing: path)) }
        expectError(malformed.code, ["m.h5"] + malformed.parts) { _ = try Network.load(path) }

        // Whatever it was, the process goes on.
        let good = directory / "good.h5"
        try makeNetwork().save(to: good)
        _ = try Network.load(good)
    }

    @Test func weightsOnlyReadingIsAsStrict() throws {
        let path = directory / "m.h5"
        let network = try makeNetwork()
        try network.save(to: path)
        withHDF5 { RawFile(changing: path).remove("weights/fc.bias") }
        let before = values(of: network)
        expectError(.format, ["m.h5", "1 missing", "fc.bias"]) { try network.loadWeights(path) }
        withHDF5 { RawFile(changing: path).dataset("weights/fc.bias", [3], [.nan, 0, 0]) }
        expectError(.notFinite, ["m.h5", "fc.bias"]) { try network.loadWeights(path) }
        #expect(values(of: network) == before)
    }

    @Test func otherThingsThanCheckpoints() throws {
        expectError(.notFound, ["nothing.h5", "No such file"]) { _ = try Network.load(directory / "nothing.h5") }
        expectError(.notFound, ["\"\""]) { _ = try Network.load("") }
        expectError(.io, ["not a regular file"]) { _ = try Network.load(directory.path) }
        #expect(mkfifo(directory / "pipe", 0o600) == 0)
        expectError(.io, ["pipe", "not a regular file"]) { _ = try Network.load(directory / "pipe") }
        writeBytes([], to: directory / "empty.h5")
        expectError(.format, ["empty.h5", "0 bytes", "HDF5"]) { _ = try Network.load(directory / "empty.h5") }
        writeBytes(Array("PK\u{3}\u{4} a PyTorch file".utf8), to: directory / "t.pt")
        expectError(.format, ["t.pt", "no HDF5 file"]) { _ = try Network.load(directory / "t.pt") }
        // A name with line breaks stays on one line.
        expectError(.notFound, ["a?b"]) { _ = try Network.load(directory / "a\nb") }
    }

    @Test func truncatedFiles() throws {
        let path = directory / "t.h5"
        try makeNetwork().save(to: path)
        let whole = readBytes(path)
        for sixteenth in 0..<16 {
            writeBytes(Array(whole.prefix(whole.count * sixteenth / 16)), to: path)
            expectError(.format, ["t.h5"]) { _ = try Network.load(path) }
        }
        writeBytes(Array(whole.dropLast()), to: path)
        expectError(.format, ["t.h5", "truncated"]) { _ = try Network.load(path) }
    }

    /// Damage may hit a weight, which nobody can tell from another number; it may never do worse than an error. In a
    /// process of its own: were HDF5 to crash, only this test should fail; and at exit HDF5 1.10 complains on stderr
    /// about what it forgot to free.
    @Test func damagedBytes() async {
        await #expect(processExitsWith: .success) {
            let directory = TemporaryDirectory()
            let path = directory / "d.h5"
            try makeNetwork().save(to: path)
            let whole = readBytes(path)
            var refused = 0
            for position in stride(from: 0, to: whole.count, by: 61) {
                var damaged = whole
                damaged[position] ^= UInt8(truncatingIfNeeded: position) | 1
                writeBytes(damaged, to: path)
                do { _ = try Network.load(path) } catch let error as EngineError {
                    refused += 1
                    let isExpected = error.code == .format || error.code == .notFinite
                    #expect(isExpected, "byte \(position): \(error.message)")
                }
            }
            #expect(refused > 10)
        }
    }
}
