// The sources of this folder are compiled once per instruction set, as the modules KernelsBaseline, KernelsAVX2 and
// KernelsAVX512 (the folders of those names are links to this one). They know pointers and numbers only: types shared
// with the rest of the engine, or generic code of the standard library that the linker could share between modules,
// would let wide instructions leak into code that must run on any processor.

import CCPU
import Glibc

/// One vector register, and half of one.
#if AVX512
    typealias Lanes = SIMD16<Float>
    typealias HalfLanes = SIMD8<Float>
#elseif AVX2
    typealias Lanes = SIMD8<Float>
    typealias HalfLanes = SIMD4<Float>
#else
    typealias Lanes = SIMD4<Float>
    typealias HalfLanes = SIMD2<Float>
#endif

/// Floats in one vector register.
#if AVX512
    public let laneCount = 16
#elseif AVX2
    public let laneCount = 8
#else
    public let laneCount = 4
#endif

/// Output rows that a register tile of `indirectProduct` holds.
#if AVX512
    public let rowsPerTile = 8
#else
    public let rowsPerTile = 6
#endif

// memcpy of a constant size is one instruction; the standard library's unaligned loads and stores may stay calls in large
// functions.

@inline(always)
func load(_ pointer: UnsafePointer<Float>) -> Lanes {
    var value = Lanes.zero
    memcpy(&value, pointer, MemoryLayout<Lanes>.size)
    return value
}

@inline(always)
func store(_ value: Lanes, _ pointer: UnsafeMutablePointer<Float>) {
    var value = value
    memcpy(pointer, &value, MemoryLayout<Lanes>.size)
}

@inline(always)
func loadHalf(_ pointer: UnsafePointer<Float>) -> HalfLanes {
    var value = HalfLanes.zero
    memcpy(&value, pointer, MemoryLayout<HalfLanes>.size)
    return value
}

@inline(always)
func storeHalf(_ value: HalfLanes, _ pointer: UnsafeMutablePointer<Float>) {
    var value = value
    memcpy(pointer, &value, MemoryLayout<HalfLanes>.size)
}

/// a + b·c; fused where the processor does it in one instruction (elsewhere a fused product is a slow library call).
@inline(always)
func multiplyAdd(_ a: Lanes, _ b: Lanes, _ c: Lanes) -> Lanes {
    #if AVX512 || AVX2
        return ccpu_multiply_add(a, b, c)
    #else
        return a + b * c
    #endif
}

@inline(always)
func multiplyAdd(_ a: HalfLanes, _ b: HalfLanes, _ c: HalfLanes) -> HalfLanes {
    #if AVX512 || AVX2
        return ccpu_multiply_add_half(a, b, c)
    #else
        return a + b * c
    #endif
}

/// max(x, 0), with NaN kept: a NaN must reach the loss, where it is seen.
@inline(always)
func rectified(_ x: Lanes) -> Lanes {
    x.replacing(with: Lanes.zero, where: x .< Lanes.zero)
}

/// x where the mask's byte is not 0, else 0.
@inline(always)
func masked(_ x: Lanes, _ mask: UnsafePointer<UInt8>) -> Lanes {
    var value = x
    ccpu_mask(&value, mask, Int32(laneCount))
    return value
}

/// A byte 1 for each lane that is positive, else 0.
@inline(always)
func storeSigns(_ x: Lanes, _ signs: UnsafeMutablePointer<UInt8>) {
    var value = x
    ccpu_signs(&value, signs, Int32(laneCount))
}

/// target += value, in the first `columns` lanes where fewer than a vector are left; nothing for none.
@inline(always)
func accumulate(_ value: Lanes, _ target: UnsafeMutablePointer<Float>, _ columns: Int) {
    if columns >= laneCount {
        store(load(target) + value, target)
    } else if columns > 0 {
        for lane in 0..<columns { target[lane] += value[lane] }
    }
}
