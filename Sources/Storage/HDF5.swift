import CHDF5
import Glibc
import Runtime

/// Recursive, because building a network from a file may log, and the host's log callback may load another.
private let lock = Mutex(recursive: true)

/// Keeps HDF5 silent at the end of the process, where it complains on stderr about what it has itself forgotten to free
/// after it failed to open something. Our handler runs before HDF5's own, which is older.
private let silentExit: Void = {
    atexit { H5Eset_auto2(chdf5_error_stack(), nil, nil) }
}()

/// Runs `body` as a guest in the process's HDF5. Every use of HDF5 happens inside.
///
/// - One thread at a time: HDF5 may be built without thread safety.
/// - Silent: HDF5 prints each error to stderr unless told not to. The host's setting is back in force afterwards, in
///   whichever of the two forms (HDF5 1.6 or 1.8) the host had made it.
package func withHDF5<Result>(_ body: () throws -> Result) rethrows -> Result {
    lock.lock()
    defer { lock.unlock() }
    do {
        return try silently(body)
    } catch {
        silentExit
        throw error
    }
}

private func silently<Result>(_ body: () throws -> Result) rethrows -> Result {
    let stack = chdf5_error_stack()
    var isNewForm: UInt32 = 1
    H5Eauto_is_v2(stack, &isNewForm)
    var clientData: UnsafeMutableRawPointer?
    if isNewForm != 0 {
        var handler: H5E_auto2_t?
        H5Eget_auto2(stack, &handler, &clientData)
        H5Eset_auto2(stack, nil, nil)
        defer { H5Eset_auto2(stack, handler, clientData) }
        return try body()
    } else {
        var handler: H5E_auto1_t?
        H5Eget_auto1(&handler, &clientData)
        H5Eset_auto1(nil, nil)
        defer { H5Eset_auto1(handler, clientData) }
        return try body()
    }
}

/// Anything of HDF5 that has an id (file, group, dataset, type, property list, ...), closed when it goes out of scope.
struct HDF5Object: ~Copyable {
    let id: hid_t

    /// Takes over the result of an HDF5 call; where it is negative the call failed, and `error` says what that means.
    init(_ id: hid_t, else error: @autoclosure () -> EngineError) throws {
        guard id >= 0 else { throw error() }
        self.id = id
    }

    deinit { H5Idec_ref(id) }
}

/// Throws `error` if the HDF5 call that returned `status` failed.
func check(_ status: herr_t, else error: @autoclosure () -> EngineError) throws {
    guard status >= 0 else { throw error() }
}

/// Why the last HDF5 call failed, in HDF5's words: the innermost entry of its error stack.
func hdf5Reason() -> String {
    var reason = ""
    withUnsafeMutablePointer(to: &reason) { pointer in
        _ = H5Ewalk2(
            chdf5_error_stack(), H5E_WALK_UPWARD,
            { _, entry, context in
                if let text = entry?.pointee.desc, let context {
                    context.assumingMemoryBound(to: String.self).pointee = String(cString: text)
                }
                return 1
            }, pointer)
    }
    return reason.isEmpty ? "HDF5 gives no reason" : "HDF5 says: \(reason)"
}
