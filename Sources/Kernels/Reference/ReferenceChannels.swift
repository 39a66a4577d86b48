// Plain loops that say what the fast kernels compute. Channels innermost, sums in double.

/// x·gate, a number for each channel of a sample.
public func referenceGate(x: [Float], gate: [Float], _ shape: ImageShape) -> [Float] {
    x.enumerated().map { i, value in value * gate[i / shape.count * shape.channels + i % shape.channels] }
}

/// The gate's gradient.
public func referenceGateGradient(dy: [Float], x: [Float], count: Int, _ shape: ImageShape) -> [Float] {
    var sums = [Double](repeating: 0, count: count * shape.channels)
    for i in x.indices { sums[i / shape.count * shape.channels + i % shape.channels] += Double(dy[i]) * Double(x[i]) }
    return sums.map { Float($0) }
}

/// Tensors of so many channels side by side, pixel by pixel.
public func referenceConcat(_ parts: [(x: [Float], channels: Int)], pixels: Int) -> [Float] {
    (0..<pixels).flatMap { pixel in
        parts.flatMap { $0.x[(pixel * $0.channels)..<((pixel + 1) * $0.channels)] }
    }
}
