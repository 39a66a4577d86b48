import Runtime

/// Expectation over transformation (Athalye, Carlini, Wagner 2018, "Obfuscated gradients give a false sense of security",
/// section 4.2): of a model that is random a gradient is the mean over several passes.
final class GradientMean {
    let passes: Int
    private let sum: FloatBuffer

    /// - Parameter count: of floats, at most. Throws `outOfMemory`.
    init(passes: Int, count: Int) throws {
        self.passes = passes
        sum = try FloatBuffer(passes > 1 ? count : 0)
    }

    /// Runs `pass`, which writes the first `count` values of `gradient`, as often as there are passes; leaves their mean there.
    func take(_ gradient: UnsafeMutablePointer<Float>, count: Int, pass: () throws -> Void) throws {
        guard passes > 1 else { return try pass() }
        let sum = sum.pointer
        sum.update(repeating: 0, count: count)
        for _ in 0..<passes {
            try pass()
            for i in 0..<count { sum[i] += gradient[i] }
        }
        for i in 0..<count { gradient[i] = sum[i] / Float(passes) }
    }
}
