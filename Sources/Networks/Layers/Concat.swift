import Kernels
import Runtime

/// Tensors side by side in the channels of one (DenseNet, Huang et al., arXiv 1608.06993; Inception, Szegedy et al., arXiv
/// 1409.4842).
struct Concat: Layer {
    /// Of each operand.
    let channels: [Int]

    var typeName: String { "concat" }

    func forward(_ run: LayerForward) {
        eachOperand { operand, first in
            putChannels(
                run.output, run.input(operand), pixels: run.count * run.shape.pixels, channels: channels[operand],
                first: first, of: run.shape.channels)
        }
    }

    func backward(_ run: LayerBackward) {
        eachOperand { operand, first in
            run.write(operand) { target, accumulate in
                takeChannels(
                    target, run.gradient, pixels: run.count * run.shape.pixels, channels: channels[operand],
                    first: first, of: run.shape.channels, accumulate: accumulate)
            }
        }
    }

    /// The last one first, with its first channel.
    private func eachOperand(_ body: (_ operand: Int, _ first: Int) -> Void) {
        var end = channels.reduce(0, +)
        for operand in channels.indices.reversed() {
            end -= channels[operand]
            body(operand, end)
        }
    }
}

extension Graph {
    mutating func concat(_ x: [Value], name: String? = nil) -> Value {
        for value in x where (value.shape.height, value.shape.width) != (x[0].shape.height, x[0].shape.width) {
            note("concat: images of \(x[0].shape) and \(value.shape) are not of one size")
        }
        let channels = x.map(\.shape.channels)
        let shape = ImageShape(channels.reduce(0, +), x[0].shape.height, x[0].shape.width)
        return append(.layer(Concat(channels: channels)), x, shape, name: name)
    }
}

extension LayerType {
    static let concat = plain(
        "concat", inputs: 2...256, "Tensors of the same height and width, side by side: their channels in this order."
    ) { graph, name, x in graph.concat(x, name: name) }
}
