import Glibc
import Runtime

/// Bytes that are freed with the object. Other than an array's, their allocation can fail with an error.
final class ByteBuffer: @unchecked Sendable {
    let pointer: UnsafeMutablePointer<UInt8>
    let count: Int

    init(_ count: Int) throws {
        guard count >= 0, let memory = malloc(max(count, 1)) else {
            throw EngineError(.outOfMemory, "cannot allocate \(count) bytes")
        }
        pointer = memory.bindMemory(to: UInt8.self, capacity: max(count, 1))
        self.count = count
    }

    deinit { free(pointer) }
}
