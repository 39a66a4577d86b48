import Kernels
import Runtime
import Testing

@testable import Attacks

@Suite struct CorruptionTests {
    private static let names = Corruption.all.map(\.name)

    private func corrupted(
        _ name: String, _ image: [Float], _ shape: ImageShape, severity: Int = 5, key: UInt64 = 0
    ) throws -> [Float] {
        let corruption = try #require(Corruption.all.first { $0.name == name })
        var options = AttackOptions()
        (options.attack, options.steps) = (name, severity)
        let plan = try options.plan()
        let memory = try FloatBuffer(Corruption.planes * shape.count)
        return try image.withUnsafeBufferPointer { clean in
            let start = try #require(clean.baseAddress)
            let sample = AttackSample(clean: start, logits: start, label: 0, key: key, shape: shape, classes: 2)
            let run = CorruptionRun(sample, plan, corruption, run: 0, memory: memory.pointer)
            return Array(UnsafeBufferPointer(start: run.query, count: shape.count))
        }
    }

    private func distance(_ a: [Float], _ b: [Float]) -> Double {
        exactLength(zip(a, b).map { Double($0) - Double($1) }, "l2")
    }

    @Test(arguments: names, [ImageShape(3, 32, 32), ImageShape(1, 28, 28), ImageShape(2, 5, 9), ImageShape(1, 1, 1)])
    func everySizeOfImageIsCorruptedIntoTheBox(name: String, shape: ImageShape) throws {
        let image = randomImages(shape.count, seed: 12)
        for severity in 1...5 {
            let result = try corrupted(name, image, shape, severity: severity)
            #expect(result.allSatisfy { $0 >= 0 && $0 <= 1 })
            #expect(try corrupted(name, image, shape, severity: severity) == result)
        }
    }

    /// On average over images, and for natural ones: here a ramp with some texture. Not so elastic_transform, whose mildest
    /// severity has the strongest affine map.
    @Test(arguments: names.filter { $0 != "elastic_transform" })
    func severerIsFurtherAway(name: String) throws {
        let shape = ImageShape(3, 32, 32)
        var random = CounterRandom(seed: 2, stream: .square, index: 0)
        let image = (0..<shape.count).map { i in
            min(max(0.25 + 0.4 * Float(i % 32) / 32 + 0.05 * random.normal(), 0), 1)
        }
        let lengths = try (1...5).map { severity in
            try (0..<8).reduce(0.0) {
                $0 + distance(try corrupted(name, image, shape, severity: severity, key: UInt64($1)), image)
            }
        }
        #expect(lengths[0] > 0 || name == "defocus_blur")
        #expect(lengths[4] > lengths[0])
    }

    @Test(arguments: ["defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "elastic_transform", "pixelate"])
    func blursLeaveAPlainImage(name: String) throws {
        let shape = ImageShape(2, 12, 17)
        let image = [Float](repeating: 0.375, count: shape.count)
        for value in try corrupted(name, image, shape) { #expect(abs(value - 0.375) < 1e-5) }
    }

    @Test func noiseHasThePublishedStrength() throws {
        let shape = ImageShape(3, 64, 64)
        let image = [Float](repeating: 0.5, count: shape.count)
        func deviation(_ name: String, _ severity: Int) throws -> Double {
            distance(try corrupted(name, image, shape, severity: severity), image)
                / Double(shape.count).squareRoot()
        }
        #expect(abs(try deviation("gaussian_noise", 3) / 0.08 - 1) < 0.03)
        // Poisson: the variance of the count is its mean, 50 · 0.5.
        #expect(abs(try deviation("shot_noise", 5) / (25.0.squareRoot() / 50) - 1) < 0.03)
        let impulses = try corrupted("impulse_noise", image, shape, severity: 5)
        #expect(abs(Double(impulses.count { $0 != 0.5 }) / Double(shape.count) / 0.07 - 1) < 0.1)
        #expect(impulses.contains(0) && impulses.contains(1))
    }

    @Test func coloursFollowTheFormulas() throws {
        let shape = ImageShape(3, 1, 2)
        // Two pixels: (0.2, 0.4, 0.1) and black.
        let image: [Float] = [0.2, 0, 0.4, 0, 0.1, 0]
        let brighter = try corrupted("brightness", image, shape, severity: 2)
        for (value, wanted) in zip(brighter, [0.25, 0.1, 0.5, 0.1, 0.125, 0.1] as [Float]) {
            #expect(abs(value - wanted) < 1e-6)
        }
        let flat = try corrupted("contrast", image, shape, severity: 2)
        for (value, wanted) in zip(flat, [0.15, 0.05, 0.3, 0.1, 0.075, 0.025] as [Float]) {
            #expect(abs(value - wanted) < 1e-6)
        }
    }

    /// Of a plain image only the mean of the blocks is left, in steps of an eighth of the table's first: 16 and 1.25 times as much.
    @Test(arguments: [2, 3])
    func compressionRoundsThePlainImage(channels: Int) throws {
        let shape = ImageShape(channels, 9, 18)
        for level in 0...255 {
            let image = [Float](repeating: Float(level) / 255, count: shape.count)
            let mean = 128 + 2.5 * ((Double(level) - 128) / 2.5).rounded()
            let wanted = min(max(Int(mean + 0.5), 0), 255)
            for value in try corrupted("jpeg_compression", image, shape) { #expect(value == Float(wanted) / 255) }
        }
    }

    @Test func theSeverityIsTheNumberOfSteps() throws {
        let list = try AttackRegistry.parse(list: "fog-3,contrast")
        #expect(list.map(\.attack) == ["fog", "contrast"])
        #expect(list.map(\.steps) == [3, 0])
        let error = thrownError {
            var options = AttackOptions()
            (options.attack, options.steps) = ("fog", 6)
            _ = try options.stages(classes: 10)
        }
        #expect(error?.message == "steps: got 6, want the severity, 1 ... 5, for fog")
    }

    @Test(arguments: names)
    func batchesAndOrderChangeNothing(name: String) throws {
        let shape = ImageShape(2, 6, 6)
        let model = centres(shape)
        let (images, labels) = try samples(model, 20)
        let whole = try attack(model, images, labels) { $0.attack = name }
        let before = try predictions(model, images)
        for s in 0..<20 where before[s] != labels[s] || whole.success[s] == 0 {
            let pixels = s * shape.count..<(s + 1) * shape.count
            #expect(Array(whole.images[pixels]) == Array(images[pixels]))
        }
        for size in [1, 3] {
            #expect(try attack(model, images, labels, batchSize: size) { $0.attack = name }.images == whole.images)
        }
    }
}
