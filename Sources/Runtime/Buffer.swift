import Glibc

/// Memory for `count` plain values, zero at first, freed with the object. Other than an array's, its allocation can fail
/// with an error, where an array would end the process: so it is what everything has whose size comes from the host.
///
/// For the floats that kernels work on there is `FloatBuffer`.
public final class Buffer<Element: BitwiseCopyable>: @unchecked Sendable {
    public let pointer: UnsafeMutablePointer<Element>
    public let count: Int

    /// Throws `outOfMemory`.
    public init(_ count: Int) throws {
        guard count >= 0, let memory = calloc(Swift.max(count, 1), MemoryLayout<Element>.stride) else {
            throw EngineError(
                .outOfMemory, "cannot allocate memory for \(count) values of \(MemoryLayout<Element>.stride) bytes")
        }
        pointer = memory.bindMemory(to: Element.self, capacity: Swift.max(count, 1))
        self.count = count
    }

    /// Throws `outOfMemory`.
    public convenience init(copying values: some Collection<Element>) throws {
        try self.init(values.count)
        _ = UnsafeMutableBufferPointer(start: pointer, count: count).update(fromContentsOf: values)
    }

    deinit { free(pointer) }
}

extension Buffer: RandomAccessCollection, MutableCollection {
    @inlinable public var startIndex: Int { 0 }
    @inlinable public var endIndex: Int { count }

    @inlinable public subscript(index: Int) -> Element {
        get { pointer[index] }
        set { pointer[index] = newValue }
    }
}
