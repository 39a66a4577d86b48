import Runtime

/// Changes weights along their gradients. Its state starts at 0.
protocol Optimiser: TrainingState {
    /// One step.
    ///
    /// - Parameter scale: multiplies the gradients first (gradient clipping).
    func step(
        _ weights: UnsafeMutablePointer<Float>, gradients: UnsafePointer<Float>, scale: Float, learningRate: Double)
}

extension Optimiser {
    var stateName: String { "optimiser" }
}

/// Runs `body` over `count` values in chunks of fixed size, side by side.
func forEachChunk(of count: Int, _ body: (Range<Int>) -> Void) {
    let chunk = 1 << 14
    WorkerPool.parallelFor((count + chunk - 1) / chunk) { body($0 * chunk..<min(($0 + 1) * chunk, count)) }
}
