// Residual networks with pre-activation.
//
// He, Zhang, Ren, Sun, "Identity Mappings in Deep Residual Networks", ECCV 2016, arXiv 1603.05027, in the form that the
// field uses on CIFAR: a 3×3 stem, four stages of two blocks of widths w … 8w (w = 64), no BatchNorm on the shortcuts.
//
// Checkpoints of the field come from four networks, whose weights have the same names but for one BatchNorm:
// - `shortcut_input`: a shortcut's convolution sees the activated input of its block (the default, and the paper), or
//   the raw one. Nothing in a file of weights tells which.
// - `final_bn`: whether a BatchNorm with ReLU, `bn`, follows the last block, as in the paper; by default not.

extension Architecture {
    static let preActResNet18 = Architecture("preact_resnet18", isPreActivated: true) { options in
        if options.baseWidth == 0 { options.baseWidth = 64 }
        let shortcutInput = options.shortcutInput ?? .standard
        options.shortcutInput = shortcutInput
        var graph = Graph(input: options.shape)
        var x = graph.convolution("conv1", graph.input, channels: options.baseWidth, kernel: 3, padding: 1)
        for stage in 0..<4 {
            for block in 0..<2 {
                x = graph.preActBlock(
                    "layer\(stage + 1).\(block)", x, channels: options.baseWidth << stage,
                    stride: stage > 0 && block == 0 ? 2 : 1, shortcutInput)
            }
        }
        if options.finalBN { x = graph.relu(graph.batchNorm("bn", x)) }
        _ = graph.linear("linear", graph.globalAveragePool(x), outputs: options.classes)
        return graph
    }
}

extension Graph {
    /// conv2(relu(bn2(conv1(o)))) + shortcut,  o = relu(bn1(x)); the shortcut is x, or where the shape changes a
    /// convolution of o or of x.
    fileprivate mutating func preActBlock(
        _ name: String, _ x: Value, channels: Int, stride: Int, _ shortcutInput: ShortcutInput
    ) -> Value {
        let activated = relu(batchNorm(name + ".bn1", x))
        var y = convolution(name + ".conv1", activated, channels: channels, kernel: 3, stride: stride, padding: 1)
        y = relu(batchNorm(name + ".bn2", y))
        y = convolution(name + ".conv2", y, channels: channels, kernel: 3, padding: 1)
        guard stride != 1 || x.shape.channels != channels else { return add(x, y) }
        let input = shortcutInput == .activated ? activated : x
        return add(convolution(name + ".shortcut.0", input, channels: channels, kernel: 1, stride: stride), y)
    }
}
