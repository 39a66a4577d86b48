import Glibc
import Synchronization

/// Memory that a thread keeps for the inside of its work, so that kernels allocate nothing once warm.
public enum Scratch {
    /// Three blocks a thread: for the chunk it is working on; for what the chunks of a whole operation share, which the
    /// thread that starts the operation takes before it hands out the chunks; and for a run of operations.
    public enum Use {
        case chunk
        case shared
        case segment
    }

    private static let chunk = ScratchBlocks()
    private static let shared = ScratchBlocks()
    private static let segment = ScratchBlocks()

    /// At least `bytes` bytes, aligned to 64, valid until the next request of the same use on this thread.
    public static func take(_ bytes: Int, _ use: Use = .chunk) -> UnsafeMutableRawPointer {
        switch use {
        case .chunk: chunk.take(bytes)
        case .shared: shared.take(bytes)
        case .segment: segment.take(bytes)
        }
    }

    /// Room for `count` floats.
    public static func floats(_ count: Int, _ use: Use = .chunk) -> UnsafeMutablePointer<Float> {
        take(count * MemoryLayout<Float>.stride, use).bindMemory(to: Float.self, capacity: count)
    }
}

/// A block of memory for each thread that asks.
final class ScratchBlocks: Sendable {
    private final class Block {
        var memory: UnsafeMutableRawPointer?
        var bytes = 0
        deinit { free(memory) }
    }

    private let key: pthread_key_t
    /// The most that any thread has asked for. Each takes as much when it next asks for anything: which thread gets the
    /// largest chunk of an operation is chance, and would come as an allocation in the middle of a training.
    private let most = Atomic<Int>(0)

    init() {
        var key = pthread_key_t()
        pthread_key_create(&key) { raw in
            if let raw { Unmanaged<Block>.fromOpaque(raw).release() }
        }
        self.key = key
    }

    deinit { pthread_key_delete(key) }

    func take(_ bytes: Int) -> UnsafeMutableRawPointer {
        var wanted = most.load(ordering: .relaxed)
        if bytes > wanted { wanted = most.max(bytes, ordering: .relaxed).newValue }
        let block = own()
        while true {
            if let memory = block.memory, block.bytes >= wanted { return memory }
            free(block.memory)
            block.memory = nil
            block.bytes = posix_memalign(&block.memory, 64, wanted) == 0 ? wanted : 0
            // A chunk of work has no way to fail, and some kilobytes come back soon: wait for them.
            if block.memory == nil { sched_yield() }
        }
    }

    private func own() -> Block {
        if let raw = pthread_getspecific(key) { return Unmanaged<Block>.fromOpaque(raw).takeUnretainedValue() }
        let block = Block()
        pthread_setspecific(key, Unmanaged.passRetained(block).toOpaque())
        return block
    }
}
