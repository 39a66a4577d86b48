import Glibc

/// A lock that a thread holds through a whole call of the host, callbacks included. Recursive, because a callback may use
/// what its own call has locked.
///
/// A thread inside a callback may so come to wait while it holds locks itself. Where all waiting would go round in a
/// circle (two threads, each in need of what the other holds) it would never end: then `lock` refuses.
public final class CallLock: @unchecked Sendable {
    private var owner: pthread_t?
    private var depth = 0

    // One mutex for the state of all locks, so that circles can be seen. It is held for moments only.
    private static let mutex = Mutex()
    nonisolated(unsafe) private static let released: UnsafeMutablePointer<pthread_cond_t> = {
        let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
        pthread_cond_init(condition, nil)
        return condition
    }()
    /// What each waiting thread waits for. No way through waiting threads and owners ever leads back to its beginning.
    nonisolated(unsafe) private static var waiting: [pthread_t: CallLock] = [:]

    public init() {}

    /// Takes the lock, after waiting for it if another thread has it. false where that would never end: then nothing has
    /// changed.
    public func lock() -> Bool {
        let thread = pthread_self()
        return Self.mutex.withLock {
            defer { Self.waiting[thread] = nil }
            while let owner, owner != thread {
                guard !leads(to: thread) else { return false }
                Self.waiting[thread] = self
                pthread_cond_wait(Self.released, Self.mutex.raw)
            }
            owner = thread
            depth += 1
            return true
        }
    }

    public func unlock() {
        Self.mutex.withLock {
            depth -= 1
            guard depth == 0 else { return }
            owner = nil
            pthread_cond_broadcast(Self.released)
        }
    }

    /// Whether this lock's owner waits, perhaps through others, for one that `thread` holds.
    private func leads(to thread: pthread_t) -> Bool {
        var next: CallLock? = self
        while let owner = next?.owner {
            if owner == thread { return true }
            next = Self.waiting[owner]
        }
        return false
    }
}
