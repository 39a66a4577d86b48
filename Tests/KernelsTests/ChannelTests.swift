import Runtime
import Testing

@testable import Kernels

/// Products, gates and concatenation: 1×1 images, odd sizes, channels that are no multiple of a vector, batch 1.
@Suite struct ChannelTests {
    static let shapes = [
        ImageShape(1, 1, 1), ImageShape(5, 1, 1), ImageShape(3, 7, 5), ImageShape(17, 9, 4), ImageShape(64, 3, 11),
        ImageShape(130, 13, 13),
    ]

    @Test(arguments: shapes, [1, 4])
    func gates(_ shape: ImageShape, _ count: Int) throws {
        let (x, dy) = (randomFloats(count * shape.count, seed: 1), randomFloats(count * shape.count, seed: 2))
        let gate = randomFloats(count * shape.channels, seed: 3)
        let (xs, gs, gates, y) = (try buffer(x), try buffer(dy), try buffer(gate), try buffer(dy))
        multiplyByGate(y.pointer, xs.pointer, gate: gates.pointer, count: count, shape)
        let expected = referenceGate(x: x, gate: gate, shape)
        #expect(array(y) == expected)
        multiplyByGate(y.pointer, xs.pointer, gate: gates.pointer, count: count, shape, accumulate: true)
        #expect(array(y) == expected.map { $0 + $0 })
        multiplyByGate(xs.pointer, xs.pointer, gate: gates.pointer, count: count, shape)
        #expect(array(xs) == expected)

        let xs2 = try buffer(x)
        let dgate = try buffer(gate)
        let slopes = referenceGateGradient(dy: dy, x: x, count: count, shape)
        gateGradient(dgate.pointer, gradient: gs.pointer, xs2.pointer, count: count, shape, accumulate: false)
        #expect(relativeError(array(dgate), slopes) < 1e-6)
        let before = array(dgate)
        gateGradient(dgate.pointer, gradient: gs.pointer, xs2.pointer, count: count, shape, accumulate: true)
        #expect(array(dgate) == before.map { $0 + $0 })
    }

    @Test(arguments: [1, 37, 40_003])
    func products(_ count: Int) throws {
        let (a, b) = (randomFloats(count, seed: 1), randomFloats(count, seed: 2))
        let (x, y, out) = (try buffer(a), try buffer(b), try buffer(a))
        let expected = zip(a, b).map { $0 * $1 }
        multiply(out.pointer, x.pointer, y.pointer, count: count, accumulate: true)
        #expect(array(out) == zip(a, expected).map { $0 + $1 })
        multiply(x.pointer, x.pointer, y.pointer, count: count)
        #expect(array(x) == expected)
    }

    @Test(arguments: [[1, 1], [3, 16, 1], [24, 12, 12, 5], [200, 130]], [1, 35, 1000])
    func concatenation(_ channels: [Int], _ pixels: Int) throws {
        let total = channels.reduce(0, +)
        let parts = channels.enumerated().map { (x: randomFloats(pixels * $1, seed: UInt64($0)), channels: $1) }
        let y = try FloatBuffer(pixels * total)
        var first = 0
        for part in parts {
            putChannels(y.pointer, part.x, pixels: pixels, channels: part.channels, first: first, of: total)
            first += part.channels
        }
        #expect(array(y) == referenceConcat(parts, pixels: pixels))
        first = 0
        for part in parts {
            let x = try FloatBuffer(part.x.count)
            for accumulate in [false, true] {
                takeChannels(
                    x.pointer, y.pointer, pixels: pixels, channels: part.channels, first: first, of: total,
                    accumulate: accumulate)
                #expect(array(x) == part.x.map { accumulate ? $0 + $0 : $0 })
            }
            first += part.channels
        }
    }
}
