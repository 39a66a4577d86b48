import CIgdm
import Glibc
import Kernels
import Runtime

// Checks on what comes from the host. Each throws an error that names the argument.

/// More bytes than any array can have: a count beyond this is a mistake, not a wish.
private let largestArrayBytes = 1 << 46

/// A pointer that is there and aligned.
func pointer<T>(_ pointer: UnsafePointer<T>?, _ argument: String) throws -> UnsafePointer<T> {
    guard let pointer else { throw EngineError.invalid(argument, got: "NULL", want: "a pointer") }
    try checkAlignment(UInt(bitPattern: pointer), T.self, argument)
    return pointer
}

func pointer<T>(_ pointer: UnsafeMutablePointer<T>?, _ argument: String) throws -> UnsafeMutablePointer<T> {
    guard let pointer else { throw EngineError.invalid(argument, got: "NULL", want: "a pointer") }
    try checkAlignment(UInt(bitPattern: pointer), T.self, argument)
    return pointer
}

/// NULL, or aligned.
func optionalPointer<T>(_ value: UnsafePointer<T>?, _ argument: String) throws -> UnsafePointer<T>? {
    try value.map { try pointer($0, argument) }
}

func optionalPointer<T>(_ value: UnsafeMutablePointer<T>?, _ argument: String) throws -> UnsafeMutablePointer<T>? {
    try value.map { try pointer($0, argument) }
}

private func checkAlignment<T>(_ address: UInt, _ type: T.Type, _ argument: String) throws {
    // The first page is never mapped: such a "pointer" is a number or a field of a NULL struct.
    guard address >= 4096 else {
        throw EngineError.invalid(argument, got: "0x\(String(address, radix: 16))", want: "a pointer to memory")
    }
    let alignment = UInt(MemoryLayout<T>.alignment)
    guard address % alignment == 0 else {
        throw EngineError.invalid(
            argument, got: "the misaligned pointer 0x\(String(address, radix: 16))",
            want: "one that is a multiple of \(alignment)")
    }
}

/// A string of the host. What is no UTF-8 becomes a name that nobody knows.
func text(_ value: UnsafePointer<CChar>?, _ argument: String) throws -> String {
    String(cString: try pointer(value, argument))
}

/// A path of the host: UTF-8, because a repaired one would name another file.
func path(_ value: UnsafePointer<CChar>?, _ argument: String) throws -> String { try unicode(value, argument) }

/// A string of the host that is kept or used as it is, of at most `longest` bytes.
func unicode(_ value: UnsafePointer<CChar>?, _ argument: String, longest: Int = .max - 1) throws -> String {
    guard strnlen(try pointer(value, argument), longest + 1) <= longest else {
        throw EngineError.invalid(argument, got: "more than \(longest) bytes", want: "at most \(longest)")
    }
    guard let text = String(validatingCString: try pointer(value, argument)) else {
        throw EngineError.invalid(argument, got: "bytes that are no UTF-8", want: "UTF-8")
    }
    return text
}

/// A number of samples whose images and logits are addressable. size_t arrives as a signed Int.
func sampleCount(_ count: Int, floatsPerSample: Int, argument: String = "count", atLeast: Int = 0) throws -> Int {
    let largest = largestArrayBytes / (max(floatsPerSample, 1) * MemoryLayout<Double>.stride)
    guard count >= atLeast, count <= largest else {
        throw EngineError.invalid(argument, got: UInt(bitPattern: count), want: "\(atLeast) ... \(largest)")
    }
    return count
}

/// A dimension.
func dimension(_ value: Int64, _ argument: String, _ range: ClosedRange<Int>) throws -> Int {
    guard range.contains(Int(value)) else {
        throw EngineError.invalid(argument, got: value, want: "\(range.lowerBound) ... \(range.upperBound)")
    }
    return Int(value)
}

/// The shape of images that come as arrays.
func imageShape(_ channels: Int64, _ height: Int64, _ width: Int64) throws -> ImageShape {
    ImageShape(
        try dimension(channels, "channels", 1...4096), try dimension(height, "height", 1...16384),
        try dimension(width, "width", 1...16384))
}

/// The host's index into a list of `count` `things`. size_t arrives as a signed Int.
func checkIndex(_ index: Int, _ count: Int, _ things: String) throws {
    guard (0..<count).contains(index) else {
        throw EngineError.invalid(
            "index", got: UInt(bitPattern: index), want: "below the number of \(things), \(count)")
    }
}

/// 0 or 1.
func flag(_ value: Int32, _ argument: String) throws -> Bool {
    guard value == 0 || value == 1 else { throw EngineError.invalid(argument, got: value, want: "0 or 1") }
    return value == 1
}

/// Fields set aside for later versions: a host that sets one expects something that this library does not know.
func checkReserved(_ values: Int64..., argument: String) throws {
    for value in values where value != 0 {
        throw EngineError.invalid(
            "\(argument).reserved", got: value, want: "0 (call the _init function of the struct first)")
    }
}

/// Options as this version knows them: an older host's smaller struct is completed by `defaults`, a newer host's larger
/// one is accepted as long as what this version does not know is zero. nil gives `defaults`.
func options<T>(_ value: UnsafePointer<T>?, _ argument: String, defaults: T, firstSize: Int) throws -> T {
    guard let value = try optionalPointer(value, argument) else { return defaults }
    let size = try structSize(UnsafeRawPointer(value), argument, known: MemoryLayout<T>.size, firstSize: firstSize)
    let bytes = UnsafeRawPointer(value)
    if size > MemoryLayout<T>.size {
        for offset in MemoryLayout<T>.size..<size where bytes.load(fromByteOffset: offset, as: UInt8.self) != 0 {
            throw EngineError.invalid(
                "\(argument).struct_size", got: size,
                want: "at most \(MemoryLayout<T>.size), or zeros behind it: byte \(offset) is set, "
                    + "which this version of the library does not know")
        }
    }
    var result = defaults
    withUnsafeMutableBytes(of: &result) { target in
        let count = min(size, target.count)
        target.copyMemory(from: UnsafeRawBufferPointer(start: bytes, count: count))
    }
    return result
}

/// Writes an info or report struct: as much as the host's version of it holds.
func fill<T>(_ target: UnsafeMutablePointer<T>?, _ argument: String, _ value: T, firstSize: Int) throws {
    let target = try pointer(target, argument)
    let size = try structSize(UnsafeRawPointer(target), argument, known: MemoryLayout<T>.size, firstSize: firstSize)
    var value = value
    withUnsafeBytes(of: &value) { source in
        // struct_size stays the host's.
        let skipped = MemoryLayout<UInt32>.size
        let count = min(size, source.count) - skipped
        guard let base = source.baseAddress else { return }
        UnsafeMutableRawPointer(target).advanced(by: skipped).copyMemory(from: base + skipped, byteCount: count)
    }
}

/// Checks an output struct before the work whose result it will take.
func checkOutput<T>(_ target: UnsafeMutablePointer<T>?, _ argument: String, firstSize: Int) throws {
    let target = try pointer(target, argument)
    _ = try structSize(UnsafeRawPointer(target), argument, known: MemoryLayout<T>.size, firstSize: firstSize)
}

/// How much larger than this version's a later version's struct can be: a size beyond is garbage, and reading that far would
/// leave the host's memory.
private let largestGrowth = 512

private func structSize(_ bytes: UnsafeRawPointer, _ argument: String, known: Int, firstSize: Int) throws -> Int {
    let size = Int(bytes.load(as: UInt32.self))
    guard size >= firstSize, size <= known + largestGrowth else {
        throw EngineError.invalid(
            "\(argument).struct_size", got: size,
            want: "\(known), the size of the struct (set by its _init function, or to sizeof)")
    }
    return size
}
