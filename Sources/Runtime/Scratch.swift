import Glibc

/// Memory that a thread keeps for the inside of a chunk of work, so that kernels allocate nothing once warm.
public enum Scratch {
    private final class Block {
        var memory: UnsafeMutableRawPointer?
        var bytes = 0
        deinit { free(memory) }
    }

    private static let key: pthread_key_t = {
        var key = pthread_key_t()
        pthread_key_create(&key) { raw in
            if let raw { Unmanaged<Block>.fromOpaque(raw).release() }
        }
        return key
    }()

    /// At least `bytes` bytes, aligned to 64, valid until the next request on this thread.
    public static func take(_ bytes: Int) -> UnsafeMutableRawPointer {
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
}
