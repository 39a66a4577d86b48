import Glibc

/// A thread that does the same work beside its owner each time it is asked to, and sleeps in between.
///
/// Its own `parallelFor`s run on it alone, so that it never takes the pool away from its owner. It is made when it is first
/// asked, and again after `fork()`; where the system gives no thread, `wait` does the work. When its owner has let it go
/// it has ended, and holds nothing any more.
public final class Companion {
    private let work: @Sendable () -> Void
    private var thread: CompanionThread?
    private var process: pid_t = 0

    public init(_ work: @escaping @Sendable () -> Void) { self.work = work }

    deinit {
        if isHere { thread?.end() }
    }

    /// Asks for the work once. What it was asked for before has to have been waited for.
    public func start() {
        if !isHere {
            // What a parent's thread held on to stays, its lock too, which it may have left in any state.
            thread = CompanionThread(work)
            process = getpid()
        }
        thread?.start()
    }

    /// Returns when nothing is under way any more.
    public func wait() {
        if isHere { thread?.wait() }
    }

    /// false in a process forked since, in which only the forking thread exists: nothing can be under way there.
    private var isHere: Bool { thread != nil && process == getpid() }
}

private final class CompanionThread: @unchecked Sendable {
    private enum State {
        case idle
        case asked
        case over
    }

    private let work: @Sendable () -> Void
    private let mutex = Mutex()
    private let changed = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private var state = State.idle
    private var thread: pthread_t?

    init(_ work: @escaping @Sendable () -> Void) {
        self.work = work
        pthread_cond_init(changed, nil)
        thread = startThread { [self] in
            WorkerPool.computeAlone()
            while awaitRequest() {
                work()
                become(.idle)
            }
        }
    }

    deinit {
        pthread_cond_destroy(changed)
        changed.deallocate()
    }

    func start() { become(.asked) }

    func wait() {
        if thread == nil, state == .asked {
            work()
            state = .idle
        }
        mutex.withLock {
            while state == .asked { pthread_cond_wait(changed, mutex.raw) }
        }
    }

    func end() {
        wait()
        become(.over)
        if let thread { pthread_join(thread, nil) }
    }

    private func become(_ new: State) {
        mutex.withLock {
            state = new
            pthread_cond_broadcast(changed)
        }
    }

    /// false when there will be none.
    private func awaitRequest() -> Bool {
        mutex.withLock {
            while state == .idle { pthread_cond_wait(changed, mutex.raw) }
            return state == .asked
        }
    }
}
