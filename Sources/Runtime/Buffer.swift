import Glibc

/// Memory for `count` plain values, zero at first, freed with the object. Other than an array's, its allocation can fail
/// with an error, where an array would end the process: so it is what anything has whose size comes from the host.
///
/// For the floats that kernels work on there is `FloatBuffer`.
public final class Buffer<Element: BitwiseCopyable>: @unchecked Sendable {
    public let pointer: UnsafeMutablePointer<Element>
    public let count: Int

    /// Throws `outOfMemory`.
    public init(_ count: Int) throws {
        guard count >= 0, let memory = calloc(max(count, 1), MemoryLayout<Element>.stride) else {
            throw EngineError(
                .outOfMemory, "cannot allocate memory for \(count) values of \(MemoryLayout<Element>.stride) bytes")
        }
        pointer = memory.bindMemory(to: Element.self, capacity: max(count, 1))
        self.count = count
    }

    deinit { free(pointer) }

    public subscript(index: Int) -> Element {
        get { pointer[index] }
        set { pointer[index] = newValue }
    }
}
