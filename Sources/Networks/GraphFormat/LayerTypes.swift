import JSON
import Kernels
import Runtime

extension LayerType {
    /// All types, in the order of the documentation. A new layer is one entry here, and a file in Layers.
    static let all: [LayerType] = [
        convolution, batchNorm, relu, relu6, leakyReLU, silu, gelu, sigmoid, tanh, hardSigmoid, hardSwish, add,
        multiply,
        concat, averagePool, maxPool, globalAveragePool, flatten, linear, layerNorm, tokenLinear, attention, classToken,
        positionEmbedding, selectToken,
    ]

    // Bounds keep every product of sizes far from overflow: tensors have at most 2^30 numbers.
    static let channels = LayerAttribute.Kind.integer(1...65536)
    private static let window = 1...1024
    static let epsilon = LayerAttribute.Kind.number(1e-12...1)

    private static let convolution = LayerType(
        name: "conv", inputs: 1...1,
        attributes: [
            LayerAttribute(name: "channels", kind: channels),
            LayerAttribute(name: "kernel", kind: .pair(window)),
            LayerAttribute(name: "stride", kind: .pair(window), fallback: .integer(1)),
            LayerAttribute(name: "padding", kind: .sides(0...1023), fallback: .integer(0)),
            LayerAttribute(name: "dilation", kind: .pair(window), fallback: .integer(1), isAddition: true),
            LayerAttribute(name: "groups", kind: channels, fallback: .integer(1)),
            LayerAttribute(name: "bias", kind: .flag, fallback: .bool(false)),
        ], parameters: "`.weight` (channels, input channels / groups, height, width) [`.bias`]",
        meaning:
            "Convolution (cross-correlation), padded with zeros; `dilation` pixels from one tap of the kernel to the next. "
            + "`groups` divides both numbers of channels; `padding` is less than the dilated kernel.",
        build: { graph, name, x, values in
            let kernel = values.integers("kernel")
            let padding = values.integers("padding")
            var geometry = ConvolutionGeometry(
                input: x[0].shape, outputChannels: values.integer("channels"), kernelHeight: kernel[0],
                kernelWidth: kernel[1], groups: values.integer("groups"))
            (geometry.strideHeight, geometry.strideWidth) = values.pair("stride")
            (geometry.dilationHeight, geometry.dilationWidth) = values.pair("dilation")
            (geometry.padTop, geometry.padLeft) = (padding[0], padding[1])
            (geometry.padBottom, geometry.padRight) = (padding[2], padding[3])
            try geometry.check()
            return graph.convolution(name, x[0], geometry, bias: values.flag("bias"))
        },
        describe: { node in
            guard case .convolution(let g, _, let bias) = node.operation else { return [] }
            return [
                .integer(g.outputChannels), JSON([g.kernelHeight, g.kernelWidth]),
                JSON(oneFor: [g.strideHeight, g.strideWidth]), JSON([g.padTop, g.padLeft, g.padBottom, g.padRight]),
                JSON(oneFor: [g.dilationHeight, g.dilationWidth]), .integer(g.groups), .bool(bias != nil),
            ]
        })

    private static let batchNorm = LayerType(
        name: "batch_norm", inputs: 1...1,
        attributes: [
            LayerAttribute(name: "epsilon", kind: epsilon, fallback: .number(1e-5)),
            LayerAttribute(name: "momentum", kind: .number(0...1), fallback: .number(0.1)),
        ], parameters: "`.weight`, `.bias`, `.running_mean`, `.running_var`",
        meaning: "Batch normalisation. `momentum` is the part of a batch's statistics in the running ones after it, as "
            + "PyTorch counts it.",
        build: { graph, name, x, values in
            graph.batchNorm(name, x[0], epsilon: values.float("epsilon"), momentum: values.float("momentum"))
        },
        describe: { node in
            guard case .batchNorm(let norm) = node.operation else { return [] }
            return [JSON(norm.epsilon), JSON(norm.momentum)]
        })

    private static let relu = plain("relu", "max(x, 0).") { graph, name, x in graph.relu(x[0], name: name) }

    private static let add = plain("add", inputs: 2...2, "The sum of two tensors of the same shape.") {
        graph, name, x in
        graph.add(x[0], x[1], name: name)
    }

    private static let linear = LayerType(
        name: "linear", inputs: 1...1,
        attributes: [
            LayerAttribute(name: "outputs", kind: .integer(1...1_000_000)),
            LayerAttribute(name: "bias", kind: .flag, fallback: .bool(true)),
        ], parameters: "`.weight` (outputs, inputs) [`.bias`]",
        meaning: "Linear layer, of an image of one pixel.",
        build: { graph, name, x, values in
            graph.linear(name, x[0], outputs: values.integer("outputs"), bias: values.flag("bias"))
        },
        describe: { node in
            guard case .linear(_, let bias) = node.operation else { return [] }
            return [.integer(node.shape.channels), .bool(bias != nil)]
        })

    private static let tokenLinear = LayerType(
        name: "token_linear", inputs: 1...1,
        attributes: [
            LayerAttribute(name: "outputs", kind: channels),
            LayerAttribute(name: "bias", kind: .flag, fallback: .bool(true)),
        ], parameters: "`.weight` (outputs, channels) [`.bias`]", meaning: "The same linear layer for each pixel.",
        build: { graph, name, x, values in
            graph.tokenLinear(name, x[0], outputs: values.integer("outputs"), bias: values.flag("bias"))
        },
        describe: { node in
            guard case .tokenLinear(_, _, let bias) = node.operation else { return [] }
            return [.integer(node.shape.channels), .bool(bias != nil)]
        })

    /// A layer without attributes and parameters.
    static func plain(
        _ name: String, inputs: ClosedRange<Int> = 1...1, _ meaning: String,
        _ build: @escaping @Sendable (inout Graph, String, [Graph.Value]) -> Graph.Value
    ) -> LayerType {
        LayerType(
            name: name, inputs: inputs, attributes: [], meaning: meaning,
            build: { graph, name, x, _ in build(&graph, name, x) },
            describe: { _ in [] })
    }
}

extension Operation {
    /// The name of its `LayerType`; the input has none.
    var typeName: String {
        switch self {
        case .input: "input"
        case .convolution: "conv"
        case .batchNorm: "batch_norm"
        case .relu: "relu"
        case .add: "add"
        case .linear: "linear"
        case .tokenLinear: "token_linear"
        case .layer(let layer): layer.typeName
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
        let kernel = "\(kernelHeight)x\(kernelWidth)"
        let reach = kernel + (reachHeight * reachWidth == taps ? "" : ", dilated to \(reachHeight)x\(reachWidth)")
        guard max(padTop, padBottom) < reachHeight, max(padLeft, padRight) < reachWidth else {
            throw EngineError.invalid(
                "padding", got: [padTop, padLeft, padBottom, padRight],
                want: "less than the kernel, \(reach), on each side")
        }
        guard input.height + padTop + padBottom >= reachHeight, input.width + padLeft + padRight >= reachWidth else {
            throw EngineError.invalid(
                "kernel", got: reach, want: "at most the size of the padded image of shape \(input)")
        }
        guard max(input.pixels, output.pixels) * taps <= Graph.largestTable else {
            throw EngineError.invalid(
                "kernel", got: kernel, want: "a smaller one, or a smaller image than \(input)")
        }
    }
}
