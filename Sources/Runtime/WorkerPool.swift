import CCPU
import CClosure
import Glibc
import Synchronization

/// The engine's own threads.
///
/// Work comes as numbered chunks whose number and content depend on the problem alone, so results are the same for any
/// number of threads. Threads are made on first use and again after `fork()`; they sleep when there is nothing to do.
/// Swift's concurrency and libdispatch are not used because neither survives a fork.
public enum WorkerPool {
    public static let largestThreadCount = 256

    nonisolated(unsafe) private static var current: Pool?
    nonisolated(unsafe) private static var wanted = processorsAvailable()
    nonisolated(unsafe) private static var lock = Mutex()
    /// Not nil on threads that compute alone.
    private static let alone: pthread_key_t = {
        var key = pthread_key_t()
        pthread_key_create(&key, nil)
        return key
    }()
    private static let forkHandlerInstalled: Bool = {
        // In the child only the forking thread exists: forget the threads, and the locks that others may have held.
        pthread_atfork(nil, nil, { WorkerPool.forgetAfterFork() }) == 0
    }()

    /// Number of threads that compute, the calling one included.
    public static var threads: Int { lock.withLock { wanted } }

    /// Sets the number of threads (1 … 256; the caller validates). Takes effect with the next parallel work.
    public static func setThreads(_ count: Int) {
        let previous: Pool? = lock.withLock {
            let count = min(max(count, 1), largestThreadCount)
            guard count != wanted else { return nil }
            wanted = count
            defer { current = nil }
            return current
        }
        previous?.stop()
    }

    /// Runs `body(0)` … `body(count - 1)`, each once, and returns when all are done. Called from inside such work, or
    /// while another thread of the host uses the pool, it runs the chunks on the calling thread.
    public static func parallelFor(_ count: Int, _ body: (Int) -> Void) {
        if count > 1, let pool = acquire() {
            defer { pool.release() }
            lendClosure(body, count, Unmanaged.passUnretained(pool).toOpaque()) { body, count, pool in
                guard let pool else { return }
                Unmanaged<Pool>.fromOpaque(pool).takeUnretainedValue().run(count, BorrowedClosure(body))
            }
        } else {
            for chunk in 0..<max(count, 0) { body(chunk) }
        }
    }

    /// From now on the calling thread runs what it gives to `parallelFor` alone, and leaves the pool to others.
    static func computeAlone() { pthread_setspecific(alone, UnsafeRawPointer(bitPattern: 1)) }

    /// nil on a thread that is inside `parallelFor`, or while any host thread is.
    private static func acquire() -> Pool? {
        guard pthread_getspecific(alone) == nil else { return nil }
        return lock.withLock {
            guard wanted > 1 else { return nil }
            if current == nil {
                _ = forkHandlerInstalled
                current = Pool(workers: wanted - 1)
            }
            guard let pool = current, pool.workers > 0, pool.tryAcquire() else { return nil }
            return pool
        }
    }

    private static func forgetAfterFork() {
        // The old objects are leaked on purpose: destroying a locked mutex of a vanished thread is undefined.
        if let pool = current { _ = Unmanaged.passRetained(pool) }
        _ = Unmanaged.passRetained(lock)
        lock = Mutex()
        current = nil
    }

    private static func processorsAvailable() -> Int {
        let count = Int(ccpu_processor_count())
        return min(max(count, 1), largestThreadCount)
    }
}

/// A set of sleeping threads that help the caller through one job at a time.
private final class Pool: @unchecked Sendable {
    private(set) var workers = 0

    private let taken = Atomic<Bool>(false)
    /// Incremented with each job (and to stop), so that a worker sees that there is something new.
    private let generation = Atomic<Int>(0)
    private let stopping = Atomic<Bool>(false)
    /// Workers may join the job only while it is open; the caller closes it, then waits for `inside` to become 0.
    private let open = Atomic<Bool>(false)
    private let inside = Atomic<Int>(0)
    private let next = Atomic<Int>(0)
    private let sleepers = Atomic<Int>(0)

    private var count = 0
    private var body: BorrowedClosure?

    /// Where the calling thread ran when it opened the job.
    private var callersProcessor: Int32 = 0
    private let started = Atomic<Int>(0)

    private let mutex = Mutex()
    private let wakeUp = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

    /// How often an idle worker looks for work before it sleeps: some tens of microseconds.
    private static let patience = 200

    init(workers wanted: Int) {
        pthread_cond_init(wakeUp, nil)
        // Fewer threads give the same results, only later.
        for _ in 0..<wanted {
            guard let thread = startThread({ [self] in work() }) else { continue }
            pthread_detach(thread)
            workers += 1
        }
    }

    deinit {
        pthread_cond_destroy(wakeUp)
        wakeUp.deallocate()
    }

    func tryAcquire() -> Bool {
        taken.compareExchange(expected: false, desired: true, ordering: .acquiring).exchanged
    }

    func release() { taken.store(false, ordering: .releasing) }

    func stop() {
        stopping.store(true, ordering: .sequentiallyConsistent)
        announce()
    }

    func run(_ count: Int, _ body: BorrowedClosure) {
        self.count = count
        self.body = body
        callersProcessor = ccpu_current()
        next.store(0, ordering: .relaxed)
        open.store(true, ordering: .sequentiallyConsistent)
        announce()
        takeChunks(body, count)
        open.store(false, ordering: .sequentiallyConsistent)
        var looks = 0
        while inside.load(ordering: .sequentiallyConsistent) != 0 {
            looks += 1
            if looks > 1000 { sched_yield() }
        }
        self.body = nil
    }

    private func announce() {
        generation.wrappingAdd(1, ordering: .sequentiallyConsistent)
        guard sleepers.load(ordering: .sequentiallyConsistent) > 0 else { return }
        mutex.withLock { _ = pthread_cond_broadcast(wakeUp) }
    }

    private func takeChunks(_ body: BorrowedClosure, _ count: Int) {
        while true {
            let chunk = next.wrappingAdd(1, ordering: .relaxed).oldValue
            guard chunk < count else { return }
            body(chunk)
        }
    }

    private func work() {
        let number = Int32(truncatingIfNeeded: started.wrappingAdd(1, ordering: .relaxed).newValue)
        var seen = 0
        while true {
            seen = awaitGeneration(after: seen)
            if stopping.load(ordering: .sequentiallyConsistent) { return }
            inside.wrappingAdd(1, ordering: .sequentiallyConsistent)
            if open.load(ordering: .sequentiallyConsistent), let body {
                // On the caller's own processor nothing runs side by side, and a system leaves threads there that are never
                // idle for a surprisingly long time.
                if ccpu_current() == callersProcessor { ccpu_move_from(callersProcessor, number) }
                takeChunks(body, count)
            }
            inside.wrappingSubtract(1, ordering: .sequentiallyConsistent)
        }
    }

    private func awaitGeneration(after seen: Int) -> Int {
        for look in 0..<Self.patience {
            let now = generation.load(ordering: .sequentiallyConsistent)
            if now != seen { return now }
            if look > 50 { sched_yield() }
        }
        return mutex.withLock {
            sleepers.wrappingAdd(1, ordering: .sequentiallyConsistent)
            defer { sleepers.wrappingSubtract(1, ordering: .sequentiallyConsistent) }
            while true {
                let now = generation.load(ordering: .sequentiallyConsistent)
                if now != seen { return now }
                pthread_cond_wait(wakeUp, mutex.raw)
            }
        }
    }
}
