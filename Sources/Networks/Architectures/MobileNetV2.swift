// MobileNetV2 for small images.
//
// Sandler, Howard, Zhu, Zhmoginov, Chen, "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018,
// arXiv 1801.04381, in the form that the robustness field uses on CIFAR. It differs from the paper's table 2:
// - The stem and the second stage keep the size of the image: a 32×32 image arrives at the head as 4×4.
// - ReLU, not ReLU6.
// - The first block has an expansion convolution too, though it expands by 1.
// - A block of stride 1 that changes the number of channels has a 1×1 convolution with BatchNorm as its shortcut.
//
// The base width is that of the stem (32); every other width is in proportion to it, rounded up. That includes the
// head, which the paper leaves at 1280 in networks narrower than its own.

extension Architecture {
    static let mobileNetV2 = Architecture("mobilenet_v2") { options in
        if options.baseWidth == 0 { options.baseWidth = 32 }
        let stem = options.baseWidth
        func scaled(_ channels: Int) -> Int { (channels * stem + 31) / 32 }
        // Table 2, with the strides of the CIFAR form: factor of expansion, channels, blocks, stride of the first one.
        let stages = [
            (t: 1, c: 16, n: 1, s: 1),
            (t: 6, c: 24, n: 2, s: 1),
            (t: 6, c: 32, n: 3, s: 2),
            (t: 6, c: 64, n: 4, s: 2),
            (t: 6, c: 96, n: 3, s: 1),
            (t: 6, c: 160, n: 3, s: 2),
            (t: 6, c: 320, n: 1, s: 1),
        ]
        var graph = Graph(input: options.shape)
        var x = graph.convolution("conv1", graph.input, channels: stem, kernel: 3, padding: 1)
        x = graph.relu(graph.batchNorm("bn1", x))
        var index = 0
        for stage in stages {
            for block in 0..<stage.n {
                x = graph.invertedResidual(
                    "layers.\(index)", x, expansion: stage.t, channels: scaled(stage.c),
                    stride: block == 0 ? stage.s : 1)
                index += 1
            }
        }
        x = graph.convolution("conv2", x, channels: scaled(1280), kernel: 1)
        x = graph.relu(graph.batchNorm("bn2", x))
        _ = graph.linear("linear", graph.globalAveragePool(x), outputs: options.classes)
        return graph
    }
}

extension Graph {
    /// bn3(conv3(relu(bn2(conv2(relu(bn1(conv1(x)))))))), and at stride 1 + shortcut(x): expansion, depthwise filter,
    /// projection. Nothing follows the sum: the bottlenecks are linear.
    fileprivate mutating func invertedResidual(
        _ name: String, _ x: Value, expansion: Int, channels: Int, stride: Int
    ) -> Value {
        let hidden = expansion * x.shape.channels
        var y = convolution(name + ".conv1", x, channels: hidden, kernel: 1)
        y = relu(batchNorm(name + ".bn1", y))
        y = convolution(name + ".conv2", y, channels: hidden, kernel: 3, stride: stride, padding: 1, groups: hidden)
        y = relu(batchNorm(name + ".bn2", y))
        y = batchNorm(name + ".bn3", convolution(name + ".conv3", y, channels: channels, kernel: 1))
        guard stride == 1 else { return y }
        guard x.shape.channels != channels else { return add(y, x) }
        let shortcut = convolution(name + ".shortcut.0", x, channels: channels, kernel: 1)
        return add(y, batchNorm(name + ".shortcut.1", shortcut))
    }
}
