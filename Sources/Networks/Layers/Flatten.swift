import Kernels

/// The image as one pixel with a channel for each of its numbers, in PyTorch's order (C, H, W).
struct Flatten: Layer {
    /// Of the input.
    let input: ImageShape

    var typeName: String { "flatten" }

    func forward(_ run: LayerForward) { flattenForward(run.output, run.input(), count: run.count, input) }

    func backward(_ run: LayerBackward) {
        run.write { target, accumulate in
            flattenBackward(target, gradient: run.gradient, count: run.count, input, accumulate: accumulate)
        }
    }
}

extension Graph {
    mutating func flatten(_ x: Value, name: String? = nil) -> Value {
        append(.layer(Flatten(input: x.shape)), [x], ImageShape(x.shape.count, 1, 1), name: name)
    }
}

extension LayerType {
    static let flatten = plain(
        "flatten", "One pixel with a channel for each number of the image, in PyTorch's order (C, H, W)."
    ) { graph, name, x in graph.flatten(x[0], name: name) }
}
