import Runtime

/// Shortens a gradient whose L2 norm, taken over all parameters, exceeds a limit (Pascanu, Mikolov, Bengio 2013), in
/// PyTorch's convention: times `min(1, limit / (norm + 1e-6))`.
struct GradientClipping {
    let limit: Double

    /// By what the gradient is to be multiplied.
    func scale(_ gradients: FloatBuffer) -> Float {
        Float(min(1, limit / (norm(gradients.pointer, gradients.count) + 1e-6)))
    }
}

/// The L2 norm of `count` values, in double precision, always added in the same order.
func norm(_ values: UnsafePointer<Float>, _ count: Int) -> Double {
    var sums = SIMD8<Double>(repeating: 0)
    let whole = count & ~7
    for first in stride(from: 0, to: whole, by: 8) {
        let part = SIMD8<Double>(
            UnsafeRawPointer(values + first).loadUnaligned(as: SIMD8<Float>.self))
        sums += part * part
    }
    var sum = sums.sum()
    for i in whole..<count { sum += Double(values[i]) * Double(values[i]) }
    return sum.squareRoot()
}
