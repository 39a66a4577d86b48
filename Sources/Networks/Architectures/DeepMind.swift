// DeepMind's networks for adversarial training.
//
// Gowal, Qin, Uesato, Mann, Kohli, "Uncovering the Limits of Adversarial Training against Norm-Bounded Adversarial
// Examples", arXiv 2010.03593, under the names of the PyTorch code that came with it. Checkpoints by Rebuffi et al. 2021,
// Rade and Moosavi-Dezfooli 2021, Wang et al. 2023, Cui et al. 2023 and Bartoldson et al. 2024 have them too. They differ
// from the field's other networks:
// - SiLU (Swish) in the place of ReLU.
// - 3×3 convolutions of stride 2 are padded as TensorFlow pads ("SAME"): images of even size at the bottom and right
//   only. The PyTorch code does that to images of odd size too, which its wide networks then cannot add to their
//   shortcuts; here these are padded as TensorFlow does, on all sides.
// - Mean and standard deviation are no part of a checkpoint: they are to be given.
//
// dm_wrn_D_K is the wide residual network wrn_D_K. dm_preact_resnet18 is the network of PreActResNet.swift with a last
// BatchNorm, and with 3×3 convolutions of the raw input as its shortcuts.

extension Architecture {
    static let deepMindWideResNet = Architecture(pattern: "dm_wrn_D_K") { name, options in
        guard let (depth, factor) = try wideResNetSize(name, prefix: "dm_wrn_", &options) else { return nil }
        var graph = Graph(input: options.shape)
        var x = graph.convolution("init_conv", graph.input, channels: 16, kernel: 3, padding: 1)
        for stage in 0..<3 {
            for block in 0..<((depth - 4) / 6) {
                x = graph.deepMindBlock(
                    "layer.\(stage).block.\(block)", x, channels: (16 * factor) << stage,
                    stride: stage > 0 && block == 0 ? 2 : 1, ("conv_0", "conv_1"), shortcutKernel: 1, .activated)
            }
        }
        graph.deepMindHead(x, options)
        return graph
    }

    static let deepMindPreActResNet18 = Architecture("dm_preact_resnet18") { options in
        if options.baseWidth == 0 { options.baseWidth = 64 }
        var graph = Graph(input: options.shape)
        var x = graph.convolution("conv_2d", graph.input, channels: options.baseWidth, kernel: 3, padding: 1)
        for stage in 0..<4 {
            for block in 0..<2 {
                x = graph.deepMindBlock(
                    "layer_\(stage).\(block)", x, channels: options.baseWidth << stage,
                    stride: stage > 0 && block == 0 ? 2 : 1, ("conv_2d_1", "conv_2d_2"), shortcutKernel: 3, .raw)
            }
        }
        graph.deepMindHead(x, options)
        return graph
    }
}

extension Graph {
    /// conv_1(silu(batchnorm_1(conv_0(o)))) + shortcut,  o = silu(batchnorm_0(x)); the shortcut is x, or where the number
    /// of channels changes a convolution of o or of x.
    fileprivate mutating func deepMindBlock(
        _ name: String, _ x: Value, channels: Int, stride: Int, _ convolutions: (String, String), shortcutKernel: Int,
        _ shortcutInput: ShortcutInput
    ) -> Value {
        func padding(_ kernel: Int) -> Padding { .same(x.shape, kernel: kernel, stride: stride) }
        let activated = activation(.silu, batchNorm(name + ".batchnorm_0", x))
        var y = convolution(
            "\(name).\(convolutions.0)", activated, channels: channels, kernel: 3, stride: stride, padding: padding(3))
        y = activation(.silu, batchNorm(name + ".batchnorm_1", y))
        y = convolution("\(name).\(convolutions.1)", y, channels: channels, kernel: 3, padding: 1)
        guard x.shape.channels != channels else { return add(x, y) }
        let shortcut = convolution(
            name + ".shortcut", shortcutInput == .activated ? activated : x, channels: channels, kernel: shortcutKernel,
            stride: stride, padding: padding(shortcutKernel))
        return add(shortcut, y)
    }

    fileprivate mutating func deepMindHead(_ x: Value, _ options: NetworkOptions) {
        let y = activation(.silu, batchNorm("batchnorm", x))
        _ = linear("logits", globalAveragePool(y), outputs: options.classes)
    }
}
