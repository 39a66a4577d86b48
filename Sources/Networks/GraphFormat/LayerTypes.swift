import JSON
import Kernels
import Runtime

extension LayerType {
    /// All types, in the order of the documentation. A new operation is one entry here, and its case in `typeName`.
    static let all: [LayerType] = [
        convolution, batchNorm, relu, silu, add, averagePool, maxPool, globalAveragePool, flatten, linear,
        gelu, layerNorm, tokenLinear, attention, classToken, positionEmbedding, selectToken,
    ]

    // Bounds keep every product of sizes far from overflow: tensors have at most 2^30 numbers.
    private static let channels = LayerAttribute.Kind.integer(1...65536)
    private static let window = 1...1024
    private static let epsilon = LayerAttribute.Kind.number(1e-12...1)

    private static let convolution = LayerType(
        name: "conv", inputs: 1,
        attributes: [
            LayerAttribute(name: "channels", kind: channels),
            LayerAttribute(name: "kernel", kind: .pair(window)),
            LayerAttribute(name: "stride", kind: .integer(window), fallback: .integer(1)),
            LayerAttribute(name: "padding", kind: .sides(0...1023), fallback: .integer(0)),
            LayerAttribute(name: "groups", kind: channels, fallback: .integer(1)),
            LayerAttribute(name: "bias", kind: .flag, fallback: .bool(false)),
        ], parameters: "`.weight` (channels, input channels / groups, height, width) [`.bias`]",
        meaning:
            "Convolution (cross-correlation), padded with zeros. `groups` divides both numbers of channels; `padding` "
            + "is less than the kernel.",
        build: { graph, name, x, values in
            let kernel = values.integers("kernel")
            let padding = values.integers("padding")
            var geometry = ConvolutionGeometry(
                input: x[0].shape, outputChannels: values.integer("channels"), kernelHeight: kernel[0],
                kernelWidth: kernel[1], stride: values.integer("stride"), groups: values.integer("groups"))
            (geometry.padTop, geometry.padLeft) = (padding[0], padding[1])
            (geometry.padBottom, geometry.padRight) = (padding[2], padding[3])
            try geometry.check()
            return graph.convolution(name, x[0], geometry, bias: values.flag("bias"))
        },
        describe: { _, node in
            guard case .convolution(let g, _, let bias) = node.operation else { return [] }
            return [
                .integer(g.outputChannels), JSON([g.kernelHeight, g.kernelWidth]), .integer(g.stride),
                JSON([g.padTop, g.padLeft, g.padBottom, g.padRight]), .integer(g.groups), .bool(bias != nil),
            ]
        })

    private static let batchNorm = LayerType(
        name: "batch_norm", inputs: 1,
        attributes: [
            LayerAttribute(name: "epsilon", kind: epsilon, fallback: .number(1e-5)),
            LayerAttribute(name: "momentum", kind: .number(0...1), fallback: .number(0.1)),
        ], parameters: "`.weight`, `.bias`, `.running_mean`, `.running_var`",
        meaning: "Batch normalisation. `momentum` is the part of a batch's statistics in the running ones after it, as "
            + "PyTorch counts it.",
        build: { graph, name, x, values in
            graph.batchNorm(name, x[0], epsilon: values.float("epsilon"), momentum: values.float("momentum"))
        },
        describe: { _, node in
            guard case .batchNorm(let norm) = node.operation else { return [] }
            return [JSON(norm.epsilon), JSON(norm.momentum)]
        })

    private static let relu = activation(.relu, "max(x, 0).")
    private static let silu = activation(.silu, "x·σ(x).")

    private static func activation(_ kind: Activation, _ meaning: String) -> LayerType {
        plain(kind.rawValue, meaning) { graph, name, x in graph.activation(kind, x[0], name: name) }
    }

    private static let add = plain("add", inputs: 2, "The sum of two tensors of the same shape.") { graph, name, x in
        graph.add(x[0], x[1], name: name)
    }

    private static let averagePool = pooling(
        "average_pool", largest: 1024, "The mean of each square window, padding counted as zeros."
    ) { graph, name, x, g in
        graph.averagePool(x, window: g.window, stride: g.stride, padding: g.padding, name: name)
    }

    private static let maxPool = pooling(
        "max_pool", largest: maxPoolLargestWindow, "The largest value of each square window, padding left out."
    ) { graph, name, x, g in
        graph.maxPool(x, window: g.window, stride: g.stride, padding: g.padding, name: name)
    }

    private static func pooling(
        _ name: String, largest: Int, _ meaning: String,
        _ build: @escaping @Sendable (inout Graph, String, Graph.Value, PoolingGeometry) -> Graph.Value
    ) -> LayerType {
        LayerType(
            name: name, inputs: 1,
            attributes: [
                LayerAttribute(name: "window", kind: .integer(1...largest)),
                LayerAttribute(name: "stride", kind: .integer(window), fallback: .integer(1)),
                LayerAttribute(name: "padding", kind: .integer(0...largest / 2), fallback: .integer(0)),
            ], meaning: meaning + " `padding` is at most half a window.",
            build: { graph, name, x, values in
                let geometry = PoolingGeometry(
                    input: x[0].shape, window: values.integer("window"), stride: values.integer("stride"),
                    padding: values.integer("padding"))
                return build(&graph, name, x[0], geometry)
            },
            describe: { _, node in
                switch node.operation {
                case .averagePool(let g), .maxPool(let g):
                    return [.integer(g.window), .integer(g.stride), .integer(g.padding)]
                default: return []
                }
            })
    }

    private static let globalAveragePool = plain(
        "global_average_pool", "The mean over all pixels of each channel: one pixel is left."
    ) { graph, name, x in graph.globalAveragePool(x[0], name: name) }

    private static let flatten = plain(
        "flatten", "One pixel with a channel for each number of the image, in PyTorch's order (C, H, W)."
    ) { graph, name, x in graph.flatten(x[0], name: name) }

    private static let linear = LayerType(
        name: "linear", inputs: 1,
        attributes: [
            LayerAttribute(name: "outputs", kind: .integer(1...1_000_000)),
            LayerAttribute(name: "bias", kind: .flag, fallback: .bool(true)),
        ], parameters: "`.weight` (outputs, inputs) [`.bias`]",
        meaning: "Linear layer, of an image of one pixel.",
        build: { graph, name, x, values in
            graph.linear(name, x[0], outputs: values.integer("outputs"), bias: values.flag("bias"))
        },
        describe: { _, node in
            guard case .linear(_, let bias) = node.operation else { return [] }
            return [.integer(node.shape.channels), .bool(bias != nil)]
        })

    // Vision transformers: a pixel is a token.

    private static let gelu = activation(.gelu, "x·Φ(x), exact: Φ by the error function.")

    private static let layerNorm = LayerType(
        name: "layer_norm", inputs: 1,
        attributes: [LayerAttribute(name: "epsilon", kind: epsilon, fallback: .number(1e-5))],
        parameters: "`.weight`, `.bias`", meaning: "Layer normalisation over the channels of each pixel.",
        build: { graph, name, x, values in graph.layerNorm(name, x[0], epsilon: values.float("epsilon")) },
        describe: { _, node in
            guard case .layerNorm(_, _, let epsilon) = node.operation else { return [] }
            return [JSON(epsilon)]
        })

    private static let tokenLinear = LayerType(
        name: "token_linear", inputs: 1,
        attributes: [
            LayerAttribute(name: "outputs", kind: channels),
            LayerAttribute(name: "bias", kind: .flag, fallback: .bool(true)),
        ], parameters: "`.weight` (outputs, channels) [`.bias`]", meaning: "The same linear layer for each pixel.",
        build: { graph, name, x, values in
            graph.tokenLinear(name, x[0], outputs: values.integer("outputs"), bias: values.flag("bias"))
        },
        describe: { _, node in
            guard case .tokenLinear(_, _, let bias) = node.operation else { return [] }
            return [.integer(node.shape.channels), .bool(bias != nil)]
        })

    private static let attention = LayerType(
        name: "attention", inputs: 1, attributes: [LayerAttribute(name: "heads", kind: channels)],
        meaning:
            "Multi-head self-attention between all pixels, at most \(AttentionGeometry.mostTokens). The channels of the "
            + "input are queries, keys and values, each with its heads one after the other; a third of them comes out.",
        build: { graph, name, x, values in
            let shape = x[0].shape
            let heads = values.integer("heads")
            guard shape.channels % (3 * heads) == 0 else {
                throw EngineError.invalid(
                    "heads", got: heads, want: "a divisor of a third of the \(shape.channels) channels")
            }
            guard shape.pixels <= AttentionGeometry.mostTokens else {
                throw EngineError.invalid(
                    "inputs", got: "\(shape.pixels) pixels", want: "at most \(AttentionGeometry.mostTokens)")
            }
            return graph.attention(x[0], heads: heads, name: name)
        },
        describe: { _, node in
            guard case .attention(let g) = node.operation else { return [] }
            return [.integer(g.heads)]
        })

    private static let classToken = LayerType(
        name: "class_token", inputs: 1, attributes: [], parameters: "the name itself, (1, 1, channels)",
        meaning: "One more pixel before all others, learnt: (channels, height·width + 1, 1) comes out.",
        build: { graph, name, x, _ in graph.classToken(name, x[0]) }, describe: { _, _ in [] })

    private static let positionEmbedding = LayerType(
        name: "position_embedding", inputs: 1, attributes: [], parameters: "the name itself, (1, pixels, channels)",
        meaning: "Something learnt is added to each pixel, the same for all images.",
        build: { graph, name, x, _ in graph.positionEmbedding(name, x[0]) }, describe: { _, _ in [] })

    private static let selectToken = LayerType(
        name: "select_token", inputs: 1, attributes: [LayerAttribute(name: "index", kind: .integer(0...1 << 28))],
        meaning: "One pixel, by its number from 0 on, row by row: the class token, for example.",
        build: { graph, name, x, values in
            let index = values.integer("index")
            guard index < x[0].shape.pixels else {
                throw EngineError.invalid("index", got: index, want: "below the \(x[0].shape.pixels) pixels")
            }
            return graph.selectToken(x[0], index: index, name: name)
        },
        describe: { _, node in
            guard case .selectToken(let index) = node.operation else { return [] }
            return [.integer(index)]
        })

    /// A layer without attributes and parameters.
    private static func plain(
        _ name: String, inputs: Int = 1, _ meaning: String,
        _ build: @escaping @Sendable (inout Graph, String, [Graph.Value]) -> Graph.Value
    ) -> LayerType {
        LayerType(
            name: name, inputs: inputs, attributes: [], meaning: meaning,
            build: { graph, name, x, _ in build(&graph, name, x) },
            describe: { _, _ in [] })
    }
}

extension Operation {
    /// The name of its `LayerType`; the input has none.
    var typeName: String {
        switch self {
        case .input: "input"
        case .convolution: "conv"
        case .batchNorm: "batch_norm"
        case .activation(let kind): kind.rawValue
        case .add: "add"
        case .averagePool: "average_pool"
        case .maxPool: "max_pool"
        case .globalAveragePool: "global_average_pool"
        case .flatten: "flatten"
        case .linear: "linear"
        case .tokenLinear: "token_linear"
        case .layerNorm: "layer_norm"
        case .attention: "attention"
        case .classToken: "class_token"
        case .positionEmbedding: "position_embedding"
        case .selectToken: "select_token"
        }
    }
}

extension ConvolutionGeometry {
    /// Throws `invalidArgument` where groups, padding or kernel do not fit the image.
    fileprivate func check() throws {
        guard input.channels % groups == 0, outputChannels % groups == 0 else {
            throw EngineError.invalid(
                "groups", got: groups, want: "a divisor of \(input.channels) and of \(outputChannels), the channels")
        }
        guard max(padTop, padBottom) < kernelHeight, max(padLeft, padRight) < kernelWidth else {
            throw EngineError.invalid(
                "padding", got: [padTop, padLeft, padBottom, padRight],
                want: "less than the kernel, \(kernelHeight)x\(kernelWidth), on each side")
        }
        guard input.height + padTop + padBottom >= kernelHeight, input.width + padLeft + padRight >= kernelWidth else {
            throw EngineError.invalid(
                "kernel", got: "\(kernelHeight)x\(kernelWidth)",
                want: "at most the size of the padded image of shape \(input)")
        }
        guard max(input.pixels, output.pixels) * taps <= Graph.largestTable else {
            throw EngineError.invalid(
                "kernel", got: "\(kernelHeight)x\(kernelWidth)", want: "a smaller one, or a smaller image than \(input)"
            )
        }
    }
}
