import Glibc
import Runtime
import Testing

@testable import Kernels

@Suite struct PoolingTests {
    @Test(arguments: cases, [true, false])
    func average(_ g: PoolingGeometry, countsPadding: Bool) throws {
        for count in [1, 3] {
            let x = randomFloats(count * g.input.count, seed: 1)
            let dy = randomFloats(count * g.output.count, seed: 2)
            let (xs, gs, y) = (try buffer(x), try buffer(dy), try FloatBuffer(count * g.output.count))
            averagePoolForward(y.pointer, xs.pointer, count: count, g, countsPadding: countsPadding)
            #expect(
                relativeError(array(y), referenceAveragePool(x: x, count: count, g, countsPadding: countsPadding))
                    < 1e-6)
            // The mean is linear: its gradient is Σ dy·mean of one at a time.
            let dx = try buffer(x)
            averagePoolBackward(
                dx.pointer, gradient: gs.pointer, count: count, g, countsPadding: countsPadding, accumulate: false)
            var one = [Float](repeating: 0, count: g.input.count)
            for i in stride(from: 0, to: g.input.count, by: max(1, g.input.count / 30)) {
                one[i] = 1
                let means = referenceAveragePool(x: one, count: 1, g, countsPadding: countsPadding)
                one[i] = 0
                let slope = zip(means, dy).reduce(0) { $0 + Double($1.0) * Double($1.1) }
                #expect(abs(Double(dx.pointer[i]) - slope) < 1e-5)
            }
            let sum = try buffer(x)
            averagePoolBackward(
                sum.pointer, gradient: gs.pointer, count: count, g, countsPadding: countsPadding, accumulate: true)
            #expect(relativeError(array(sum), zip(array(dx), x).map { $0 + $1 }) < 1e-6)
        }
    }

    /// Window, stride, padding and image: overlapping and with gaps, windows that reach over both borders.
    static let cases: [PoolingGeometry] = [
        PoolingGeometry(input: ImageShape(5, 7, 6), window: 3, stride: 2, padding: 1),
        PoolingGeometry(input: ImageShape(19, 8, 8), window: 3, stride: 2, padding: 1),
        PoolingGeometry(input: ImageShape(3, 1, 1), window: 3, stride: 2, padding: 1),
        PoolingGeometry(input: ImageShape(2, 1, 5), window: 4, stride: 1, padding: 2),
        PoolingGeometry(input: ImageShape(4, 6, 9), window: 2, stride: 2),
        PoolingGeometry(input: ImageShape(1, 9, 8), window: 2, stride: 3, padding: 1),
        PoolingGeometry(input: ImageShape(2, 20, 16), window: 15, stride: 1, padding: 7),
        oblong(ImageShape(7, 6, 9), window: (1, 3), stride: (1, 2), padding: (0, 1, 0, 1)),
        oblong(ImageShape(17, 9, 4), window: (5, 2), stride: (3, 1), padding: (4, 0, 2, 1)),
        oblong(ImageShape(3, 1, 1), window: (2, 3), stride: (1, 4), padding: (1, 2, 0, 0)),
        oblong(ImageShape(1, 7, 7), window: (3, 3), stride: (2, 2), padding: (0, 0, 1, 1)),
    ]

    private static func oblong(
        _ input: ImageShape, window: (Int, Int), stride: (Int, Int), padding: (Int, Int, Int, Int)
    ) -> PoolingGeometry {
        var g = PoolingGeometry(input: input, window: 1, stride: 1)
        (g.windowHeight, g.windowWidth) = window
        (g.strideHeight, g.strideWidth) = stride
        (g.padTop, g.padLeft, g.padBottom, g.padRight) = padding
        return g
    }

    @Test(arguments: cases)
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
    @Test(arguments: cases)
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
