import Glibc

/// Starts a thread of the engine, which runs `body` and ends. It takes no signals: those belong to the host's own threads.
///
/// The caller joins or detaches it. nil where the system gives none.
func startThread(_ body: @escaping @Sendable () -> Void) -> pthread_t? {
    var all = sigset_t()
    var previous = sigset_t()
    sigfillset(&all)
    pthread_sigmask(SIG_SETMASK, &all, &previous)
    defer { pthread_sigmask(SIG_SETMASK, &previous, nil) }
    var thread = pthread_t()
    let argument = Unmanaged.passRetained(ThreadBody(body))
    let status = pthread_create(
        &thread, nil,
        { raw in
            guard let raw else { return nil }
            Unmanaged<ThreadBody>.fromOpaque(raw).takeRetainedValue().run()
            return nil
        }, argument.toOpaque())
    guard status == 0 else {
        argument.release()
        return nil
    }
    return thread
}

private final class ThreadBody {
    let run: @Sendable () -> Void
    init(_ run: @escaping @Sendable () -> Void) { self.run = run }
}
