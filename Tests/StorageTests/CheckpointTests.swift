import CHDF5
import Glibc
import Kernels
import Networks
import Runtime
import Storage
import Testing

@Suite struct CheckpointTests {
    private let directory = TemporaryDirectory()

    private var sample: Checkpoint {
        Checkpoint(
            architecture: "wrn_10_1", classes: 7, shape: ImageShape(2, 9, 11), baseWidth: 1, mean: [0.1, 0.2],
            std: [0.3, 0.4], metadata: metadata(["recipe": "ard, α = 5", "empty": "", "accuracy": "0.5"]),
            weights: [
                NamedTensor(
                    name: "z.weight", shape: [2, 1, 1, 3], values: [1, -0.0, .leastNonzeroMagnitude, .pi, -3.4e38, 5]),
                NamedTensor(name: "a.running_var", shape: [2], values: [0, 1]),
                NamedTensor(name: "größe", shape: [1], values: [2]),
            ])
    }

    @Test func roundTripKeepsEveryBit() throws {
        let path = directory / "c.h5"
        try sample.write(to: path)
        let read = try Checkpoint.read(path)
        #expect(read.architecture == "wrn_10_1")
        #expect(read.classes == 7)
        #expect(read.shape == ImageShape(2, 9, 11))
        #expect(read.baseWidth == 1)
        #expect(read.mean == [0.1, 0.2])
        #expect(read.std == [0.3, 0.4])
        #expect(read.metadata.entries.map(\.key) == ["accuracy", "empty", "recipe"])
        #expect(read.metadata.entries.map(\.value) == ["0.5", "", "ard, α = 5"])
        // In the order in which they were written, not the alphabet's.
        #expect(read.weights.map(\.name) == ["z.weight", "a.running_var", "größe"])
        #expect(read.weights.map(\.shape) == [[2, 1, 1, 3], [2], [1]])
        for (got, want) in zip(read.weights, sample.weights) {
            #expect(got.values.map(\.bitPattern) == want.values.map(\.bitPattern))
        }
        #expect(directory.names == ["c.h5"])
    }

    @Test func withoutNormalisationAndMetadata() throws {
        let path = directory / "c.h5"
        var checkpoint = sample
        checkpoint.mean = []
        checkpoint.std = []
        checkpoint.metadata = Metadata()
        try checkpoint.write(to: path)
        let read = try Checkpoint.read(path)
        #expect(read.mean.isEmpty && read.std.isEmpty && read.metadata.entries.isEmpty && read.golden == nil)
    }

    @Test func bytesDependOnTheContentsOnly() throws {
        try sample.write(to: directory / "1.h5")
        // A second in between would change a time stamp; other contents would change memory that is used again.
        var other = sample
        other.weights[0].values = buffer([Float](repeating: 123, count: 6))
        other.metadata = metadata(["other": String(repeating: "x", count: 5000)])
        try other.write(to: directory / "2.h5")
        sleep(1)
        try sample.write(to: directory / "3.h5")
        #expect(readBytes(directory / "1.h5") == readBytes(directory / "3.h5"))
        #expect(readBytes(directory / "1.h5") != readBytes(directory / "2.h5"))
    }

    @Test func fileHasTheDocumentedLayout() throws {
        let path = directory / "c.h5"
        try sample.write(to: path)
        withHDF5 {
            let file = H5Fopen(path, chdf5_read_only(), 0)
            let dataset = H5Dopen2(file, "weights/z.weight", 0)
            let type = H5Dget_type(dataset)
            #expect(H5Tequal(type, chdf5_float32_little_endian()) > 0)
            let attribute = H5Aopen(file, "format", 0)
            let stringType = H5Aget_type(attribute)
            #expect(H5Tis_variable_str(stringType) == 0 && H5Tget_cset(stringType) == H5T_CSET_UTF8)
            #expect(H5Tget_size(stringType) == 4)
            H5Tclose(stringType)
            H5Aclose(attribute)
            H5Tclose(type)
            H5Dclose(dataset)
            #expect(H5Fclose(file) >= 0)
        }
    }

    @Test func foreignWeightsNeedNoAttributes() throws {
        let path = directory / "w.h5"
        withHDF5 {
            let file = RawFile(path)
            file.group("weights")
            file.dataset("weights/b", [2, 2], [1, 2, 3, 4])
            file.dataset("weights/a", [3], [-1.5, 1e-30, 7], type: chdf5_float32_big_endian())
            file.dataset("weights/bn.num_batches_tracked", [1], [12], type: chdf5_int64_little_endian())
            let chunked = H5Pcreate(chdf5_dataset_creation())
            var chunk: [hsize_t] = [16]
            H5Pset_chunk(chunked, 1, &chunk)
            H5Pset_shuffle(chunked)
            H5Pset_deflate(chunked, 6)
            file.dataset("weights/c", [100], (0..<100).map(Float.init), creation: chunked)
            H5Pclose(chunked)
        }
        // h5py records no order unless asked: by name, whatever the order of writing.
        let tensors = try Checkpoint.readWeights(path)
        #expect(tensors.map(\.name) == ["a", "b", "c"])
        #expect(Array(tensors[0].values) == [-1.5, 1e-30, 7])
        #expect(tensors[1].shape == [2, 2])
        #expect(Array(tensors[1].values) == [1, 2, 3, 4])
        #expect(Array(tensors[2].values) == (0..<100).map(Float.init))
        expectError(.format, ["attribute format", "load_weights"]) { _ = try Checkpoint.read(path) }
    }

    @Test func whatCannotBeReadIsNotWritten() throws {
        let path = directory / "c.h5"
        try sample.write(to: path)
        let before = readBytes(path)
        func refuse(_ code: ErrorCode, _ parts: [String], _ change: (inout Checkpoint) -> Void) {
            var checkpoint = sample
            change(&checkpoint)
            expectError(code, parts) { try checkpoint.write(to: path) }
        }
        refuse(.notFinite, ["z.weight", "nan", "element 3"]) { $0.weights[0].values[3] = .nan }
        refuse(.notFinite, ["a.running_var", "inf"]) { $0.weights[1].values[0] = .infinity }
        refuse(.invalidArgument, ["weight name", "a/b"]) { $0.weights[0].name = "a/b" }
        refuse(.invalidArgument, ["weight name", "unique"]) { $0.weights[0].name = "a.running_var" }
        refuse(.shape, ["z.weight", "6 values", "(7)"]) { $0.weights[0].shape = [7] }
        refuse(.shape, ["z.weight", "0 values"]) {
            $0.weights[0].shape = [0]
            $0.weights[0].values = buffer([])
        }
        #expect(readBytes(path) == before)
        #expect(directory.names == ["c.h5"])
    }

    @Test func longTextAndManyArrays() throws {
        var checkpoint = sample
        checkpoint.metadata = metadata(["log": String(repeating: "ä", count: 30000)])
        checkpoint.weights = (0..<2000).map { NamedTensor(name: "w\($0)", shape: [1], values: [Float($0)]) }
        try checkpoint.write(to: directory / "c.h5")
        let read = try Checkpoint.read(directory / "c.h5")
        #expect(
            read.weights.map { [$0.name, "\($0.values[0])"] }
                == checkpoint.weights.map { [$0.name, "\($0.values[0])"] })
        #expect(read.metadata == checkpoint.metadata)
    }

    @Test func aFileThatIsOpenForWritingIsRefused() throws {
        let path = directory / "c.h5"
        try sample.write(to: path)
        let file = withHDF5 { RawFile(changing: path) }
        expectError(.io, ["c.h5", "open for writing", "close it"]) { _ = try Checkpoint.read(path) }
        withExtendedLifetime(file) {}
    }
}

@Suite struct NetworkCheckpointTests {
    private let directory = TemporaryDirectory()

    @Test(arguments: ["resnet8", "resnet18", "wrn_10_2", "small_cnn", "mobilenet_v2"])
    func everyNetworkComesBackAsItWas(architecture: String) throws {
        var options = NetworkOptions()
        options.classes = 4
        options.shape = ImageShape(1, 8, 8)
        let network = try Network(architecture: architecture, options: options, seed: 3)
        network.statistics.pointer[0] = 0.125
        try network.save(to: directory / "n.h5")
        let loaded = try Network.load(directory / "n.h5")
        #expect(loaded.architecture == architecture)
        #expect(loaded.options == network.options)
        #expect(values(of: loaded) == values(of: network))
        #expect(try Checkpoint.read(directory / "n.h5").weights.map(\.name) == network.parameters.map(\.name))
    }

    @Test func normalisationComesBack() throws {
        let network = try makeNetwork()
        try network.save(to: directory / "n.h5")
        #expect(try Network.load(directory / "n.h5").options == network.options)
    }

    @Test func assigningIsAllOrNothing() throws {
        let network = try makeNetwork(seed: 1)
        let other = try makeNetwork(seed: 2)
        try other.save(to: directory / "o.h5")
        let tensors = try Checkpoint.readWeights(directory / "o.h5")
        let before = values(of: network)
        func refuse(_ code: ErrorCode, _ parts: [String], _ change: (inout [NamedTensor]) -> Void) {
            var changed = tensors
            change(&changed)
            expectError(code, parts) { try network.assignWeights(from: changed) }
            #expect(values(of: network) == before)
        }
        let last = tensors.count - 1
        refuse(.format, ["1 missing", tensors[last].name]) { $0.removeLast() }
        refuse(.format, ["5 missing", tensors[0].name, "and 2 more"]) { $0.removeFirst(5) }
        refuse(.format, ["1 unexpected", "\"extra\""]) {
            $0.append(NamedTensor(name: "extra", shape: [1], values: [0]))
        }
        refuse(.format, ["1 missing", "1 unexpected", "renamed"]) { $0[0].name = "renamed" }
        refuse(.format, ["twice"]) { $0.append($0[0]) }
        refuse(.format, [tensors[0].name, "got shape (72)", "want (4, 2, 3, 3)"]) { $0[0].shape = [72] }
        refuse(.format, [tensors[0].name, "got 1 values"]) { $0[0].values = buffer([1]) }
        refuse(.notFinite, [tensors[last].name, "nan", "element 0"]) {
            $0[last].values = buffer([.nan] + $0[last].values.dropFirst())
        }
        refuse(.format, ["running_var", "-1"]) { all in
            if let index = all.firstIndex(where: { $0.name.hasSuffix("running_var") }) {
                all[index].values = buffer([-1] + all[index].values.dropFirst())
            }
        }
        try network.assignWeights(from: tensors.reversed())
        #expect(values(of: network) == values(of: other))
    }

    @Test func preparedCopiesAreRemade() throws {
        let network = try makeNetwork(seed: 1)
        let other = try makeNetwork(seed: 2)
        let image = [Float](repeating: 0.5, count: 60)
        func logits(_ network: Network) throws -> [Float] {
            var logits = [Float](repeating: 0, count: 3)
            try InferencePass(network, capacity: 1).forward(image, count: 1, logits: &logits, retain: false)
            return logits
        }
        let want = try logits(other)
        #expect(try logits(network) != want)
        try other.save(to: directory / "o.h5")
        try network.loadWeights(directory / "o.h5")
        #expect(try logits(network) == want)
    }
}
