import KernelsBaseline
#if arch(x86_64)
    import KernelsAVX2
    import KernelsAVX512
#endif

/// The kernels of one instruction set (Sources/KernelsWide, where each is documented).
///
/// All are global functions without state, which the compiler does not see through the function types.
public struct KernelTable: @unchecked Sendable {
    public typealias Input = UnsafePointer<Float>
    public typealias Output = UnsafeMutablePointer<Float>
    public typealias Mask = UnsafePointer<UInt8>
    public typealias Signs = UnsafeMutablePointer<UInt8>
    public typealias Rows = UnsafePointer<UnsafePointer<Float>>

    // The transforms of Winograd's algorithm, for strides 1 and 2.
    typealias InputTransform =
        (
            Output, _ planeStride: Int, _ rowStride: Int, Rows, _ tiles: Int, _ first: Int, _ end: Int, _ scale: Input?
        ) -> Void
    typealias OutputTransform =
        (
            Input, _ planeStride: Int, _ rowStride: Int, _ tiles: Int, _ columns: Int, _ origins: UnsafePointer<Int>,
            _ heights: UnsafePointer<Int>, _ widths: UnsafePointer<Int>, _ pixelStride: Int, _ lineStride: Int,
            _ scale: Input?, _ shift: Input?, _ residual: Input?, _ mask: Mask?, _ rectify: Bool, _ signs: Signs?,
            Output
        ) -> Void
    typealias FilterTransform =
        (
            Output, _ planeStride: Int, _ rows: Int, _ columns: Int, _ taps: Input, _ rowStride: Int,
            _ columnStride: Int, _ filters: Int, _ rotate: Bool, _ scratch: Output
        ) -> Void
    typealias GradientTransform =
        (Output, _ planeStride: Int, _ rowStride: Int, Rows, _ tiles: Int, _ columns: Int) -> Void
    typealias FilterGradientTransform =
        (
            Output, _ filterStride: Int, _ products: Input, _ planeStride: Int, _ rowStride: Int, _ channels: Int,
            _ columns: Int, _ scratch: Output
        ) -> Void

    let laneCount: Int
    let rowsPerTile: Int
    let weightRows: Int
    let indirectProduct:
        (
            Rows, _ count: Int, _ taps: Int, _ depth: Int, _ panels: Input, _ panelDepth: Int,
            _ tapOffsets: UnsafePointer<Int>, _ columns: Int, _ shift: Input?, _ residual: Input?, _ mask: Mask?,
            _ rectify: Bool, _ signs: Signs?, Output, _ rowOffsets: UnsafePointer<Int>
        ) -> Void
    let indirectWeightGradient:
        (
            Rows, _ count: Int, _ rows: Int, _ gradient: Input, _ gradientStride: Int, _ columns: Int, _ sums: Output,
            _ sumStride: Int
        ) -> Void
    let depthwiseProduct:
        (
            Rows, _ count: Int, _ taps: Int, _ filters: Input, _ tapBlocks: UnsafePointer<Int>, _ channels: Int,
            _ shift: Input?, _ residual: Input?, _ mask: Mask?, _ rectify: Bool, _ signs: Signs?, Output,
            _ rowOffsets: UnsafePointer<Int>
        ) -> Void
    let depthwiseLine:
        (
            Rows, _ count: Int, _ filters: Input, _ rotate: Bool, _ channels: Int, _ shift: Input?, _ residual: Input?,
            _ mask: Mask?, _ rectify: Bool, _ signs: Signs?, Output
        ) -> Void
    let depthwiseGradient:
        (
            Output, Rows, _ count: Int, _ taps: Int, _ gradient: Input, _ gradientStride: Int, _ channels: Int
        ) -> Void
    let winogradScratch: Int
    let winogradInput: InputTransform
    let winogradOutput: OutputTransform
    let winogradFilters: FilterTransform
    let winogradGradient: GradientTransform
    let winogradGradientOutput: FilterGradientTransform
    let stridedInput: InputTransform
    let stridedOutput: OutputTransform
    let stridedGradientOutput:
        (
            Input, _ planeStride: Int, _ rowStride: Int, _ tiles: Int, _ columns: Int, _ oddTop: Int, _ oddLeft: Int,
            _ origins: UnsafePointer<Int>, _ heights: UnsafePointer<Int>, _ widths: UnsafePointer<Int>,
            _ pixelStride: Int, _ lineStride: Int, _ residual: Input?, _ mask: Mask?, Output
        ) -> Void
    let stridedFilters: FilterTransform
    let stridedGradient: GradientTransform
    let stridedFilterGradient: FilterGradientTransform
    let denseProducts:
        (
            Output, _ mPlane: Int, _ mRow: Int, Input, _ vPlane: Int, _ vRow: Int, Input, _ uPlane: Int,
            _ planes: UnsafePointer<Int>, _ positions: Int, _ rows: Int, _ depth: Int, _ columns: Int,
            _ accumulate: Bool
        ) -> Void
    let denseOuterProducts:
        (
            Output, _ sumPlane: Int, _ sumRow: Int, Input, _ leftPlane: Int, _ leftRow: Int, Input, _ rightPlane: Int,
            _ rightRow: Int, _ planes: UnsafePointer<Int>, _ positions: Int, _ rows: Int, _ channels: Int,
            _ columns: Int,
            _ fresh: Bool
        ) -> Void
    let scaleShift:
        (
            Output, Input, _ count: Int, _ scale: Input, _ shift: Input, _ period: Int, _ residual: Input?,
            _ rectify: Bool, _ signs: Signs?
        ) -> Void
    let periodicSums: (Output, Input, _ count: Int, _ period: Int) -> Void
    let periodicDeviations: (Output, Output, Input, _ mean: Input, _ count: Int, _ period: Int) -> Void
    let periodicGradientSums:
        (Output, Output, _ gradient: Input, Input, _ mean: Input, _ count: Int, _ period: Int) -> Void
    let normGradient:
        (
            Output, _ gradient: Input, Input, _ count: Int, _ mean: Input, _ a: Input, _ b: Input, _ c: Input,
            _ period: Int, _ accumulate: Bool
        ) -> Void
    let rectifyGradient: (Output, _ gradient: Input, _ signs: Mask, _ count: Int, _ accumulate: Bool) -> Void
    let add: (Output, Input, Input, _ count: Int, _ rectify: Bool, _ signs: Signs?) -> Void

    static let baseline = KernelTable(
        laneCount: KernelsBaseline.laneCount, rowsPerTile: KernelsBaseline.rowsPerTile,
        weightRows: KernelsBaseline.weightRows, indirectProduct: KernelsBaseline.indirectProduct,
        indirectWeightGradient: KernelsBaseline.indirectWeightGradient,
        depthwiseProduct: KernelsBaseline.depthwiseProduct, depthwiseLine: KernelsBaseline.depthwiseLine,
        depthwiseGradient: KernelsBaseline.depthwiseGradient, winogradScratch: KernelsBaseline.winogradScratch,
        winogradInput: KernelsBaseline.winogradInput, winogradOutput: KernelsBaseline.winogradOutput,
        winogradFilters: KernelsBaseline.winogradFilters, winogradGradient: KernelsBaseline.winogradGradient,
        winogradGradientOutput: KernelsBaseline.winogradGradientOutput, stridedInput: KernelsBaseline.stridedInput,
        stridedOutput: KernelsBaseline.stridedOutput, stridedGradientOutput: KernelsBaseline.stridedGradientOutput,
        stridedFilters: KernelsBaseline.stridedFilters, stridedGradient: KernelsBaseline.stridedGradient,
        stridedFilterGradient: KernelsBaseline.stridedFilterGradient, denseProducts: KernelsBaseline.denseProducts,
        denseOuterProducts: KernelsBaseline.denseOuterProducts, scaleShift: KernelsBaseline.scaleShift,
        periodicSums: KernelsBaseline.periodicSums, periodicDeviations: KernelsBaseline.periodicDeviations,
        periodicGradientSums: KernelsBaseline.periodicGradientSums, normGradient: KernelsBaseline.normGradient,
        rectifyGradient: KernelsBaseline.rectifyGradient, add: KernelsBaseline.add)

    #if arch(x86_64)
        static let avx2 = KernelTable(
            laneCount: KernelsAVX2.laneCount, rowsPerTile: KernelsAVX2.rowsPerTile, weightRows: KernelsAVX2.weightRows,
            indirectProduct: KernelsAVX2.indirectProduct, indirectWeightGradient: KernelsAVX2.indirectWeightGradient,
            depthwiseProduct: KernelsAVX2.depthwiseProduct, depthwiseLine: KernelsAVX2.depthwiseLine,
            depthwiseGradient: KernelsAVX2.depthwiseGradient, winogradScratch: KernelsAVX2.winogradScratch,
            winogradInput: KernelsAVX2.winogradInput, winogradOutput: KernelsAVX2.winogradOutput,
            winogradFilters: KernelsAVX2.winogradFilters, winogradGradient: KernelsAVX2.winogradGradient,
            winogradGradientOutput: KernelsAVX2.winogradGradientOutput, stridedInput: KernelsAVX2.stridedInput,
            stridedOutput: KernelsAVX2.stridedOutput, stridedGradientOutput: KernelsAVX2.stridedGradientOutput,
            stridedFilters: KernelsAVX2.stridedFilters, stridedGradient: KernelsAVX2.stridedGradient,
            stridedFilterGradient: KernelsAVX2.stridedFilterGradient, denseProducts: KernelsAVX2.denseProducts,
            denseOuterProducts: KernelsAVX2.denseOuterProducts, scaleShift: KernelsAVX2.scaleShift,
            periodicSums: KernelsAVX2.periodicSums,
            periodicDeviations: KernelsAVX2.periodicDeviations, periodicGradientSums: KernelsAVX2.periodicGradientSums,
            normGradient: KernelsAVX2.normGradient, rectifyGradient: KernelsAVX2.rectifyGradient, add: KernelsAVX2.add)

        static let avx512 = KernelTable(
            laneCount: KernelsAVX512.laneCount, rowsPerTile: KernelsAVX512.rowsPerTile,
            weightRows: KernelsAVX512.weightRows, indirectProduct: KernelsAVX512.indirectProduct,
            indirectWeightGradient: KernelsAVX512.indirectWeightGradient,
            depthwiseProduct: KernelsAVX512.depthwiseProduct, depthwiseLine: KernelsAVX512.depthwiseLine,
            depthwiseGradient: KernelsAVX512.depthwiseGradient, winogradScratch: KernelsAVX512.winogradScratch,
            winogradInput: KernelsAVX512.winogradInput, winogradOutput: KernelsAVX512.winogradOutput,
            winogradFilters: KernelsAVX512.winogradFilters, winogradGradient: KernelsAVX512.winogradGradient,
            winogradGradientOutput: KernelsAVX512.winogradGradientOutput, stridedInput: KernelsAVX512.stridedInput,
            stridedOutput: KernelsAVX512.stridedOutput, stridedGradientOutput: KernelsAVX512.stridedGradientOutput,
            stridedFilters: KernelsAVX512.stridedFilters, stridedGradient: KernelsAVX512.stridedGradient,
            stridedFilterGradient: KernelsAVX512.stridedFilterGradient, denseProducts: KernelsAVX512.denseProducts,
            denseOuterProducts: KernelsAVX512.denseOuterProducts, scaleShift: KernelsAVX512.scaleShift,
            periodicSums: KernelsAVX512.periodicSums, periodicDeviations: KernelsAVX512.periodicDeviations,
            periodicGradientSums: KernelsAVX512.periodicGradientSums, normGradient: KernelsAVX512.normGradient,
            rectifyGradient: KernelsAVX512.rectifyGradient, add: KernelsAVX512.add)
    #endif

    /// The kernels of a path; for tests, which compare all that the processor can run.
    public static func table(for path: CPUPath) -> KernelTable {
        #if arch(x86_64)
            switch path {
            case .baseline: return baseline
            case .avx2: return avx2
            case .avx512: return avx512
            }
        #else
            return baseline
        #endif
    }

    /// The kernels in use.
    public static let active = table(for: CPUPath.active)
}
