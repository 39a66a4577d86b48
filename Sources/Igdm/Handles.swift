import Runtime

/// What a handle points to.
class Handle {
    /// One call at a time, and those of its callbacks.
    let lock = CallLock()
    class var typeName: String { "handle" }
}

/// The live handles by address. A pointer from the host is looked up, never followed: a released, foreign or random one
/// is an error message and not a crash.
enum HandleTable {
    nonisolated(unsafe) private static var live: [UInt: Handle] = [:]
    private static let lock = Mutex()

    static func register(_ handle: Handle) -> OpaquePointer {
        let address = Unmanaged.passUnretained(handle).toOpaque()
        lock.withLock { live[UInt(bitPattern: address)] = handle }
        return OpaquePointer(address)
    }

    /// The handle behind a pointer of the host.
    static func get<H: Handle>(_ pointer: OpaquePointer?, _ argument: String, as type: H.Type = H.self) throws -> H {
        guard let pointer else {
            throw EngineError.invalid(argument, got: "NULL", want: "a handle of type \(H.typeName)")
        }
        let found = lock.withLock { live[UInt(bitPattern: pointer)] }
        guard let found else {
            throw EngineError.invalid(
                argument, got: "a pointer that is no handle of this library (released already?)",
                want: "a handle of type \(H.typeName)")
        }
        guard let handle = found as? H else {
            throw EngineError.invalid(
                argument, got: "a handle of type \(Swift.type(of: found).typeName)",
                want: "a handle of type \(H.typeName)")
        }
        return handle
    }

    /// Forgets a handle; its object lives on as long as others depend on it. Foreign pointers are left alone.
    static func release<H: Handle>(_ pointer: OpaquePointer?, as type: H.Type) {
        guard let pointer else { return }
        // The object is destroyed outside the lock: that may take a while, or release others.
        let removed: Handle? = lock.withLock {
            guard live[UInt(bitPattern: pointer)] is H else { return nil }
            return live.removeValue(forKey: UInt(bitPattern: pointer))
        }
        withExtendedLifetime(removed) {}
    }
}

/// Holds several handles at once, always in the same order, so that two calls cannot wait for each other. A call from
/// inside a callback begins with what its outer call holds, whatever the order: it throws `busy` where it would wait for
/// ever.
///
/// - Parameter last: those up to this one are held already.
func locked<Result>(
    _ handles: [Handle?], after last: ObjectIdentifier? = nil, _ body: () throws -> Result
) throws -> Result {
    // One by one and without an array of them in order, because a training step allocates nothing.
    var next: Handle?
    for case let handle? in handles {
        if let last, ObjectIdentifier(handle) <= last { continue }
        if let best = next, ObjectIdentifier(best) < ObjectIdentifier(handle) { continue }
        next = handle
    }
    guard let next else { return try body() }
    guard next.lock.lock() else {
        throw EngineError(
            .busy,
            "\(type(of: next).typeName): a call on another thread holds it and waits, in its callback, for a handle "
                + "that the call around this callback holds; let this callback return first")
    }
    defer { next.lock.unlock() }
    return try locked(handles, after: ObjectIdentifier(next), body)
}
