import Glibc
import Kernels
import Runtime
import Testing

@testable import Distillation

/// What policies do to images.
@Suite struct PolicyTests {
    /// A line of Fixtures/image_operations.txt: what Pillow makes of an image.
    private struct Case {
        let image: String
        let operation: String
        let magnitude: Double
        let result: [UInt8]
    }

    private static let fixture: (images: [String: (shape: ImageShape, bytes: [UInt8])], cases: [Case]) = {
        let folder = #filePath.prefix(upTo: #filePath.lastIndex(of: "/") ?? #filePath.endIndex)
        guard let file = fopen(folder + "/Fixtures/image_operations.txt", "r") else { return ([:], []) }
        defer { fclose(file) }
        var images: [String: (shape: ImageShape, bytes: [UInt8])] = [:]
        var cases: [Case] = []
        var line = [CChar](repeating: 0, count: 10_000)
        while fgets(&line, Int32(line.count), file) != nil {
            let words = String(cString: line).split { $0 == " " || $0 == "\n" }.map(String.init)
            let last = Array(words[words.count - 1].utf8)
            let bytes = stride(from: 0, to: last.count, by: 2).map { digit(last[$0]) << 4 | digit(last[$0 + 1]) }
            if words[0] == "image" {
                let sides = words[2...4].compactMap { Int($0) }
                images[words[1]] = (ImageShape(sides[0], sides[1], sides[2]), bytes)
            } else {
                cases.append(
                    Case(image: words[0], operation: words[1], magnitude: Double(words[2]) ?? .nan, result: bytes))
            }
        }
        return (images, cases)
    }()

    private static func digit(_ character: UInt8) -> UInt8 { character < 58 ? character - 48 : character - 87 }

    private func operation(_ name: String, _ magnitude: Double, _ shape: ImageShape) -> ImageOperation? {
        let middle = (x: Double(shape.width) / 2, y: Double(shape.height) / 2)
        switch name {
        case "shear-x": return .geometric(.shear(x: magnitude))
        case "shear-y": return .geometric(.shear(y: magnitude))
        case "shear-x-middle": return .geometric(.shear(x: magnitude, centre: middle))
        case "shear-y-middle": return .geometric(.shear(y: magnitude, centre: middle))
        case "translate-x": return .geometric(.translation(x: magnitude))
        case "translate-y": return .geometric(.translation(y: magnitude))
        case "rotate": return .geometric(.rotation(degrees: magnitude, shape))
        case "brightness": return .brightness(magnitude)
        case "colour": return .colour(magnitude)
        case "contrast": return .contrast(magnitude)
        case "sharpness": return .sharpness(magnitude)
        case "posterise": return .posterise(bits: Int(magnitude))
        case "solarise": return .solarise(threshold: magnitude)
        case "autocontrast": return .autocontrast
        case "equalise": return .equalise
        case "invert": return .invert
        default: return nil
        }
    }

    private func applied(_ operation: ImageOperation, to bytes: [UInt8], _ shape: ImageShape) -> [UInt8] {
        var memory = bytes + [UInt8](repeating: 0xAA, count: shape.count)
        return memory.withUnsafeMutableBufferPointer { memory in
            guard let start = memory.baseAddress else { return [] }
            var image = ByteImage(start, shape: shape)
            image.apply(operation)
            return Array(UnsafeBufferPointer(start: image.pixels, count: shape.count))
        }
    }

    @Test func operationsAreThoseOfPillow() throws {
        var changed: Set<String> = []
        for one in Self.fixture.cases {
            let (shape, bytes) = try #require(Self.fixture.images[one.image])
            let operation = try #require(self.operation(one.operation, one.magnitude, shape), "\(one.operation)")
            #expect(
                applied(operation, to: bytes, shape) == one.result, "\(one.operation) \(one.magnitude) of \(one.image)")
            if one.result != bytes { changed.insert(one.operation) }
        }
        #expect(Self.fixture.cases.count == 270)
        #expect(changed.count == 16)
    }

    /// Where there are neither one nor three channels, grey is their mean.
    @Test func greyOfTwoChannelsIsTheirMean() {
        let grey = applied(.colour(0), to: [0, 10, 255, 21, 10, 200, 255, 22], ImageShape(2, 2, 2))
        #expect(grey == [5, 105, 255, 22, 5, 105, 255, 22])
    }

    // Policies

    private func drawn(_ name: AugmentationPolicy.Name, _ index: UInt64) throws -> [ImageOperation] {
        let policy = try #require(AugmentationPolicy(name))
        var random = CounterRandom(seed: 1, stream: .augmentation, index: index, sub: 4)
        var operations: [ImageOperation] = []
        policy.forEachOperation(&random, ImageShape(3, 32, 32)) { operations.append($0) }
        return operations
    }

    private func counts(_ name: AugmentationPolicy.Name, _ times: Int) throws -> [String: Int] {
        var counts: [String: Int] = [:]
        for index in 0..<times {
            for one in try drawn(name, UInt64(index)) {
                counts[String("\(one)".prefix { $0.isLetter }), default: 0] += 1
            }
        }
        return counts
    }

    @Test func noneIsNoPolicy() { #expect(AugmentationPolicy(.none) == nil) }

    /// Each pair as often as another, each of its operations with its probability.
    @Test func autoAugmentDrawsFromItsTable() throws {
        let times = 20_000
        let counts = try counts(.autoAugment, times)
        var expected: [String: Double] = [:]
        for pair in AugmentationPolicy.autoAugment {
            for choice in [pair.0, pair.1] {
                let isGeometric = [.shearX, .shearY, .translateX, .translateY, .rotate].contains(choice.kind)
                expected[isGeometric ? "geometric" : "\(choice.kind)", default: 0] += choice.probability / 25
            }
        }
        #expect(AugmentationPolicy.autoAugment.count == 25)
        for (kind, part) in expected {
            let error = 4 * (part * Double(times)).squareRoot()
            #expect(abs(Double(counts[kind] ?? 0) - part * Double(times)) < error, "\(kind)")
        }
        #expect(Set(counts.keys).isSubset(of: Set(expected.keys)))
    }

    @Test func trivialAugmentDrawsOneOfFourteen() throws {
        let counts = try counts(.trivialAugment, 14_000)
        #expect(counts.values.reduce(0, +) == 14_000)
        #expect(counts.count == 10 && counts["invert"] == nil)
        for (kind, count) in counts {
            let wanted = kind == "geometric" ? 5000 : 1000
            #expect(abs(count - wanted) < 300, "\(kind): \(count)")
        }
    }

    @Test func idbhDrawsByItsWeights() throws {
        let colour = try counts(.idbhColour, 8000)
        #expect(abs((colour["geometric"] ?? 0) - 2000) < 200)
        #expect(abs((colour["equalise"] ?? 0) - 1000) < 150)
        let shape = try counts(.idbhShape, 8000)
        #expect(abs((shape["geometric"] ?? 0) - 4800) < 200)
        #expect(abs((shape["contrast"] ?? 0) - 320) < 80)
        #expect(shape["posterise"] == nil && shape["invert"] == nil)
    }

    /// Magnitudes stay in their ranges and reach into both directions.
    @Test func magnitudesAreThoseOfTheSpaces() throws {
        var factors: [Double] = []
        var (bits, thresholds): (Set<Int>, [Double]) = ([], [])
        for index in 0..<4000 as Range<UInt64> {
            for one in try drawn(.trivialAugment, index) {
                switch one {
                case .brightness(let factor), .colour(let factor), .contrast(let factor), .sharpness(let factor):
                    factors.append(factor)
                case .posterise(let count): bits.insert(count)
                case .solarise(let threshold): thresholds.append(threshold)
                default: break
                }
            }
        }
        #expect(abs((factors.min() ?? 1) - 0.01) < 1e-9 && abs((factors.max() ?? 1) - 1.99) < 1e-9)
        #expect(bits == Set(2...8))
        #expect(thresholds.min() == 0 && thresholds.max() == 255)
        for index in 0..<2000 as Range<UInt64> {
            for one in try drawn(.idbhColour, index) {
                switch one {
                case .brightness(let factor), .contrast(let factor): #expect((0.5...1.9).contains(factor))
                case .colour(let factor), .sharpness(let factor): #expect((0.1...1.9).contains(factor))
                default: break
                }
            }
        }
    }

    // Augmentation around them

    private let shape = ImageShape(1, 8, 6)
    private var image: [Float] { (0..<48).map { Float($0 + 1) / 255 } }

    private func apply(_ augmentation: Augmentation, _ key: UInt64) -> [Float] {
        var result = [Float](repeating: -1, count: 48)
        var spare = [UInt8](repeating: 0, count: 96)
        augmentation.apply(image, into: &result, shape: shape, key: key, spare: &spare)
        return result
    }

    /// A policy that changes nothing leaves images of bytes exactly as they were.
    @Test func bytesSurviveAPolicy() throws {
        let augmentation = Augmentation(
            padding: 0, flip: false, policy: AugmentationPolicy(.autoAugment), seed: 1)
        let results = (0..<200 as Range<UInt64>).map { apply(augmentation, $0) }
        #expect(results.contains(image))
        #expect(Set(results).count > 20)
        for result in results {
            #expect(result.allSatisfy { Float(Int(($0 * 255).rounded())) / 255 == $0 })
        }
        #expect(apply(augmentation, 3) == results[3])
    }

    /// A part of the image, as a whole, somewhere among zeros.
    @Test func cropShiftMovesAPart() {
        let augmentation = Augmentation(padding: 0, flip: false, shift: 4, seed: 1)
        var cut: Set<[Int]> = []
        var moved: Set<Int> = []
        for key in 0..<20_000 as Range<UInt64> {
            let result = apply(augmentation, key)
            let shown = (0..<48).filter { result[$0] > 0 }
            let (rows, columns) = (Set(shown.map { $0 / 6 }).sorted(), Set(shown.map { $0 % 6 }).sorted())
            #expect(shown.count == rows.count * columns.count)
            #expect(rows.count + columns.count >= 14 - 4)
            cut.insert([8 - rows.count, 6 - columns.count])
            // One value tells where all come from.
            let offset = Int((result[shown[0]] * 255).rounded()) - 1 - shown[0]
            moved.insert(offset)
            #expect(shown.allSatisfy { result[$0] == image[$0 + offset] })
        }
        #expect(cut == Set((0...4).flatMap { total in (0...total).map { [total - $0, $0] } }))
        let steps = (-4...4).flatMap { down in (abs(down) - 4...4 - abs(down)).map { 6 * down + $0 } }
        #expect(moved == Set(steps))
    }

    @Test func erasingClearsARectangle() {
        var (count, areas, shapes): (Int, [Int], Set<[Int]>) = (0, [], [])
        for key in 0..<3000 as Range<UInt64> {
            let result = apply(
                Augmentation(padding: 0, flip: false, erasing: 0.5, erasingArea: 0.5, seed: 1), key)
            let cleared = (0..<48).filter { result[$0] == 0 }
            for i in 0..<48 where result[i] != 0 { #expect(result[i] == image[i]) }
            guard !cleared.isEmpty else { continue }
            count += 1
            let (rows, columns) = (Set(cleared.map { $0 / 6 }), Set(cleared.map { $0 % 6 }))
            #expect(cleared.count == rows.count * columns.count)
            #expect(rows.count < 8 && columns.count < 6)
            areas.append(cleared.count)
            shapes.insert([rows.count, columns.count])
        }
        #expect((1390...1610).contains(count), "half of them: \(count)")
        #expect((areas.max() ?? 0) > 20 && (areas.max() ?? 0) <= 30 && areas.min() == 1)
        #expect(shapes.count > 15)
    }
}
