// A plain convolutional network for 28×28 images and quick runs: four 3×3 convolutions with BatchNorm and ReLU, the
// second and the fourth of stride 2, widths w, 2w, 2w, 4w (w = 32), then the mean over pixels and one linear layer.

extension Architecture {
    static let smallCNN = Architecture("small_cnn") { options in
        if options.baseWidth == 0 { options.baseWidth = 32 }
        let width = options.baseWidth
        var graph = Graph(input: options.shape)
        var x = graph.input
        for (index, (channels, stride)) in [(width, 1), (2 * width, 2), (2 * width, 1), (4 * width, 2)].enumerated() {
            x = graph.convolution("conv\(index + 1)", x, channels: channels, kernel: 3, stride: stride, padding: 1)
            x = graph.relu(graph.batchNorm("bn\(index + 1)", x))
        }
        _ = graph.linear("fc", graph.globalAveragePool(x), outputs: options.classes)
        return graph
    }
}
