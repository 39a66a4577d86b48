import Kernels
import Runtime

/// An elementwise product, whose second factor may be a gate: one number for each channel of a sample.
struct Multiply: Layer {
    let hasGate: Bool

    var typeName: String { "multiply" }
    var readsInputs: Bool { true }
    var worksInPlace: Bool { true }

    func forward(_ run: LayerForward) { product(run.output, run.input(0), run.input(1), run.count, run.shape, false) }

    func backward(_ run: LayerBackward) {
        run.write(1) { target, accumulate in
            if hasGate {
                gateGradient(
                    target, gradient: run.gradient, run.input(0), count: run.count, run.shape, accumulate: accumulate)
            } else {
                multiply(
                    target, run.gradient, run.input(0), count: run.count * run.shape.count, accumulate: accumulate)
            }
        }
        run.write(0) { target, accumulate in
            product(target, run.gradient, run.input(1), run.count, run.shape, accumulate)
        }
    }

    private func product(
        _ out: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, _ factor: UnsafePointer<Float>, _ count: Int,
        _ shape: ImageShape, _ accumulate: Bool
    ) {
        if hasGate {
            multiplyByGate(out, x, gate: factor, count: count, shape, accumulate: accumulate)
        } else {
            multiply(out, x, factor, count: count * shape.count, accumulate: accumulate)
        }
    }
}

extension Graph {
    mutating func multiply(_ a: Value, _ b: Value, name: String? = nil) -> Value {
        let isGate = b.shape == ImageShape(a.shape.channels, 1, 1)
        if a.shape != b.shape, !isGate {
            note(
                "multiply: shapes \(a.shape) and \(b.shape): want the same, or one pixel of \(a.shape.channels) channels"
            )
        }
        return append(.layer(Multiply(hasGate: isGate && a.shape != b.shape)), [a, b], a.shape, name: name)
    }
}

extension LayerType {
    static let multiply = plain(
        "multiply", inputs: 2...2,
        "The product of two tensors of the same shape; or the second has one pixel, a factor for each channel."
    ) { graph, name, x in graph.multiply(x[0], x[1], name: name) }
}
