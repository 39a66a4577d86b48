import CCPU
import Glibc

/// The instruction set that the kernels use, chosen once per process.
public enum CPUPath: String, CaseIterable, Sendable {
    /// Runs on every processor of the architecture; convolutions through OpenBLAS.
    case baseline
    /// AVX2 with fused multiply-add.
    case avx2
    /// AVX-512 F, DQ, BW, VL.
    case avx512

    /// The paths that this processor can run, the fastest last.
    public static let available: [CPUPath] = {
        #if arch(x86_64)
            switch ccpu_level() {
            case 3...: return [.baseline, .avx2, .avx512]
            case 2: return [.baseline, .avx2]
            default: return [.baseline]
            }
        #else
            return [.baseline]
        #endif
    }()

    /// The path in use: the fastest, or the one that the environment variable IGDM_CPU names, where the processor has it.
    public static let active: CPUPath = {
        if let value = getenv("IGDM_CPU"), let wanted = CPUPath(rawValue: String(cString: value)),
            available.contains(wanted)
        {
            return wanted
        }
        return available[available.count - 1]
    }()
}
