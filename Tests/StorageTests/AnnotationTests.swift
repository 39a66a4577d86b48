import CHDF5
import Kernels
import Networks
import Runtime
import Storage
import Testing

/// What a checkpoint carries besides a network: metadata and the golden block.
@Suite struct AnnotationTests {
    private let directory = TemporaryDirectory()

    /// A golden block of `count` samples with the network's own logits.
    private func golden(_ network: Network, count: Int = 3) throws -> GoldenBlock {
        let inputs = buffer((0..<count * network.shape.count).map { Float($0 % 17) / 16 })
        let logits = try Buffer<Float>(count * network.classes)
        try InferencePass(network, capacity: count)
            .forward(inputs.pointer, count: count, logits: logits.pointer, retain: false)
        return GoldenBlock(count: count, inputs: inputs, logits: logits, source: "größe")
    }

    @Test func metadataHasUniqueKeysInTheirBytesOrder() throws {
        var texts = Metadata()
        for key in ["b", "ä", "a", "B", "a"] { try texts.set(key, to: "of " + key) }
        #expect(texts.entries.map(\.key) == ["B", "a", "b", "ä"])
        try texts.set("a", to: "")
        #expect(texts["a"] == "")
        try texts.set("a", to: nil)
        try texts.set("a", to: nil)
        #expect(texts["a"] == nil)
        for key in ["", ".", "a/b", "a\nb", String(repeating: "k", count: 256)] {
            expectError(.invalidArgument, ["key"]) { try texts.set(key, to: "x") }
        }
        expectError(.invalidArgument, ["value", "60001 bytes", "at most 60000"]) {
            try texts.set("k", to: String(repeating: "x", count: 60_001))
        }
        for i in 0..<997 { try texts.set("\(i)", to: "x") }
        expectError(.invalidArgument, ["at most 1000"]) { try texts.set("one more", to: "x") }
    }

    @Test func asMuchMetadataAsThereMayBeComesBack() throws {
        let network = try makeNetwork()
        for i in 0..<998 { try network.metadata.set("\(i)" + String(repeating: "k", count: 250), to: "\(i)") }
        try network.metadata.set("long", to: String(repeating: "x", count: 60_000))
        try network.metadata.set(String(repeating: "k", count: 255), to: String(repeating: "x", count: 60_000))
        try network.save(to: directory / "n.h5")
        #expect(try Network.load(directory / "n.h5").metadata == network.metadata)
        #expect(try network.copy().metadata == network.metadata)
    }

    @Test func goldenBlockComesBackAndVerifies() throws {
        let network = try makeNetwork()
        let block = try golden(network)
        try network.setGolden(block)
        try network.save(to: directory / "n.h5")
        for again in [try Network.load(directory / "n.h5"), try network.copy()] {
            let read = try #require(again.golden)
            #expect(read.count == 3 && read.source == "größe")
            #expect(Array(read.inputs) == Array(block.inputs) && Array(read.logits) == Array(block.logits))
            let worst = try read.worstDifference(of: InferencePass(again, capacity: 2))
            #expect(worst.relative == 0)
            try worst.check(1e-9)
        }
        // Bytes depend on the contents only, here too.
        try network.copy().save(to: directory / "again.h5")
        #expect(readBytes(directory / "n.h5") == readBytes(directory / "again.h5"))
    }

    @Test func theWorstSampleIsNamed() throws {
        let network = try makeNetwork()
        let block = try golden(network)
        let largest = Double(block.logits.map(abs).max() ?? 0)
        let changed = block.logits[7] + 0.25
        block.logits[7] = changed
        block.logits[3] += 0.1
        let worst = try block.worstDifference(of: InferencePass(network, capacity: 2))
        #expect(worst.sample == 2 && worst.label == 1 && worst.wanted == changed)
        let scale = max(largest, Double(abs(changed)))
        #expect(abs(worst.relative - 0.25 / scale) < 1e-5)
        try worst.check(2)
        expectError(.mismatch, ["sample 2, class 1", "\(changed)", "at most 0.0001"]) { try worst.check(1e-4) }
    }

    @Test func aDifferenceFromZerosIsAbsolute() throws {
        let network = try makeNetwork()
        let block = try golden(network)
        let largest = block.logits.map(abs).max() ?? 0
        block.logits.pointer.update(repeating: 0, count: block.logits.count)
        #expect(try block.worstDifference(of: InferencePass(network, capacity: 2)).relative == Double(largest))
    }

    @Test func theGoldenBlockGoesWithItsWeights() throws {
        let network = try makeNetwork()
        try network.setGolden(golden(network))
        network.weightsChanged()
        #expect(network.golden == nil)
        let other = GoldenBlock(count: 1, inputs: buffer([0]), logits: buffer([0]), source: "")
        expectError(.shape, ["golden block", "1 inputs", "60"]) { try network.setGolden(other) }
    }

    /// Changes to the file of a network with a golden block, and what loading says then.
    private static let damages: [MalformedFileTests.Case] = [
        .init("golden is a dataset", ["golden", "want a group"]) {
            $0.remove("golden")
            $0.dataset("golden", [1], [1])
        },
        .init("golden is an external link", ["golden", "external link"]) {
            $0.remove("golden")
            H5Lcreate_external("other.h5", "/golden", $0.id, "golden", 0, 0)
        },
        .init("no inputs", ["golden/inputs"]) { $0.remove("golden/inputs") },
        .init("no logits", ["golden/logits"]) { $0.remove("golden/logits") },
        .init("inputs of another shape", ["golden/inputs", "(3, 2, 5, 6)", "(n, 2, 6, 5)"]) {
            $0.replace("golden/inputs", [3, 2, 5, 6], [Float](repeating: 0, count: 180))
        },
        .init("logits of another count", ["golden/logits", "(2, 3)", "(3, 3)"]) {
            $0.replace("golden/logits", [2, 3], [Float](repeating: 0, count: 6))
        },
        .init("inputs beyond 1", ["golden/inputs", "1.5", "[0,1]"]) {
            $0.replace("golden/inputs", [3, 2, 6, 5], [Float](repeating: 1.5, count: 180))
        },
        .init("inputs not finite", ["golden/inputs", "nan"]) {
            $0.replace("golden/inputs", [3, 2, 6, 5], [Float](repeating: .nan, count: 180))
        },
        .init("logits not finite", ["golden/logits", "inf", "element 0"]) {
            $0.replace("golden/logits", [3, 3], [Float](repeating: .infinity, count: 9))
        },
        .init("logits of float64", ["golden/logits", "float64", "float32"]) {
            $0.replace("golden/logits", [3, 3], [Float](repeating: 0, count: 9), type: chdf5_native_double())
        },
        .init("a huge claim", ["golden/inputs", "bytes"]) {
            $0.replace("golden/inputs", [100_000_000, 2, 6, 5], nil)
        },
    ]

    @Test(arguments: damages) func aDamagedGoldenBlockIsRefused(_ damage: MalformedFileTests.Case) throws {
        let network = try makeNetwork()
        try network.setGolden(golden(network))
        try network.save(to: directory / "m.h5")
        withHDF5 { damage.change(RawFile(changing: directory / "m.h5")) }
        expectError(damage.code, ["m.h5"] + damage.parts) { _ = try Network.load(directory / "m.h5") }
    }
}
