/// Adam (Kingma and Ba 2015, "Adam: a method for stochastic optimization", algorithm 1) on one image, upwards, with
/// the authors' β₁ = 0.9, β₂ = 0.999 and 1e-8.
struct AdamAscent {
    let rate: Double
    private let mean: UnsafeMutablePointer<Float>
    private let meanSquare: UnsafeMutablePointer<Float>
    private let count: Int
    private var taken = 0

    /// - Parameter memory: for two images, borrowed.
    init(rate: Double, count: Int, memory: UnsafeMutablePointer<Float>) {
        (self.rate, self.count) = (rate, count)
        (mean, meanSquare) = (memory, memory + count)
        memory.update(repeating: 0, count: 2 * count)
    }

    /// - Parameter slope: the derivative by the i-th value.
    mutating func climb(_ point: UnsafeMutablePointer<Float>, slope: (Int) -> Float) {
        taken += 1
        let (corrected, correctedSquare) = (1 - power(0.9, taken), 1 - power(0.999, taken))
        for i in 0..<count {
            let slope = slope(i)
            mean[i] = 0.9 * mean[i] + 0.1 * slope
            meanSquare[i] = 0.999 * meanSquare[i] + 0.001 * slope * slope
            let scale = (Double(meanSquare[i]) / correctedSquare).squareRoot() + 1e-8
            point[i] += Float(rate * (Double(mean[i]) / corrected) / scale)
        }
    }

    private func power(_ base: Double, _ exponent: Int) -> Double {
        var (result, factor, left) = (1.0, base, exponent)
        while left > 0 {
            if left & 1 == 1 { result *= factor }
            factor *= factor
            left >>= 1
        }
        return result
    }
}
