import Kernels
import Runtime

/// What the convolution on a shortcut of a pre-activation block sees: the block's input, or that after the block's first
/// BatchNorm and activation.
public enum ShortcutInput: String, Sendable, CaseIterable {
    case raw
    case activated

    /// Where the choice is left to the architecture.
    public static let standard = ShortcutInput.activated

    /// Throws `invalidArgument`, with the names that there are.
    public init(named name: String) throws {
        guard let value = ShortcutInput(rawValue: name) else {
            throw EngineError.unknownName("shortcut_input", got: name, known: Self.allCases.map(\.rawValue))
        }
        self = value
    }
}

/// What an architecture leaves open.
public struct NetworkOptions: Equatable, Sendable {
    /// Number of logits.
    public var classes = 10
    /// Of the input images.
    public var shape = ImageShape(3, 32, 32)
    /// Channels of the first stage; 0 = the architecture's own.
    public var baseWidth = 0
    /// Per channel, or both empty for no normalisation.
    public var mean: [Float] = []
    public var std: [Float] = []
    /// preact_resnet18 only; nil = the architecture's own.
    public var shortcutInput: ShortcutInput?
    /// preact_resnet18 only: BatchNorm and activation after the last block.
    public var finalBN = false

    public init() {}

    /// Bounds keep every product of dimensions far from overflow; real sizes are checked when the graph is built.
    func validate() throws {
        try check("classes", classes, 2...1_000_000)
        try check("channels", shape.channels, 1...4096)
        try check("height", shape.height, 1...16384)
        try check("width", shape.width, 1...16384)
        try check("base_width", baseWidth, 0...4096)
        guard mean.count == std.count else {
            throw EngineError.invalid("std", got: "\(std.count) values", want: "as many as mean has, \(mean.count)")
        }
        guard mean.isEmpty || mean.count == shape.channels else {
            throw EngineError.invalid(
                "normalisation_count", got: mean.count, want: "the number of input channels, \(shape.channels)")
        }
        // Any pixel scale there is lies far inside; what these let through cannot overflow by itself.
        for (index, value) in mean.enumerated() where !(-1e6...1e6).contains(value) {
            throw EngineError.invalid("mean[\(index)]", got: value, want: "-1e6 ... 1e6, on the [0,1] pixel scale")
        }
        for (index, value) in std.enumerated() where !(1e-6...1e6).contains(value) {
            throw EngineError.invalid("std[\(index)]", got: value, want: "1e-6 ... 1e6, on the [0,1] pixel scale")
        }
    }

    /// For architectures without these options: throws `invalidArgument` where one is set.
    func requireNoPreActivation(_ architecture: String) throws {
        if let shortcutInput {
            throw EngineError.invalid(
                "shortcut_input", got: "\"\(shortcutInput.rawValue)\"", want: "none: \(architecture) has no such option"
            )
        }
        if finalBN { throw EngineError.invalid("final_bn", got: 1, want: "0: \(architecture) has no such option") }
    }

    private func check(_ name: String, _ value: Int, _ range: ClosedRange<Int>) throws {
        guard range.contains(value) else {
            throw EngineError.invalid(name, got: value, want: "\(range.lowerBound) ... \(range.upperBound)")
        }
    }
}
