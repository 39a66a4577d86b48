import Attacks
import CCPU
import CIgdm
import Glibc
import Runtime

/// Calls into the host.
enum Callbacks {
    private static let depth: pthread_key_t = {
        var key = pthread_key_t()
        pthread_key_create(&key, nil)
        return key
    }()

    /// True on a thread that is inside one of the host's callbacks.
    static var isInside: Bool { pthread_getspecific(depth) != nil }

    static func run<Result>(_ call: () -> Result) -> Result {
        let outer = pthread_getspecific(depth)
        pthread_setspecific(depth, UnsafeRawPointer(bitPattern: 1))
        defer { pthread_setspecific(depth, outer) }
        return call()
    }

    /// A monitor that reports to the host's progress callback and obeys its cancel flag.
    static func monitor(
        _ progress: igdm_progress_callback?, _ user: UnsafeMutableRawPointer?, cancel: UnsafePointer<Int32>?
    ) -> RunMonitor {
        var monitor = RunMonitor()
        if let cancel {
            monitor.checkpoint = {
                if ccpu_load_flag(cancel) != 0 { throw EngineError(.cancelled, "cancelled by the cancel flag") }
            }
        }
        if let progress {
            monitor.progress = { state in
                var event = igdm_progress()
                event.struct_size = UInt32(MemoryLayout<igdm_progress>.size)
                event.done = Int64(state.done)
                event.total = Int64(state.total)
                event.seconds = state.seconds
                event.eta_seconds = state.remaining
                event.accuracy = state.accuracy
                let answer = state.stage.withCString { stage in
                    event.stage = stage
                    return run { progress(&event, user) }
                }
                if answer != 0 {
                    throw EngineError(.cancelled, "cancelled by the progress callback (it returned \(answer))")
                }
            }
        }
        return monitor
    }
}
