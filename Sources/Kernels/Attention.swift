import COpenBLAS
import Glibc
import Runtime

// Multi-head self-attention over the pixels of a sample (Vaswani et al., "Attention Is All You Need", arXiv 1706.03762,
// eq. 1): for each head, with queries Q, keys K and values V of T tokens and D = C/heads channels,
//
//     Y = P V,   P = softmax(Q Kᵀ/√D).
//
// Q, K and V lie side by side in the channels of one tensor, each with its heads one after the other, as the products of
// one linear layer: (count, T, 3, heads, D). One head of one sample is one chunk of work, so that results depend on neither
// batch nor threads; the backward pass makes P again instead of keeping it.

/// Multi-head self-attention: the shapes.
public struct AttentionGeometry: Equatable, Sendable {
    public var tokens: Int
    /// Of the output: a third of the input's.
    public var channels: Int
    public var heads: Int

    public init(tokens: Int, channels: Int, heads: Int) {
        self.tokens = tokens
        self.channels = channels
        self.heads = heads
    }

    /// More would make a thread's matrices of tokens × tokens too large.
    public static let mostTokens = 2048

    var depth: Int { channels / heads }
    /// Between a token's numbers and the next one's.
    var inputStride: Int { 3 * channels }
    var scale: Float { 1 / Float(depth).squareRoot() }
    /// Multiply-adds for one sample.
    public var multiplyAdds: Int { 2 * tokens * tokens * channels }
}

/// y: (count, T, C); x: (count, T, 3C).
public func attentionForward(
    _ y: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, count: Int, _ g: AttentionGeometry
) {
    eachHead(count, g) { sample, head in
        let q = x + sample * g.tokens * g.inputStride + head * g.depth
        let p = Scratch.floats(g.tokens * g.tokens)
        probabilities(p, q, g)
        multiply(
            y + sample * g.tokens * g.channels + head * g.depth, g.channels, p, g.tokens, false, q + 2 * g.channels,
            g.inputStride, false, rows: g.tokens, columns: g.depth, depth: g.tokens, accumulate: false)
    }
}

/// dx = or += the gradient of the input, for the input x and the output's gradient dy.
public func attentionBackward(
    _ dx: UnsafeMutablePointer<Float>, gradient dy: UnsafePointer<Float>, _ x: UnsafePointer<Float>, count: Int,
    _ g: AttentionGeometry, accumulate: Bool
) {
    let (t, d) = (g.tokens, g.depth)
    eachHead(count, g) { sample, head in
        let q = x + sample * t * g.inputStride + head * d
        let dq = dx + sample * t * g.inputStride + head * d
        let out = dy + sample * t * g.channels + head * d
        let p = Scratch.floats(2 * t * t)
        let dp = p + t * t
        probabilities(p, q, g)
        // dV = Pᵀ dY
        multiply(
            dq + 2 * g.channels, g.inputStride, p, t, true, out, g.channels, false, rows: t, columns: d, depth: t,
            accumulate: accumulate)
        // dP = dY Vᵀ; dS = P∘(dP − rows' Σ P∘dP)/√D
        multiply(
            dp, t, out, g.channels, false, q + 2 * g.channels, g.inputStride, true, rows: t, columns: t, depth: d,
            accumulate: false)
        for row in 0..<t {
            let (own, gradient) = (p + row * t, dp + row * t)
            var sum = 0.0
            for i in 0..<t { sum += Double(own[i]) * Double(gradient[i]) }
            for i in 0..<t { gradient[i] = own[i] * (gradient[i] - Float(sum)) * g.scale }
        }
        // dQ = dS K, dK = dSᵀ Q
        multiply(
            dq, g.inputStride, dp, t, false, q + g.channels, g.inputStride, false, rows: t, columns: d, depth: t,
            accumulate: accumulate)
        multiply(
            dq + g.channels, g.inputStride, dp, t, true, q, g.inputStride, false, rows: t, columns: d, depth: t,
            accumulate: accumulate)
    }
}

private func eachHead(_ count: Int, _ g: AttentionGeometry, _ body: (_ sample: Int, _ head: Int) -> Void) {
    SingleThreadedBLAS.run {
        WorkerPool.parallelFor(count * g.heads) { body($0 / g.heads, $0 % g.heads) }
    }
}

/// p = softmax(Q Kᵀ/√D), (T, T), each row for one query.
private func probabilities(
    _ p: UnsafeMutablePointer<Float>, _ q: UnsafePointer<Float>, _ g: AttentionGeometry
) {
    let t = g.tokens
    multiply(
        p, t, q, g.inputStride, false, q + g.channels, g.inputStride, true, rows: t, columns: t, depth: g.depth,
        accumulate: false)
    for row in 0..<t {
        let own = p + row * t
        var largest = own[0]
        for i in 1..<t where own[i] > largest { largest = own[i] }
        var sum = 0.0
        for i in 0..<t {
            own[i] = expf((own[i] - largest) * g.scale)
            sum += Double(own[i])
        }
        let factor = Float(1 / sum)
        for i in 0..<t { own[i] *= factor }
    }
}

/// c = or += a·b, row-major, each matrix with the distance of its rows and, for a and b, whether it is transposed.
private func multiply(
    _ c: UnsafeMutablePointer<Float>, _ cStride: Int, _ a: UnsafePointer<Float>, _ aStride: Int, _ transposeA: Bool,
    _ b: UnsafePointer<Float>, _ bStride: Int, _ transposeB: Bool, rows: Int, columns: Int, depth: Int, accumulate: Bool
) {
    cblas_sgemm(
        CblasRowMajor, transposeA ? CblasTrans : CblasNoTrans, transposeB ? CblasTrans : CblasNoTrans, Int32(rows),
        Int32(columns), Int32(depth), 1, a, Int32(aStride), b, Int32(bStride), accumulate ? 1 : 0, c, Int32(cStride))
}
