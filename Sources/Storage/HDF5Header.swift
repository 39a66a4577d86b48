import CHDF5
import Runtime

/// A look at the header of an object before HDF5 decodes it, which is what opening means.
///
/// HDF5 1.10 does not survive everything that a header can say: an enumeration that claims more members than it has, or a
/// fill value longer than it is, makes it read beyond its memory; a shared message sends it to an address that is none;
/// chunks without elements make it divide by zero. All of this would be refused anyway, so it is refused while it is
/// still bytes. What they mean is in the "HDF5 File Format Specification", section IV.A.
extension HDF5File {
    /// All messages of the object header at an address, those of the blocks in which it goes on included. Throws `format`
    /// where it is damaged.
    func header(at address: haddr_t, label: String) throws -> [HeaderMessage] {
        guard let messages = try messages(at: Int(clamping: address)), !messages.isEmpty else {
            throw formatError(label, "has a damaged header")
        }
        return messages
    }

    /// Throws `format` for a dataset whose elements are no numbers, or whose description is damaged, shared with other
    /// objects, or of a form that nobody has written since 2004.
    func checkDescription(_ header: [HeaderMessage], label: String) throws {
        for message in header {
            guard !message.isShared else {
                throw formatError(label, "has a description that is shared (a named type?), want one of its own")
            }
            switch message.kind {
            case HeaderMessage.datatype:
                var body = message.body
                let kind = H5T_class_t(Int32(body.number(1).map { $0 & 15 } ?? -1))
                guard kind == H5T_INTEGER || kind == H5T_FLOAT else {
                    throw formatError(label, "got \(ElementType.name(of: kind)), want numbers")
                }
            case HeaderMessage.layout:
                guard isSound(layout: message.body) else {
                    throw formatError(
                        label, "is stored in chunks without elements, or as before HDF5 1.6.3 (2004); write it again")
                }
            case HeaderMessage.oldFillValue, HeaderMessage.fillValue:
                guard isSound(fillValue: message) else { throw formatError(label, "has a damaged fill value") }
            default: break
            }
        }
    }

    private func isSound(layout: ByteReader) -> Bool {
        var layout = layout
        guard let version = layout.number(1), version >= 3, let storage = layout.number(1) else { return false }
        guard storage == Int(H5D_CHUNKED.rawValue) else { return true }
        if version > 3, layout.take(1) == nil { return false }
        guard let dimensions = layout.number(1), dimensions > 0 else { return false }
        if version == 3, layout.take(addressBytes) == nil { return false }
        guard let width = version == 3 ? 4 : layout.number(1) else { return false }
        return (0..<dimensions).allSatisfy { _ in layout.number(width) ?? 0 > 0 }
    }

    private func isSound(fillValue message: HeaderMessage) -> Bool {
        var body = message.body
        if message.kind == HeaderMessage.fillValue {
            guard let version = body.number(1) else { return false }
            // Version 3 packs into one byte what take three before.
            guard let flags = version >= 3 ? body.number(1) : body.take(2).flatMap({ _ in body.number(1) }) else {
                return false
            }
            let hasValue = version >= 3 ? flags & 0x20 != 0 : version == 1 || flags != 0
            guard hasValue else { return true }
        }
        guard let size = body.number(4) else { return false }
        return size <= body.count || size > Int(Int32.max)
    }

    /// nil where the header is damaged.
    private func messages(at address: Int) throws -> [HeaderMessage]? {
        guard let (form, first) = try beginning(at: address) else { return nil }
        var messages: [HeaderMessage] = []
        var blocks = [first]
        // More than any header needs, and an end to blocks that lead to each other in a circle.
        var room = 1 << 24
        while let (offset, count) = blocks.popLast() {
            guard count <= room, var block = try bytes(at: offset, count: count) else { return nil }
            room -= count
            while block.count >= form.messageHeaderBytes {
                guard let kind = block.number(form.kindBytes), let size = block.number(2),
                    let flags = block.number(1), block.take(form.reservedBytes) != nil, var body = block.take(size)
                else { return nil }
                messages.append(HeaderMessage(kind: kind, isShared: flags & 2 != 0, body: body))
                guard kind == HeaderMessage.continuation else { continue }
                guard let next = body.number(addressBytes), let length = body.number(lengthBytes), next <= self.size
                else { return nil }
                blocks.append((next + form.frameBytes, length - 2 * form.frameBytes))
            }
        }
        return messages
    }

    /// The form of a header, and where the messages of its first block are.
    private func beginning(at address: Int) throws -> (HeaderForm, block: (offset: Int, count: Int))? {
        guard var fixed = try bytes(at: address, count: 16) else { return nil }
        guard fixed.number(4) == HeaderForm.signature else {
            guard fixed.take(4) != nil, let count = fixed.number(4) else { return nil }
            return (.old, (address + 16, count))
        }
        guard fixed.take(1) != nil, let flags = fixed.number(1) else { return nil }
        let countAt = address + 6 + (flags & 0x20 == 0 ? 0 : 16) + (flags & 0x10 == 0 ? 0 : 4)
        let countBytes = 1 << (flags & 3)
        guard var tail = try bytes(at: countAt, count: countBytes), let count = tail.number(countBytes) else {
            return nil
        }
        return (.new(flags: flags), (countAt + countBytes, count))
    }
}

/// A part of an object's description.
struct HeaderMessage {
    static let datatype = 3
    static let oldFillValue = 4
    static let fillValue = 5
    static let layout = 8
    static let continuation = 16

    let kind: Int
    /// The body only says where another object has it.
    let isShared: Bool
    let body: ByteReader
}

/// How a header lays out its messages: kind, size, flags, something of no interest here, body.
private struct HeaderForm {
    let kindBytes: Int
    let reservedBytes: Int
    /// A signature before and a checksum after the messages of a further block.
    let frameBytes: Int
    var messageHeaderBytes: Int { kindBytes + 2 + 1 + reservedBytes }

    static let old = HeaderForm(kindBytes: 2, reservedBytes: 3, frameBytes: 0)
    static func new(flags: Int) -> HeaderForm {
        HeaderForm(kindBytes: 1, reservedBytes: flags & 4 == 0 ? 0 : 2, frameBytes: 4)
    }
    /// "OHDR", with which the new form begins.
    static let signature = 0x5244_484F
}

/// Bytes that may be anything, read from the front; nil where they do not suffice.
struct ByteReader {
    private var bytes: ArraySlice<UInt8>
    var count: Int { bytes.count }

    init(_ bytes: [UInt8]) { self.bytes = bytes[...] }

    mutating func take(_ count: Int) -> ByteReader? {
        guard count <= bytes.count else { return nil }
        var taken = self
        taken.bytes = bytes.prefix(count)
        bytes = bytes.dropFirst(count)
        return taken
    }

    /// A little-endian number without sign, of at most 8 bytes.
    mutating func number(_ size: Int) -> Int? {
        guard let taken = take(size) else { return nil }
        return Int(exactly: taken.bytes.reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) })
    }
}
