import Runtime

// Wide residual networks.
//
// Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016, arXiv 1605.07146, with the names and the forward pass
// of the TRADES code that the robustness field inherited: wrn_D_K has depth D = 6n + 4 and widths 16, 16K, 32K, 64K.
// Where a block changes the number of channels, its shortcut convolution sees the activated input; an identity
// shortcut takes the raw one.

extension Architecture {
    static let wideResNet = Architecture(pattern: "wrn_D_K") { name, options in
        guard let (depth, factor) = try wideResNetSize(name, prefix: "wrn_", &options) else { return nil }
        var graph = Graph(input: options.shape)
        var x = graph.convolution("conv1", graph.input, channels: 16, kernel: 3, padding: 1)
        for stage in 0..<3 {
            for block in 0..<((depth - 4) / 6) {
                x = graph.wideBlock(
                    "block\(stage + 1).layer.\(block)", x, channels: (16 * factor) << stage,
                    stride: stage > 0 && block == 0 ? 2 : 1)
            }
        }
        x = graph.relu(graph.batchNorm("bn1", x))
        _ = graph.linear("fc", graph.globalAveragePool(x), outputs: options.classes)
        return graph
    }

    /// Depth and factor of the width of a name `<prefix>D_K`, which become the options' base width; nil for other names.
    static func wideResNetSize(
        _ name: String, prefix: String, _ options: inout NetworkOptions
    ) throws -> (depth: Int, factor: Int)? {
        guard name.hasPrefix(prefix) else { return nil }
        let parts = name.dropFirst(prefix.count).split(separator: "_", omittingEmptySubsequences: false)
        guard parts.count == 2 else { return nil }
        guard let depth = Int(plain: parts[0]), let factor = Int(plain: parts[1]), (10...1000).contains(depth),
            depth % 6 == 4, (1...64).contains(factor)
        else {
            throw EngineError.invalid(
                "architecture", got: "\"\(name)\"",
                want: "\(prefix)D_K with D = 6n + 4 (10, 16, 22, 28, 34 ...) and K = 1 ... 64")
        }
        guard options.baseWidth == 0 || options.baseWidth == factor else {
            throw EngineError.invalid(
                "base_width", got: options.baseWidth, want: "0: \(name) has its width in the name")
        }
        options.baseWidth = factor
        return (depth, factor)
    }
}

extension Graph {
    /// conv2(relu(bn2(conv1(o)))) + (channels change ? convShortcut(o) : x),  o = relu(bn1(x))
    fileprivate mutating func wideBlock(_ name: String, _ x: Value, channels: Int, stride: Int) -> Value {
        let activated = relu(batchNorm(name + ".bn1", x))
        var y = convolution(name + ".conv1", activated, channels: channels, kernel: 3, stride: stride, padding: 1)
        y = relu(batchNorm(name + ".bn2", y))
        y = convolution(name + ".conv2", y, channels: channels, kernel: 3, padding: 1)
        guard x.shape.channels != channels else { return add(x, y) }
        let shortcut = convolution(name + ".convShortcut", activated, channels: channels, kernel: 1, stride: stride)
        return add(shortcut, y)
    }
}
