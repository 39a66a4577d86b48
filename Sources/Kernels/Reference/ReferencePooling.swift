// Plain loops that say what the fast kernels compute. Channels innermost.

/// The maximum of each window, and the index into x of the first pixel that has it (PyTorch's rule).
public func referenceMaxPool(x: [Float], count: Int, _ g: PoolingGeometry) -> (y: [Float], indices: [Int]) {
    var y: [Float] = []
    var indices: [Int] = []
    for n in 0..<count {
        for pixel in 0..<g.output.pixels {
            for c in 0..<g.input.channels {
                var best: Int?
                for r in 0..<g.windowHeight {
                    for s in 0..<g.windowWidth {
                        let row = pixel / g.output.width * g.strideHeight + r - g.padTop
                        let column = pixel % g.output.width * g.strideWidth + s - g.padLeft
                        guard row >= 0, row < g.input.height, column >= 0, column < g.input.width else { continue }
                        let index = n * g.input.count + (row * g.input.width + column) * g.input.channels + c
                        if best.map({ x[index] > x[$0] }) ?? true { best = index }
                    }
                }
                indices.append(best ?? 0)
                y.append(x[best ?? 0])
            }
        }
    }
    return (y, indices)
}

/// The mean of each window.
public func referenceAveragePool(x: [Float], count: Int, _ g: PoolingGeometry, countsPadding: Bool) -> [Float] {
    (0..<(count * g.output.count)).map { i in
        let (n, pixel, c) = (i / g.output.count, i % g.output.count / g.input.channels, i % g.input.channels)
        var (sum, inside) = (0.0, 0)
        for r in 0..<g.windowHeight {
            for s in 0..<g.windowWidth {
                let row = pixel / g.output.width * g.strideHeight + r - g.padTop
                let column = pixel % g.output.width * g.strideWidth + s - g.padLeft
                guard row >= 0, row < g.input.height, column >= 0, column < g.input.width else { continue }
                sum += Double(x[n * g.input.count + (row * g.input.width + column) * g.input.channels + c])
                inside += 1
            }
        }
        return Float(sum / Double(countsPadding ? g.windowHeight * g.windowWidth : inside))
    }
}
