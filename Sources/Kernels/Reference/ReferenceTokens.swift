import Glibc

// Plain loops that say what the fast kernels compute, in double, so that finite differences can be taken of them.

/// Each pixel's channels to mean 0 and variance 1, times γ, plus β.
public func referenceLayerNorm(_ x: [Double], gamma: [Double], beta: [Double], epsilon: Double) -> [Double] {
    let channels = gamma.count
    return stride(from: 0, to: x.count, by: channels).flatMap { start -> [Double] in
        let pixel = x[start..<(start + channels)]
        let mean = pixel.reduce(0, +) / Double(channels)
        let variance = pixel.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(channels)
        let scale = 1 / (variance + epsilon).squareRoot()
        return pixel.enumerated().map { c, value in (value - mean) * scale * gamma[c] + beta[c] }
    }
}

/// softmax(Q Kᵀ/√D) V for each head of each sample; x: (count, T, 3, heads, D), the result (count, T, heads, D).
public func referenceAttention(_ x: [Double], count: Int, _ g: AttentionGeometry) -> [Double] {
    var y = [Double](repeating: 0, count: count * g.tokens * g.channels)
    for sample in 0..<count {
        for head in 0..<g.heads {
            func at(_ part: Int, _ token: Int, _ d: Int) -> Double {
                x[((sample * g.tokens + token) * 3 + part) * g.channels + head * g.depth + d]
            }
            for query in 0..<g.tokens {
                let scores = (0..<g.tokens).map { key -> Double in
                    (0..<g.depth).reduce(0) { $0 + at(0, query, $1) * at(1, key, $1) } / Double(g.depth).squareRoot()
                }
                let weights = referenceSoftmax(scores)
                for d in 0..<g.depth {
                    y[(sample * g.tokens + query) * g.channels + head * g.depth + d] =
                        (0..<g.tokens).reduce(0) { $0 + weights[$1] * at(2, $1, d) }
                }
            }
        }
    }
    return y
}

/// eˣ over the sum of all, from the largest down.
public func referenceSoftmax(_ x: [Double]) -> [Double] {
    let largest = x.max() ?? 0
    let powers = x.map { exp($0 - largest) }
    let sum = powers.reduce(0, +)
    return powers.map { $0 / sum }
}
