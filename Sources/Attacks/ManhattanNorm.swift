import Glibc
import Runtime

/// L1: the changes of all pixels sum up to at most the radius. The ball is so thin where few pixels change that projecting onto
/// it and then into the box loses most of the way: here the projection is onto the intersection of both (Croce and Hein 2021,
/// "Mind the box: l1-APGD for sparse adversarial attacks on image classifiers", section 2).
public struct ManhattanNorm: AttackNorm {
    public static let name = "l1"

    public init() {}

    /// Magnitudes from exponential deviates over the sum of these and one more, signs at will.
    public func randomStart(
        _ iterate: UnsafeMutablePointer<Float>, around clean: UnsafePointer<Float>, radius: Float, count: Int,
        random: inout CounterRandom
    ) {
        var sum = -log(Double(1 - random.uniform()))
        for i in 0..<count {
            let size = -log(Double(1 - random.uniform()))
            sum += size
            iterate[i] = Float(random.below(2) == 0 ? size : -size)
        }
        let scale = sum > 0 ? Float(Double(radius) / sum) : 0
        for i in 0..<count { iterate[i] = clean[i] + scale * iterate[i] }
    }

    public var firstStep: Float { 1 }

    /// Normal deviates, far beyond the border: it is the projection that makes a start with few changes of them.
    public func borderStart(
        _ iterate: UnsafeMutablePointer<Float>, around clean: UnsafePointer<Float>, radius: Float, count: Int,
        random: inout CounterRandom
    ) {
        for i in 0..<count { iterate[i] = clean[i] + random.normal() }
    }

    /// The steepest step changes a single pixel; it is spread over the hundredth of the pixels with the largest derivatives, of
    /// those that the box lets move (Tramèr and Boneh 2019, "Adversarial training and robustness for multiple perturbations",
    /// section 4.1).
    public func step(
        _ iterate: UnsafeMutablePointer<Float>, along gradient: UnsafePointer<Float>, size: Float, count: Int
    ) {
        sparseStep(iterate, along: gradient, size: size, changing: (count + 99) / 100, count: count) { i in
            gradient[i] > 0 ? iterate[i] < 1 : iterate[i] > 0
        }
    }

    /// Moves the `number` pixels with the largest derivatives (more where the last of them are equal) by the same amount,
    /// `size` in all.
    @inline(__always)
    func sparseStep(
        _ iterate: UnsafeMutablePointer<Float>, along gradient: UnsafePointer<Float>, size: Float, changing number: Int,
        count: Int, mayMove: (Int) -> Bool = { _ in true }
    ) {
        let least = magnitude(where: Double(max(number, 1)), isReachedBy: gradient, count) { mayMove($0) ? 1 : 0 }
        func moves(_ i: Int) -> Bool { gradient[i] != 0 && abs(gradient[i]) >= least && mayMove(i) }
        var moved = 0
        for i in 0..<count where moves(i) { moved += 1 }
        guard moved > 0 else { return }
        let part = size / Float(moved)
        for i in 0..<count where moves(i) { iterate[i] += gradient[i] > 0 ? part : -part }
    }

    /// The nearest point of ball and box: `|δ_i| <- min(max(|δ_i| - λ, 0), room_i)`, the room being what the box leaves in the
    /// direction of δ_i, and λ what brings the sum down to the radius (Proposition 2.1 there).
    public func project(
        _ iterate: UnsafeMutablePointer<Float>, around clean: UnsafePointer<Float>, radius: Float, count: Int
    ) {
        let limit = Double(radius)
        var inBox = 0.0
        for i in 0..<count { inBox += abs(Double(min(max(iterate[i], 0), 1)) - Double(clean[i])) }
        if inBox <= limit {
            for i in 0..<count { iterate[i] = min(max(iterate[i], 0), 1) }
            return
        }
        func change(_ i: Int) -> Double { Double(iterate[i]) - Double(clean[i]) }
        func room(_ i: Int) -> Double { change(i) > 0 ? 1 - Double(clean[i]) : Double(clean[i]) }
        /// Where λ takes pixel i.
        func moved(_ i: Int, _ lambda: Double) -> Float {
            let (x, size) = (Double(clean[i]), min(max(abs(change(i)) - lambda, 0), room(i)))
            return towards(clean[i], change(i) > 0 ? x + size : x - size)
        }
        // Rounding towards the image keeps the sum below the radius; where double's own rounding does not, a little less.
        for slack in [0, 0x1p-40, 0x1p-30, 0x1p-20] {
            let lambda = threshold(count, sum: limit * (1 - slack), size: { abs(change($0)) }, room: room)
            var sum = 0.0
            for i in 0..<count { sum += abs(Double(moved(i, lambda)) - Double(clean[i])) }
            guard sum <= limit else { continue }
            for i in 0..<count { iterate[i] = moved(i, lambda) }
            return
        }
        iterate.update(from: clean, count: count)
    }

    /// `value` as a float, rounded towards `origin`.
    private func towards(_ origin: Float, _ value: Double) -> Float {
        let nearest = Float(value)
        if value > Double(origin) { return Double(nearest) > value ? nearest.nextDown : nearest }
        return Double(nearest) < value ? nearest.nextUp : nearest
    }

    public func shorten(_ change: UnsafeMutablePointer<Float>, to radius: Double, count: Int) {
        var sum = 0.0
        for i in 0..<count { sum += Double(abs(change[i])) }
        guard sum > radius else { return }
        let lambda = threshold(count, sum: radius, size: { Double(abs(change[$0])) }, room: { _ in .infinity })
        for i in 0..<count {
            let size = Float(max(Double(abs(change[i])) - lambda, 0))
            change[i] = change[i] > 0 ? size : -size
        }
    }

    /// The λ with `Σ min(max(size_i - λ, 0), room_i) = sum`, which falls with λ in pieces of straight lines: Newton's method, held
    /// within the bracket that is known.
    @inline(__always)
    private func threshold(_ count: Int, sum wanted: Double, size: (Int) -> Double, room: (Int) -> Double) -> Double {
        var (low, high) = (0.0, 0.0)
        for i in 0..<count { high = max(high, size(i)) }
        var lambda = 0.0
        for _ in 0..<200 {
            var (sum, slope) = (0.0, 0.0)
            for i in 0..<count {
                let (rest, limit) = (size(i) - lambda, room(i))
                sum += min(max(rest, 0), limit)
                slope += rest > 0 && rest < limit ? 1 : 0
            }
            if sum == wanted { return lambda }
            if sum > wanted { low = lambda } else { high = lambda }
            var next = slope > 0 ? lambda + (sum - wanted) / slope : high
            if !(next > low && next < high) { next = low + (high - low) / 2 }
            if next == low || next == high || next == lambda { break }
            lambda = next
        }
        return high
    }

    public func diameterOfBox(_ count: Int) -> Double { Double(count) }

    public func distance(_ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, _ count: Int) -> Double {
        distances(a, b, count).l1
    }

    /// max |g|.
    public func dualLength(_ gradient: UnsafePointer<Float>, _ count: Int) -> Double {
        var largest: Float = 0
        for i in 0..<count { largest = max(largest, abs(gradient[i])) }
        return Double(largest)
    }

    /// The pixels on which the height depends most go as far as the box allows, one after the other, until it is reached.
    public func wayToHyperplane(
        from point: UnsafePointer<Float>, normal: UnsafePointer<Float>, height: Double, count: Int,
        way: UnsafeMutablePointer<Float>
    ) -> Double {
        let descends = height >= 0
        func room(_ i: Int) -> Double { (normal[i] > 0) == descends ? Double(point[i]) : 1 - Double(point[i]) }
        func fall(_ i: Int) -> Double { Double(abs(normal[i])) * room(i) }
        let last = magnitude(where: abs(height), isReachedBy: normal, count, weight: fall)
        var left = abs(height)
        for i in 0..<count where abs(normal[i]) > last { left -= fall(i) }
        var length = 0.0
        for i in 0..<count {
            let weight = Double(abs(normal[i]))
            var size = 0.0
            if abs(normal[i]) > last {
                size = room(i)
            } else if normal[i] != 0, abs(normal[i]) == last, left > 0 {
                size = min(left / weight, room(i))
                left -= size * weight
            }
            way[i] = Float((normal[i] > 0) == descends ? -size : size)
            length += size
        }
        return length
    }
}
