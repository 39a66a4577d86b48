import Glibc

/// Float memory aligned to cache lines, freed with the object.
///
/// A few floats of slack lie behind `count`, so that kernels may load whole vectors that begin inside the buffer.
public final class FloatBuffer: @unchecked Sendable {
    public let pointer: UnsafeMutablePointer<Float>
    public let count: Int

    /// How many floats behind the end may be read (never meaningfully written).
    public static let slack = 64

    /// Zeroed memory for `count` floats. Throws `outOfMemory`.
    public init(_ count: Int) throws {
        let largest = Int.max / MemoryLayout<Float>.stride / 2 - FloatBuffer.slack
        guard count >= 0, count <= largest else {
            throw EngineError(.outOfMemory, "cannot allocate \(count) floats")
        }
        let bytes = (count + FloatBuffer.slack) * MemoryLayout<Float>.stride
        pointer = try Self.allocate(bytes).bindMemory(to: Float.self, capacity: count + FloatBuffer.slack)
        self.count = count
    }

    deinit {
        let bytes = (count + FloatBuffer.slack) * MemoryLayout<Float>.stride
        if bytes >= Self.mappedFrom { munmap(pointer, bytes) } else { free(pointer) }
    }

    /// Bytes from which memory comes as pages straight from the system: zero, and free of cost until they are touched, so
    /// that memory planned for a large batch is not taken by a small one. Below, a map of its own costs more than zeroing.
    private static let mappedFrom = 1 << 20

    private static func allocate(_ bytes: Int) throws -> UnsafeMutableRawPointer {
        if bytes >= mappedFrom {
            let memory = mmap(nil, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
            if let memory, memory != MAP_FAILED { return memory }
        } else {
            var memory: UnsafeMutableRawPointer?
            if posix_memalign(&memory, 64, bytes) == 0, let memory {
                memset(memory, 0, bytes)
                return memory
            }
        }
        throw EngineError(.outOfMemory, "cannot allocate \(bytes) bytes")
    }

    public func fill(_ value: Float) {
        pointer.update(repeating: value, count: count)
    }

    public func copy(from source: FloatBuffer) {
        pointer.update(from: source.pointer, count: min(count, source.count))
    }
}
