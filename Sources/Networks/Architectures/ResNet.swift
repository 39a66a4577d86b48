// Residual networks.
//
// He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv 1512.03385.
// - resnet8/14/20: section 4.2, depth 6n + 2: three stages of n blocks, widths w, 2w, 4w (w = 16).
// - imagenet_resnet18/34/50: table 1, under torchvision's names: a 7×7 stem of stride 2, max pooling, four stages of
//   widths w … 8w (w = 64). The bottlenecks of 50 have their stride in the 3×3 convolution, as torchvision's, not in the
//   paper's first 1×1.
// - resnet18/34/50: the same with a 3×3 stem of stride 1 and no max pooling, as the field uses them on CIFAR.
// Shortcuts that change the shape are a 1×1 convolution with BatchNorm (option B of the paper).

extension Architecture {
    static let resNets: [Architecture] = [
        resNet("resnet8", [1, 1, 1], width: 16), resNet("resnet14", [2, 2, 2], width: 16),
        resNet("resnet20", [3, 3, 3], width: 16), resNet("resnet18", [2, 2, 2, 2]), resNet("resnet34", [3, 4, 6, 3]),
        resNet("resnet50", [3, 4, 6, 3], isDeep: true),
    ]

    static let imageNetResNets: [Architecture] = [
        resNet("imagenet_resnet18", [2, 2, 2, 2], forImageNet: true),
        resNet("imagenet_resnet34", [3, 4, 6, 3], forImageNet: true),
        resNet("imagenet_resnet50", [3, 4, 6, 3], isDeep: true, forImageNet: true),
    ]

    /// - Parameters:
    ///   - width: the base width where the options leave it open.
    ///   - isDeep: of bottlenecks instead of basic blocks.
    private static func resNet(
        _ name: String, _ blocks: [Int], width: Int = 64, isDeep: Bool = false, forImageNet: Bool = false
    ) -> Architecture {
        Architecture(name) { options in
            if options.baseWidth == 0 { options.baseWidth = width }
            var graph = Graph(input: options.shape)
            var x =
                forImageNet
                ? graph.convolution("conv1", graph.input, channels: options.baseWidth, kernel: 7, stride: 2, padding: 3)
                : graph.convolution("conv1", graph.input, channels: options.baseWidth, kernel: 3, padding: 1)
            x = graph.relu(graph.batchNorm("bn1", x))
            if forImageNet { x = graph.maxPool(x, window: 3, stride: 2, padding: 1) }
            let shortcut = forImageNet ? "downsample" : "shortcut"
            for (stage, count) in blocks.enumerated() {
                let channels = options.baseWidth << stage
                for block in 0..<count {
                    let name = "layer\(stage + 1).\(block)"
                    let stride = stage > 0 && block == 0 ? 2 : 1
                    x =
                        isDeep
                        ? graph.bottleneck(name, x, channels: channels, stride: stride, shortcut)
                        : graph.basicBlock(name, x, channels: channels, stride: stride, shortcut)
                }
            }
            _ = graph.linear(forImageNet ? "fc" : "linear", graph.globalAveragePool(x), outputs: options.classes)
            return graph
        }
    }
}

extension Graph {
    /// relu( bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x) )
    fileprivate mutating func basicBlock(
        _ name: String, _ x: Value, channels: Int, stride: Int, _ shortcut: String
    ) -> Value {
        var y = convolution(name + ".conv1", x, channels: channels, kernel: 3, stride: stride, padding: 1)
        y = relu(batchNorm(name + ".bn1", y))
        y = convolution(name + ".conv2", y, channels: channels, kernel: 3, padding: 1)
        y = batchNorm(name + ".bn2", y)
        return relu(add(y, projection("\(name).\(shortcut)", x, channels: channels, stride: stride)))
    }

    /// relu( bn3(conv3(relu(bn2(conv2(relu(bn1(conv1(x)))))))) + shortcut(x) ): 1×1 down, 3×3, 1×1 up to four times the
    /// channels.
    fileprivate mutating func bottleneck(
        _ name: String, _ x: Value, channels: Int, stride: Int, _ shortcut: String
    ) -> Value {
        var y = relu(batchNorm(name + ".bn1", convolution(name + ".conv1", x, channels: channels, kernel: 1)))
        y = convolution(name + ".conv2", y, channels: channels, kernel: 3, stride: stride, padding: 1)
        y = relu(batchNorm(name + ".bn2", y))
        y = batchNorm(name + ".bn3", convolution(name + ".conv3", y, channels: 4 * channels, kernel: 1))
        return relu(add(y, projection("\(name).\(shortcut)", x, channels: 4 * channels, stride: stride)))
    }

    /// bn(conv(x)) where the shape changes, else x.
    private mutating func projection(_ name: String, _ x: Value, channels: Int, stride: Int) -> Value {
        guard stride != 1 || x.shape.channels != channels else { return x }
        return batchNorm(name + ".1", convolution(name + ".0", x, channels: channels, kernel: 1, stride: stride))
    }
}
