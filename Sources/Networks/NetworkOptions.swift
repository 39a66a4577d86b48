import Kernels
import Runtime

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

    private func check(_ name: String, _ value: Int, _ range: ClosedRange<Int>) throws {
        guard range.contains(value) else {
            throw EngineError.invalid(name, got: value, want: "\(range.lowerBound) ... \(range.upperBound)")
        }
    }
}
