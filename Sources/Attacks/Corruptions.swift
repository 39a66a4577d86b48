import Glibc
import Kernels
import Runtime

extension AttackDefinition {
    /// Common corruptions (Hendrycks and Dietterich 2019, "Benchmarking neural network robustness to common corruptions and
    /// perturbations") with the constants of CIFAR-10-C. `steps` is the severity, 1 ... 5; the radius has no meaning.
    static let corruptions = Corruption.all.map { corruption in
        AttackDefinition(name: corruption.name, number: corruption.number, steps: 5) { plan, options, _ in
            guard Corruption.severities.contains(plan.steps) else {
                throw EngineError.invalid(
                    "steps", got: plan.steps, want: "the severity, 1 ... 5, for \(corruption.name)")
            }
            return AttackStage(
                name: corruption.name, runs: plan.restarts, usesGradient: false, planes: Corruption.planes,
                passes: 1,
                fallback: nil, keepsGoing: true
            ) { sample, run, memory in
                CorruptionRun(sample, plan, corruption, run: run, memory: memory)
            }
        }
    }
}

/// A way to spoil an image.
struct Corruption: Sendable {
    let name: String
    /// That of the attack.
    let number: UInt32
    /// Changes the image; the severity counts from 0.
    let change: @Sendable (inout Canvas, _ severity: Int) -> Void

    /// Images that `write` needs room for.
    static let planes = 5
    static let severities = 1...5

    /// Bytes of the arrays that a corruption keeps at a time, at most: JPEG's planes of integers, frost's knots.
    static func largestArrays(_ shape: ImageShape) -> Int {
        (shape.height + 16) * (shape.width + 16) * (2 * shape.channels + 12) * MemoryLayout<Int>.stride
    }

    /// The corrupted image at the beginning of `memory`, which has room for `planes` images.
    func write(
        to memory: UnsafeMutablePointer<Float>, _ image: UnsafePointer<Float>, _ shape: ImageShape, severity: Int,
        random: CounterRandom
    ) {
        memory.update(from: image, count: shape.count)
        var canvas = Canvas(image: memory, spare: memory + shape.count, shape: shape, random: random)
        change(&canvas, severity - Self.severities.lowerBound)
        for i in 0..<shape.count { memory[i] = min(max(memory[i], 0), 1) }
    }

    /// In the order of the paper's figure 1. Numbers are never changed or reused.
    static let all = [
        Corruption(name: "gaussian_noise", number: 32, change: addGaussianNoise),
        Corruption(name: "shot_noise", number: 33, change: addShotNoise),
        Corruption(name: "impulse_noise", number: 34, change: addImpulseNoise),
        Corruption(name: "defocus_blur", number: 35, change: blurOutOfFocus),
        Corruption(name: "glass_blur", number: 36, change: blurThroughGlass),
        Corruption(name: "motion_blur", number: 37, change: blurInMotion),
        Corruption(name: "zoom_blur", number: 38, change: blurZooming),
        Corruption(name: "snow", number: 45, change: letItSnow),
        Corruption(name: "frost", number: 46, change: letItFreeze),
        Corruption(name: "fog", number: 39, change: addFog),
        Corruption(name: "brightness", number: 40, change: brighten),
        Corruption(name: "contrast", number: 41, change: lowerContrast),
        Corruption(name: "elastic_transform", number: 44, change: stretch),
        Corruption(name: "pixelate", number: 42, change: pixelate),
        Corruption(name: "jpeg_compression", number: 43, change: compressAsJPEG),
    ]

    /// An image that is being changed, and what for.
    struct Canvas {
        let image: UnsafeMutablePointer<Float>
        /// Room for four more images.
        let spare: UnsafeMutablePointer<Float>
        let shape: ImageShape
        var random: CounterRandom

        /// Values of one channel.
        var area: Int { shape.height * shape.width }

        func channel(_ c: Int) -> UnsafeMutablePointer<Float> { image + c * area }
    }
}

/// Corrupts images, (count, `shape`), each by the random numbers that the attack of that name has for its index with the same
/// seed in its first run. Throws `invalidArgument` for an unknown name or severity, and as `checkImages` does.
public func corrupt(
    _ corrupted: UnsafeMutablePointer<Float>, _ images: UnsafePointer<Float>, count: Int, shape: ImageShape,
    name: String, severity: Int, seed: UInt64, indices: SampleIndices
) throws {
    guard let corruption = Corruption.all.first(where: { $0.name == name }) else {
        throw EngineError.unknownName("name", got: name, known: Corruption.all.map(\.name))
    }
    guard Corruption.severities.contains(severity) else {
        throw EngineError.invalid("severity", got: severity, want: "1 ... 5")
    }
    try Validation.checkImages(images, count: count, shape: shape, argument: "images")
    let parts = min(count, WorkerPool.threads)
    let memory = try FloatBuffer(parts * Corruption.planes * shape.count)
    // Some keep arrays, which end the process where memory runs out: with this much left it does not.
    _ = try Buffer<UInt8>(parts * Corruption.largestArrays(shape))
    WorkerPool.parallelFor(parts) { part in
        let own = memory.pointer + part * Corruption.planes * shape.count
        for sample in stride(from: part, to: count, by: parts) {
            corruption.write(
                to: own, images + sample * shape.count, shape, severity: severity,
                random: attackRandom(
                    seed: seed, attack: corruption.number, key: UInt64(indices[sample]), run: 0, stream: .search))
            (corrupted + sample * shape.count).update(from: own, count: shape.count)
        }
    }
}

/// A run: the corrupted image is looked at once.
final class CorruptionRun: AttackRun {
    private let sample: AttackSample
    private let candidate: UnsafeMutablePointer<Float>
    private var succeeded = false
    var gradientVanished: Bool { false }

    init(
        _ sample: AttackSample, _ plan: AttackPlan, _ corruption: Corruption, run: Int,
        memory: UnsafeMutablePointer<Float>
    ) {
        self.sample = sample
        candidate = memory
        corruption.write(
            to: candidate, sample.clean, sample.shape, severity: plan.steps,
            random: plan.random(sample, run: run, stream: .search))
    }

    var query: UnsafePointer<Float> { UnsafePointer(candidate) }
    var result: UnsafePointer<Float>? { succeeded ? UnsafePointer(candidate) : nil }

    func loss(_ logits: UnsafePointer<Float>, slope: UnsafeMutablePointer<Float>?) -> Float { 0 }

    func receive(logits: UnsafePointer<Float>, loss: Float, gradient: UnsafePointer<Float>?) -> Bool {
        succeeded = sample.isBroken(by: logits)
        return false
    }
}

extension Corruption {
    @Sendable private static func addGaussianNoise(_ canvas: inout Canvas, _ severity: Int) {
        let scale = [0.04, 0.06, 0.08, 0.09, 0.1][severity] as Float
        for i in 0..<canvas.shape.count { canvas.image[i] += scale * canvas.random.normal() }
    }

    /// The photons of a pixel are counted: Poisson numbers, by multiplying uniform ones (Knuth).
    @Sendable private static func addShotNoise(_ canvas: inout Canvas, _ severity: Int) {
        let photons = [500.0, 250, 100, 75, 50][severity]
        for i in 0..<canvas.shape.count {
            let limit = exp(-photons * Double(canvas.image[i]))
            var (product, number) = (Double(1 - canvas.random.uniform()), 0)
            while product > limit {
                product *= Double(1 - canvas.random.uniform())
                number += 1
            }
            canvas.image[i] = Float(Double(number) / photons)
        }
    }

    @Sendable private static func addImpulseNoise(_ canvas: inout Canvas, _ severity: Int) {
        let share = [0.01, 0.02, 0.03, 0.05, 0.07][severity] as Float
        for i in 0..<canvas.shape.count where canvas.random.uniform() < share {
            canvas.image[i] = Float(canvas.random.below(2))
        }
    }

    /// The largest channel, the value of HSV, grows; hue and saturation stay.
    @Sendable private static func brighten(_ canvas: inout Canvas, _ severity: Int) {
        let more = [0.05, 0.1, 0.15, 0.2, 0.3][severity] as Float
        let (area, channels) = (canvas.area, canvas.shape.channels)
        for i in 0..<area {
            var value: Float = 0
            for c in 0..<channels { value = max(value, canvas.image[c * area + i]) }
            let brighter = min(value + more, 1)
            for c in 0..<channels {
                let old = canvas.image[c * area + i]
                // The quotient first: that of a small value would be beyond all numbers.
                canvas.image[c * area + i] = value > 0 ? old / value * brighter : brighter
            }
        }
    }

    @Sendable private static func lowerContrast(_ canvas: inout Canvas, _ severity: Int) {
        let part = [0.75, 0.5, 0.4, 0.3, 0.15][severity] as Float
        for c in 0..<canvas.shape.channels {
            let channel = canvas.channel(c)
            var sum = 0.0
            for i in 0..<canvas.area { sum += Double(channel[i]) }
            let mean = Float(sum / Double(canvas.area))
            for i in 0..<canvas.area { channel[i] = (channel[i] - mean) * part + mean }
        }
    }

    /// A plasma fractal over the image (diamonds and squares, on a torus; a long image takes it more than once).
    @Sendable private static func addFog(_ canvas: inout Canvas, _ severity: Int) {
        let (thickness, decay) = [(0.2, 3.0), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)][severity]
        let (height, width) = (canvas.shape.height, canvas.shape.width)
        var side = 1
        while side < max(height, width), side * side <= canvas.shape.count { side *= 2 }
        let map = canvas.spare
        func value(_ y: Int, _ x: Int) -> Float { map[(y + side) % side * side + (x + side) % side] }
        var (step, wibble) = (side, 100.0)
        map[0] = 0
        while step >= 2 {
            let half = step / 2
            func set(_ y: Int, _ x: Int, _ sum: Float) {
                let shift = wibble * wibble * (2 * Double(canvas.random.uniform()) - 1)
                map[y * side + x] = sum / 4 + Float(shift)
            }
            for y in stride(from: half, to: side, by: step) {
                for x in stride(from: half, to: side, by: step) {
                    set(
                        y, x,
                        value(y - half, x - half) + value(y - half, x + half) + value(y + half, x - half)
                            + value(y + half, x + half))
                }
            }
            // Between the corners first along the rows, then along the columns.
            for (top, left) in [(0, half), (half, 0)] {
                for y in stride(from: top, to: side, by: step) {
                    for x in stride(from: left, to: side, by: step) {
                        set(y, x, value(y - half, x) + value(y + half, x) + value(y, x - half) + value(y, x + half))
                    }
                }
            }
            step = half
            wibble /= decay
        }
        var (low, high) = (Float.infinity, -Float.infinity)
        for i in 0..<side * side { (low, high) = (min(low, map[i]), max(high, map[i])) }
        var brightest: Float = 0
        for i in 0..<canvas.shape.count { brightest = max(brightest, canvas.image[i]) }
        let scale = brightest / (brightest + Float(thickness))
        for c in 0..<canvas.shape.channels {
            for y in 0..<height {
                for x in 0..<width {
                    let fog = high > low ? (map[y % side * side + x % side] - low) / (high - low) : 0
                    let i = (c * height + y) * width + x
                    canvas.image[i] = (canvas.image[i] + Float(thickness) * fog) * scale
                }
            }
        }
    }

    /// Averages over boxes to fewer pixels, and back.
    @Sendable private static func pixelate(_ canvas: inout Canvas, _ severity: Int) {
        let part = [0.95, 0.9, 0.85, 0.75, 0.65][severity]
        let (height, width) = (canvas.shape.height, canvas.shape.width)
        let (rows, columns) = (max(Int(part * Double(height)), 1), max(Int(part * Double(width)), 1))
        for c in 0..<canvas.shape.channels {
            resize(canvas.channel(c), height, width, canvas.spare, rows, columns)
            resize(canvas.spare, rows, columns, canvas.channel(c), height, width)
        }
    }

    /// A pixel of the result is the mean of those whose centres lie in its box; where none does, the nearest.
    private static func resize(
        _ source: UnsafePointer<Float>, _ height: Int, _ width: Int, _ target: UnsafeMutablePointer<Float>, _ rows: Int,
        _ columns: Int
    ) {
        func box(_ place: Int, _ number: Int, of size: Int) -> Range<Int> {
            let scale = Double(size) / Double(number)
            let (centre, reach) = ((Double(place) + 0.5) * scale, max(scale, 1) / 2)
            let low = max(Int(centre - reach + 0.5), 0)
            let high = min(Int(centre + reach + 0.5), size)
            return low < high ? low..<high : min(low, size - 1)..<min(low, size - 1) + 1
        }
        for y in 0..<rows {
            let vertical = box(y, rows, of: height)
            for x in 0..<columns {
                let horizontal = box(x, columns, of: width)
                var sum: Float = 0
                for v in vertical { for h in horizontal { sum += source[v * width + h] } }
                target[y * columns + x] = sum / Float(vertical.count * horizontal.count)
            }
        }
    }
}
