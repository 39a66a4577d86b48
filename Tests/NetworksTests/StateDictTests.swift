import Glibc
import Kernels
import Testing

@testable import Networks

/// Names, shapes and sizes of the field's own definitions, as Fixtures/state_dict_keys.txt lists them.
struct PublishedModel: CustomTestStringConvertible {
    let title: String
    let numbers: Int
    var arrays: [(name: String, shape: [Int])] = []
    var testDescription: String { title }

    static let all: [PublishedModel] = {
        guard let file = fopen(folder + "/Fixtures/state_dict_keys.txt", "r") else { return [] }
        defer { fclose(file) }
        var models: [PublishedModel] = []
        var line = [CChar](repeating: 0, count: 200)
        while fgets(&line, Int32(line.count), file) != nil {
            let text = String(cString: line).dropLast()
            if text.hasPrefix("## ") {
                let parts = text.dropFirst(3).split(separator: ":")
                let numbers = parts[1].split(separator: " ")[0]
                models.append(PublishedModel(title: String(parts[0]), numbers: Int(numbers) ?? 0))
            } else if !text.hasPrefix("#") {
                let parts = text.split(separator: " ")
                let shape = parts[1].dropFirst().dropLast().split(separator: ",").compactMap { Int($0) }
                let names =
                    parts[0].hasSuffix(".*")
                    ? ["weight", "bias", "running_mean", "running_var"].map { parts[0].dropLast() + $0 } : [parts[0]]
                models[models.count - 1].arrays += names.map { (String($0), shape) }
            }
        }
        return models
    }()

    private static let folder = String(#filePath.prefix(upTo: #filePath.lastIndex(of: "/") ?? #filePath.endIndex))

    /// What builds it here.
    func graph() throws -> Graph {
        var options = NetworkOptions()
        if title.contains("(C100") { options.classes = 100 }
        let kind = title.split(separator: " ")[0]
        let sizes = kind.split(separator: "-").dropFirst().joined(separator: "_")
        switch kind.prefix(while: { $0 != "-" }) {
        case "DMWideResNet": return try Architecture.graph("dm_wrn_\(sizes)", &options)
        case "DMPreActResNet": return try Architecture.graph("dm_preact_resnet\(sizes)", &options)
        case "WideResNet": return try Architecture.graph("wrn_\(sizes)", &options)
        case "ResNet": return try Architecture.graph("resnet\(sizes)", &options)
        case "MobileNetV2": return try Architecture.graph("mobilenet_v2", &options)
        default:
            options.finalBN = title.contains("bn_before_fc")
            return try Architecture.graph("preact_resnet\(sizes)", &options)
        }
    }
}

@Suite struct StateDictTests {
    @Test func allModelsAreThere() {
        #expect(PublishedModel.all.count == 13)
        #expect(PublishedModel.all.reduce(0) { $0 + $1.arrays.count } == 2340)
    }

    @Test(arguments: PublishedModel.all)
    func namesAndShapesAreThoseOfTheField(_ model: PublishedModel) throws {
        let graph = try model.graph()
        // A part of some files that nothing computes with.
        let used = model.arrays.filter { !$0.name.hasPrefix("sub_block1.") }
        #expect(graph.parameters.map(\.name) == used.map(\.name))
        #expect(graph.parameters.map(\.shape) == used.map(\.shape))
        #expect((used.count < model.arrays.count) == model.title.contains("sub_block1=True"))
    }

    @Test(arguments: PublishedModel.all)
    func parameterCountsAreThoseOfTheField(_ model: PublishedModel) throws {
        let graph = try model.graph()
        let unused = model.arrays.filter { $0.name.hasPrefix("sub_block1.") && !$0.name.contains("running") }
            .reduce(0) { $0 + $1.shape.reduce(1, *) }
        let count = graph.parameters.filter(\.trainable).reduce(0) { $0 + $1.count }
        #expect(count == model.numbers - unused)
    }

    /// The parameter counts that torchvision's documentation gives, and those of CIFAR's ResNet-34.
    @Test(arguments: [
        ("imagenet_resnet18", 1000, 11_689_512), ("imagenet_resnet34", 1000, 21_797_672),
        ("imagenet_resnet50", 1000, 25_557_032), ("resnet34", 10, 21_282_122), ("resnet20", 10, 272_474),
    ])
    func otherParameterCounts(_ name: String, _ classes: Int, _ expected: Int) throws {
        var options = NetworkOptions()
        options.classes = classes
        options.shape = ImageShape(3, 224, 224)
        let graph = try Architecture.graph(name, &options)
        #expect(graph.parameters.filter(\.trainable).reduce(0) { $0 + $1.count } == expected)
    }

    @Test func namesOfTorchvision() throws {
        var options = NetworkOptions()
        let graph = try Architecture.graph("imagenet_resnet50", &options)
        let table = Dictionary(uniqueKeysWithValues: graph.parameters.map { ($0.name, $0.shape) })
        #expect(table["conv1.weight"] == [64, 3, 7, 7])
        #expect(table["layer1.0.downsample.0.weight"] == [256, 64, 1, 1])
        #expect(table["layer4.2.conv3.weight"] == [2048, 512, 1, 1])
        #expect(table["fc.weight"] == [10, 2048])
        #expect(graph.parameters.count == 267)
    }
}
