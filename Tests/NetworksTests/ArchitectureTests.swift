import Kernels
import Runtime
import Testing

@testable import Networks

@Suite struct ArchitectureTests {
    /// Parameter counts of the published definitions, 10 classes, 3×32×32.
    @Test(arguments: [("resnet18", 11_173_962), ("wrn_28_10", 36_479_194), ("wrn_34_10", 46_160_474)])
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

    @Test(arguments: ["resnet9", "wrn", "wrn_", "wrn_28", "wrn_27_10", "wrn_28_0", "wrn_28_10_1", "", "RESNET18", "wrn_99999999999999999999_1"])
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
        #expect(refuses { $0.mean = [0]; $0.std = [1] }?.hasPrefix("normalisation_count") == true)
        #expect(refuses { $0.mean = [0, 0, 0]; $0.std = [1, 0, 1] }?.hasPrefix("std[1]") == true)
        #expect(refuses { $0.shape = ImageShape(4096, 16384, 16384) } != nil)
        #expect(refuses { $0.baseWidth = 4096; $0.shape = ImageShape(3, 16384, 16384) } != nil)
    }

    /// Folding must have happened: a residual network in inference is its convolutions, the pooling and the import.
    @Test func inferenceIsFused() throws {
        var options = NetworkOptions()
        let graph = try Architecture.graph("resnet18", &options)
        let program = Program(graph, training: false)
        let convolutions = graph.nodes.filter { if case .convolution = $0.operation { true } else { false } }
        #expect(program.steps.count == convolutions.count + 3)
        #expect(Program(graph, training: true).steps.count == graph.nodes.count)
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
