import Runtime
import Testing

@testable import Kernels

/// Layers of vision transformers, against plain loops in double and their central differences.
@Suite struct TokenTests {
    /// Σ dy·f(x) of a function, differentiated at some coordinates of x.
    private func compare(
        _ gradient: [Float], at x: [Float], _ dy: [Float], tolerance: Double = 1e-5, _ f: ([Double]) -> [Double]
    ) {
        var point = x.map(Double.init)
        func loss() -> Double { zip(f(point), dy).reduce(0) { $0 + $1.0 * Double($1.1) } }
        let scale = max(1, gradient.reduce(0) { max($0, Double(abs($1))) })
        for i in stride(from: 0, to: x.count, by: max(1, x.count / 25)) {
            let value = point[i]
            point[i] = value + 1e-5
            let up = loss()
            point[i] = value - 1e-5
            let down = loss()
            point[i] = value
            #expect(abs((up - down) / 2e-5 - Double(gradient[i])) < tolerance * scale, "coordinate \(i)")
        }
    }

    @Test(arguments: [(1, 1), (1, 7), (5, 3), (33, 16), (70, 33), (600, 130)])
    func layerNorm(_ pixels: Int, _ channels: Int) throws {
        let epsilon: Float = 1e-3
        // A mean that is large against the deviation is where single-pass formulas fail.
        let x = randomFloats(pixels * channels, seed: 1).map { $0 + 20 }
        let dy = randomFloats(pixels * channels, seed: 2)
        let (gamma, beta) = (randomFloats(channels, seed: 3), randomFloats(channels, seed: 4))
        let (wide, shift) = (gamma.map(Double.init), beta.map(Double.init))
        func norm(_ x: [Double]) -> [Double] {
            referenceLayerNorm(x, gamma: wide, beta: shift, epsilon: Double(epsilon))
        }
        let (xs, y) = (try buffer(x), try FloatBuffer(x.count))
        layerNormForward(
            y.pointer, xs.pointer, pixels: pixels, channels: channels, gamma: gamma, beta: beta, epsilon: epsilon)
        #expect(relativeError(array(y), norm(x.map(Double.init)).map { Float($0) }) < 1e-6)

        let dx = try FloatBuffer(x.count)
        layerNormBackward(
            dx.pointer, gradient: dy, x, pixels: pixels, channels: channels, gamma: gamma, epsilon: epsilon,
            accumulate: false)
        compare(array(dx), at: x, dy, tolerance: 1e-4, norm)
        let sum = try buffer(dy)
        layerNormBackward(
            sum.pointer, gradient: dy, x, pixels: pixels, channels: channels, gamma: gamma, epsilon: epsilon,
            accumulate: true)
        #expect(array(sum) == zip(dy, array(dx)).map { $0 + $1 })

        let (dgamma, dbeta) = (try buffer(gamma), try buffer(beta))
        layerNormParameterGradients(
            dgamma: dgamma.pointer, dbeta: dbeta.pointer, gradient: dy, x, pixels: pixels, channels: channels,
            epsilon: epsilon)
        let normal = referenceLayerNorm(
            x.map(Double.init), gamma: wide.map { _ in 1 }, beta: wide.map { _ in 0 }, epsilon: Double(epsilon))
        for c in 0..<channels {
            let rows = stride(from: c, to: x.count, by: channels)
            let slope = rows.reduce(Double(gamma[c])) { $0 + Double(dy[$1]) * normal[$1] }
            let total = rows.reduce(Double(beta[c])) { $0 + Double(dy[$1]) }
            #expect(abs(Double(dgamma.pointer[c]) - slope) < 1e-5 * max(1, abs(slope)))
            #expect(abs(Double(dbeta.pointer[c]) - total) < 1e-5 * max(1, abs(total)))
        }
        // In place.
        layerNormForward(
            xs.pointer, xs.pointer, pixels: pixels, channels: channels, gamma: gamma, beta: beta, epsilon: epsilon)
        #expect(array(xs) == array(y))
        let gs = try buffer(dy)
        layerNormBackward(
            gs.pointer, gradient: gs.pointer, x, pixels: pixels, channels: channels, gamma: gamma, epsilon: epsilon,
            accumulate: false)
        #expect(array(gs) == array(dx))
    }

    static let attentions = [
        AttentionGeometry(tokens: 1, channels: 1, heads: 1), AttentionGeometry(tokens: 1, channels: 6, heads: 3),
        AttentionGeometry(tokens: 5, channels: 4, heads: 1), AttentionGeometry(tokens: 17, channels: 33, heads: 3),
        AttentionGeometry(tokens: 50, channels: 24, heads: 8),
    ]

    @Test(arguments: attentions, [1, 3])
    func attention(_ g: AttentionGeometry, _ count: Int) throws {
        // Twice as wide as normal: softmax is neither flat nor at one of its ends.
        let x = randomFloats(count * g.tokens * 3 * g.channels, seed: 1).map { 2 * $0 }
        let dy = randomFloats(count * g.tokens * g.channels, seed: 2)
        let y = try FloatBuffer(dy.count)
        attentionForward(y.pointer, x, count: count, g)
        let expected = referenceAttention(x.map(Double.init), count: count, g).map { Float($0) }
        #expect(relativeError(array(y), expected) < 2e-6)

        let dx = try FloatBuffer(x.count)
        attentionBackward(dx.pointer, gradient: dy, x, count: count, g, accumulate: false)
        compare(array(dx), at: x, dy) { referenceAttention($0, count: count, g) }
        let sum = try buffer(x)
        attentionBackward(sum.pointer, gradient: dy, x, count: count, g, accumulate: true)
        #expect(relativeError(array(sum), zip(x, array(dx)).map { $0 + $1 }) < 1e-6)
    }

    /// Scores far beyond what e can be raised to.
    @Test func attentionOfLargeScores() throws {
        let g = AttentionGeometry(tokens: 2, channels: 1, heads: 1)
        let x: [Float] = [300, 300, 1, -300, -300, 5]
        let (y, dx) = (try FloatBuffer(2), try FloatBuffer(6))
        attentionForward(y.pointer, x, count: 1, g)
        #expect(array(y) == [1, 5])
        attentionBackward(dx.pointer, gradient: [1, 1], x, count: 1, g, accumulate: false)
        #expect(array(dx) == [0, 0, 1, 0, 0, 1])
    }

    @Test(arguments: [ImageShape(1, 1, 1), ImageShape(5, 3, 2), ImageShape(33, 7, 7)], [1, 4])
    func tokens(_ shape: ImageShape, _ count: Int) throws {
        let x = randomFloats(count * shape.count, seed: 1)
        let token = randomFloats(shape.channels, seed: 2)
        let table = randomFloats(shape.count, seed: 3)
        let long = shape.count + shape.channels
        let (y, dx) = (try FloatBuffer(count * long), try buffer(x))
        prependTokenForward(y.pointer, x, count: count, shape, token: token)
        let joined = (0..<count).flatMap { token + x[($0 * shape.count)..<(($0 + 1) * shape.count)] }
        #expect(array(y) == joined)
        prependTokenBackward(dx.pointer, gradient: joined, count: count, shape, accumulate: true)
        #expect(array(dx) == x.map { $0 + $0 })
        prependTokenBackward(dx.pointer, gradient: joined, count: count, shape, accumulate: false)
        #expect(array(dx) == x)

        let sums = try buffer(token)
        addSampleSums(sums.pointer, joined, count: count, length: shape.channels, stride: long)
        #expect(relativeError(array(sums), token.map { $0 * Float(count + 1) }) < 1e-6)

        let moved = try FloatBuffer(x.count)
        positionEmbeddingForward(moved.pointer, x, count: count, shape, table: table)
        #expect(array(moved) == x.enumerated().map { $1 + table[$0 % shape.count] })

        let index = shape.pixels / 2
        let one = try FloatBuffer(count * shape.channels)
        selectTokenForward(one.pointer, x, count: count, shape, index: index)
        let own = { (i: Int) -> Bool in (i % shape.count) / shape.channels == index }
        #expect(array(one) == x.indices.filter(own).map { x[$0] })
        for accumulate in [false, true] {
            let back = try buffer(x)
            selectTokenBackward(
                back.pointer, gradient: one.pointer, count: count, shape, index: index, accumulate: accumulate)
            var expected = x
            for i in x.indices {
                let start: Float = accumulate ? x[i] : 0
                expected[i] = own(i) ? start + x[i] : start
            }
            #expect(array(back) == expected)
        }
    }
}
