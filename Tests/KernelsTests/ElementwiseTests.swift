import Glibc
import Runtime
import Testing

@testable import Kernels

/// Pixels and channels: one, fewer than a vector, more than a chunk, no multiple of anything.
private let sizes = [(1, 1), (5, 3), (7, 8), (600, 1), (513, 5), (1030, 24), (40, 37), (3, 130)]

/// The forward pass of a BatchNorm, the statistics taken as in several pieces, the last one first.
func batchNormForward(
    _ kernel: BatchNormKernel, _ y: FloatBuffer, _ x: FloatBuffer, samples: Int, pixels: Int, gamma: [Float],
    beta: [Float], runningMean: FloatBuffer? = nil, runningVariance: FloatBuffer? = nil
) {
    let group = 2 * BatchNormKernel.samplesPerGroup(pixels: pixels)
    for first in stride(from: 0, to: samples, by: group).reversed() {
        kernel.takeStatistics(
            x.pointer + first * pixels * gamma.count, first: first, count: min(group, samples - first))
    }
    kernel.finish(
        count: samples, gamma: gamma, beta: beta, runningMean: runningMean?.pointer,
        runningVariance: runningVariance?.pointer)
    kernel.apply(y.pointer, x.pointer, pixels: samples * pixels)
}

@Suite struct BatchNormTests {
    @Test(arguments: sizes, CPUPath.available)
    func matchesReference(_ size: (pixels: Int, channels: Int), _ path: CPUPath) throws {
        for samples in [1, 7] { try compare(samples, size, path) }
    }

    private func compare(_ samples: Int, _ size: (pixels: Int, channels: Int), _ path: CPUPath) throws {
        let channels = size.channels
        let pixels = samples * size.pixels
        let n = pixels * channels
        // A mean that is large against the deviation is where single-pass formulas fail.
        let x = randomFloats(n, seed: 1).enumerated().map { $1 + Float(20 * ($0 % channels % 5)) }
        let g = randomFloats(n, seed: 2)
        let gamma = randomFloats(channels, seed: 3)
        let beta = randomFloats(channels, seed: 4)
        let epsilon = 1e-5
        let kernel = try BatchNormKernel(
            channels: channels, epsilon: Float(epsilon), momentum: 0.1, pixels: size.pixels, capacity: samples + 3,
            table: KernelTable.table(for: path))
        let (xs, gs) = (try buffer(x), try buffer(g))
        let (y, dx) = (try FloatBuffer(n), try buffer(randomFloats(n, seed: 5)))
        let (mean, variance) = (try FloatBuffer(channels), try FloatBuffer(channels))
        let (dgamma, dbeta) = (try FloatBuffer(channels), try FloatBuffer(channels))
        let before = array(dx)
        batchNormForward(
            kernel, y, xs, samples: samples, pixels: size.pixels, gamma: gamma, beta: beta, runningMean: mean,
            runningVariance: variance)
        kernel.backward(
            dx.pointer, accumulate: true, gradient: gs.pointer, xs.pointer, pixels: pixels, gamma: gamma,
            dgamma: dgamma.pointer, dbeta: dbeta.pointer)
        for c in 0..<channels {
            let rows = (0..<pixels).map { $0 * channels + c }
            let m = Double(pixels)
            let mu = rows.reduce(0) { $0 + Double(x[$1]) } / m
            let sigma2 = rows.reduce(0) { $0 + (Double(x[$1]) - mu) * (Double(x[$1]) - mu) } / m
            let inverse = 1 / (sigma2 + epsilon).squareRoot()
            let sum = rows.reduce(0) { $0 + Double(g[$1]) }
            let product = rows.reduce(0) { $0 + Double(g[$1]) * (Double(x[$1]) - mu) * inverse }
            // With one pixel 1/σ is 300 and magnifies the rounding of x itself.
            let tolerance = 2e-4 * max(1, inverse)
            for i in rows {
                let normal = (Double(x[i]) - mu) * inverse
                #expect(abs(Double(y.pointer[i]) - (normal * Double(gamma[c]) + Double(beta[c]))) < tolerance)
                let expected = Double(gamma[c]) * inverse * (Double(g[i]) - sum / m - normal * product / m)
                #expect(abs(Double(dx.pointer[i] - before[i]) - expected) < tolerance)
            }
            #expect(abs(Double(dbeta.pointer[c]) - sum) < 1e-4 * max(1, m.squareRoot()))
            #expect(abs(Double(dgamma.pointer[c]) - product) < tolerance * max(1, m.squareRoot()))
            #expect(abs(Double(mean.pointer[c]) - 0.1 * mu) < 1e-4 * max(1, abs(mu)))
            let unbiased = pixels > 1 ? sigma2 * m / (m - 1) : sigma2
            #expect(abs(Double(variance.pointer[c]) - 0.1 * unbiased) < 1e-4 * max(1, unbiased))
        }
    }

    @Test(arguments: sizes, CPUPath.available)
    func channelAffine(_ size: (pixels: Int, channels: Int), _ path: CPUPath) throws {
        let (pixels, channels) = size
        let n = pixels * channels
        let x = randomFloats(n, seed: 1)
        let scale = randomFloats(channels, seed: 2)
        let shift = randomFloats(channels, seed: 3)
        let kernel = try ChannelAffineKernel(channels: channels, table: KernelTable.table(for: path))
        kernel.set(scale: scale, shift: shift)
        let xs = try buffer(x)
        let y = try FloatBuffer(n)
        kernel.forward(y.pointer, xs.pointer, pixels: pixels, rectify: false)
        let plain = x.enumerated().map { $1 * scale[$0 % channels] + shift[$0 % channels] }
        #expect(relativeError(array(y), plain) < 1e-6)
        kernel.forward(y.pointer, xs.pointer, pixels: pixels, rectify: true)
        #expect(relativeError(array(y), plain.map { max($0, 0) }) < 1e-6)
        let g = try buffer(x)
        kernel.backward(g.pointer, gradient: xs.pointer, pixels: pixels, accumulate: true)
        #expect(relativeError(array(g), x.enumerated().map { $1 + $1 * scale[$0 % channels] }) < 1e-6)
    }
}

@Suite struct ActivationTests {
    private let x = randomFloats(40_003, seed: 1)
    private let g = randomFloats(40_003, seed: 2)

    @Test func relu() throws {
        let (xs, gs, y, dx) = (try buffer(x), try buffer(g), try FloatBuffer(x.count), try buffer(x))
        var signs = [UInt8](repeating: 2, count: x.count)
        reluForward(y.pointer, xs.pointer, count: x.count, signs: &signs)
        #expect(array(y) == x.map { max($0, 0) })
        #expect(signs == x.map { $0 > 0 ? 1 : 0 })
        reluBackward(dx.pointer, gradient: gs.pointer, signs: signs, count: x.count, accumulate: true)
        #expect(array(dx) == zip(x, g).map { $0 + ($0 > 0 ? $1 : 0) })
        reluBackward(gs.pointer, gradient: gs.pointer, signs: signs, count: x.count, accumulate: false)
        #expect(array(gs) == zip(x, g).map { $0 > 0 ? $1 : 0 })
    }

    @Test func silu() throws {
        let (xs, gs, y, dx) = (try buffer(x), try buffer(g), try FloatBuffer(x.count), try FloatBuffer(x.count))
        siluForward(y.pointer, xs.pointer, count: x.count)
        siluBackward(dx.pointer, gradient: gs.pointer, input: xs.pointer, count: x.count, accumulate: false)
        func silu(_ v: Double) -> Double { v / (1 + exp(-v)) }
        for i in stride(from: 0, to: x.count, by: 97) {
            let v = Double(x[i])
            #expect(abs(Double(y.pointer[i]) - silu(v)) < 1e-6)
            let slope = (silu(v + 1e-5) - silu(v - 1e-5)) / 2e-5
            #expect(abs(Double(dx.pointer[i]) - slope * Double(g[i])) < 1e-5)
        }
    }

    @Test func nanIsKept() throws {
        let xs = try buffer([.nan, -1, 2, .nan, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7, .nan])
        let y = try FloatBuffer(xs.count)
        reluForward(y.pointer, xs.pointer, count: xs.count)
        #expect(y.pointer[0].isNaN && y.pointer[16].isNaN && y.pointer[1] == 0)
        for path in CPUPath.available {
            KernelTable.table(for: path).add(y.pointer, xs.pointer, xs.pointer, xs.count, true, nil)
            #expect(y.pointer[0].isNaN && y.pointer[16].isNaN && y.pointer[1] == 0)
        }
    }
}

@Suite struct PoolingTests {
    @Test(arguments: [(2, 2), (3, 1), (3, 2), (4, 4)])
    func average(_ window: Int, _ stride: Int) throws {
        let g = PoolingGeometry(input: ImageShape(5, 7, 6), window: window, stride: stride)
        let x = randomFloats(2 * g.input.count, seed: 1)
        let dy = randomFloats(2 * g.output.count, seed: 2)
        let (xs, gs, y) = (try buffer(x), try buffer(dy), try FloatBuffer(2 * g.output.count))
        averagePoolForward(y.pointer, xs.pointer, count: 2, g)
        var expected = [Float](repeating: 0, count: 2 * g.output.count)
        var gradient = [Float](repeating: 0, count: 2 * g.input.count)
        for i in expected.indices {
            let (n, pixel, c) = (i / g.output.count, i % g.output.count / 5, i % 5)
            for r in 0..<window {
                for s in 0..<window {
                    let row = pixel / g.output.width * stride + r
                    let column = pixel % g.output.width * stride + s
                    let j = n * g.input.count + (row * 6 + column) * 5 + c
                    expected[i] += x[j] / Float(window * window)
                    gradient[j] += dy[i] / Float(window * window)
                }
            }
        }
        #expect(relativeError(array(y), expected) < 1e-6)
        let dx = try buffer(x)
        averagePoolBackward(dx.pointer, gradient: gs.pointer, count: 2, g, accumulate: true)
        #expect(relativeError(array(dx), zip(gradient, x).map { $0 + $1 }) < 1e-6)
        averagePoolBackward(dx.pointer, gradient: gs.pointer, count: 2, g, accumulate: false)
        #expect(relativeError(array(dx), gradient) < 1e-6)
    }

    /// Window, stride, padding and image: overlapping and with gaps, windows that reach over both borders.
    static let maxCases: [PoolingGeometry] = [
        PoolingGeometry(input: ImageShape(5, 7, 6), window: 3, stride: 2, padding: 1),
        PoolingGeometry(input: ImageShape(19, 8, 8), window: 3, stride: 2, padding: 1),
        PoolingGeometry(input: ImageShape(3, 1, 1), window: 3, stride: 2, padding: 1),
        PoolingGeometry(input: ImageShape(2, 1, 5), window: 4, stride: 1, padding: 2),
        PoolingGeometry(input: ImageShape(4, 6, 9), window: 2, stride: 2),
        PoolingGeometry(input: ImageShape(1, 9, 8), window: 2, stride: 3, padding: 1),
        PoolingGeometry(input: ImageShape(2, 20, 16), window: 15, stride: 1, padding: 7),
    ]

    @Test(arguments: maxCases)
    func maximum(_ g: PoolingGeometry) throws {
        // Of few different values, so that most windows have equal ones.
        for levels: Float in [2, 1000] {
            let x = randomFloats(3 * g.input.count, seed: 1).map { ($0 * levels).rounded() / levels }
            let dy = randomFloats(3 * g.output.count, seed: 2)
            let expected = referenceMaxPool(x: x, count: 3, g)
            let (xs, gs, y) = (try buffer(x), try buffer(dy), try FloatBuffer(dy.count))
            maxPoolForward(y.pointer, xs.pointer, count: 3, g)
            #expect(array(y) == expected.y)
            var positions = [UInt8](repeating: 255, count: dy.count)
            maxPoolForward(y.pointer, xs.pointer, count: 3, g, positions: &positions)
            #expect(array(y) == expected.y)
            var gradient = [Float](repeating: 0, count: x.count)
            for (index, value) in zip(expected.indices, dy) { gradient[index] += value }
            let dx = try buffer(x)
            maxPoolBackward(dx.pointer, gradient: gs.pointer, positions: positions, count: 3, g, accumulate: false)
            #expect(array(dx) == gradient)
            let sum = try buffer(x)
            maxPoolBackward(sum.pointer, gradient: gs.pointer, positions: positions, count: 3, g, accumulate: true)
            #expect(relativeError(array(sum), zip(gradient, x).map { $0 + $1 }) < 1e-6)
        }
    }

    /// Values that are further apart than the step: the maximum is linear between its two ends.
    @Test(arguments: maxCases)
    func maximumAgreesWithDifferences(_ g: PoolingGeometry) throws {
        let n = g.input.count
        // A permutation of n equidistant values, by a factor that is prime to every n here.
        var x = (0..<n).map { Float($0 * 7919 % n) }
        let dy = randomFloats(g.output.count, seed: 4)
        var positions = [UInt8](repeating: 0, count: dy.count)
        let (xs, y, gs, dx) = (try buffer(x), try FloatBuffer(dy.count), try buffer(dy), try FloatBuffer(n))
        maxPoolForward(y.pointer, xs.pointer, count: 1, g, positions: &positions)
        maxPoolBackward(dx.pointer, gradient: gs.pointer, positions: positions, count: 1, g, accumulate: false)
        func loss() -> Double {
            zip(referenceMaxPool(x: x, count: 1, g).y, dy).reduce(0) { $0 + Double($1.0) * Double($1.1) }
        }
        for i in stride(from: 0, to: n, by: max(n / 40, 1)) {
            let value = x[i]
            x[i] = value + 0.25
            let up = loss()
            x[i] = value - 0.25
            let down = loss()
            x[i] = value
            #expect(abs((up - down) / 0.5 - Double(dx.pointer[i])) < 1e-5)
        }
    }

    @Test func maximumKeepsNaNAndInfinity() throws {
        let g = PoolingGeometry(input: ImageShape(1, 2, 4), window: 2, stride: 2)
        let xs = try buffer([1, .nan, -.infinity, -.infinity, .infinity, 3, -.infinity, -.infinity])
        let y = try FloatBuffer(2)
        var positions: [UInt8] = [9, 9]
        maxPoolForward(y.pointer, xs.pointer, count: 1, g, positions: &positions)
        #expect(y.pointer[0].isNaN && y.pointer[1] == -.infinity)
        #expect(positions == [1, 0])
    }

    /// Padding counts as zeros.
    @Test func averageOfPadding() throws {
        let g = PoolingGeometry(input: ImageShape(1, 2, 2), window: 2, stride: 2, padding: 1)
        let (xs, y, dx) = (try buffer([4, 8, 12, 16]), try FloatBuffer(4), try FloatBuffer(4))
        averagePoolForward(y.pointer, xs.pointer, count: 1, g)
        #expect(array(y) == [1, 2, 3, 4])
        averagePoolBackward(dx.pointer, gradient: xs.pointer, count: 1, g, accumulate: false)
        #expect(array(dx) == [1, 2, 3, 4])
    }

    @Test func globalAverage() throws {
        let shape = ImageShape(3, 5, 4)
        let x = randomFloats(2 * shape.count, seed: 1)
        let (xs, y) = (try buffer(x), try FloatBuffer(6))
        globalAveragePoolForward(y.pointer, xs.pointer, count: 2, shape)
        for i in 0..<6 {
            let mean = (0..<20).reduce(Float(0)) { $0 + x[i / 3 * 60 + $1 * 3 + i % 3] } / 20
            #expect(abs(y.pointer[i] - mean) < 1e-6)
        }
        let dx = try buffer(x)
        globalAveragePoolBackward(dx.pointer, gradient: y.pointer, count: 2, shape, accumulate: true)
        for i in x.indices { #expect(abs(dx.pointer[i] - x[i] - y.pointer[i / 60 * 3 + i % 3] / 20) < 1e-6) }
    }
}

@Suite struct LayoutTests {
    @Test func importNormalisesAndExportInverts() throws {
        let shape = ImageShape(2, 3, 4)
        let x = randomFloats(2 * shape.count, seed: 1)
        let (xs, y, back) = (try buffer(x), try FloatBuffer(x.count), try FloatBuffer(x.count))
        importImages(y.pointer, xs.pointer, count: 2, shape, mean: [0.5, -1], std: [2, 4])
        for n in 0..<2 {
            for c in 0..<2 {
                for p in 0..<12 {
                    let value = x[n * 24 + c * 12 + p]
                    #expect(y.pointer[n * 24 + p * 2 + c] == (c == 0 ? (value - 0.5) / 2 : (value + 1) / 4))
                }
            }
        }
        exportInputGradient(back.pointer, y.pointer, count: 2, shape, std: [2, 4])
        #expect(back.pointer[0] == y.pointer[0] / 2)
        #expect(back.pointer[12] == y.pointer[1] / 4)
    }
}
