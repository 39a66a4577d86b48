// swift-tools-version:6.1
import PackageDescription

// Numeric code is bounds-checked at its edges (every export validates its arguments before the engine runs), so the
// kernels are compiled without per-operation checks.
let numeric: [SwiftSetting] = [.unsafeFlags(["-Ounchecked"], .when(configuration: .release))]

// The kernels of Sources/KernelsWide are compiled once per instruction set (the folders KernelsBaseline, KernelsAVX2 and
// KernelsAVX512 are links to it) and chosen at run time: Sources/Kernels/KernelTable.swift.
func wide(_ name: String, _ flags: [String], define: String? = nil) -> Target {
    let features = flags.flatMap { ["-Xcc", $0] }
    var settings: [SwiftSetting] = numeric + [.unsafeFlags(features)]
    if let define { settings.append(.define(define)) }
    return .target(name: name, dependencies: ["CCPU"], swiftSettings: settings)
}

var wideTargets = [wide("KernelsBaseline", [])]
#if arch(x86_64)
    wideTargets += [
        wide("KernelsAVX2", ["-mavx2", "-mfma"], define: "AVX2"),
        wide(
            "KernelsAVX512", ["-mavx2", "-mfma", "-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl"],
            define: "AVX512"),
    ]
#endif
let wideNames = wideTargets.map { Target.Dependency.target(name: $0.name) }

let package = Package(
    name: "igdm",
    products: [.library(name: "igdm", type: .dynamic, targets: ["Igdm"])],
    targets: wideTargets + [
        .target(name: "CIgdm"),
        .systemLibrary(name: "COpenBLAS", pkgConfig: "openblas", providers: [.apt(["libopenblas-dev"])]),
        .systemLibrary(name: "CHDF5", pkgConfig: "hdf5", providers: [.apt(["libhdf5-dev"])]),
        .systemLibrary(name: "CJansson", pkgConfig: "jansson", providers: [.apt(["libjansson-dev"])]),
        .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
        .target(name: "CCPU"),
        .target(name: "CClosure"),
        .target(name: "Runtime", dependencies: ["CCPU", "CClosure"]),
        .target(name: "Kernels", dependencies: ["Runtime", "COpenBLAS", "CCPU"] + wideNames, swiftSettings: numeric),
        .target(name: "JSON", dependencies: ["Runtime", "CJansson"]),
        .target(name: "Networks", dependencies: ["Kernels", "JSON", "Runtime"]),
        .target(name: "Storage", dependencies: ["Networks", "Kernels", "JSON", "Runtime", "CHDF5", "CZlib"]),
        .target(name: "Attacks", dependencies: ["Networks", "Kernels", "Runtime"]),
        .target(name: "Distillation", dependencies: ["Attacks", "Storage", "Networks", "Kernels", "Runtime"]),
        .target(
            name: "Igdm",
            dependencies: [
                "CIgdm", "CCPU", "Distillation", "Attacks", "Storage", "Networks", "Kernels", "JSON", "Runtime",
            ]),
        .executableTarget(name: "kernel-bench", dependencies: ["Kernels", "Runtime"], path: "Benchmarks/Kernels"),
        .testTarget(name: "RuntimeTests", dependencies: ["Runtime"]),
        .testTarget(name: "KernelsTests", dependencies: ["Kernels", "Runtime"]),
        .testTarget(name: "JSONTests", dependencies: ["JSON", "Runtime"]),
        .testTarget(
            name: "NetworksTests", dependencies: ["Networks", "Kernels", "JSON", "Runtime"], exclude: ["Fixtures"]),
        .testTarget(name: "StorageTests", dependencies: ["Storage", "Networks", "Kernels", "Runtime", "CHDF5"]),
        .testTarget(name: "AttacksTests", dependencies: ["Attacks", "Networks", "Kernels", "Runtime"]),
        .testTarget(
            name: "DistillationTests",
            dependencies: ["Distillation", "Attacks", "Storage", "Networks", "Kernels", "Runtime"],
            exclude: ["Fixtures"]),
    ],
    swiftLanguageModes: [.v5]
)
