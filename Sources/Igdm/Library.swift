import CHDF5
import CIgdm
import COpenBLAS
import Attacks
import Distillation
import Glibc
import Kernels
import Networks
import Runtime

// Section 1 of the header: the library.

private let versionText = StaticText("\(IGDM_VERSION_MAJOR).\(IGDM_VERSION_MINOR).\(IGDM_VERSION_PATCH)")
private let architecturesText = StaticText(architectureNames.joined(separator: ","))
private let attacksText = StaticText(AttackRegistry.names.joined(separator: ","))
private let methodsText = StaticText(MethodRegistry.names.joined(separator: ","))
private let buildInfoText = ThreadText()

private let statusNames: [(status: Int32, name: StaticText)] = [
    (IGDM_OK, StaticText("IGDM_OK")),
    (IGDM_ERROR_INVALID_ARGUMENT, StaticText("IGDM_ERROR_INVALID_ARGUMENT")),
    (IGDM_ERROR_SHAPE, StaticText("IGDM_ERROR_SHAPE")),
    (IGDM_ERROR_NOT_FOUND, StaticText("IGDM_ERROR_NOT_FOUND")),
    (IGDM_ERROR_IO, StaticText("IGDM_ERROR_IO")),
    (IGDM_ERROR_FORMAT, StaticText("IGDM_ERROR_FORMAT")),
    (IGDM_ERROR_CANCELLED, StaticText("IGDM_ERROR_CANCELLED")),
    (IGDM_ERROR_BUSY, StaticText("IGDM_ERROR_BUSY")),
    (IGDM_ERROR_OUT_OF_MEMORY, StaticText("IGDM_ERROR_OUT_OF_MEMORY")),
    (IGDM_ERROR_NOT_FINITE, StaticText("IGDM_ERROR_NOT_FINITE")),
    (IGDM_ERROR_INTERNAL, StaticText("IGDM_ERROR_INTERNAL")),
    (IGDM_ERROR_MISMATCH, StaticText("IGDM_ERROR_MISMATCH")),
]
private let unknownStatus = StaticText("unknown")

@_cdecl("igdm_version_number") @implementation
public func igdm_version_number() -> Int32 {
    Int32(IGDM_VERSION_MAJOR * 10000 + IGDM_VERSION_MINOR * 100 + IGDM_VERSION_PATCH)
}

@_cdecl("igdm_version_string") @implementation
public func igdm_version_string() -> UnsafePointer<CChar>! { versionText.pointer }

@_cdecl("igdm_build_info") @implementation
public func igdm_build_info() -> UnsafePointer<CChar>! {
    var (major, minor, release): (UInt32, UInt32, UInt32) = (0, 0, 0)
    H5get_libversion(&major, &minor, &release)
    #if compiler(>=6.4)
        let swift = ">=6.4"
    #else
        let swift = "6.3"
    #endif
    let openblas = openblas_get_config().map { String(cString: $0) } ?? "unknown"
    let parts = [
        "version=" + String(cString: versionText.pointer), "swift=\(swift)", "openblas=\(openblas)",
        "hdf5=\(major).\(minor).\(release)", "cpu=\(CPUPath.active.rawValue)", "threads=\(WorkerPool.threads)",
    ]
    buildInfoText.set(parts.joined(separator: "; "))
    return buildInfoText.pointer ?? versionText.pointer
}

@_cdecl("igdm_last_error") @implementation
public func igdm_last_error() -> UnsafePointer<CChar>! { LastError.pointer }

@_cdecl("igdm_status_name") @implementation
public func igdm_status_name(_ status: Int32) -> UnsafePointer<CChar>! {
    (statusNames.first { $0.status == status }?.name ?? unknownStatus).pointer
}

@_cdecl("igdm_set_threads") @implementation
public func igdm_set_threads(_ threads: Int64) -> Int32 {
    guarded {
        let count = try dimension(threads, "threads", 1...WorkerPool.largestThreadCount)
        guard !Callbacks.isInside else {
            throw EngineError(.busy, "igdm_set_threads: called from inside a callback; call it between other calls")
        }
        WorkerPool.setThreads(count)
    }
}

@_cdecl("igdm_get_threads") @implementation
public func igdm_get_threads() -> Int64 { Int64(WorkerPool.threads) }

@_cdecl("igdm_set_log_callback") @implementation
public func igdm_set_log_callback(_ callback: igdm_log_callback!, _ user: UnsafeMutableRawPointer!) -> Int32 {
    guard let callback = callback as igdm_log_callback? else {
        Log.setSink(nil)
        return IGDM_OK
    }
    let user = user as UnsafeMutableRawPointer?
    Log.setSink { level, message in
        message.withCString { text in Callbacks.run { callback(level.rawValue, text, user) } }
    }
    return IGDM_OK
}

@_cdecl("igdm_architectures") @implementation
public func igdm_architectures() -> UnsafePointer<CChar>! { architecturesText.pointer }

@_cdecl("igdm_attacks") @implementation
public func igdm_attacks() -> UnsafePointer<CChar>! { attacksText.pointer }

@_cdecl("igdm_methods") @implementation
public func igdm_methods() -> UnsafePointer<CChar>! { methodsText.pointer }
