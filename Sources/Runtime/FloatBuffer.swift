import Glibc

/// Float memory aligned to pages, freed with the object.
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
        // Pages straight from the system are zero and cost nothing until they are touched, so that memory planned for a
        // large batch is not taken by a small one.
        let mapped = mmap(nil, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        guard let memory = mapped, memory != MAP_FAILED else {
            throw EngineError(.outOfMemory, "cannot allocate \(bytes) bytes")
        }
        pointer = memory.bindMemory(to: Float.self, capacity: count + FloatBuffer.slack)
        self.count = count
    }

    deinit { munmap(pointer, (count + FloatBuffer.slack) * MemoryLayout<Float>.stride) }

    public func fill(_ value: Float) {
        pointer.update(repeating: value, count: count)
    }

    public func copy(from source: FloatBuffer) {
        pointer.update(from: source.pointer, count: min(count, source.count))
    }
}
