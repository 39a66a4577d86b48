import Glibc

/// Messages for the host: handed to the one callback that it has set, dropped where it has set none.
public enum Log {
    public enum Level: Int32, Sendable {
        case info = 1
        case warning = 2
    }

    nonisolated(unsafe) private static var sink: ((Level, String) -> Void)?
    private static let lock = Mutex()

    /// Replaces the receiver; nil silences.
    public static func setSink(_ newSink: ((Level, String) -> Void)?) {
        lock.withLock { sink = newSink }
    }

    public static func info(_ message: String) { send(.info, message) }
    public static func warning(_ message: String) { send(.warning, message) }

    private static func send(_ level: Level, _ message: String) {
        // Called outside the lock: the receiver may call back into the library, and may set another receiver.
        let current = lock.withLock { sink }
        current?(level, message)
    }
}
