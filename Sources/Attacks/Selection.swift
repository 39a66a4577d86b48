import Glibc

/// Where the running sum of `weight` over the values, those of largest magnitude first, reaches `target`: the magnitude of the
/// value that does it; 0 where all of them together do not.
///
/// Magnitudes are ordered like the bits of their floats, so four passes of eight bits each find it, without sorting and
/// without memory.
@inline(__always)
func magnitude(
    where target: Double, isReachedBy values: UnsafePointer<Float>, _ count: Int, weight: (Int) -> Double
) -> Float {
    var (prefix, above) = (UInt32(0), 0.0)
    for shift in [23, 15, 7, 0] as [UInt32] {
        let bits: UInt32 = shift == 0 ? 7 : 8
        let known = ~UInt32(0) << (shift + bits) & 0x7FFF_FFFF
        let found = withUnsafeTemporaryAllocation(of: Double.self, capacity: 256) { bins in
            bins.initialize(repeating: 0)
            for i in 0..<count {
                let pattern = values[i].magnitude.bitPattern
                if pattern & known == prefix { bins[Int(pattern >> shift & (1 << bits - 1))] += weight(i) }
            }
            for bin in stride(from: Int(1) << Int(bits) - 1, through: 0, by: -1) {
                if above + bins[bin] >= target { return bin }
                above += bins[bin]
            }
            return -1
        }
        guard found >= 0 else { return 0 }
        prefix |= UInt32(found) << shift
    }
    return Float(bitPattern: prefix)
}
