import Glibc
import JSON
import Kernels
import Runtime
import Testing

@testable import Networks

/// A network from the description of another, with its weights.
private func again(_ network: Network) throws -> Network {
    let other = try Network(GraphDescription(network.graphText(), source: "json"))
    other.weights.copy(from: network.weights)
    other.statistics.copy(from: network.statistics)
    return other
}

private func results(_ network: Network, _ count: Int) throws -> [Float] {
    let images = randomFloats(count * network.shape.count, seed: 11)
    let cotangent = randomFloats(count * network.classes, seed: 12)
    var logits = [Float](repeating: 0, count: count * network.classes)
    var gradient = [Float](repeating: 0, count: images.count)
    let pass = try InferencePass(network, capacity: count)
    try pass.forward(images, count: count, logits: &logits, retain: true)
    try pass.inputGradient(cotangent, count: count, gradient: &gradient)
    let training = try TrainingPass(network, capacity: count)
    var trained = logits
    var weights = [Float](repeating: 0, count: network.trainableCount)
    try training.forward(images, count: count, logits: &trained, updateStatistics: false)
    try training.backward(cotangent, count: count, addingTo: &weights)
    return logits + gradient + trained + weights
}

@Suite struct GraphFormatTests {
    @Test(arguments: NetworkCase.all + NetworkCase.graphs + NetworkCase.branches)
    func everyArchitectureComesBack(_ test: NetworkCase) throws {
        let network = try test.network()
        let other = try again(network)
        #expect(other.architecture == "graph")
        #expect(other.parameters.map(\.name) == network.parameters.map(\.name))
        #expect(other.parameters.map(\.shape) == network.parameters.map(\.shape))
        #expect(other.options.mean == network.options.mean && other.options.std == network.options.std)
        #expect(try other.graphText() == network.graphText())
        #expect(try results(other, 3) == results(network, 3))
    }

    /// The largest that has a name, at its full size: its description is within all bounds.
    @Test func theDeepestComesBack() throws {
        let network = try Network(architecture: "wrn_994_1", options: NetworkOptions())
        let text = try network.graphText()
        #expect(text.utf8.count < JSON.longestText / 4)
        #expect(try Network(GraphDescription(text, source: "json")).parameters.count == network.parameters.count)
    }

    @Test func seedsGiveTheWeightsOfTheArchitecture() throws {
        let network = try Network(architecture: "resnet8", options: NetworkOptions(), seed: 5)
        let other = try Network(GraphDescription(network.graphText(), source: "json"), seed: 5)
        let values = { (n: Network) in (0..<n.weights.count).map { n.weights.pointer[$0] } }
        #expect(values(network) == values(other))
        #expect(try values(other.copy()) == values(other))
    }

    @Test func documentationHasEveryType() throws {
        let folder = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
        let file = try #require(fopen("/\(folder)/docs/graph-format.md", "r"))
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 1 << 16)
        let text = String(decoding: bytes[..<fread(&bytes, 1, bytes.count, file)], as: UTF8.self)
        for type in LayerType.all {
            let attributes = type.attributes.map(\.summary).joined(separator: "; ")
            let row = "| `\(type.name)` | \(attributes) | \(type.parameters) | \(type.meaning) |"
            #expect(text.contains(row), "docs/graph-format.md lacks: \(row)")
        }
    }

    static let small = """
        {"format": "igdm-graph", "version": 1, "input": [1, 6, 5], "mean": [0.5], "std": [0.25],
         "layers": [
          {"name": "conv", "type": "conv", "inputs": ["input"], "channels": 4, "kernel": 3, "padding": 1},
          {"name": "norm", "type": "batch_norm", "inputs": ["conv"]},
          {"name": "act", "type": "relu", "inputs": ["norm"]},
          {"name": "pool", "type": "global_average_pool", "inputs": ["act"]},
          {"name": "fc", "type": "linear", "inputs": ["pool"], "outputs": 3}],
         "output": "fc"}
        """

    @Test func defaultsAreThoseOfTheTable() throws {
        let description = try GraphDescription(Self.small, source: "json")
        #expect(description.options.classes == 3)
        guard case .convolution(let g, _, nil) = description.graph.nodes[1].operation,
            case .batchNorm(let norm) = description.graph.nodes[2].operation
        else { return #expect(Bool(false)) }
        #expect([g.strideHeight, g.strideWidth, g.dilationHeight, g.dilationWidth, g.groups] == [1, 1, 1, 1, 1])
        #expect([g.padTop, g.padLeft, g.padBottom, g.padRight] == [1, 1, 1, 1])
        #expect((norm.epsilon, norm.momentum) == (1e-5, 0.1))
    }

    /// What an older reader does not know is written only where it says something, and digests stay as they were.
    @Test func additionsAreLeftOut() throws {
        for (values, isThere) in [("1", false), ("[1, 1]", false), ("[1, 2]", true)] {
            let found = try #require(Self.small.range(of: "\"padding\": 1"))
            let text = Self.small.replacing(found, with: "\"padding\": 1, \"dilation\": \(values)")
            let written = try GraphDescription(text, source: "json").text()
            #expect(written.contains("\"dilation\": [1, 2]") == isThere && written.contains("dilation") == isThere)
            #expect(try GraphDescription(written, source: "json").text() == written)
        }
    }

    /// (what is replaced, by what, what the message says)
    static let mistakes: [(String, String, [String])] = [
        ("\"igdm-graph\"", "\"onnx\"", ["json: format: got \"onnx\"", "igdm-graph"]),
        ("\"version\": 1", "\"version\": 2", ["json: version: got 2", "update"]),
        ("\"version\": 1", "\"version\": \"1\"", ["json: version: got \"1\""]),
        ("\"version\": 1,", "", ["json: version: is missing"]),
        ("\"version\": 1", "\"version\": 1, \"versoin\": 1", ["unknown key \"versoin\"", "format, version"]),
        ("[1, 6, 5]", "[1, 6]", ["json: input: got 2 values"]),
        ("[1, 6, 5]", "[0, 6, 5]", ["json: input[0]: got 0", "1 ... 4096"]),
        ("[1, 6, 5]", "[1, 6.0, 5]", ["json: input[1]: got 6.0"]),
        ("[1, 6, 5]", "[1, 16384, 16384]", ["layer \"conv\": kernel: got 3x3", "a smaller image"]),
        ("[0.5]", "[0.5, 0.5]", ["json: mean: got an array of 2", "1 numbers"]),
        ("\"mean\": [0.5], ", "", ["json: std: got 1 values", "0"]),
        ("[0.25]", "[0]", ["json: std[0]: got 0.0"]),
        ("[0.25]", "[1e-300]", ["json: std[0]"]),
        ("[0.5]", "[null]", ["json: mean[0]: got null"]),
        ("[0.5]", "0.5", ["json: mean: got 0.5"]),
        ("\"output\": \"fc\"", "\"output\": \"pool\"", ["json: output: got \"pool\"", "last layer, \"fc\""]),
        (",\n \"output\": \"fc\"", "", ["json: output: is missing"]),
        ("\"name\": \"norm\"", "\"name\": \"conv\"", ["json: layers[1]: name: got \"conv\"", "no layer before has"]),
        ("\"name\": \"act\"", "\"name\": \"input\"", ["layers[2]: name: got \"input\""]),
        ("\"name\": \"act\"", "\"name\": \"\"", ["layers[2]: name"]),
        ("\"name\": \"act\"", "\"name\": \"a/b\"", ["layers[2]: name: got \"a/b\""]),
        ("\"name\": \"act\"", "\"name\": \"a\\nb\"", ["layers[2]: name: got \"a?b\""]),
        ("\"name\": \"act\"", "\"name\": 3", ["layers[2]: name: got 3"]),
        ("\"name\": \"act\", ", "", ["layers[2]: name: is missing"]),
        ("\"relu\"", "\"dropout\"", ["layer \"act\": type: got \"dropout\"", "conv, batch_norm, relu"]),
        ("\"relu\"", "\"relu\", \"slope\": 1", ["layer \"act\": got the unknown key \"slope\"", "name, type, inputs"]),
        ("\"type\": \"relu\", ", "", ["layer \"act\": type: is missing"]),
        ("[\"norm\"]", "[\"act\"]", ["layer \"act\": inputs[0]: got \"act\"", "before"]),
        ("[\"norm\"]", "[\"pool\"]", ["layer \"act\": inputs[0]: got \"pool\"", "before"]),
        ("[\"norm\"]", "[\"nrom\"]", ["layer \"act\": inputs[0]: got \"nrom\""]),
        ("[\"norm\"]", "[\"norm\", \"norm\"]", ["layer \"act\": inputs: got 2", "one name"]),
        ("[\"norm\"]", "\"norm\"", ["layer \"act\": inputs: got \"norm\""]),
        ("[\"norm\"]", "[\"conv\"]", ["layer \"norm\": no layer uses its output"]),
        ("\"channels\": 4, ", "", ["layer \"conv\": channels: is missing", "1 ... 65536"]),
        ("\"channels\": 4", "\"channels\": 0", ["layer \"conv\": channels: got 0"]),
        ("\"channels\": 4", "\"channels\": 65537", ["layer \"conv\": channels: got 65537"]),
        ("\"channels\": 4", "\"channels\": true", ["layer \"conv\": channels: got true"]),
        (
            "\"channels\": 4", "\"channels\": 4, \"groups\": 2",
            ["layer \"conv\": groups: got 2", "divisor of 1 and of 4"]
        ),
        ("\"channels\": 4", "\"channels\": 9223372036854775807", ["layer \"conv\": channels"]),
        ("\"kernel\": 3", "\"kernel\": [3]", ["layer \"conv\": kernel: got an array of 1", "[height, width]"]),
        ("\"kernel\": 3", "\"kernel\": [3, 0]", ["layer \"conv\": kernel[1]: got 0"]),
        (
            "\"kernel\": 3", "\"kernel\": [9, 3]",
            ["layer \"conv\": kernel: got 9x3", "padded image of shape (1, 6, 5)"]
        ),
        ("\"padding\": 1", "\"padding\": 3", ["layer \"conv\": padding: got [3, 3, 3, 3]"]),
        ("\"padding\": 1", "\"padding\": -1", ["layer \"conv\": padding: got -1"]),
        ("\"padding\": 1", "\"padding\": [1, 1]", ["layer \"conv\": padding: got an array of 2"]),
        ("\"padding\": 1", "\"bias\": 1", ["layer \"conv\": bias: got 1", "true or false"]),
        ("\"batch_norm\"", "\"batch_norm\", \"epsilon\": 0", ["layer \"norm\": epsilon: got 0"]),
        ("\"batch_norm\"", "\"batch_norm\", \"epsilon\": 1e-20", ["layer \"norm\": epsilon: got 1e-20"]),
        ("\"outputs\": 3", "\"outputs\": 1", ["json: output: got shape (1, 1, 1)", "2 ... 1000000"]),
        ("[\"pool\"]", "[\"act\"]", ["layer \"fc\": linear: got an image of shape (4, 6, 5)", "flatten"]),
        ("\"global_average_pool\"", "\"average_pool\", \"window\": 7", ["layer \"pool\": average pooling"]),
        ("\"global_average_pool\"", "\"average_pool\", \"window\": [3]", ["window: got an array of 1"]),
        (
            "\"global_average_pool\"", "\"max_pool\", \"window\": [6, 5], \"padding\": [0, 5, 0, 0]",
            ["layer \"pool\": max pooling: got padding [0, 5, 0, 0]", "6x5 window"]
        ),
        ("\"global_average_pool\"", "\"max_pool\", \"window\": [16, 1]", ["window[0]: got 16"]),
        ("\"padding\": 1", "\"padding\": 1, \"dilation\": 5", ["kernel: got 3x3, dilated to 11x11", "padded image"]),
        ("\"padding\": 1", "\"padding\": 5, \"dilation\": 2", ["padding: got", "3x3, dilated to 5x5"]),
        ("\"padding\": 1", "\"stride\": [1, 0]", ["layer \"conv\": stride[1]: got 0"]),
        ("\"relu\"", "\"leaky_relu\", \"slope\": 2", ["layer \"act\": slope: got 2"]),
        ("\"global_average_pool\"", "\"concat\"", ["layer \"pool\": inputs: got 1", "2 ... 256 names"]),
        (
            "\"linear\", \"inputs\": [\"pool\"], \"outputs\": 3", "\"concat\", \"inputs\": [\"pool\", \"act\"]",
            ["layer \"fc\": concat: images of (4, 1, 1) and (4, 6, 5)"]
        ),
        (
            "\"relu\", \"inputs\": [\"norm\"]", "\"multiply\", \"inputs\": [\"norm\", \"input\"]",
            ["layer \"act\": multiply: shapes (4, 6, 5) and (1, 6, 5)", "4 channels"]
        ),
    ]

    @Test(arguments: mistakes)
    func mistakesAreNamed(_ old: String, _ new: String, _ parts: [String]) throws {
        let found = try #require(Self.small.range(of: old))
        let text = Self.small.replacing(found, with: new)
        let error = #expect(throws: EngineError.self) { _ = try GraphDescription(text, source: "json") }
        #expect(error?.code == .invalidArgument)
        for part in parts { #expect(error?.message.contains(part) == true, "\(part) not in: \(error?.message ?? "")") }
    }

    /// Layers that each fit and together do not.
    @Test func explosionsAreRefused() throws {
        func refuses(_ layers: [String], input: String = "[3, 8, 8]", _ part: String) {
            let text =
                "{\"format\": \"igdm-graph\", \"version\": 1, \"input\": \(input), \"layers\": ["
                + layers.joined(separator: ",") + "], \"output\": \"l\(layers.count - 1)\"}"
            let error = #expect(throws: EngineError.self) { _ = try GraphDescription(text, source: "json") }
            #expect(error?.code == .invalidArgument && error?.message.contains(part) == true, "\(error?.message ?? "")")
        }
        func layer(_ index: Int, _ rest: String) -> String {
            "{\"name\": \"l\(index)\", \"inputs\": [\"\(index == 0 ? "input" : "l\(index - 1)")\"], \(rest)}"
        }
        let wide = "\"type\": \"conv\", \"channels\": 65536, \"kernel\": 1"
        refuses([layer(0, wide), layer(1, wide)], "layer \"l1\": l1.weight: 4294967296 weights")
        refuses([layer(0, wide)], input: "[1, 1024, 1024]", "layer \"l0\": a tensor of shape (65536, 1024, 1024)")
        let growing = "\"type\": \"conv\", \"channels\": 1, \"kernel\": 1024, \"padding\": 1023"
        refuses((0..<100).map { layer($0, growing) }, "layer \"l0\": kernel: got 1024x1024")
        let half = "\"type\": \"conv\", \"channels\": 32768, \"kernel\": 1"
        refuses((0..<10).map { layer($0, half) }, input: "[1, 1, 1]", "layer \"l2\": more than 2147483648 weights")
        let slow = "\"type\": \"conv\", \"channels\": 1, \"kernel\": 3, \"padding\": 1"
        refuses((0..<100).map { layer($0, slow) }, input: "[1, 2048, 2048]", "layer \"l7\": the images of all")
        refuses((0..<8193).map { layer($0, "\"type\": \"relu\"") }, "8193 layers")
        refuses([layer(0, wide)], input: "[4096, 16384, 16384]", "json: a tensor of shape (4096, 16384, 16384)")
        refuses([layer(0, "\"type\": \"flatten\"")], "no layer with weights")
        refuses([], "0 layers")
    }
}

extension String {
    fileprivate func range(of part: String) -> Range<String.Index>? {
        indices.first { self[$0...].hasPrefix(part) }.map { $0..<index($0, offsetBy: part.count) }
    }

    fileprivate func replacing(_ range: Range<String.Index>, with new: String) -> String {
        String(self[..<range.lowerBound]) + new + String(self[range.upperBound...])
    }
}
