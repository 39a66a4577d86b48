import Glibc
import Runtime

/// The geometry of one attack: how to start, step and stay within the ball. All work is on one sample of `count`
/// floats.
///
/// After `project` the iterate lies in the box [0,1] and in the ball around `clean` (itself in the box), with no
/// tolerance: the norm of the exact difference of the two float images is at most `radius`.
public protocol AttackNorm: Sendable {
    /// The name that options use.
    static var name: String { get }

    /// Writes a point drawn uniformly from the ball around `clean`; it still needs `project`.
    func randomStart(
        _ iterate: UnsafeMutablePointer<Float>, around clean: UnsafePointer<Float>, radius: Float, count: Int,
        random: inout CounterRandom)

    /// Writes a random point on the border of the ball around `clean`; it still needs `project`.
    func borderStart(
        _ iterate: UnsafeMutablePointer<Float>, around clean: UnsafePointer<Float>, radius: Float, count: Int,
        random: inout CounterRandom)

    /// Auto-PGD's first step, in radii.
    var firstStep: Float { get }

    /// Moves the iterate by `size` in the direction of steepest ascent. A zero gradient does not move it.
    func step(
        _ iterate: UnsafeMutablePointer<Float>, along gradient: UnsafePointer<Float>, size: Float, count: Int)

    /// Moves the iterate to the nearest point of the ball, then into the box.
    func project(
        _ iterate: UnsafeMutablePointer<Float>, around clean: UnsafePointer<Float>, radius: Float, count: Int)

    /// Moves a change of an image to the nearest in the ball around 0; the box does not matter.
    func shorten(_ change: UnsafeMutablePointer<Float>, to radius: Double, count: Int)

    /// The distance of the black image from the white one.
    func diameterOfBox(_ count: Int) -> Double

    /// The distance of two images.
    func distance(_ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, _ count: Int) -> Double

    /// The dual norm of a gradient: how fast the function grows along the steepest step of length 1.
    func dualLength(_ gradient: UnsafePointer<Float>, _ count: Int) -> Double

    /// The shortest way from `point` to the hyperplane `normal · x = normal · point - height` within the box [0,1], or as
    /// far as the box allows. Returns its length.
    func wayToHyperplane(
        from point: UnsafePointer<Float>, normal: UnsafePointer<Float>, height: Double, count: Int,
        way: UnsafeMutablePointer<Float>
    ) -> Double
}

extension AttackNorm {
    /// How far the box reaches, at most, from an image. Overwrites `memory`, which is for one image.
    func longestWay(from clean: UnsafePointer<Float>, _ count: Int, memory: UnsafeMutablePointer<Float>) -> Double {
        for i in 0..<count { memory[i] = clean[i] < 0.5 ? 1 : 0 }
        return distance(memory, clean, count)
    }
}

/// The norms by name.
public enum AttackNorms {
    /// Those that attacks have in general.
    public static let all: [any AttackNorm] = [MaximumNorm(), EuclideanNorm(), ManhattanNorm()]
    public static var names: [String] { all.map { type(of: $0).name } }

    /// Throws `invalidArgument` for an unknown name, and for "l0" where it is not `allowed`.
    public static func named(_ name: String, pixelCount allowed: Bool = false) throws -> any AttackNorm {
        if allowed, name == PixelCount.name { return PixelCount() }
        guard let norm = all.first(where: { type(of: $0).name == name }) else {
            throw EngineError.unknownName("norm", got: name, known: names + (allowed ? [PixelCount.name] : []))
        }
        return norm
    }
}

@inline(__always)
private func clampToBox(_ value: Float) -> Float { min(max(value, 0), 1) }

/// L∞: every pixel may move by the radius.
public struct MaximumNorm: AttackNorm {
    public static let name = "linf"

    public init() {}

    public func randomStart(
        _ iterate: UnsafeMutablePointer<Float>, around clean: UnsafePointer<Float>, radius: Float, count: Int,
        random: inout CounterRandom
    ) {
        for i in 0..<count { iterate[i] = clean[i] + radius * (2 * random.uniform() - 1) }
    }

    public var firstStep: Float { 2 }

    /// Uniform in a cube, stretched until it touches the border.
    public func borderStart(
        _ iterate: UnsafeMutablePointer<Float>, around clean: UnsafePointer<Float>, radius: Float, count: Int,
        random: inout CounterRandom
    ) {
        var largest: Float = 0
        for i in 0..<count {
            iterate[i] = 2 * random.uniform() - 1
            largest = max(largest, abs(iterate[i]))
        }
        let scale = largest > 0 ? radius / largest : 0
        for i in 0..<count { iterate[i] = clean[i] + scale * iterate[i] }
    }

    /// x' + size * sign(g), sign(0) = 0.
    public func step(
        _ iterate: UnsafeMutablePointer<Float>, along gradient: UnsafePointer<Float>, size: Float, count: Int
    ) {
        for i in 0..<count {
            let up = gradient[i] > 0 ? size : 0
            let down = gradient[i] < 0 ? size : 0
            iterate[i] += up - down
        }
    }

    public func project(
        _ iterate: UnsafeMutablePointer<Float>, around clean: UnsafePointer<Float>, radius: Float, count: Int
    ) {
        for i in 0..<count {
            let x = clean[i]
            let value = clampToBox(min(max(iterate[i], x - radius), x + radius))
            // x ± radius was rounded, perhaps outwards. The exact distance is distance + rest (Dekker's fast
            // two-sum, both numbers being non-negative); one unit in the last place brings it back inside.
            let larger = max(value, x)
            let smaller = min(value, x)
            let distance = larger - smaller
            let rest = (larger - distance) - smaller
            let outside = distance > radius || (distance == radius && rest > 0)
            let inward: UInt32 = value > x ? ~0 : 1
            iterate[i] = Float(bitPattern: value.bitPattern &+ (outside ? inward : 0))
        }
    }

    public func shorten(_ change: UnsafeMutablePointer<Float>, to radius: Double, count: Int) {
        let limit = Float(radius)
        for i in 0..<count { change[i] = min(max(change[i], -limit), limit) }
    }

    public func diameterOfBox(_ count: Int) -> Double { 1 }

    public func distance(_ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, _ count: Int) -> Double {
        distances(a, b, count).linf
    }

    /// Σ |g|.
    public func dualLength(_ gradient: UnsafePointer<Float>, _ count: Int) -> Double {
        var sum = 0.0
        for i in 0..<count { sum += Double(abs(gradient[i])) }
        return sum
    }

    public func wayToHyperplane(
        from point: UnsafePointer<Float>, normal: UnsafePointer<Float>, height: Double, count: Int,
        way: UnsafeMutablePointer<Float>
    ) -> Double {
        boxedWay(from: point, normal: normal, height: height, count: count, way: way) { _ in 1 }
        var largest = 0.0
        for i in 0..<count { largest = max(largest, Double(abs(way[i]))) }
        return largest
    }
}

/// L2: the difference of the images has at most the radius as its Euclidean length.
public struct EuclideanNorm: AttackNorm {
    public static let name = "l2"

    public init() {}

    /// Direction from normal deviates, distance radius * u^(1/count).
    public func randomStart(
        _ iterate: UnsafeMutablePointer<Float>, around clean: UnsafePointer<Float>, radius: Float, count: Int,
        random: inout CounterRandom
    ) {
        var squares = 0.0
        for i in 0..<count {
            let deviate = random.normal()
            iterate[i] = deviate
            squares += Double(deviate) * Double(deviate)
        }
        let distance = Double(radius) * pow(Double(random.uniform()), 1 / Double(count))
        let scale = squares > 0 ? Float(distance / squares.squareRoot()) : 0
        for i in 0..<count { iterate[i] = clean[i] + scale * iterate[i] }
    }

    public var firstStep: Float { 2 }

    /// Direction from normal deviates.
    public func borderStart(
        _ iterate: UnsafeMutablePointer<Float>, around clean: UnsafePointer<Float>, radius: Float, count: Int,
        random: inout CounterRandom
    ) {
        for i in 0..<count { iterate[i] = random.normal() }
        let length = euclideanLength(iterate, count)
        let scale = length > 0 ? Float(Double(radius) / length) : 0
        for i in 0..<count { iterate[i] = clean[i] + scale * iterate[i] }
    }

    /// x' + size * g / ‖g‖.
    public func step(
        _ iterate: UnsafeMutablePointer<Float>, along gradient: UnsafePointer<Float>, size: Float, count: Int
    ) {
        let length = euclideanLength(gradient, count)
        guard length > 0, length.isFinite else { return }
        // Divided first: the quotient is at most 1, where size / length could overflow for a tiny gradient.
        for i in 0..<count { iterate[i] += size * Float(Double(gradient[i]) / length) }
    }

    public func project(
        _ iterate: UnsafeMutablePointer<Float>, around clean: UnsafePointer<Float>, radius: Float, count: Int
    ) {
        let limit = Double(radius)
        var length = euclideanDistance(iterate, clean, count)
        // Rounding to float can leave the shortened difference a trifle too long: then shorten it a little more.
        var slack = 0.0
        for _ in 0..<16 where length > limit {
            let scale = limit / length * (1 - slack)
            for i in 0..<count {
                iterate[i] = Float(Double(clean[i]) + scale * (Double(iterate[i]) - Double(clean[i])))
            }
            length = euclideanDistance(iterate, clean, count)
            slack = slack == 0 ? 0x1p-23 : 2 * slack
        }
        if length <= limit {
            // The image lies in the box, so this brings every pixel nearer to it or leaves it.
            for i in 0..<count { iterate[i] = clampToBox(iterate[i]) }
            return
        }
        // The radius is below the spacing of floats around the image: nothing but the image itself lies in the ball.
        iterate.update(from: clean, count: count)
    }

    public func shorten(_ change: UnsafeMutablePointer<Float>, to radius: Double, count: Int) {
        let length = euclideanLength(change, count)
        guard length > radius else { return }
        for i in 0..<count { change[i] = Float(Double(change[i]) * (radius / length)) }
    }

    public func diameterOfBox(_ count: Int) -> Double { Double(count).squareRoot() }

    public func distance(_ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, _ count: Int) -> Double {
        euclideanDistance(a, b, count)
    }

    public func dualLength(_ gradient: UnsafePointer<Float>, _ count: Int) -> Double {
        euclideanLength(gradient, count)
    }

    public func wayToHyperplane(
        from point: UnsafePointer<Float>, normal: UnsafePointer<Float>, height: Double, count: Int,
        way: UnsafeMutablePointer<Float>
    ) -> Double {
        boxedWay(from: point, normal: normal, height: height, count: count, way: way) { $0 }
        return euclideanLength(way, count)
    }
}

/// The shortest way to a hyperplane within the box, for norms where the solution is `|way_i| = min(λ speed_i, room_i)`, the
/// room being what the box leaves in the direction of -height · normal_i. (The conditions of Karush, Kuhn and Tucker; Croce
/// and Hein 2020, "Minimally distorted adversarial examples with a fast adaptive boundary attack", section 3.)
///
/// λ solves `Σ |normal_i| min(λ speed_i, room_i) = |height|`. The left side is concave and piecewise linear: Newton's method
/// from 0 never overshoots and ends after finitely many steps.
///
/// - Parameter speed: of |normal_i|.
@inline(__always)
private func boxedWay(
    from point: UnsafePointer<Float>, normal: UnsafePointer<Float>, height: Double, count: Int,
    way: UnsafeMutablePointer<Float>, speed: (Double) -> Double
) {
    let target = abs(height)
    let descends = height >= 0
    func room(_ i: Int) -> Double { (normal[i] > 0) == descends ? Double(point[i]) : 1 - Double(point[i]) }
    var lambda = 0.0
    for _ in 0..<1000 {
        var (reached, slope) = (0.0, 0.0)
        for i in 0..<count {
            let weight = Double(abs(normal[i]))
            let (free, pace) = (room(i), speed(weight))
            let limited = lambda * pace >= free
            reached += weight * (limited ? free : lambda * pace)
            slope += limited ? 0 : weight * pace
        }
        guard slope > 0 else { break }
        let next = lambda + (target - reached) / slope
        guard next > lambda, next.isFinite else { break }
        lambda = next
    }
    for i in 0..<count {
        guard normal[i] != 0 else {
            way[i] = 0
            continue
        }
        let size = Float(min(lambda * speed(Double(abs(normal[i]))), room(i)))
        way[i] = (normal[i] > 0) == descends ? -size : size
    }
}

/// ‖vector‖₂, summed in double precision.
func euclideanLength(_ vector: UnsafePointer<Float>, _ count: Int) -> Double {
    var squares = 0.0
    for i in 0..<count { squares += Double(vector[i]) * Double(vector[i]) }
    return squares.squareRoot()
}

/// ‖a - b‖₂, summed in double precision.
func euclideanDistance(_ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, _ count: Int) -> Double {
    var squares = 0.0
    for i in 0..<count {
        let difference = Double(a[i]) - Double(b[i])
        squares += difference * difference
    }
    return squares.squareRoot()
}

/// max |a - b|, ‖a - b‖₂ and Σ |a - b|, in double precision.
func distances(
    _ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, _ count: Int
) -> (linf: Double, l2: Double, l1: Double) {
    var (largest, squares, sum) = (0.0, 0.0, 0.0)
    for i in 0..<count {
        let difference = abs(Double(a[i]) - Double(b[i]))
        largest = max(largest, difference)
        squares += difference * difference
        sum += difference
    }
    return (largest, squares.squareRoot(), sum)
}
