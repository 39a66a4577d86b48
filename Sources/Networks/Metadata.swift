import Runtime

/// Free texts about a network under unique keys: what it is, where it came from. No computation uses them.
public struct Metadata: Equatable, Sendable {
    public struct Entry: Equatable, Sendable {
        public let key: String
        public let value: String
    }

    /// Bytes in a key, and in a value: both have to fit an HDF5 object header.
    public static let longestKey = 255
    public static let longestValue = 60_000
    public static let mostEntries = 1000

    /// In the order of the keys' bytes, which is that of the attributes of an HDF5 file.
    public private(set) var entries: [Entry] = []

    public init() {}

    public subscript(key: String) -> String? { entries.first { $0.key == key }?.value }

    /// Sets the text of a key; nil removes it. Throws `invalidArgument` for a key or text that no file can hold.
    public mutating func set(_ key: String, to value: String?) throws {
        guard let value else { return entries.removeAll { $0.key == key } }
        guard Metadata.isKey(key) else {
            throw EngineError.invalid(
                "key", got: "\(key.utf8.count) bytes \"\(key.prefix(40))\"",
                want: "1 ... \(Metadata.longestKey) bytes without / and control characters")
        }
        guard value.utf8.count <= Metadata.longestValue else {
            throw EngineError.invalid(
                "value", got: "\(value.utf8.count) bytes", want: "at most \(Metadata.longestValue)")
        }
        let entry = Entry(key: key, value: value)
        if let index = entries.firstIndex(where: { $0.key == key }) {
            entries[index] = entry
        } else {
            guard entries.count < Metadata.mostEntries else {
                throw EngineError.invalid("key", got: "one more", want: "at most \(Metadata.mostEntries) of them")
            }
            let place = entries.firstIndex { key.utf8.lexicographicallyPrecedes($0.key.utf8) } ?? entries.endIndex
            entries.insert(entry, at: place)
        }
    }

    private static func isKey(_ key: String) -> Bool {
        (1...longestKey).contains(key.utf8.count) && key != "."
            && !key.utf8.contains { $0 < 32 || $0 == 127 || $0 == UInt8(ascii: "/") }
    }
}
