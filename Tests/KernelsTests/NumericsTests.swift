import Glibc
import Runtime
import Testing

@testable import Kernels

/// How far kernels are from plain sums in double precision. `make numerics` writes what is measured here into
/// docs/numerics.md: with IGDM_NUMERICS=FILE each measurement is a line of the file,
/// "kernel, what, CPU path, place, largest error, sum of squared errors, values", between tabs.
private struct Measurement {
    /// As parts of the largest value, and of the root mean square of the values.
    private(set) var worst = 0.0
    private(set) var squares = 0.0
    let count: Int

    init(_ got: [Float], _ wanted: [Double]) {
        count = got.count
        guard got.count == wanted.count, count > 0 else {
            worst = .infinity
            return
        }
        let largest = wanted.map { abs($0) }.max() ?? 0
        let meanSquare = wanted.reduce(0) { $0 + $1 * $1 } / Double(count)
        for (a, b) in zip(got, wanted) {
            let error = a.isFinite ? abs(Double(a) - b) : .infinity
            worst = max(worst, error)
            squares += error * error
        }
        // An array of zeros has no size: its errors count as they are.
        if largest > 0 {
            worst /= largest
            squares /= meanSquare
        }
    }

    /// - place: "grid", or the layer of a network.
    func record(_ kernel: String, _ what: String, _ path: String, _ place: String) {
        guard let name = getenv("IGDM_NUMERICS"), let file = fopen(name, "a") else { return }
        let line = [kernel, what, path, place, "\(worst)", "\(squares)", "\(count)"].joined(separator: "\t") + "\n"
        fputs(line, file)  // one write, so that tests side by side do not mix their lines
        fclose(file)
    }
}

private func expectSmall(
    _ got: [Float], _ wanted: [Double], below bound: Double, _ kernel: String, _ what: String, _ path: String,
    _ place: String = "grid"
) {
    let measurement = Measurement(got, wanted)
    measurement.record(kernel, what, path, place)
    #expect(measurement.worst < bound, "\(kernel), \(what), \(path), \(place)")
}

extension PreparedWeights {
    fileprivate var kernelName: String {
        switch form {
        case .winograd: geometry.strideHeight == 1 ? "Winograd" : "Winograd, stride 2"
        case .thin: "few input channels"
        case .panels: "indirect product"
        case .matrix: "OpenBLAS"
        case .depthwise: "depthwise"
        }
    }
}

/// A convolution's reference values, made once for all kernels.
private struct ConvolutionReference {
    let test: ConvolutionCase
    let x, w, bias, dy: [Float]
    let y, dx, dw: [Double]

    init(_ test: ConvolutionCase) {
        let g = test.geometry
        self.test = test
        x = randomFloats(test.count * g.input.count, seed: 1)
        w = randomFloats(g.weightCount, seed: 2)
        bias = randomFloats(g.outputChannels, seed: 3)
        dy = randomFloats(test.count * g.output.count, seed: 4)
        y = referenceConvolutionForward(x: x, weights: w, bias: bias, count: test.count, g).map(Double.init)
        dx = referenceConvolutionInputGradient(dy: dy, weights: w, count: test.count, g).map(Double.init)
        dw = referenceConvolutionWeightGradient(x: x, dy: dy, count: test.count, g).map(Double.init)
    }

    /// Measures the kernels that `weights` stands for.
    func measure(
        _ weights: PreparedWeights, _ filters: WinogradFilters?, at place: String, below bound: Double
    ) throws {
        let g = test.geometry
        setWeights(weights, filters, w, scale: nil, bias: bias)
        let (xs, gs) = (try buffer(x), try buffer(dy))
        let y = try FloatBuffer(self.y.count)
        let dx = try FloatBuffer(self.dx.count)
        let dw = try FloatBuffer(g.weightCount)
        convolutionForward(y.pointer, xs.pointer, count: test.count, weights)
        convolutionInputGradient(dx.pointer, gs.pointer, count: test.count, weights)
        convolutionWeightGradient(dw.pointer, xs.pointer, gs.pointer, count: test.count, weights)
        let kernel = weights.kernelName
        let path = weights.path.rawValue
        expectSmall(array(y), self.y, below: bound, kernel, "forward", path, place)
        expectSmall(array(dx), self.dx, below: bound, kernel, "input gradient", path, place)
        expectSmall(array(dw), self.dw, below: bound, kernel, "weight gradient", path, place)
    }

    /// Every kernel that can compute the convolution, on every path.
    func measureAll(at place: String, below bound: Double) throws {
        for path in CPUPath.available {
            let (weights, filters) = try preparedWeights(test.geometry, path)
            try measure(weights, filters, at: place, below: bound)
            if filters != nil {
                try measure(
                    PreparedWeights(test.geometry, filters: nil, path: path), nil, at: place, below: bound)
            }
        }
    }
}

private func sigmoid(_ x: Double) -> Double { 1 / (1 + exp(-x)) }

/// Of central differences, which are exact to some 1e-9 then: a hundredth of the unit of the tables.
private let step = 1e-5

/// The gradient of Σ dy·f(x), by central differences.
private func differences(_ x: [Float], _ dy: [Float], _ f: ([Double]) -> [Double]) -> [Double] {
    var point = x.map(Double.init)
    return x.indices.map { i in
        let value = point[i]
        defer { point[i] = value }
        point[i] = value + step
        let up = f(point)
        point[i] = value - step
        let down = f(point)
        return zip(zip(up, down), dy).reduce(0) { $0 + ($1.0.0 - $1.0.1) * Double($1.1) } / (2 * step)
    }
}

@Suite struct NumericsTests {
    @Test(arguments: ConvolutionCase.all)
    func convolutions(_ test: ConvolutionCase) throws {
        try ConvolutionReference(test).measureAll(at: "grid", below: 5e-6)
    }

    @Test(arguments: [
        ("resnet18, 64×32×32", ConvolutionCase(1, ImageShape(64, 32, 32), 64, 3, padding: 1)),
        ("resnet18, 64×32×32, stride 2", ConvolutionCase(1, ImageShape(64, 32, 32), 128, 3, stride: 2, padding: 1)),
        ("resnet18, 512×4×4", ConvolutionCase(8, ImageShape(512, 4, 4), 512, 3, padding: 1)),
        ("wrn_28_10, 160×32×32", ConvolutionCase(1, ImageShape(160, 32, 32), 160, 3, padding: 1)),
        (
            "mobilenet_v2, 144×32×32, depthwise",
            ConvolutionCase(2, ImageShape(144, 32, 32), 144, 3, padding: 1, groups: 144)
        ),
    ])
    func layers(_ name: String, _ test: ConvolutionCase) throws {
        try ConvolutionReference(test).measureAll(at: name, below: 1e-5)
    }

    /// Values in double precision of y = x̂·γ + β and of the gradients of Σ g·y.
    @Test(arguments: [(64, 5), (600, 1), (513, 8), (1030, 24), (40, 37), (4096, 64)])
    func batchNorm(_ pixels: Int, _ channels: Int) throws {
        let n = pixels * channels
        let x = randomFloats(n, seed: 1).enumerated().map { $1 + Float($0 % channels % 5) }
        let (g, gamma, beta) = (
            randomFloats(n, seed: 2), randomFloats(channels, seed: 3), randomFloats(channels, seed: 4)
        )
        var (y, dx) = ([Double](repeating: 0, count: n), [Double](repeating: 0, count: n))
        var (dgamma, dbeta) = ([Double](repeating: 0, count: channels), [Double](repeating: 0, count: channels))
        for c in 0..<channels {
            let rows = (0..<pixels).map { $0 * channels + c }
            let m = Double(pixels)
            let mean = rows.reduce(0) { $0 + Double(x[$1]) } / m
            let variance = rows.reduce(0) { $0 + (Double(x[$1]) - mean) * (Double(x[$1]) - mean) } / m
            let inverse = 1 / (variance + Double(Float(1e-5))).squareRoot()
            dbeta[c] = rows.reduce(0) { $0 + Double(g[$1]) }
            dgamma[c] = rows.reduce(0) { $0 + Double(g[$1]) * (Double(x[$1]) - mean) * inverse }
            for i in rows {
                let normal = (Double(x[i]) - mean) * inverse
                y[i] = normal * Double(gamma[c]) + Double(beta[c])
                dx[i] = Double(gamma[c]) * inverse * (Double(g[i]) - dbeta[c] / m - normal * dgamma[c] / m)
            }
        }
        for path in CPUPath.available {
            let kernel = try BatchNormKernel(
                channels: channels, epsilon: 1e-5, momentum: 0.1, pixels: pixels, capacity: 1,
                table: KernelTable.table(for: path))
            let (xs, gs, ys, dxs) = (try buffer(x), try buffer(g), try FloatBuffer(n), try FloatBuffer(n))
            let (dgammas, dbetas) = (try FloatBuffer(channels), try FloatBuffer(channels))
            batchNormForward(kernel, ys, xs, samples: 1, pixels: pixels, gamma: gamma, beta: beta)
            batchNormBackward(
                kernel, dxs, accumulate: false, gradient: gs, xs, samples: 1, pixels: pixels, gamma: gamma,
                dgamma: dgammas, dbeta: dbetas)
            let parts = [
                ("forward", ys, y), ("input gradient", dxs, dx), ("γ's gradient", dgammas, dgamma),
                ("β's gradient", dbetas, dbeta),
            ]
            for (what, got, wanted) in parts {
                expectSmall(array(got), wanted, below: 2e-6, "BatchNorm", what, path.rawValue)
            }
        }
    }

    private static let activations: [(String, Activation, @Sendable (Double) -> Double)] = [
        ("SiLU", .silu, { $0 * sigmoid($0) }),
        ("GELU", .gelu, { $0 * 0.5 * erfc(-$0 / 2.0.squareRoot()) }),
        ("sigmoid", .sigmoid, sigmoid),
        ("tanh", .tanh, { tanh($0) }),
        ("leaky ReLU", .leakyReLU(slope: 0.125), { max($0, 0.125 * $0) }),
        ("ReLU6", .relu6, { min(max($0, 0), 6) }),
        ("hard sigmoid", .hardSigmoid, { min(max($0 + 3, 0), 6) / 6 }),
        ("hard swish", .hardSwish, { $0 * min(max($0 + 3, 0), 6) / 6 }),
    ]

    @Test(arguments: activations.indices)
    func activation(_ index: Int) throws {
        let (name, kind, f) = Self.activations[index]
        let count = 4000
        // Beyond 6 on either side, where some of them have their corners.
        let x = randomFloats(count, seed: 1).map { 3 * $0 }
        let g = randomFloats(count, seed: 2)
        let (xs, gs, y, dx) = (try buffer(x), try buffer(g), try FloatBuffer(count), try FloatBuffer(count))
        activationForward(kind, y.pointer, xs.pointer, count: count)
        expectSmall(array(y), x.map { f(Double($0)) }, below: 1e-6, name, "forward", "all")
        activationBackward(kind, dx.pointer, gradient: gs.pointer, input: xs.pointer, count: count, accumulate: false)
        let slopes = x.map { (f(Double($0) + step) - f(Double($0) - step)) / (2 * step) }
        expectSmall(array(dx), zip(g, slopes).map { Double($0) * $1 }, below: 1e-6, name, "input gradient", "all")
    }

    @Test(arguments: [(1, 7), (33, 16), (12, 130)])
    func layerNorm(_ pixels: Int, _ channels: Int) throws {
        let n = pixels * channels
        let x = randomFloats(n, seed: 1).map { $0 + 2 }
        let (g, gamma, beta) = (
            randomFloats(n, seed: 2), randomFloats(channels, seed: 3), randomFloats(channels, seed: 4)
        )
        func norm(_ x: [Double], _ gamma: [Float], _ beta: [Float]) -> [Double] {
            referenceLayerNorm(
                x, gamma: gamma.map(Double.init), beta: beta.map(Double.init), epsilon: Double(Float(1e-5)))
        }
        let (y, dx) = (try FloatBuffer(n), try FloatBuffer(n))
        let (dgamma, dbeta) = (try FloatBuffer(channels), try FloatBuffer(channels))
        layerNormForward(y.pointer, x, pixels: pixels, channels: channels, gamma: gamma, beta: beta, epsilon: 1e-5)
        layerNormBackward(
            dx.pointer, gradient: g, x, pixels: pixels, channels: channels, gamma: gamma, epsilon: 1e-5,
            accumulate: false)
        layerNormParameterGradients(
            dgamma: dgamma.pointer, dbeta: dbeta.pointer, gradient: g, x, pixels: pixels, channels: channels,
            epsilon: 1e-5)
        let plain = norm(x.map(Double.init), gamma.map { _ in 1 }, beta.map { _ in 0 })
        func sums(_ factors: [Double]) -> [Double] {
            (0..<channels).map { c in
                stride(from: c, to: n, by: channels).reduce(0) { $0 + Double(g[$1]) * factors[$1] }
            }
        }
        let parts = [
            ("forward", y, norm(x.map(Double.init), gamma, beta)),
            ("input gradient", dx, differences(x, g) { norm($0, gamma, beta) }), ("γ's gradient", dgamma, sums(plain)),
            ("β's gradient", dbeta, sums(plain.map { _ in 1 })),
        ]
        for (what, got, wanted) in parts { expectSmall(array(got), wanted, below: 2e-6, "LayerNorm", what, "all") }
    }

    @Test(arguments: [(5, 6, 1), (17, 24, 3), (26, 32, 2)])
    func attention(_ tokens: Int, _ channels: Int, _ heads: Int) throws {
        let geometry = AttentionGeometry(tokens: tokens, channels: channels, heads: heads)
        let x = randomFloats(tokens * 3 * channels, seed: 1)
        let g = randomFloats(tokens * channels, seed: 2)
        let (y, dx) = (try FloatBuffer(g.count), try FloatBuffer(x.count))
        attentionForward(y.pointer, x, count: 1, geometry)
        attentionBackward(dx.pointer, gradient: g, x, count: 1, geometry, accumulate: false)
        func reference(_ x: [Double]) -> [Double] { referenceAttention(x, count: 1, geometry) }
        expectSmall(array(y), reference(x.map(Double.init)), below: 2e-6, "attention", "forward", "all")
        expectSmall(array(dx), differences(x, g, reference), below: 2e-6, "attention", "input gradient", "all")
    }

    @Test func globalAverage() throws {
        let shape = ImageShape(24, 8, 8)
        let x = randomFloats(3 * shape.count, seed: 1)
        let xs = try buffer(x)
        let pooled = try FloatBuffer(3 * shape.channels)
        globalAveragePoolForward(pooled.pointer, xs.pointer, count: 3, shape)
        let means = (0..<3 * shape.channels).map { i in
            (0..<shape.pixels).reduce(0.0) {
                $0 + Double(x[i / shape.channels * shape.count + $1 * shape.channels + i % shape.channels])
            } / Double(shape.pixels)
        }
        expectSmall(array(pooled), means, below: 1e-6, "global average", "forward", "all")
    }

    @Test func losses() {
        let (classes, rows, tau) = (10, 200, 4.0)
        let (p, q) = (randomFloats(rows * classes, seed: 1), randomFloats(rows * classes, seed: 2))
        func logSoftmax(_ row: ArraySlice<Float>, _ tau: Double) -> [Double] {
            let sum = row.reduce(0) { $0 + exp(Double($1) / tau) }
            return row.map { Double($0) / tau - log(sum) }
        }
        var got = (crossEntropy: [Float](), divergence: [Float]())
        var wanted = (crossEntropy: [Double](), divergence: [Double]())
        var gradient = (crossEntropy: [Float](), divergence: [Float]())
        var slope = (crossEntropy: [Double](), divergence: [Double]())
        for r in 0..<rows {
            let range = r * classes..<(r + 1) * classes
            let label = r % classes
            let (a, b, plain) = (logSoftmax(p[range], tau), logSoftmax(q[range], tau), logSoftmax(q[range], 1))
            var (ce, kl) = ([Float](repeating: 0, count: classes), [Float](repeating: 0, count: classes))
            got.crossEntropy.append(
                crossEntropy(Array(q[range]), label: label, classes: classes, scale: 1, gradient: &ce))
            got.divergence.append(
                klDivergence(
                    target: Array(p[range]), model: Array(q[range]), classes: classes, temperature: Float(tau),
                    scale: 1,
                    dq: &kl, dp: nil))
            wanted.crossEntropy.append(-plain[label])
            wanted.divergence.append(zip(a, b).reduce(0) { $0 + exp($1.0) * ($1.0 - $1.1) })
            gradient.crossEntropy += ce
            gradient.divergence += kl
            slope.crossEntropy += plain.enumerated().map { exp($1) - ($0 == label ? 1 : 0) }
            slope.divergence += zip(a, b).map { (exp($1) - exp($0)) / tau }
        }
        expectSmall(got.crossEntropy, wanted.crossEntropy, below: 1e-6, "cross-entropy", "loss", "all")
        expectSmall(gradient.crossEntropy, slope.crossEntropy, below: 1e-6, "cross-entropy", "logits' gradient", "all")
        expectSmall(got.divergence, wanted.divergence, below: 1e-6, "KL divergence", "loss", "all")
        expectSmall(gradient.divergence, slope.divergence, below: 1e-6, "KL divergence", "logits' gradient", "all")
    }
}
