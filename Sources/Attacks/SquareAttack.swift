import Kernels
import Runtime

extension AttackDefinition {
    /// Square attack (Andriushchenko, Croce, Flammarion, Hein 2020, "Square Attack: a query-efficient black-box adversarial
    /// attack via random search"): no gradients, a random change of a square window at a time, kept where it lowers the
    /// margin. `steps` queries; the schedule of the window's size is the one for 10 000 whatever the number.
    static let square = AttackDefinition(name: "square", number: 9, steps: 5000, takesTarget: true) {
        plan, options, _ in
        let search: any SquareSearch
        switch plan.norm {
        case is MaximumNorm: search = MaximumSquares()
        case is EuclideanNorm: search = PyramidSquares(length: .euclidean)
        default: search = PyramidSquares(length: .sum)
        }
        let share = options.squareShare
        return AttackStage(
            name: "square", runs: plan.restarts, usesGradient: false, planes: SquareRun.planes, passes: plan.steps + 1,
            fallback: nil
        ) { sample, run, memory in
            SquareRun(sample, plan, search, share: share, run: run, memory: memory)
        }
    }
}

/// How the Square attack starts and what it tries, for one norm.
protocol SquareSearch: Sendable {
    /// Writes the first candidate around `sample.clean`; it still needs `project`.
    func start(
        _ candidate: UnsafeMutablePointer<Float>, _ sample: AttackSample, radius: Float, random: inout CounterRandom)

    /// Turns `candidate`, the best image so far, into the next to try, changing a window that covers about `share` of the
    /// image; it still needs `project`.
    func propose(
        _ candidate: UnsafeMutablePointer<Float>, _ sample: AttackSample, radius: Float, share: Double,
        random: inout CounterRandom)
}

/// A run of the Square attack.
final class SquareRun: AttackRun {
    static let planes = 2

    private let sample: AttackSample
    private let plan: AttackPlan
    private let search: any SquareSearch
    private let share: Double
    private let pixels: Int
    private let best: UnsafeMutablePointer<Float>
    private let candidate: UnsafeMutablePointer<Float>

    private var random: CounterRandom
    private var highest = -Float.infinity
    private var taken = 0
    private var succeeded = false
    var gradientVanished: Bool { false }

    init(
        _ sample: AttackSample, _ plan: AttackPlan, _ search: any SquareSearch, share: Double, run: Int,
        memory: UnsafeMutablePointer<Float>
    ) {
        self.sample = sample
        self.plan = plan
        self.search = search
        self.share = share
        pixels = sample.shape.count
        best = memory
        candidate = memory + pixels
        random = plan.random(sample, run: run, stream: .square)
        search.start(candidate, sample, radius: plan.epsilon, random: &random)
        plan.norm.project(candidate, around: sample.clean, radius: plan.epsilon, count: pixels)
    }

    var query: UnsafePointer<Float> { UnsafePointer(candidate) }
    var result: UnsafePointer<Float>? { succeeded ? UnsafePointer(candidate) : nil }

    func loss(_ logits: UnsafePointer<Float>, slope: UnsafeMutablePointer<Float>?) -> Float {
        // Towards a target it is the cross-entropy, as in the paper (section 3).
        sample.evaluate(.margin(kappa: .infinity), aimed: .targetCrossEntropy, logits, slope: slope)
    }

    func receive(logits: UnsafePointer<Float>, loss: Float, gradient: UnsafePointer<Float>?) -> Bool {
        if sample.isBroken(by: logits) {
            succeeded = true
            return false
        }
        if loss > highest {
            highest = loss
            best.update(from: candidate, count: pixels)
        } else {
            candidate.update(from: best, count: pixels)
        }
        if taken == plan.steps { return false }
        search.propose(
            candidate, sample, radius: plan.epsilon, share: share * Self.part(at: taken), random: &random)
        plan.norm.project(candidate, around: sample.clean, radius: plan.epsilon, count: pixels)
        taken += 1
        return true
    }

    /// The window's share of the image falls as the search goes on (section 4.1 and the published schedule).
    private static func part(at iteration: Int) -> Double {
        let halvings = [10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000].prefix { iteration > $0 }.count
        return 1 / Double(1 << halvings)
    }
}

/// L∞: the windows' channels move to either end of what the radius allows.
struct MaximumSquares: SquareSearch {
    /// Vertical stripes of ±radius, one pixel wide.
    func start(
        _ candidate: UnsafeMutablePointer<Float>, _ sample: AttackSample, radius: Float, random: inout CounterRandom
    ) {
        let shape = sample.shape
        for c in 0..<shape.channels {
            for x in 0..<shape.width {
                let move = random.below(2) == 0 ? radius : -radius
                for y in 0..<shape.height {
                    let i = (c * shape.height + y) * shape.width + x
                    candidate[i] = sample.clean[i] + move
                }
            }
        }
    }

    func propose(
        _ candidate: UnsafeMutablePointer<Float>, _ sample: AttackSample, radius: Float, share: Double,
        random: inout CounterRandom
    ) {
        let shape = sample.shape
        let window = Window(shape, side: windowSide(shape, share, atLeast: 1), random: &random)
        for c in 0..<shape.channels {
            let move = random.below(2) == 0 ? 2 * radius : -2 * radius
            window.forEach(c, shape) { i, _ in candidate[i] += move }
        }
    }
}

/// L2 and L1: the changes' weight moves from one window to another, where it takes the shape of two pyramids of opposite sign.
/// L1 as in the published code of Croce and Hein 2021 ("Mind the box").
struct PyramidSquares: SquareSearch {
    /// How weight is measured.
    enum Length {
        case euclidean, sum

        /// What a value adds to a sum of which `root` makes the length.
        @inline(__always)
        func part(_ value: Float) -> Double {
            self == .sum ? Double(abs(value)) : Double(value) * Double(value)
        }

        @inline(__always)
        func root(_ sum: Double) -> Double { self == .sum ? sum : sum.squareRoot() }

        func whole(_ vector: UnsafePointer<Float>, _ count: Int) -> Double {
            (0..<count).reduce(0) { $0 + part(vector[$1]) }
        }
    }

    let length: Length

    /// A grid of five by five double pyramids (fewer on images smaller than that).
    func start(
        _ candidate: UnsafeMutablePointer<Float>, _ sample: AttackSample, radius: Float, random: inout CounterRandom
    ) {
        let shape = sample.shape
        let side = max(min(shape.height, shape.width) / 5, 1)
        let pyramids = DoublePyramid(side: side, length)
        candidate.update(repeating: 0, count: shape.count)
        let (rows, columns) = (shape.height / side, shape.width / side)
        for row in 0..<rows {
            for column in 0..<columns {
                let top = (shape.height - rows * side) / 2 + row * side
                let left = (shape.width - columns * side) / 2 + column * side
                let window = Window(top: top, left: left, side: side)
                let lies = random.below(2) == 1
                for c in 0..<shape.channels {
                    let sign: Float = random.below(2) == 0 ? 1 : -1
                    window.forEach(c, shape) { i, place in candidate[i] = sign * pyramids.value(place, lies: lies) }
                }
            }
        }
        finish(candidate, sample, radius)
    }

    func propose(
        _ candidate: UnsafeMutablePointer<Float>, _ sample: AttackSample, radius: Float, share: Double,
        random: inout CounterRandom
    ) {
        let (shape, clean) = (sample.shape, sample.clean)
        for i in 0..<shape.count { candidate[i] -= clean[i] }
        let change = candidate
        let side = windowSide(shape, share, atLeast: 3, odd: true)
        let target = Window(shape, side: side, random: &random)
        let source = Window(shape, side: side, random: &random)
        let pyramids = DoublePyramid(side: side, length)
        let lies = random.below(2) == 1

        let available = length.part(radius)
        let unused = max(available - length.whole(change, shape.count), 0) / Double(shape.channels)
        for c in 0..<shape.channels {
            let sign: Float = random.below(2) == 0 ? 1 : -1
            var (old, inWindows) = (0.0, 0.0)
            target.forEach(c, shape) { i, _ in old += length.part(change[i]) }
            source.forEach(c, shape) { i, place in
                if !target.contains(source, place) { inWindows += length.part(change[i]) }
            }
            inWindows += old
            let shrink = Float(1 / (1e-12 + length.root(old)))
            var new = 0.0
            target.forEach(c, shape) { i, place in
                change[i] = sign * pyramids.value(place, lies: lies) + change[i] * shrink
                new += length.part(change[i])
            }
            // The published code gives each channel what is there for all of them in L1; the projection takes it back.
            let budget = length.root(unused + inWindows) * (length == .sum ? Double(shape.channels) : 1)
            let scale = Float(budget / (1e-12 + length.root(new)))
            source.forEach(c, shape) { i, place in if !target.contains(source, place) { change[i] = 0 } }
            target.forEach(c, shape) { i, _ in change[i] *= scale }
        }
        finish(candidate, sample, radius)
    }

    /// From the change to the image with it. In L2 the change gets the length of the radius first.
    private func finish(_ change: UnsafeMutablePointer<Float>, _ sample: AttackSample, _ radius: Float) {
        let count = sample.shape.count
        let scale = length == .sum ? 1 : Float(Double(radius) / (1e-12 + length.root(length.whole(change, count))))
        for i in 0..<count { change[i] = sample.clean[i] + scale * change[i] }
    }
}

/// The side of a square that covers `share` of the image, and fits into it.
private func windowSide(_ shape: ImageShape, _ share: Double, atLeast: Int, odd: Bool = false) -> Int {
    let area = share * Double(shape.height) * Double(shape.width)
    var side = max(Int(area.squareRoot().rounded(.toNearestOrEven)), atLeast)
    if odd, side % 2 == 0 { side += 1 }
    let room = min(shape.height, shape.width)
    return side <= room ? side : (odd && room % 2 == 0 ? max(room - 1, 1) : room)
}

/// A square part of an image.
private struct Window {
    let top: Int
    let left: Int
    let side: Int

    init(top: Int, left: Int, side: Int) {
        (self.top, self.left, self.side) = (top, left, side)
    }

    /// Anywhere in the image, each place as likely.
    init(_ shape: ImageShape, side: Int, random: inout CounterRandom) {
        top = random.below(shape.height - side + 1)
        left = random.below(shape.width - side + 1)
        self.side = side
    }

    /// Calls `body` with the index in the image and the place in the window, row by row, of each pixel of a channel.
    @inline(__always)
    func forEach(_ channel: Int, _ shape: ImageShape, _ body: (_ index: Int, _ place: (row: Int, column: Int)) -> Void)
    {
        for row in 0..<side {
            let first = (channel * shape.height + top + row) * shape.width + left
            for column in 0..<side { body(first + column, (row, column)) }
        }
    }

    /// Whether the pixel at `place` of another window lies in this one.
    @inline(__always)
    func contains(_ other: Window, _ place: (row: Int, column: Int)) -> Bool {
        let (y, x) = (other.top + place.row - top, other.left + place.column - left)
        return (0..<side).contains(y) && (0..<side).contains(x)
    }
}

/// Two pyramids of opposite sign, one above the other, of length 1 together (section 4.2, figure 3).
private struct DoublePyramid {
    private let side: Int
    private let values: [Float]

    init(side: Int, _ length: PyramidSquares.Length) {
        self.side = side
        let upper = DoublePyramid.pyramid(height: side / 2, width: side, length)
        let lower = DoublePyramid.pyramid(height: side - side / 2, width: side, length)
        let both = upper + lower.map { -$0 }
        let whole = length.root(both.reduce(0) { $0 + length.part($1) })
        values = both.map { Float(Double($0) / whole) }
    }

    /// - Parameter lies: the pyramids are beside each other instead.
    @inline(__always)
    func value(_ place: (row: Int, column: Int), lies: Bool) -> Float {
        lies ? values[place.column * side + place.row] : values[place.row * side + place.column]
    }

    /// Nested rectangles around the middle, the n-th adding 1/n² (in L1 1/n⁴), of length 1.
    private static func pyramid(height: Int, width: Int, _ length: PyramidSquares.Length) -> [Float] {
        guard height > 0, width > 0 else { return [] }
        var values = [Double](repeating: 0, count: height * width)
        let middle = (row: height / 2, column: width / 2)
        for ring in 0...max(middle.row, middle.column) {
            let rows = max(middle.row - ring, 0)..<min(middle.row + ring + 1, height)
            let columns = max(middle.column - ring, 0)..<min(middle.column + ring + 1, width)
            let square = Double((ring + 1) * (ring + 1))
            for y in rows {
                for x in columns { values[y * width + x] += 1 / (length == .sum ? square * square : square) }
            }
        }
        let whole = length.root(values.reduce(0) { $0 + length.part(Float($1)) })
        return values.map { Float($0 / whole) }
    }
}
