import Kernels
import Runtime
import Testing

@testable import Networks

@Suite struct ArchitectureTests {
    /// Parameter counts of the published definitions, 10 classes, 3×32×32.
    @Test(arguments: [
        ("resnet18", 11_173_962), ("wrn_28_10", 36_479_194), ("wrn_34_10", 46_160_474), ("mobilenet_v2", 2_296_922),
    ])
    func parameterCounts(_ name: String, _ expected: Int) throws {
        var options = NetworkOptions()
        let graph = try Architecture.graph(name, &options)
        #expect(graph.parameters.filter(\.trainable).reduce(0) { $0 + $1.count } == expected)
    }

    @Test func namesAndShapes() throws {
        var options = NetworkOptions()
        let graph = try Architecture.graph("resnet18", &options)
        let table = Dictionary(uniqueKeysWithValues: graph.parameters.map { ($0.name, $0.shape) })
        #expect(graph.parameters.count == 102)
        #expect(table["layer2.0.shortcut.0.weight"] == [128, 64, 1, 1])
        #expect(table["layer4.1.bn2.running_var"] == [512])
        #expect(table["linear.weight"] == [10, 512])
        var wide = NetworkOptions()
        let wrn = try Architecture.graph("wrn_28_10", &wide)
        #expect(wrn.parameters[0].name == "conv1.weight")
        #expect(wrn.parameters[1].name == "block1.layer.0.bn1.weight")
        #expect(wrn.parameters.map(\.name).contains("block1.layer.0.convShortcut.weight"))
        #expect(wide.baseWidth == 10)
    }

    /// Every key of the field's state_dict, in its order, but for num_batches_tracked.
    @Test func namesAndShapesOfMobileNetV2() throws {
        var options = NetworkOptions()
        options.classes = 100
        let graph = try Architecture.graph("mobilenet_v2", &options)
        var expected: [(name: String, shape: [Int])] = []
        func norm(_ name: String, _ channels: Int) {
            for part in ["weight", "bias", "running_mean", "running_var"] {
                expected.append(("\(name).\(part)", [channels]))
            }
        }
        expected.append(("conv1.weight", [32, 3, 3, 3]))
        norm("bn1", 32)
        for (index, block) in Self.mobileNetBlocks.enumerated() {
            let name = "layers.\(index)"
            expected.append(("\(name).conv1.weight", [block.hidden, block.from, 1, 1]))
            norm("\(name).bn1", block.hidden)
            expected.append(("\(name).conv2.weight", [block.hidden, 1, 3, 3]))
            norm("\(name).bn2", block.hidden)
            expected.append(("\(name).conv3.weight", [block.to, block.hidden, 1, 1]))
            norm("\(name).bn3", block.to)
            guard [0, 1, 10, 16].contains(index) else { continue }
            expected.append(("\(name).shortcut.0.weight", [block.to, block.from, 1, 1]))
            norm("\(name).shortcut.1", block.to)
        }
        expected.append(("conv2.weight", [1280, 320, 1, 1]))
        norm("bn2", 1280)
        expected += [("linear.weight", [100, 1280]), ("linear.bias", [100])]
        #expect(graph.parameters.map(\.name) == expected.map(\.name))
        #expect(graph.parameters.map(\.shape) == expected.map(\.shape))
        #expect(options.baseWidth == 32)
    }

    /// Channels before, inside and after each block of MobileNetV2 at its own width.
    private static let mobileNetBlocks: [(from: Int, hidden: Int, to: Int)] = [
        (32, 32, 16), (16, 96, 24), (24, 144, 24), (24, 144, 32), (32, 192, 32), (32, 192, 32), (32, 192, 64),
        (64, 384, 64), (64, 384, 64), (64, 384, 64), (64, 384, 96), (96, 576, 96), (96, 576, 96), (96, 576, 160),
        (160, 960, 160), (160, 960, 160), (160, 960, 320),
    ]

    /// In proportion to the base width, rounded up: 24 channels of 32 become 4.5 of 6.
    @Test func widthsOfMobileNetV2FollowTheBase() throws {
        var options = NetworkOptions()
        options.baseWidth = 6
        let graph = try Architecture.graph("mobilenet_v2", &options)
        let table = Dictionary(uniqueKeysWithValues: graph.parameters.map { ($0.name, $0.shape) })
        #expect(table["conv1.weight"] == [6, 3, 3, 3])
        #expect(table["layers.0.conv3.weight"] == [3, 6, 1, 1])
        #expect(table["layers.1.conv3.weight"] == [5, 18, 1, 1])
        #expect(table["layers.16.conv3.weight"] == [60, 180, 1, 1])
        #expect(table["conv2.weight"] == [240, 60, 1, 1])
    }

    /// The sizes of the image: the stem and the second stage keep 32×32, and the head sees 4×4.
    @Test func sizesInMobileNetV2() throws {
        var options = NetworkOptions()
        let graph = try Architecture.graph("mobilenet_v2", &options)
        var depthwise: [Int] = []
        for node in graph.nodes {
            if case .convolution(let geometry, _, _) = node.operation, geometry.isDepthwise {
                depthwise.append(geometry.output.height)
            }
        }
        #expect(depthwise == [32, 32, 32, 16, 16, 16, 8, 8, 8, 8, 8, 8, 8, 4, 4, 4, 4])
    }

    @Test(arguments: [
        "resnet9", "wrn", "wrn_", "wrn_28", "wrn_27_10", "wrn_28_0", "wrn_28_10_1", "", "RESNET18",
        "wrn_99999999999999999999_1",
    ])
    func unknownNamesAreRefused(_ name: String) {
        var options = NetworkOptions()
        #expect(throws: EngineError.self) { try Architecture.graph(name, &options) }
    }

    @Test func unknownNameListsTheKnown() {
        var options = NetworkOptions()
        let error = #expect(throws: EngineError.self) { try Architecture.graph("vgg", &options) }
        #expect(error?.code == .invalidArgument)
        for name in architectureNames { #expect(error?.message.contains(name) == true) }
    }

    @Test func optionsOutOfRangeAreRefused() {
        func refuses(_ change: (inout NetworkOptions) -> Void) -> String? {
            var options = NetworkOptions()
            change(&options)
            return #expect(throws: EngineError.self) {
                try Network(architecture: "resnet8", options: options, seed: 0)
            }?.message
        }
        #expect(refuses { $0.classes = 1 }?.hasPrefix("classes: got 1") == true)
        #expect(refuses { $0.classes = Int.max }?.hasPrefix("classes") == true)
        #expect(refuses { $0.shape.channels = 0 }?.hasPrefix("channels") == true)
        #expect(refuses { $0.shape.height = -1 }?.hasPrefix("height") == true)
        #expect(refuses { $0.shape.width = 1 << 40 }?.hasPrefix("width") == true)
        #expect(refuses { $0.baseWidth = -3 }?.hasPrefix("base_width") == true)
        #expect(
            refuses {
                $0.mean = [0]; $0.std = [1]
            }?.hasPrefix("normalisation_count") == true)
        #expect(
            refuses {
                $0.mean = [0, 0, 0]; $0.std = [1, 0, 1]
            }?.hasPrefix("std[1]") == true)
        #expect(refuses { $0.shape = ImageShape(4096, 16384, 16384) } != nil)
        #expect(
            refuses {
                $0.baseWidth = 4096; $0.shape = ImageShape(3, 16384, 16384)
            } != nil)
    }

    /// Folding must have happened: a residual network in inference is its convolutions, the pooling and the import.
    @Test(arguments: ["resnet18", "mobilenet_v2"]) func programsAreFused(_ name: String) throws {
        var options = NetworkOptions()
        let graph = try Architecture.graph(name, &options)
        let program = Program(graph, training: false)
        let convolutions = graph.nodes.filter { if case .convolution = $0.operation { true } else { false } }
        #expect(program.steps.count == convolutions.count + 3)
        // In training every BatchNorm is a step of its own, and takes up the addition and the ReLU behind it.
        #expect(Program(graph, training: true).steps.count == 2 * convolutions.count + 3)
    }

    /// Blocks that live at the same time must not overlap; a plan must be smaller than the sum of all values.
    @Test func memoryIsReused() throws {
        var options = NetworkOptions()
        let graph = try Architecture.graph("resnet18", &options)
        let everything = graph.nodes.reduce(0) { $0 + $1.shape.count }
        let inference = MemoryPlan(Program(graph, training: false), mode: .inference, capacity: 4)
        #expect(inference.size < 4 * everything / 8)
        let training = MemoryPlan(Program(graph, training: true), mode: .training, capacity: 4)
        #expect(training.size < 4 * 2 * everything)
    }
}
