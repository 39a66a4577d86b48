// Plain loops that say what the fast kernels compute. Channels innermost.

/// The maximum of each window, and the index into x of the first pixel that has it (PyTorch's rule).
public func referenceMaxPool(x: [Float], count: Int, _ g: PoolingGeometry) -> (y: [Float], indices: [Int]) {
    var y: [Float] = []
    var indices: [Int] = []
    for n in 0..<count {
        for pixel in 0..<g.output.pixels {
            for c in 0..<g.input.channels {
                var best: Int?
                for r in 0..<g.window {
                    for s in 0..<g.window {
                        let row = pixel / g.output.width * g.stride + r - g.padding
                        let column = pixel % g.output.width * g.stride + s - g.padding
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
