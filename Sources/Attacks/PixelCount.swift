import Runtime

/// L0: at most so many values of the image change, by however much. Of fmn only: a step of so many pixels has no meaning for
/// the attacks that climb, which is why they refuse it (`AttackOptions.plan`).
public struct PixelCount: AttackNorm {
    public static let name = "l0"

    private let sparse = ManhattanNorm()

    public init() {}

    public func randomStart(
        _ iterate: UnsafeMutablePointer<Float>, around clean: UnsafePointer<Float>, radius: Float, count: Int,
        random: inout CounterRandom
    ) { borderStart(iterate, around: clean, radius: radius, count: count, random: &random) }

    public func borderStart(
        _ iterate: UnsafeMutablePointer<Float>, around clean: UnsafePointer<Float>, radius: Float, count: Int,
        random: inout CounterRandom
    ) { sparse.borderStart(iterate, around: clean, radius: radius, count: count, random: &random) }

    public var firstStep: Float { sparse.firstStep }

    public func step(
        _ iterate: UnsafeMutablePointer<Float>, along gradient: UnsafePointer<Float>, size: Float, count: Int
    ) { sparse.step(iterate, along: gradient, size: size, count: count) }

    /// The changes of the largest size stay; of equals the first.
    public func project(
        _ iterate: UnsafeMutablePointer<Float>, around clean: UnsafePointer<Float>, radius: Float, count: Int
    ) {
        for i in 0..<count { iterate[i] = min(max(iterate[i], 0), 1) - clean[i] }
        let number = Int(min(radius, Float(count)))
        let least = magnitude(where: Double(max(number, 1)), isReachedBy: iterate, count) { _ in 1 }
        var left = number
        for i in 0..<count where abs(iterate[i]) > least { left -= number > 0 ? 1 : 0 }
        for i in 0..<count {
            var stays = number > 0 && abs(iterate[i]) > least
            if !stays, left > 0, iterate[i] != 0, abs(iterate[i]) == least {
                stays = true
                left -= 1
            }
            iterate[i] = stays ? min(max(clean[i] + iterate[i], 0), 1) : clean[i]
        }
    }

    /// Where changes are equal, all of them stay.
    public func shorten(_ change: UnsafeMutablePointer<Float>, to radius: Double, count: Int) {
        let number = max(min(radius, Double(count)).rounded(.down), 1)
        let least = magnitude(where: number, isReachedBy: change, count) { _ in 1 }
        for i in 0..<count where abs(change[i]) < least { change[i] = 0 }
    }

    public func diameterOfBox(_ count: Int) -> Double { Double(count) }

    public func distance(_ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, _ count: Int) -> Double {
        var changed = 0
        for i in 0..<count where a[i] != b[i] { changed += 1 }
        return Double(changed)
    }

    public func dualLength(_ gradient: UnsafePointer<Float>, _ count: Int) -> Double {
        sparse.dualLength(gradient, count)
    }

    public func wayToHyperplane(
        from point: UnsafePointer<Float>, normal: UnsafePointer<Float>, height: Double, count: Int,
        way: UnsafeMutablePointer<Float>
    ) -> Double { sparse.wayToHyperplane(from: point, normal: normal, height: height, count: count, way: way) }
}
