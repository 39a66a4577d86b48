import CIgdm
import Glibc
import Runtime

// Every export is one call of `guarded`: nothing but a status leaves it. A Swift trap would kill the host and cannot
// be caught, so each argument is checked (Arguments.swift) before code that could trap sees it.

/// Runs the body of an export: its error becomes the status and the thread's last error.
func guarded(_ body: () throws -> Void) -> Int32 {
    do {
        try body()
        return IGDM_OK
    } catch let error as EngineError {
        LastError.set(error.message)
        return error.code.rawValue
    } catch {
        LastError.set("unexpected error: \(error)")
        return ErrorCode.internal.rawValue
    }
}

/// Strings that live until the thread asks for the next one of their kind.
final class ThreadText {
    private let key: pthread_key_t

    init() {
        var key = pthread_key_t()
        pthread_key_create(&key) { free($0) }
        self.key = key
    }

    var pointer: UnsafePointer<CChar>? {
        UnsafePointer(pthread_getspecific(key)?.assumingMemoryBound(to: CChar.self))
    }

    func set(_ text: String) { _ = try? keep(text) }

    /// The copy, valid until the thread's next one. Throws `outOfMemory`.
    func keep(_ text: String) throws -> UnsafePointer<CChar> {
        guard let copy = strdup(text) else {
            throw EngineError(.outOfMemory, "cannot allocate memory for a text of \(text.utf8.count) bytes")
        }
        free(pthread_getspecific(key))
        pthread_setspecific(key, copy)
        return UnsafePointer(copy)
    }
}

enum LastError {
    private static let text = ThreadText()
    private static let none = StaticText("")

    static func set(_ message: String) { text.set(message) }
    static var pointer: UnsafePointer<CChar> { text.pointer ?? none.pointer }
}

/// A string for the life of the process, or of its owner.
final class StaticText: @unchecked Sendable {
    let pointer: UnsafePointer<CChar>

    init(_ text: String) {
        let bytes = Array(text.utf8CString)
        let memory = UnsafeMutablePointer<CChar>.allocate(capacity: bytes.count)
        memory.initialize(from: bytes, count: bytes.count)
        pointer = UnsafePointer(memory)
    }

    deinit { pointer.deallocate() }
}
