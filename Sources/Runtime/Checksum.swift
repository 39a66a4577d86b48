/// A check sum of memory: tells apart what differs by accident (FNV-1a on words of eight bytes).
public struct Checksum {
    public private(set) var value: UInt64 = 0xCBF2_9CE4_8422_2325

    public init() {}

    public mutating func add(_ start: UnsafeRawPointer, _ count: Int) {
        let words = count / 8
        for i in 0..<words { mix(start.loadUnaligned(fromByteOffset: 8 * i, as: UInt64.self)) }
        for i in 8 * words..<count { mix(UInt64(start.load(fromByteOffset: i, as: UInt8.self))) }
    }

    /// The UTF-8 of a text, and where it ends.
    public mutating func add(_ text: String) {
        for byte in text.utf8 { mix(UInt64(byte)) }
        mix(.max)
    }

    public mutating func mix(_ word: UInt64) {
        value = (value ^ word) &* 0x0000_0100_0000_01B3
        value ^= value >> 29
    }

    /// In hexadecimal.
    public var text: String { String(value, radix: 16) }

    public static func of(_ start: UnsafeRawPointer, _ count: Int) -> UInt64 {
        var sum = Checksum()
        sum.add(start, count)
        return sum.value
    }
}
