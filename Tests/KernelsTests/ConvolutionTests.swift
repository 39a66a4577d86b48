import Runtime
import Testing

@testable import Kernels

/// Awkward shapes: 1×1 images, odd sizes, channels that are no multiple of a vector, strides, groups, uneven padding.
struct ConvolutionCase: CustomTestStringConvertible {
    var geometry: ConvolutionGeometry
    var count: Int
    var testDescription: String {
        let g = geometry
        return "\(count)×\(g.input) -> \(g.outputChannels), \(g.kernelHeight)×\(g.kernelWidth) stride "
            + "\(g.strideHeight),\(g.strideWidth) dilation \(g.dilationHeight),\(g.dilationWidth) "
            + "pad \(g.padTop),\(g.padLeft),\(g.padBottom),\(g.padRight) groups \(g.groups)"
    }

    init(
        _ count: Int, _ input: ImageShape, _ channels: Int, _ kernel: Int, stride: Int = 1, padding: Int = 0,
        groups: Int = 1
    ) {
        self.count = count
        geometry = ConvolutionGeometry(
            input: input, outputChannels: channels, kernelHeight: kernel, kernelWidth: kernel, stride: stride,
            padding: padding, groups: groups)
    }

    static let all: [ConvolutionCase] = {
        var cases = [
            ConvolutionCase(1, ImageShape(1, 1, 1), 1, 1),
            ConvolutionCase(1, ImageShape(3, 1, 1), 5, 3, padding: 1),
            ConvolutionCase(2, ImageShape(1, 28, 28), 8, 3, padding: 1),
            ConvolutionCase(3, ImageShape(8, 7, 7), 16, 3, stride: 2, padding: 1),
            ConvolutionCase(2, ImageShape(16, 6, 6), 32, 1, stride: 2),
            ConvolutionCase(2, ImageShape(33, 5, 9), 17, 3, padding: 1),
            ConvolutionCase(5, ImageShape(10, 1, 1), 100, 1),
            ConvolutionCase(1, ImageShape(13, 11, 7), 40, 5, stride: 3, padding: 2),
            ConvolutionCase(2, ImageShape(3, 17, 23), 24, 7, stride: 2, padding: 3),
            ConvolutionCase(2, ImageShape(12, 6, 5), 20, 3, padding: 1, groups: 4),
            ConvolutionCase(2, ImageShape(6, 6, 6), 6, 3, stride: 2, padding: 1, groups: 6),
            ConvolutionCase(1, ImageShape(37, 9, 9), 37, 3, padding: 1, groups: 37),
            ConvolutionCase(1, ImageShape(64, 4, 4), 128, 3, padding: 1),
            ConvolutionCase(1, ImageShape(2, 3, 3), 2, 2, stride: 4, padding: 1),
            // Half a vector of channels, by itself and behind a whole one, in each width of vectors.
            ConvolutionCase(2, ImageShape(8, 9, 7), 8, 3, padding: 1),
            ConvolutionCase(3, ImageShape(24, 5, 6), 12, 1),
            ConvolutionCase(3, ImageShape(6, 5, 7), 24, 3, padding: 1),
        ]
        // Winograd's algorithm: one tile and many, in blocks and in stages, partial tiles, channels beyond a vector.
        cases += [
            ConvolutionCase(1, ImageShape(16, 1, 1), 16, 3, padding: 1),
            ConvolutionCase(3, ImageShape(19, 2, 3), 35, 3, padding: 1),
            ConvolutionCase(1, ImageShape(16, 6, 6), 16, 3),
            ConvolutionCase(2, ImageShape(24, 7, 10), 40, 3, padding: 2),
            ConvolutionCase(9, ImageShape(64, 32, 32), 64, 3, padding: 1),
            // Filters transformed in pieces: uneven ones, and more tiles than one round has.
            ConvolutionCase(7, ImageShape(160, 8, 8), 208, 3, padding: 1),
            ConvolutionCase(2, ImageShape(187, 5, 9), 201, 3, padding: 1),
            ConvolutionCase(3, ImageShape(130, 31, 28), 260, 3, padding: 1),
            ConvolutionCase(40, ImageShape(80, 4, 4), 72, 3, padding: 1),
        ]
        // The same with stride 2, and every padding that fits.
        cases += [
            ConvolutionCase(2, ImageShape(16, 8, 8), 16, 3, stride: 2, padding: 1),
            ConvolutionCase(3, ImageShape(20, 7, 13), 35, 3, stride: 2, padding: 1),
            ConvolutionCase(5, ImageShape(64, 16, 16), 128, 3, stride: 2, padding: 1),
            ConvolutionCase(1, ImageShape(17, 17, 19), 24, 3, stride: 2),
            ConvolutionCase(5, ImageShape(145, 17, 15), 230, 3, stride: 2, padding: 1),
            ConvolutionCase(2, ImageShape(16, 13, 6), 33, 3, stride: 2, padding: 2),
        ]
        var right = ConvolutionCase(2, ImageShape(16, 16, 14), 16, 3, stride: 2)
        right.geometry.padBottom = 1
        right.geometry.padRight = 1
        cases.append(right)
        var uneven = ConvolutionCase(2, ImageShape(17, 9, 5), 18, 3, padding: 1)
        uneven.geometry.padTop = 0
        uneven.geometry.padRight = 2
        cases.append(uneven)
        var same = ConvolutionCase(2, ImageShape(9, 8, 8), 11, 3, stride: 2)
        same.geometry.padBottom = 1
        same.geometry.padRight = 1
        cases.append(same)
        // TensorFlow's SAME padding and others that differ from side to side, for every form of the weights.
        let sides: [(top: Int, left: Int, bottom: Int, right: Int)] = [
            (0, 0, 1, 1), (1, 0, 0, 1), (0, 1, 1, 0), (0, 0, 1, 0), (2, 0, 0, 1), (0, 2, 2, 1),
        ]
        let shapes: [(ImageShape, channels: Int, kernel: Int, stride: Int, groups: Int)] = [
            (ImageShape(20, 12, 10), 35, 3, 2, 1), (ImageShape(32, 7, 9), 16, 3, 2, 1),
            (ImageShape(18, 9, 8), 20, 3, 1, 1), (ImageShape(3, 10, 7), 24, 3, 2, 1),
            (ImageShape(12, 6, 5), 20, 3, 2, 4), (ImageShape(7, 8, 9), 7, 3, 1, 7),
            (ImageShape(7, 9, 8), 7, 3, 2, 7), (ImageShape(9, 8, 7), 11, 5, 3, 1), (ImageShape(16, 2, 3), 17, 3, 2, 1),
        ]
        for (input, channels, kernel, stride, groups) in shapes {
            for pad in sides {
                var test = ConvolutionCase(2, input, channels, kernel, stride: stride, groups: groups)
                (test.geometry.padTop, test.geometry.padLeft) = (pad.top, pad.left)
                (test.geometry.padBottom, test.geometry.padRight) = (pad.bottom, pad.right)
                // Where the window is larger than the padded image there is no output.
                if input.height + pad.top + pad.bottom >= kernel, input.width + pad.left + pad.right >= kernel {
                    cases.append(test)
                }
            }
        }
        var oblong = ConvolutionCase(2, ImageShape(4, 9, 6), 7, 3)
        oblong.geometry.kernelWidth = 1
        oblong.geometry.padTop = 1
        cases.append(oblong)
        return cases + oblongAndDilated
    }()

    /// Kernels, strides and dilations that differ from direction to direction, for every form of the weights.
    private static let oblongAndDilated = [
        oblong(ImageShape(20, 7, 9), 35, kernel: (1, 7), pad: (0, 3, 0, 3)),
        oblong(ImageShape(17, 9, 7), 24, kernel: (7, 1), pad: (3, 0, 3, 0)),
        oblong(ImageShape(3, 9, 8), 10, kernel: (3, 5), stride: (2, 1), pad: (1, 2, 1, 2)),
        oblong(ImageShape(16, 8, 9), 16, kernel: (3, 3), stride: (2, 1), pad: (1, 1, 1, 1)),
        oblong(ImageShape(18, 9, 9), 20, kernel: (3, 3), dilation: (2, 2), pad: (2, 2, 2, 2)),
        oblong(ImageShape(16, 11, 8), 33, kernel: (3, 3), stride: (2, 2), dilation: (3, 2), pad: (3, 2, 3, 2)),
        oblong(ImageShape(3, 10, 11), 9, kernel: (3, 3), dilation: (1, 2), pad: (1, 2, 1, 2)),
        oblong(ImageShape(3, 10, 11), 9, kernel: (3, 3), dilation: (2, 1), pad: (2, 1, 2, 1)),
        oblong(ImageShape(2, 10, 11), 9, kernel: (3, 2), stride: (2, 3), dilation: (3, 1), pad: (5, 1, 6, 0)),
        oblong(ImageShape(7, 9, 8), 7, kernel: (3, 3), dilation: (2, 2), pad: (2, 2, 2, 2), groups: 7),
        oblong(
            ImageShape(19, 8, 9), 19, kernel: (5, 3), stride: (2, 1), dilation: (1, 2), pad: (2, 2, 2, 2), groups: 19),
        oblong(
            ImageShape(12, 6, 7), 20, kernel: (2, 3), stride: (1, 2), dilation: (3, 1), pad: (3, 0, 0, 1), groups: 4),
        oblong(ImageShape(33, 1, 1), 17, kernel: (3, 3), dilation: (4, 4), pad: (4, 4, 4, 4)),
        oblong(ImageShape(5, 4, 6), 6, kernel: (2, 2), stride: (5, 3), dilation: (2, 3), pad: (1, 0, 0, 3)),
    ]

    private static func oblong(
        _ input: ImageShape, _ channels: Int, kernel: (Int, Int), stride: (Int, Int) = (1, 1),
        dilation: (Int, Int) = (1, 1), pad: (Int, Int, Int, Int), groups: Int = 1
    ) -> ConvolutionCase {
        var test = ConvolutionCase(channels % 2 + 1, input, channels, 1, groups: groups)
        (test.geometry.kernelHeight, test.geometry.kernelWidth) = kernel
        (test.geometry.strideHeight, test.geometry.strideWidth) = stride
        (test.geometry.dilationHeight, test.geometry.dilationWidth) = dilation
        (test.geometry.padTop, test.geometry.padLeft, test.geometry.padBottom, test.geometry.padRight) = pad
        return test
    }
}

func randomFloats(_ count: Int, seed: UInt64) -> [Float] {
    var random = CounterRandom(seed: seed, stream: .initialisation, index: 0)
    return (0..<count).map { _ in random.normal() }
}

func buffer(_ values: [Float]) throws -> FloatBuffer {
    let result = try FloatBuffer(values.count)
    for (i, value) in values.enumerated() { result.pointer[i] = value }
    return result
}

func array(_ buffer: FloatBuffer) -> [Float] { (0..<buffer.count).map { buffer.pointer[$0] } }

/// Largest |a − b| against the largest |b|.
func relativeError(_ a: [Float], _ b: [Float]) -> Float {
    guard a.count == b.count else { return .infinity }
    let scale = max(b.map { abs($0) }.max() ?? 1, 1e-6)
    return zip(a, b).map { $0.isFinite ? abs($0 - $1) : .infinity }.max().map { $0 / scale } ?? 0
}

/// Weights for a path, by Winograd's algorithm where it fits, and its filters.
func preparedWeights(_ g: ConvolutionGeometry, _ path: CPUPath) throws -> (PreparedWeights, WinogradFilters?) {
    let filters = try PreparedWeights.makeFilters(g, path: path)
    _ = try filters?.needBackward()
    return (try PreparedWeights(g, filters: filters, path: path), filters)
}

func setWeights(
    _ weights: PreparedWeights, _ filters: WinogradFilters?, _ values: [Float], scale: [Float]?, bias: [Float]?
) {
    if let copy = try? buffer(values) { filters?.set(weights: copy, from: 0) }
    weights.set(weights: values, scale: scale, bias: bias)
}

@Suite struct ConvolutionTests {
    @Test(arguments: ConvolutionCase.all, CPUPath.available)
    func matchesReference(_ test: ConvolutionCase, _ path: CPUPath) throws {
        let g = test.geometry
        let x = randomFloats(test.count * g.input.count, seed: 1)
        let w = randomFloats(g.weightCount, seed: 2)
        let bias = randomFloats(g.outputChannels, seed: 3)
        let dy = randomFloats(test.count * g.output.count, seed: 4)
        let residual = randomFloats(test.count * g.output.count, seed: 5)
        let (weights, filters) = try preparedWeights(g, path)
        setWeights(weights, filters, w, scale: nil, bias: bias)
        let xBuffer = try buffer(x)
        let dyBuffer = try buffer(dy)

        let y = try FloatBuffer(test.count * g.output.count)
        convolutionForward(y.pointer, xBuffer.pointer, count: test.count, weights)
        let expected = referenceConvolutionForward(x: x, weights: w, bias: bias, count: test.count, g)
        #expect(relativeError(array(y), expected) < 5e-6)

        let other = try buffer(residual)
        convolutionForward(
            y.pointer, xBuffer.pointer, count: test.count, weights,
            ConvolutionEpilogue(residual: other.pointer, rectify: true))
        #expect(relativeError(array(y), zip(expected, residual).map { max($0 + $1, 0) }) < 5e-6)

        // The ReLU's signs, and their use as a mask of the input gradient.
        var signs = [UInt8](repeating: 2, count: expected.count)
        signs.withUnsafeMutableBufferPointer { signs in
            convolutionForward(
                y.pointer, xBuffer.pointer, count: test.count, weights,
                ConvolutionEpilogue(rectify: true, signs: signs.baseAddress))
        }
        #expect(signs == array(y).map { $0 > 0 ? 1 : 0 })
        let mask = x.map { $0 > 0 ? UInt8(1) : 0 }
        let maskedGradient = try FloatBuffer(test.count * g.input.count)
        mask.withUnsafeBufferPointer { mask in
            convolutionInputGradient(
                maskedGradient.pointer, dyBuffer.pointer, count: test.count, weights,
                ConvolutionEpilogue(mask: mask.baseAddress))
        }

        let start = randomFloats(test.count * g.input.count, seed: 6)
        let dx = try buffer(start)
        let dxExpected = referenceConvolutionInputGradient(dy: dy, weights: w, count: test.count, g)
        convolutionInputGradient(
            dx.pointer, dyBuffer.pointer, count: test.count, weights,
            ConvolutionEpilogue(residual: UnsafePointer(dx.pointer)))
        #expect(relativeError(array(dx), zip(dxExpected, start).map { $0 + $1 }) < 5e-6)
        convolutionInputGradient(dx.pointer, dyBuffer.pointer, count: test.count, weights)
        #expect(relativeError(array(dx), dxExpected) < 5e-6)

        #expect(array(maskedGradient) == zip(array(dx), mask).map { $1 == 0 ? 0 : $0 })

        let dwStart = randomFloats(g.weightCount, seed: 7)
        let dw = try buffer(dwStart)
        convolutionWeightGradient(
            dw.pointer, xBuffer.pointer, dyBuffer.pointer, count: test.count, weights)
        let dwExpected = referenceConvolutionWeightGradient(x: x, dy: dy, count: test.count, g)
        #expect(relativeError(array(dw), zip(dwExpected, dwStart).map { $0 + $1 }) < 4e-6)
    }

    /// A sample's output must not depend on the batch around it, bit for bit.
    @Test(arguments: ConvolutionCase.all, CPUPath.available)
    func sampleDoesNotDependOnItsBatch(_ test: ConvolutionCase, _ path: CPUPath) throws {
        let g = test.geometry
        let x = try buffer(randomFloats(5 * g.input.count, seed: 1))
        let dy = try buffer(randomFloats(5 * g.output.count, seed: 2))
        let (weights, filters) = try preparedWeights(g, path)
        setWeights(weights, filters, randomFloats(g.weightCount, seed: 3), scale: nil, bias: nil)
        let together = try FloatBuffer(5 * g.output.count)
        let gradientTogether = try FloatBuffer(5 * g.input.count)
        convolutionForward(together.pointer, x.pointer, count: 5, weights)
        convolutionInputGradient(gradientTogether.pointer, dy.pointer, count: 5, weights)
        for n in 0..<5 {
            let alone = try FloatBuffer(g.output.count)
            let gradientAlone = try FloatBuffer(g.input.count)
            convolutionForward(alone.pointer, x.pointer + n * g.input.count, count: 1, weights)
            convolutionInputGradient(
                gradientAlone.pointer, dy.pointer + n * g.output.count, count: 1, weights)
            #expect(array(alone) == Array(array(together)[(n * g.output.count)..<((n + 1) * g.output.count)]))
            #expect(
                array(gradientAlone) == Array(array(gradientTogether)[(n * g.input.count)..<((n + 1) * g.input.count)]))
        }
    }

    /// A folded scale multiplies each filter.
    @Test(arguments: CPUPath.available)
    func scaleFolds(_ path: CPUPath) throws {
        let g = ConvolutionCase.all[5].geometry
        let w = randomFloats(g.weightCount, seed: 2)
        let scale = randomFloats(g.outputChannels, seed: 8)
        let perFilter = g.weightCount / g.outputChannels
        let scaled = w.enumerated().map { $1 * scale[$0 / perFilter] }
        let x = randomFloats(g.input.count, seed: 1)
        let bias = randomFloats(g.outputChannels, seed: 3)
        let (weights, filters) = try preparedWeights(g, path)
        setWeights(weights, filters, w, scale: scale, bias: bias)
        let y = try FloatBuffer(g.output.count)
        let xBuffer = try buffer(x)
        convolutionForward(y.pointer, xBuffer.pointer, count: 1, weights)
        let expected = referenceConvolutionForward(x: x, weights: scaled, bias: bias, count: 1, g)
        #expect(relativeError(array(y), expected) < 5e-6)
    }
}
