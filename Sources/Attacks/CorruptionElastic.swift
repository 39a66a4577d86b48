import Kernels
import Runtime

extension Corruption {
    /// An affine map that moves three points at random, then a displacement of each pixel, smoothed noise (after Simard,
    /// Steinkraus, Platt 2003). Both read the image between its pixels along straight lines. All lengths are parts of the
    /// shorter side, of which the published ones are those for 32.
    @Sendable static func stretch(_ canvas: inout Canvas, _ severity: Int) {
        let (strength, sigma, jump) = [
            (0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03),
        ][severity]
        let side = Double(min(canvas.shape.height, canvas.shape.width))
        let map = ThreePointMap(canvas.shape, side, jump * side, &canvas.random)
        resample(canvas, edge: mirrored) { y, x in map.source(Double(x), Double(y)) }
        guard strength > 0 else { return }
        let displacement = canvas.spare + canvas.area
        for i in 0..<2 * canvas.area { displacement[i] = 2 * canvas.random.uniform() - 1 }
        for direction in 0..<2 {
            smooth(displacement + direction * canvas.area, canvas, sigma * side, deviations: 3, edge: mirroredWithEdge)
        }
        let (area, width, reach) = (canvas.area, canvas.shape.width, strength * side)
        resample(canvas, edge: mirroredWithEdge) { y, x in
            let i = y * width + x
            return (Double(x) + reach * Double(displacement[i]), Double(y) + reach * Double(displacement[area + i]))
        }
    }

    /// Each pixel takes the value at its source, between four pixels. Uses the first plane of the spare memory.
    private static func resample(
        _ canvas: Canvas, edge: (_ index: Int, _ size: Int) -> Int,
        from source: (_ y: Int, _ x: Int) -> (x: Double, y: Double)
    ) {
        let (height, width) = (canvas.shape.height, canvas.shape.width)
        for c in 0..<canvas.shape.channels {
            let channel = canvas.channel(c)
            let old = canvas.spare
            old.update(from: channel, count: canvas.area)
            for y in 0..<height {
                for x in 0..<width {
                    let place = source(y, x)
                    let (row, column) = (Int(place.y.rounded(.down)), Int(place.x.rounded(.down)))
                    let (down, across) = (Float(place.y - Double(row)), Float(place.x - Double(column)))
                    let (top, bottom) = (edge(row, height) * width, edge(row + 1, height) * width)
                    let (left, right) = (edge(column, width), edge(column + 1, width))
                    let upper = old[top + left] + across * (old[top + right] - old[top + left])
                    let lower = old[bottom + left] + across * (old[bottom + right] - old[bottom + left])
                    channel[y * width + x] = upper + down * (lower - upper)
                }
            }
        }
    }

    /// The place of an index in a line that is mirrored at its ends, which are repeated.
    private static func mirroredWithEdge(_ index: Int, _ size: Int) -> Int {
        let period = 2 * size
        let place = ((index % period) + period) % period
        return place < size ? place : period - 1 - place
    }
}

/// The affine map that takes three corners of a square about the middle to where they are moved at random.
private struct ThreePointMap {
    /// The first corner, and where it is moved.
    private let corner: (x: Double, y: Double)
    private let start: (x: Double, y: Double)
    /// From the first corner moved to the second, and from there to the third.
    private let first: (x: Double, y: Double)
    private let second: (x: Double, y: Double)
    private let edge: Double

    init(_ shape: ImageShape, _ side: Double, _ jump: Double, _ random: inout CounterRandom) {
        // 10 for 32. With jumps of up to 0.08 of the side the three never come to lie on a line.
        let half = side * 10 / 32
        let middle = (x: Double(shape.width / 2), y: Double(shape.height / 2))
        func moved(_ x: Double, _ y: Double, _ random: inout CounterRandom) -> (x: Double, y: Double) {
            let shift = (jump * Double(2 * random.uniform() - 1), jump * Double(2 * random.uniform() - 1))
            return (middle.x + x + shift.0, middle.y + y + shift.1)
        }
        let corners = (
            moved(half, half, &random), moved(half, -half, &random), moved(-half, -half, &random)
        )
        corner = (middle.x + half, middle.y + half)
        start = corners.0
        first = (corners.1.x - corners.0.x, corners.1.y - corners.0.y)
        second = (corners.2.x - corners.1.x, corners.2.y - corners.1.y)
        edge = 2 * half
    }

    /// The point that is taken to (x, y): the parts of the moved edges that lead there are those of the old ones.
    func source(_ x: Double, _ y: Double) -> (x: Double, y: Double) {
        let (dx, dy) = (x - start.x, y - start.y)
        let area = first.x * second.y - first.y * second.x
        let alongFirst = (dx * second.y - dy * second.x) / area
        let alongSecond = (first.x * dy - first.y * dx) / area
        return (corner.x - edge * alongSecond, corner.y - edge * alongFirst)
    }
}
