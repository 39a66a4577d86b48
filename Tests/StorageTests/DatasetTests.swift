import CHDF5
import CZlib
import Glibc
import Kernels
import Runtime
import Storage
import Testing

private func images(of dataset: Dataset) throws -> [Float] {
    var values = [Float](repeating: -1, count: dataset.count * dataset.shape.count)
    try dataset.readImages(0..<dataset.count, into: &values)
    return values
}

private func labels(of dataset: Dataset) -> [Int] { (0..<dataset.count).map(dataset.label) }

@Suite struct DatasetTests {
    private let shape = ImageShape(1, 1, 2)

    @Test func everyByteIsDividedBy255() throws {
        let bytes = (0...255).map { UInt8($0) }
        let dataset = try Dataset(
            bytes: bytes, labels: [Int64](repeating: 0, count: 128), count: 128, shape: shape, classes: 1)
        #expect(try images(of: dataset) == bytes.map { Float($0) / 255 })
    }

    @Test func floatsAreKept() throws {
        let dataset = try Dataset(
            floats: [0, 1, 0.5, .leastNonzeroMagnitude], labels: [1, 0], count: 2, shape: shape, classes: 2)
        #expect(try images(of: dataset) == [0, 1, 0.5, .leastNonzeroMagnitude])
        #expect(labels(of: dataset) == [1, 0])
        #expect(dataset.count == 2 && dataset.classes == 2 && dataset.shape == shape)
    }

    @Test func subsets() throws {
        let dataset = try Dataset(
            bytes: [0, 51, 102, 153, 204, 255], labels: [0, 1, 2], count: 3, shape: shape, classes: 3)
        let tail = try dataset.subset(first: 1, count: 2)
        #expect(labels(of: tail) == [1, 2])
        #expect(try images(of: tail) == [0.4, 0.6, 0.8, 1])
        let last = try tail.subset(first: 1, count: 1)
        #expect(labels(of: last) == [2])
        #expect(try images(of: last) == [0.8, 1])
        expectError(.invalidArgument, ["first", "got 2", "0 ... 1"]) { _ = try tail.subset(first: 2, count: 1) }
        expectError(.invalidArgument, ["first", "got -1"]) { _ = try tail.subset(first: -1, count: 1) }
        expectError(.invalidArgument, ["count", "got 2", "1 ... 1"]) { _ = try tail.subset(first: 1, count: 2) }
        expectError(.invalidArgument, ["count", "got 0"]) { _ = try tail.subset(first: 0, count: 0) }
        expectError(.invalidArgument, ["count", "got -1"]) { _ = try tail.subset(first: 0, count: -1) }
        expectError(.invalidArgument, ["count"]) { _ = try tail.subset(first: 1, count: Int.max) }
    }

    /// Of bytes, whose images tell the samples apart, with these labels.
    private func numbered(_ labels: [Int64], classes: Int) throws -> Dataset {
        try Dataset(
            bytes: (0..<2 * labels.count).map { UInt8($0 / 2) }, labels: labels, count: labels.count, shape: shape,
            classes: classes)
    }

    private func numbers(of dataset: Dataset) throws -> [Int] {
        let values = try images(of: dataset)
        return stride(from: 0, to: values.count, by: 2).map { Int((values[$0] * 255).rounded()) }
    }

    @Test func selections() throws {
        let dataset = try numbered([0, 1, 2, 0, 1, 2], classes: 3)
        let some = try dataset.selection([5, 0, 0, 3])
        #expect(try numbers(of: some) == [5, 0, 0, 3])
        #expect(labels(of: some) == [2, 0, 0, 0])
        // Parts of parts.
        #expect(try numbers(of: try some.subset(first: 1, count: 3)) == [0, 0, 3])
        #expect(try numbers(of: try some.subset(first: 2, count: 2).selection([1, 0])) == [3, 0])
        #expect(labels(of: try some.subset(first: 0, count: 2).selection([1, 0])) == [0, 2])
        #expect(try numbers(of: try dataset.subset(first: 2, count: 3).selection([2, 0])) == [4, 2])
        for wrong: Int64 in [-1, 6, .min, .max] {
            expectError(.invalidArgument, ["samples[1]", "got \(wrong)", "0 ... 5"]) {
                _ = try dataset.selection([0, wrong])
            }
        }
        expectError(.invalidArgument, ["count", "got 0"]) { _ = try dataset.selection([Int64]()) }
    }

    /// The sum is of the samples, not of where they lie.
    @Test(arguments: [1, 7, 8, 9, 300, 700])
    func theCheckSumOfASelectionIsThatOfItsSamples(count: Int) throws {
        var random = CounterRandom(seed: 1, stream: .square, index: 0)
        let shape = ImageShape(1, 1, 3)
        let values = (0..<3 * 800).map { _ in random.uniform() }
        let labels = (0..<800).map { _ in Int64(random.below(5)) }
        let chosen = (0..<count).map { _ in Int64(random.below(800)) }
        let bytes = values.map { UInt8($0 * 255) }
        let own = chosen.flatMap { sample in (0..<3).map { 3 * Int(sample) + $0 } }
        let ownLabels = chosen.map { labels[Int($0)] }
        let floats = try Dataset(floats: values, labels: labels, count: 800, shape: shape, classes: 5)
        let copied = try Dataset(
            floats: own.map { values[$0] }, labels: ownLabels, count: count, shape: shape, classes: 5)
        #expect(try floats.selection(chosen).checksum().value == copied.checksum().value)
        let other = try Dataset(bytes: bytes, labels: labels, count: 800, shape: shape, classes: 5)
        let otherCopy = try Dataset(
            bytes: own.map { bytes[$0] }, labels: ownLabels, count: count, shape: shape, classes: 5)
        #expect(try other.selection(chosen).checksum().value == otherCopy.checksum().value)
        #expect(try other.selection(chosen).checksum().value != floats.selection(chosen).checksum().value)
        #expect(
            try floats.selection((0..<800).map { Int64($0) }).subset(first: 100, count: count).checksum().value
                == floats.subset(first: 100, count: count).checksum().value)
    }

    /// The sum tells how far it has come, and can be stopped.
    @Test func aCheckSumCanBeStopped() throws {
        let dataset = try numbered([Int64](repeating: 0, count: 127), classes: 2)
        let many = try dataset.selection((0..<40_000).map { Int64($0 % 127) })
        var told: [Int] = []
        let sum = try many.checksum { told.append($0) }
        #expect(told.last == 40_000 && told == told.sorted() && told.count > 1)
        #expect(try many.checksum().value == sum.value)
        told = []
        expectError(.cancelled, ["enough"]) {
            _ = try many.checksum {
                told.append($0)
                throw EngineError(.cancelled, "enough")
            }
        }
        #expect(told.count == 1)
    }

    @Test func holdingOutTakesOfEachClassItsPart() throws {
        // 5, 3 and 2 of ten: 4 held out are 2, 1.2 and 0.8.
        let dataset = try numbered([2, 0, 0, 1, 0, 1, 2, 0, 1, 0], classes: 3)
        let (others, held) = try dataset.holdingOut(4)
        #expect(try numbers(of: held) == [6, 7, 8, 9])
        #expect(labels(of: held) == [2, 0, 1, 0])
        #expect(try numbers(of: others) == [0, 1, 2, 3, 4, 5])
        #expect(labels(of: others) == [2, 0, 0, 1, 0, 1])
        // Sorted by class, the last samples would be of one class.
        let sorted = try numbered([0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2], classes: 4)
        #expect(try numbers(of: try sorted.holdingOut(3).heldOut) == [3, 7, 11])
        #expect(try numbers(of: try sorted.holdingOut(4).heldOut) == [2, 3, 7, 11], "of equal fractions the lower")
        #expect(try numbers(of: try sorted.subset(first: 2, count: 4).holdingOut(2).heldOut) == [3, 5])
        for wrong in [0, 10, -1, .max] {
            expectError(.invalidArgument, ["count", "1 ... 9"]) { _ = try dataset.holdingOut(wrong) }
        }
    }

    /// No class is a whole sample away from its part, all samples are in one of the two, and nothing changes them.
    @Test func holdingOutIsAsNearAsWholeSamplesAllow() throws {
        var random = CounterRandom(seed: 3, stream: .square, index: 0)
        let labels = (0..<120).map { _ in Int64(random.below(4) * random.below(3)) }
        let dataset = try numbered(labels, classes: 7)
        for count in 1..<120 {
            let (others, held) = try dataset.holdingOut(count)
            #expect(held.count == count && others.count == 120 - count)
            let (first, second) = (try numbers(of: others), try numbers(of: held))
            #expect((first + second).sorted() == Array(0..<120))
            #expect(first == first.sorted() && second == second.sorted())
            #expect(second.map { Int(labels[$0]) } == (0..<held.count).map(held.label))
            for label in Set(labels) {
                let part = Double(count * labels.filter { $0 == label }.count) / 120
                let there = Double(second.filter { labels[$0] == label }.count)
                #expect(abs(there - part) < 1, "\(count), class \(label)")
            }
            #expect(try numbers(of: try dataset.holdingOut(count).heldOut) == second)
        }
    }

    @Test func refusals() {
        func make(
            _ values: [Float] = [0, 0, 0, 0], _ labels: [Int64] = [0, 0], count: Int = 2,
            shape: ImageShape = ImageShape(1, 1, 2), classes: Int = 2
        ) throws {
            _ = try Dataset(floats: values, labels: labels, count: count, shape: shape, classes: classes)
        }
        expectError(.invalidArgument, ["labels[1]", "got 2", "0 ... 1"]) { try make([0, 0, 0, 0], [0, 2]) }
        expectError(.invalidArgument, ["labels[0]", "got -1"]) { try make([0, 0, 0, 0], [-1, 0]) }
        expectError(.invalidArgument, ["labels[0]", "4294967296"]) { try make([0, 0, 0, 0], [1 << 32, 0]) }
        expectError(.invalidArgument, ["value 1 of sample 1", "got 1.5", "0 ... 1"]) { try make([0, 0, 0, 1.5]) }
        expectError(.invalidArgument, ["value 0 of sample 0", "got -0.1"]) { try make([-0.1, 0, 0, 0]) }
        expectError(.notFinite, ["value 0 of sample 1", "nan"]) { try make([0, 0, .nan, 0]) }
        expectError(.notFinite, ["inf"]) { try make([0, .infinity, 0, 0]) }
        expectError(.invalidArgument, ["classes", "got 0"]) { try make(classes: 0) }
        expectError(.invalidArgument, ["count", "got 0", ">= 1"]) { try make(count: 0) }
        expectError(.invalidArgument, ["count", "got -1"]) { try make(count: -1) }
        expectError(.invalidArgument, ["channels", "got 0"]) { try make(shape: ImageShape(0, 1, 2)) }
        expectError(.invalidArgument, ["height", "got -5"]) { try make(shape: ImageShape(1, -5, 2)) }
        expectError(.invalidArgument, ["images", "fits memory"]) {
            try make(count: 1 << 40, shape: ImageShape(1 << 20, 1 << 20, 1))
        }
    }
}

@Suite struct IDXTests {
    private let directory = TemporaryDirectory()
    private let pixels: [UInt8] = [0, 0, 8, 3, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 51, 102, 153, 204, 255]
    private let numbers: [UInt8] = [0, 0, 8, 1, 0, 0, 0, 3, 2, 0, 1]

    private func open(classes: Int = 3) throws -> Dataset {
        try Dataset.openIDX(images: directory / "images", labels: directory / "labels", classes: classes)
    }

    private func compress(_ bytes: [UInt8], to path: String) {
        let file = gzopen(path, "wb")
        #expect(gzwrite(file, bytes, UInt32(bytes.count)) == bytes.count)
        gzclose(file)
    }

    @Test(arguments: [false, true]) func plainAndCompressed(isCompressed: Bool) throws {
        let write: ([UInt8], String) -> Void = isCompressed ? compress : writeBytes
        write(pixels, directory / "images")
        write(numbers, directory / "labels")
        let dataset = try open()
        #expect(dataset.shape == ImageShape(1, 1, 2) && dataset.count == 3 && dataset.classes == 3)
        #expect(try images(of: dataset) == [0, 0.2, 0.4, 0.6, 0.8, 1])
        #expect(labels(of: dataset) == [2, 0, 1])
        expectError(.invalidArgument, ["labels", "labels[0]", "got 2", "0 ... 1"]) { _ = try open(classes: 2) }
        expectError(.invalidArgument, ["classes", "got 0"]) { _ = try open(classes: 0) }
    }

    @Test(arguments: [false, true]) func malformed(isCompressed: Bool) throws {
        let write: ([UInt8], String) -> Void = isCompressed ? compress : writeBytes
        func refuse(
            _ parts: [String], images: [UInt8]? = nil, labels: [UInt8]? = nil, _ line: SourceLocation = #_sourceLocation
        ) {
            write(images ?? pixels, directory / "images")
            write(labels ?? numbers, directory / "labels")
            expectError(.format, parts, location: line) { _ = try open() }
        }
        func changed(_ bytes: [UInt8], at index: Int, to value: UInt8) -> [UInt8] {
            var bytes = bytes
            bytes[index] = value
            return bytes
        }
        refuse(["images"], images: [])
        refuse(["images"], images: [0, 0, 8])
        refuse(["images", "0 0 8 1", "want 0 0 8 3"], images: numbers)
        refuse(["labels", "0 0 8 3", "want 0 0 8 1"], labels: pixels)
        refuse(["images", "0 0 13 3"], images: changed(pixels, at: 2, to: 13))
        refuse(["images"], images: Array(pixels.prefix(9)))
        refuse(["images"], images: pixels.dropLast())
        refuse(["images"], images: pixels + [0])
        refuse(["images", "(3, 0, 2)", ">= 1"], images: changed(pixels, at: 11, to: 0))
        refuse(["images", "(4278190083, 1, 2)"], images: changed(pixels, at: 4, to: 255))
        let all: [UInt8] = [0, 0, 8, 3] + [UInt8](repeating: 255, count: 12)
        refuse(["images", "(4294967295, 4294967295, 4294967295)"], images: all)
        refuse(["labels", "got 2 labels", "want 3"], labels: [0, 0, 8, 1, 0, 0, 0, 2, 0, 0])
    }

    @Test func damagedCompression() {
        let noise =
            [UInt8](pixels.prefix(4)) + [0, 0, 3, 232, 0, 0, 0, 10, 0, 0, 0, 1]
            + (0..<10000).map { UInt8(truncatingIfNeeded: $0 &* $0 &* 2_654_435_761 >> 13) }
        compress(noise, to: directory / "images")
        let whole = readBytes(directory / "images")
        writeBytes(numbers, to: directory / "labels")
        writeBytes(Array(whole.dropLast(100)), to: directory / "images")
        expectError(.format, ["images"]) { _ = try open() }
        var damaged = whole
        damaged[damaged.count - 6] ^= 1
        writeBytes(damaged, to: directory / "images")
        expectError(.format, ["images", "gzip"]) { _ = try open() }
        damaged = whole
        damaged[damaged.count / 2] ^= 255
        writeBytes(damaged, to: directory / "images")
        expectError(.format, ["images"]) { _ = try open() }
    }

    @Test func missingFiles() {
        expectError(.notFound, ["images", "No such file"]) { _ = try open() }
        writeBytes(pixels, to: directory / "images")
        expectError(.notFound, ["labels"]) { _ = try open() }
        expectError(.io, ["not a regular file"]) {
            _ = try Dataset.openIDX(images: directory.path, labels: directory / "labels", classes: 3)
        }
    }
}

@Suite struct CIFARTests {
    private let directory = TemporaryDirectory()

    private func record(_ labels: [UInt8], _ value: UInt8) -> [UInt8] {
        labels + [UInt8](repeating: value, count: 3071) + [255]
    }

    private func open(_ classes: Int, _ split: String) throws -> Dataset {
        try Dataset.openCIFAR(folder: directory.path, classes: classes, split: split)
    }

    @Test func ten() throws {
        for batch in 1...5 as ClosedRange<UInt8> {
            writeBytes(record([batch], 10 * batch) + record([0], 0), to: directory / "data_batch_\(batch).bin")
        }
        writeBytes(record([9], 51), to: directory / "test_batch.bin")
        let train = try open(10, "train")
        #expect(train.shape == ImageShape(3, 32, 32) && train.classes == 10)
        #expect(labels(of: train) == [1, 0, 2, 0, 3, 0, 4, 0, 5, 0])
        let values = try images(of: train)
        #expect(values[2 * 3072] == Float(20) / 255 && values[3 * 3072 - 1] == 1 && values[3 * 3072] == 0)
        let test = try open(10, "test")
        #expect(try labels(of: test) == [9] && images(of: test)[0] == 0.2)
        unlink(directory / "data_batch_4.bin")
        expectError(.notFound, ["data_batch_4.bin"]) { _ = try open(10, "train") }
    }

    @Test func hundred() throws {
        writeBytes(record([19, 99], 1) + record([3, 42], 2), to: directory / "train.bin")
        writeBytes(record([0, 7], 3), to: directory / "test.bin")
        #expect(labels(of: try open(100, "train")) == [99, 42])
        #expect(labels(of: try open(100, "test")) == [7])
    }

    @Test func refusals() {
        expectError(.invalidArgument, ["classes", "got 20", "10", "100"]) { _ = try open(20, "train") }
        expectError(.invalidArgument, ["split", "validation", "train, test"]) { _ = try open(10, "validation") }
        expectError(.notFound, ["test_batch.bin", "No such file"]) { _ = try open(10, "test") }
        writeBytes([], to: directory / "test_batch.bin")
        expectError(.format, ["test_batch.bin", "0 bytes", "3073"]) { _ = try open(10, "test") }
        writeBytes(record([0, 7], 3), to: directory / "test_batch.bin")
        expectError(.format, ["test_batch.bin", "3074 bytes", "3073", "CIFAR-10"]) { _ = try open(10, "test") }
        writeBytes(record([10], 3), to: directory / "test_batch.bin")
        expectError(.invalidArgument, ["labels[0]", "got 10", "0 ... 9"]) { _ = try open(10, "test") }
    }
}

@Suite struct HDF5DatasetTests {
    private let directory = TemporaryDirectory()

    private func open(_ images: String = "images", _ labels: String = "labels", classes: Int = 0) throws -> Dataset {
        try Dataset.openHDF5(path: directory / "d.h5", images: images, labels: labels, classes: classes)
    }

    private func write(_ body: (RawFile) -> Void) {
        withHDF5 { body(RawFile(directory / "d.h5")) }
    }

    @Test func bytesAndFloats() throws {
        write {
            $0.dataset("images", [2, 1, 1, 2], [0, 51, 102, 255], type: chdf5_native_uint8())
            $0.dataset("labels", [2], [1, 4], type: chdf5_native_uint8())
            $0.group("train")
            $0.dataset("train/x", [2, 2, 1, 1], [0, 0.25, 0.5, 1], type: chdf5_float32_big_endian())
            $0.dataset("train/y", [2], [1, 0], type: chdf5_native_int64())
        }
        let bytes = try open()
        #expect(bytes.classes == 5 && bytes.shape == ImageShape(1, 1, 2))
        #expect(try images(of: bytes) == [0, 0.2, 0.4, 1] && labels(of: bytes) == [1, 4])
        let floats = try open("/train/x", "train/y", classes: 3)
        #expect(floats.classes == 3 && floats.shape == ImageShape(2, 1, 1))
        #expect(try images(of: floats) == [0, 0.25, 0.5, 1] && labels(of: floats) == [1, 0])

        expectError(.invalidArgument, ["d.h5", "labels[1]", "got 4", "0 ... 2"]) { _ = try open(classes: 3) }
        expectError(.invalidArgument, ["classes", "got -1"]) { _ = try open(classes: -1) }
        expectError(.notFound, ["\"pictures\"", "\"images\", \"labels\", \"train\""]) { _ = try open("pictures") }
        expectError(.notFound, ["\"train/z\"", "\"x\", \"y\""]) { _ = try open("train/z") }
        expectError(.notFound, ["\"test/x\""]) { _ = try open("test/x") }
        expectError(.format, ["\"images/x\"", "want a group"]) { _ = try open("images/x") }
        expectError(.format, ["\"train\"", "want a dataset"]) { _ = try open("train") }
        expectError(.invalidArgument, ["dataset name", "\"/\""]) { _ = try open("/") }
        expectError(.format, ["\"labels\"", "(2)", "(N, C, H, W)"]) { _ = try open("labels") }
        expectError(.format, ["\"images\"", "(2, 1, 1, 2)", "want (2)"]) { _ = try open("images", "images") }
    }

    @Test func refusals() {
        func refuse(_ code: ErrorCode, _ parts: [String], _ body: (RawFile) -> Void) {
            write(body)
            expectError(code, ["d.h5"] + parts) { _ = try open() }
        }
        refuse(.format, ["images", "float64", "uint8 or float32"]) {
            $0.dataset("images", [1, 1, 1, 1], [0], type: chdf5_native_double())
        }
        refuse(.format, ["images", "int64", "uint8 or float32"]) {
            $0.dataset("images", [1, 1, 1, 1], [0], type: chdf5_native_int64())
        }
        refuse(.format, ["images", "(0, 1, 1, 1)", "empty"]) { $0.dataset("images", [0, 1, 1, 1], []) }
        refuse(.format, ["images", "needs 4000000000000 bytes"]) {
            $0.dataset("images", [1_000_000, 1, 1000, 1000], nil)
        }
        refuse(.invalidArgument, ["value 0 of sample 1", "got 2"]) {
            $0.dataset("images", [2, 1, 1, 1], [1, 2])
            $0.dataset("labels", [2], [0, 1], type: chdf5_native_int64())
        }
        refuse(.notFinite, ["sample 0", "nan"]) {
            $0.dataset("images", [1, 1, 1, 1], [.nan])
            $0.dataset("labels", [1], [0], type: chdf5_native_int64())
        }
        refuse(.format, ["labels", "(3)", "want (2)"]) {
            $0.dataset("images", [2, 1, 1, 1], [0, 1])
            $0.dataset("labels", [3], [0, 1, 2], type: chdf5_native_int64())
        }
        refuse(.format, ["labels", "float32", "integers"]) {
            $0.dataset("images", [1, 1, 1, 1], [0])
            $0.dataset("labels", [1], [0])
        }
        refuse(.invalidArgument, ["labels[0]", "got -1"]) {
            $0.dataset("images", [1, 1, 1, 1], [0])
            $0.dataset("labels", [1], [-1], type: chdf5_native_int64())
        }
        refuse(.format, ["images", "soft link"]) { H5Lcreate_soft("/labels", $0.id, "images", 0, 0) }
        refuse(.notFound, ["labels"]) { $0.dataset("images", [1, 1, 1, 1], [0]) }
        writeBytes([1, 2, 3], to: directory / "d.h5")
        expectError(.format, ["3 bytes", "HDF5"]) { _ = try open() }
    }
}
