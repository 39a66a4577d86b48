import Glibc
import Kernels
import Runtime

/// Which operations an image goes through, drawn anew each time it is seen.
struct AugmentationPolicy {
    enum Name: String, CaseIterable {
        case none
        /// Cubuk, Zoph, Mane, Vasudevan, Le, "AutoAugment: Learning Augmentation Strategies from Data", CVPR 2019: the
        /// policy found for CIFAR-10 (table 7).
        case autoAugment = "autoaugment"
        /// Müller, Hutter, "TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation", ICCV 2021, in its wide space.
        case trivialAugment = "trivialaugment"
        /// Li, Spratling, "Data Augmentation Alone Can Improve Adversarial Training", ICLR 2023: the operations of IDBH
        /// between its crop and its erasing, those for CIFAR-10 and those for SVHN.
        case idbhColour = "idbh-color"
        case idbhShape = "idbh-shape"
    }

    private let name: Name

    /// nil for `none`.
    init?(_ name: Name) {
        guard name != .none else { return nil }
        self.name = name
    }

    /// Calls `body` with one operation after the other.
    func forEachOperation(
        _ random: inout CounterRandom, _ shape: ImageShape, _ body: (ImageOperation) -> Void
    ) {
        switch name {
        case .none: break
        case .autoAugment:
            let pair = Self.autoAugment[random.below(Self.autoAugment.count)]
            for choice in [pair.0, pair.1] {
                let isChosen = Double(random.uniform()) < choice.probability
                let sign = random.below(2) == 0 ? 1.0 : -1
                if isChosen {
                    body(choice.kind.operation(part: Double(choice.level) / 9, sign, shape, .narrow(of: shape)))
                }
            }
        case .trivialAugment:
            let kind = Self.trivial[random.below(Self.trivial.count)]
            let part = Double(random.below(31)) / 30
            body(kind.operation(part: part, random.below(2) == 0 ? 1 : -1, shape, .wide))
        case .idbhColour: body(Self.balanced(&random, shape, Self.colour, shear: 0.15, rotation: 10))
        case .idbhShape: body(Self.balanced(&random, shape, Self.shape, shear: 0.35, rotation: 30))
        }
    }

    // AutoAugment and TrivialAugment

    enum Kind: CaseIterable {
        case identity, shearX, shearY, translateX, translateY, rotate, brightness, colour, contrast, sharpness,
            posterise
        case solarise, autocontrast, equalise, invert

        /// - Parameters:
        ///   - part: of the largest magnitude, 0 ... 1.
        ///   - sign: 1 or -1, for those that go both ways.
        func operation(part: Double, _ sign: Double, _ shape: ImageShape, _ largest: Largest) -> ImageOperation {
            let factor = 1 + sign * part * largest.factor
            switch self {
            case .identity: return .identity
            case .shearX: return .geometric(.shear(x: sign * part * largest.shear))
            case .shearY: return .geometric(.shear(y: sign * part * largest.shear))
            case .translateX: return .geometric(.translation(x: sign * part * largest.translation.x))
            case .translateY: return .geometric(.translation(y: sign * part * largest.translation.y))
            case .rotate: return .geometric(.rotation(degrees: sign * part * largest.rotation, shape))
            case .brightness: return .brightness(factor)
            case .colour: return .colour(factor)
            case .contrast: return .contrast(factor)
            case .sharpness: return .sharpness(factor)
            case .posterise: return .posterise(bits: 8 - Int((part * largest.bits).rounded(.toNearestOrEven)))
            case .solarise: return .solarise(threshold: 255 * (1 - part))
            case .autocontrast: return .autocontrast
            case .equalise: return .equalise
            case .invert: return .invert
            }
        }
    }

    /// The largest magnitudes of a space.
    struct Largest {
        let shear: Double
        let translation: (x: Double, y: Double)
        let rotation: Double
        let factor: Double
        let bits: Double

        /// Of AutoAugment: 150 pixels of images of 331.
        static func narrow(of shape: ImageShape) -> Largest {
            let (x, y) = (150.0 / 331 * Double(shape.width), 150.0 / 331 * Double(shape.height))
            return Largest(shear: 0.3, translation: (x, y), rotation: 30, factor: 0.9, bits: 4)
        }

        static let wide = Largest(shear: 0.99, translation: (32, 32), rotation: 135, factor: 0.99, bits: 6)
    }

    private static let trivial = Kind.allCases.filter { $0 != .invert }

    /// An operation, how likely it is, and its magnitude in ninths of the largest, where it has one.
    typealias Choice = (kind: Kind, probability: Double, level: Int)

    /// Each image goes through one of the pairs.
    static let autoAugment: [(Choice, Choice)] = [
        ((.invert, 0.1, 0), (.contrast, 0.2, 6)),
        ((.rotate, 0.7, 2), (.translateX, 0.3, 9)),
        ((.sharpness, 0.8, 1), (.sharpness, 0.9, 3)),
        ((.shearY, 0.5, 8), (.translateY, 0.7, 9)),
        ((.autocontrast, 0.5, 0), (.equalise, 0.9, 0)),
        ((.shearY, 0.2, 7), (.posterise, 0.3, 7)),
        ((.colour, 0.4, 3), (.brightness, 0.6, 7)),
        ((.sharpness, 0.3, 9), (.brightness, 0.7, 9)),
        ((.equalise, 0.6, 0), (.equalise, 0.5, 0)),
        ((.contrast, 0.6, 7), (.sharpness, 0.6, 5)),
        ((.colour, 0.7, 7), (.translateX, 0.5, 8)),
        ((.equalise, 0.3, 0), (.autocontrast, 0.4, 0)),
        ((.translateY, 0.4, 3), (.sharpness, 0.2, 6)),
        ((.brightness, 0.9, 6), (.colour, 0.2, 8)),
        ((.solarise, 0.5, 2), (.invert, 0, 0)),
        ((.equalise, 0.2, 0), (.autocontrast, 0.6, 0)),
        ((.equalise, 0.2, 0), (.equalise, 0.6, 0)),
        ((.colour, 0.9, 9), (.equalise, 0.6, 0)),
        ((.autocontrast, 0.8, 0), (.solarise, 0.2, 8)),
        ((.brightness, 0.1, 3), (.colour, 0.7, 0)),
        ((.solarise, 0.4, 5), (.autocontrast, 0.9, 0)),
        ((.translateY, 0.9, 9), (.translateY, 0.7, 9)),
        ((.autocontrast, 0.9, 0), (.solarise, 0.8, 3)),
        ((.equalise, 0.8, 0), (.invert, 0.1, 0)),
        ((.translateY, 0.7, 9), (.autocontrast, 0.9, 0)),
    ]

    // IDBH

    /// How likely each operation is, in hundredths of a percent.
    private typealias Weights = [(Kind, Int)]

    private static let colour: Weights = [
        (.colour, 1250), (.brightness, 1250), (.contrast, 1250), (.sharpness, 1250), (.autocontrast, 1250),
        (.equalise, 1250), (.shearX, 1250), (.rotate, 1250),
    ]
    private static let shape: Weights = [
        (.colour, 800), (.brightness, 800), (.contrast, 400), (.sharpness, 800), (.autocontrast, 400), (.equalise, 800),
        (.shearX, 3000), (.rotate, 3000),
    ]

    /// One operation, its magnitude uniform in a range.
    ///
    /// - Parameters:
    ///   - shear: largest angle in radians, along either axis about the middle; the least is 0.05.
    ///   - rotation: largest angle in whole degrees; the least is 1.
    private static func balanced(
        _ random: inout CounterRandom, _ shape: ImageShape, _ weights: Weights, shear: Double, rotation: Int
    ) -> ImageOperation {
        var left = random.below(10_000)
        let part = Double(random.uniform())
        let whole = random.below(rotation)
        let sign = random.below(2) == 0 ? 1.0 : -1
        let alongX = random.below(2) == 0
        func between(_ low: Double, _ high: Double) -> Double { low + part * (high - low) }
        for (kind, weight) in weights {
            left -= weight
            guard left < 0 else { continue }
            switch kind {
            case .brightness: return .brightness(between(0.5, 1.9))
            case .contrast: return .contrast(between(0.5, 1.9))
            case .colour: return .colour(between(0.1, 1.9))
            case .sharpness: return .sharpness(between(0.1, 1.9))
            case .autocontrast: return .autocontrast
            case .equalise: return .equalise
            case .rotate: return .geometric(.rotation(degrees: sign * Double(whole + 1), shape))
            default:
                let slope = sign * tan(between(0.05, shear))
                let middle = (x: Double(shape.width) / 2, y: Double(shape.height) / 2)
                return .geometric(alongX ? .shear(x: slope, centre: middle) : .shear(y: slope, centre: middle))
            }
        }
        return .identity
    }
}
