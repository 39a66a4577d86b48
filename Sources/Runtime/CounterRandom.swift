import Glibc

/// What random numbers are drawn for. Each purpose has its own stream, so that adding draws to one changes no other.
/// Raw values are part of the promise "same seed, same result": append only.
public enum RandomStream: UInt32, Sendable {
    case initialisation = 1
    case shuffle = 2
    case augmentation = 3
    case attackStart = 4
    case trainingStart = 5
    case square = 6
    case attackTarget = 7
    case search = 8
    case generated = 9
}

/// Counter-based random numbers: Philox 4×32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as
/// 1, 2, 3", SC 2011).
///
/// The sequence depends on (seed, stream, index, sub) alone — `index` is a sample, `sub` a restart or an epoch — and
/// not on what else is drawn, by which thread, or in which batch.
public struct CounterRandom: Sendable {
    private let key: (UInt32, UInt32)
    private let head: (UInt32, UInt32, UInt32)
    private var block: UInt32 = 0
    private var words: (UInt32, UInt32, UInt32, UInt32) = (0, 0, 0, 0)
    private var used = 4
    private var spareNormal: Float?

    public init(seed: UInt64, stream: RandomStream, index: UInt64, sub: UInt32 = 0) {
        key = (UInt32(truncatingIfNeeded: seed), UInt32(truncatingIfNeeded: seed >> 32))
        // 24 bits of `sub` share a word with the 8 bits of the stream.
        head = (
            stream.rawValue | sub << 8, UInt32(truncatingIfNeeded: index), UInt32(truncatingIfNeeded: index >> 32)
        )
    }

    public mutating func nextUInt32() -> UInt32 {
        if used == 4 {
            words = Self.philox((block, head.0, head.1, head.2), key)
            block &+= 1
            used = 0
        }
        defer { used += 1 }
        switch used {
        case 0: return words.0
        case 1: return words.1
        case 2: return words.2
        default: return words.3
        }
    }

    /// Uniform in [0, 1), on a grid of 2⁻²⁴.
    public mutating func uniform() -> Float {
        Float(nextUInt32() >> 8) * 0x1p-24
    }

    /// Standard normal (Box–Muller).
    public mutating func normal() -> Float {
        if let spare = spareNormal {
            spareNormal = nil
            return spare
        }
        // 1 - u lies in (0, 1], so the logarithm is finite.
        let radius = (-2 * log(Double(1 - uniform()))).squareRoot()
        let angle = 2 * Double.pi * Double(uniform())
        spareNormal = Float(radius * sin(angle))
        return Float(radius * cos(angle))
    }

    /// Uniform in 0 ..< n without bias, 1 <= n < 2³². Lemire, "Fast random integer generation in an interval" (2019).
    public mutating func below(_ n: Int) -> Int {
        let bound = UInt32(truncatingIfNeeded: n)
        guard bound > 1 else { return 0 }
        let threshold = (0 &- bound) % bound
        while true {
            let product = UInt64(nextUInt32()) * UInt64(bound)
            if UInt32(truncatingIfNeeded: product) >= threshold { return Int(product >> 32) }
        }
    }

    static func philox(
        _ counter: (UInt32, UInt32, UInt32, UInt32), _ key: (UInt32, UInt32)
    ) -> (UInt32, UInt32, UInt32, UInt32) {
        var c = counter
        var k = key
        for _ in 0..<10 {
            let a = UInt64(0xD251_1F53) * UInt64(c.0)
            let b = UInt64(0xCD9E_8D57) * UInt64(c.2)
            c = (
                UInt32(truncatingIfNeeded: b >> 32) ^ c.1 ^ k.0, UInt32(truncatingIfNeeded: b),
                UInt32(truncatingIfNeeded: a >> 32) ^ c.3 ^ k.1, UInt32(truncatingIfNeeded: a)
            )
            k = (k.0 &+ 0x9E37_79B9, k.1 &+ 0xBB67_AE85)
        }
        return c
    }
}
