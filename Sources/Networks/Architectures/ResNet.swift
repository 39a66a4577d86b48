// Residual networks for small images.
//
// He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv 1512.03385.
// - resnet8/14/20: section 4.2, depth 6n + 2: three stages of n blocks, widths w, 2w, 4w (w = 16).
// - resnet18: the ImageNet network with a 3×3 stem of stride 1 and no max pooling, as the field uses it on CIFAR: four
//   stages of two blocks, widths w … 8w (w = 64).
// Shortcuts that change the shape are a 1×1 convolution with BatchNorm (option B of the paper).

extension Architecture {
    static let resNet8 = resNet("resnet8", baseWidth: 16, blocks: [1, 1, 1])
    static let resNet14 = resNet("resnet14", baseWidth: 16, blocks: [2, 2, 2])
    static let resNet20 = resNet("resnet20", baseWidth: 16, blocks: [3, 3, 3])
    static let resNet18 = resNet("resnet18", baseWidth: 64, blocks: [2, 2, 2, 2])

    private static func resNet(_ name: String, baseWidth: Int, blocks: [Int]) -> Architecture {
        Architecture(name) { options in
            if options.baseWidth == 0 { options.baseWidth = baseWidth }
            var graph = Graph(input: options.shape)
            var x = graph.convolution("conv1", graph.input, channels: options.baseWidth, kernel: 3, padding: 1)
            x = graph.relu(graph.batchNorm("bn1", x))
            for (stage, count) in blocks.enumerated() {
                for block in 0..<count {
                    x = graph.basicBlock(
                        "layer\(stage + 1).\(block)", x, channels: options.baseWidth << stage,
                        stride: stage > 0 && block == 0 ? 2 : 1)
                }
            }
            _ = graph.linear("linear", graph.globalAveragePool(x), outputs: options.classes)
            return graph
        }
    }
}

extension Graph {
    /// relu( bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x) )
    fileprivate mutating func basicBlock(_ name: String, _ x: Value, channels: Int, stride: Int) -> Value {
        var y = convolution(name + ".conv1", x, channels: channels, kernel: 3, stride: stride, padding: 1)
        y = relu(batchNorm(name + ".bn1", y))
        y = convolution(name + ".conv2", y, channels: channels, kernel: 3, padding: 1)
        y = batchNorm(name + ".bn2", y)
        var shortcut = x
        if stride != 1 || x.shape.channels != channels {
            shortcut = convolution(name + ".shortcut.0", x, channels: channels, kernel: 1, stride: stride)
            shortcut = batchNorm(name + ".shortcut.1", shortcut)
        }
        return relu(add(y, shortcut))
    }
}
