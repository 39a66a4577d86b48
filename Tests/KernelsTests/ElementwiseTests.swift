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

/// The backward pass likewise.
func batchNormBackward(
    _ kernel: BatchNormKernel, _ dx: FloatBuffer, accumulate: Bool, gradient g: FloatBuffer, _ x: FloatBuffer,
    samples: Int, pixels: Int, gamma: [Float], dgamma: FloatBuffer, dbeta: FloatBuffer
) {
    let group = 2 * BatchNormKernel.samplesPerGroup(pixels: pixels)
    for first in stride(from: 0, to: samples, by: group).reversed() {
        let start = first * pixels * gamma.count
        kernel.takeGradientSums(
            gradient: g.pointer + start, x.pointer + start, first: first, count: min(group, samples - first))
    }
    kernel.finishGradient(count: samples, gamma: gamma, dgamma: dgamma.pointer, dbeta: dbeta.pointer)
    kernel.applyGradient(
        dx.pointer, accumulate: accumulate, gradient: g.pointer, x.pointer, pixels: samples * pixels)
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
        batchNormBackward(
            kernel, dx, accumulate: true, gradient: gs, xs, samples: samples, pixels: size.pixels, gamma: gamma,
            dgamma: dgamma, dbeta: dbeta)
        // The output can be made again.
        let again = try FloatBuffer(n)
        kernel.apply(again.pointer, xs.pointer, pixels: pixels)
        #expect(array(again) == array(y))
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

    static let functions: [Activation] = [
        .silu, .gelu, .sigmoid, .tanh, .leakyReLU(slope: 0.01), .leakyReLU(slope: 0.3), .relu6, .hardSigmoid,
        .hardSwish,
    ]

    private func reference(_ f: Activation, _ v: Double) -> Double {
        switch f {
        case .silu: v / (1 + exp(-v))
        case .gelu: v * erfc(-v / 2.0.squareRoot()) / 2
        case .sigmoid: 1 / (1 + exp(-v))
        case .tanh: tanh(v)
        case .leakyReLU(let slope): v > 0 ? v : Double(slope) * v
        case .relu6: min(max(v, 0), 6)
        case .hardSigmoid: min(max(v + 3, 0), 6) / 6
        case .hardSwish: v * min(max(v + 3, 0), 6) / 6
        }
    }

    @Test(arguments: functions)
    func smooth(_ f: Activation) throws {
        // Three times as wide as normal, so that all pieces of piecewise functions are met.
        let x = x.map { 3 * $0 }
        let (xs, gs, y, dx) = (try buffer(x), try buffer(g), try FloatBuffer(x.count), try FloatBuffer(x.count))
        activationForward(f, y.pointer, xs.pointer, count: x.count)
        activationBackward(f, dx.pointer, gradient: gs.pointer, input: xs.pointer, count: x.count, accumulate: false)
        for i in stride(from: 0, to: x.count, by: 97) {
            let v = Double(x[i])
            #expect(abs(Double(y.pointer[i]) - reference(f, v)) < 1e-6 * max(1, abs(v)))
            // Corners lie at -3, 0, 3 and 6.
            guard !stride(from: -3.0, through: 6, by: 3).contains(where: { abs(v - $0) < 2e-5 }) else { continue }
            let slope = (reference(f, v + 1e-5) - reference(f, v - 1e-5)) / 2e-5
            #expect(abs(Double(dx.pointer[i]) - slope * Double(g[i])) < 1e-5)
        }
        // In place, and added to what is there.
        activationForward(f, xs.pointer, xs.pointer, count: x.count)
        #expect(array(xs) == array(y))
        let sum = try buffer(g)
        activationBackward(f, sum.pointer, gradient: gs.pointer, input: x, count: x.count, accumulate: true)
        #expect(array(sum) == zip(g, array(dx)).map { $0 + $1 })
        activationBackward(f, gs.pointer, gradient: gs.pointer, input: x, count: x.count, accumulate: false)
        #expect(array(gs) == array(dx))
    }

    /// At the corners the derivatives are PyTorch's.
    @Test func corners() throws {
        func slopes(_ f: Activation, at points: [Float]) throws -> [Float] {
            let (gs, dx) = (try buffer(points.map { _ in 1 }), try FloatBuffer(points.count))
            activationBackward(
                f, dx.pointer, gradient: gs.pointer, input: points, count: points.count, accumulate: false)
            return array(dx)
        }
        #expect(try slopes(.relu6, at: [0, 6]) == [0, 0])
        #expect(try slopes(.leakyReLU(slope: 0.25), at: [0, -1, 1]) == [0.25, 0.25, 1])
        #expect(try slopes(.hardSigmoid, at: [-3, 3, 0]) == [0, 0, 1 / 6])
        #expect(try slopes(.hardSwish, at: [-3, 3, 0]) == [0, 1, 0.5])
    }

    @Test(arguments: functions)
    func farOut(_ f: Activation) throws {
        let x: [Float] = [-200, 200, .nan]
        let y = try FloatBuffer(3)
        activationForward(f, y.pointer, x, count: 3)
        for i in 0..<2 { #expect(abs(Double(y.pointer[i]) - reference(f, Double(x[i]))) < 1e-4) }
        #expect(y.pointer[2].isNaN)
        let (gs, dx) = (try buffer([1, 1, 1]), try FloatBuffer(3))
        activationBackward(f, dx.pointer, gradient: gs.pointer, input: x, count: 3, accumulate: false)
        #expect(dx.pointer[0].isFinite && dx.pointer[1].isFinite)
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
