import Kernels
import Runtime
import Testing

@testable import Networks

@Suite struct ArchitectureTests {
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
        "wrn_99999999999999999999_1", "dm_wrn", "dm_wrn_28", "dm_wrn_27_10", "dm_wrn_28_10_", "dm_resnet18",
        "preact_resnet",
        "imagenet_resnet8", "resnet50 ",
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

    @Test func optionsOfOtherArchitecturesAreRefused() throws {
        for name in ["resnet18", "wrn_10_1", "dm_preact_resnet18", "small_cnn"] {
            var options = NetworkOptions()
            options.shortcutInput = .activated
            let input = #expect(throws: EngineError.self) { try Architecture.graph(name, &options) }
            #expect(input?.message.hasPrefix("shortcut_input: got \"activated\"") == true)
            options = NetworkOptions()
            options.finalBN = true
            let last = #expect(throws: EngineError.self) { try Architecture.graph(name, &options) }
            #expect(last?.message.hasPrefix("final_bn: got 1") == true)
        }
        var options = NetworkOptions()
        _ = try Architecture.graph("preact_resnet18", &options)
        #expect(options.shortcutInput == .activated && !options.finalBN)
    }

    /// TensorFlow's rule: ⌈size / stride⌉ outputs, the odd line at the bottom and right.
    @Test(arguments: [
        (8, 8, 3, 2, [0, 0, 1, 1]), (7, 9, 3, 2, [1, 1, 1, 1]), (8, 7, 3, 2, [0, 1, 1, 1]), (6, 5, 1, 2, [0, 0, 0, 0]),
        (6, 5, 3, 1, [1, 1, 1, 1]), (1, 2, 3, 2, [1, 0, 1, 1]), (10, 10, 4, 1, [1, 1, 2, 2]),
    ])
    func samePadding(_ height: Int, _ width: Int, _ kernel: Int, _ stride: Int, _ expected: [Int]) {
        let padding = Padding.same(ImageShape(3, height, width), kernel: kernel, stride: stride)
        #expect([padding.top, padding.left, padding.bottom, padding.right] == expected)
    }

    /// In DeepMind's networks every strided convolution has it, for sizes that are even and odd.
    @Test(arguments: ["dm_wrn_10_2", "dm_preact_resnet18"], [32, 28, 27])
    func deepMindPadsLikeTensorFlow(_ name: String, _ size: Int) throws {
        var options = NetworkOptions()
        options.shape = ImageShape(3, size, size)
        var strided = 0
        for node in try Architecture.graph(name, &options).nodes {
            guard case .convolution(let g, _, _) = node.operation, g.strideHeight == 2 else { continue }
            strided += 1
            #expect(g.output.height == (g.input.height + 1) / 2 && g.output.width == (g.input.width + 1) / 2)
            let odd = g.input.height % 2
            let before = g.kernelHeight == 3 ? odd : 0
            let after = g.kernelHeight == 3 ? 1 : 0
            #expect([g.padTop, g.padLeft, g.padBottom, g.padRight] == [before, before, after, after])
        }
        #expect(strided == (name == "dm_wrn_10_2" ? 4 : 6))
    }

    /// Folding must have happened: a residual network in inference is its convolutions, the pooling and the import.
    @Test(arguments: ["resnet18", "resnet50", "mobilenet_v2"]) func programsAreFused(_ name: String) throws {
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
