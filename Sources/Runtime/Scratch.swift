import Glibc

/// Memory that a thread keeps for the inside of its work, so that kernels allocate nothing once warm.
public enum Scratch {
    /// Three blocks a thread: for the chunk it is working on; for what the chunks of a whole operation share, which the
    /// thread that starts the operation takes before it hands out the chunks; and for a run of operations.
    public enum Use {
        case chunk
        case shared
        case segment
    }

    private final class Block {
        var memory: UnsafeMutableRawPointer?
        var bytes = 0
        deinit { free(memory) }
    }

    private static let keys = (chunk: makeKey(), shared: makeKey(), segment: makeKey())

    private static func makeKey() -> pthread_key_t {
        var key = pthread_key_t()
        pthread_key_create(&key) { raw in
            if let raw { Unmanaged<Block>.fromOpaque(raw).release() }
        }
        return key
    }

    /// At least `bytes` bytes, aligned to 64, valid until the next request of the same use on this thread.
    public static func take(_ bytes: Int, _ use: Use = .chunk) -> UnsafeMutableRawPointer {
        let key = use == .chunk ? keys.chunk : use == .shared ? keys.shared : keys.segment
        let block: Block
        if let raw = pthread_getspecific(key) {
            block = Unmanaged<Block>.fromOpaque(raw).takeUnretainedValue()
        } else {
            block = Block()
            pthread_setspecific(key, Unmanaged.passRetained(block).toOpaque())
        }
        while true {
            if let memory = block.memory, block.bytes >= bytes { return memory }
            free(block.memory)
            block.memory = nil
            block.bytes = posix_memalign(&block.memory, 64, bytes) == 0 ? bytes : 0
            // A chunk of work has no way to fail, and some kilobytes come back soon: wait for them.
            if block.memory == nil { sched_yield() }
        }
    }

    /// Room for `count` floats.
    public static func floats(_ count: Int, _ use: Use = .chunk) -> UnsafeMutablePointer<Float> {
        take(count * MemoryLayout<Float>.stride, use).bindMemory(to: Float.self, capacity: count)
    }
}
