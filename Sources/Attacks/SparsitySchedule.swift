/// How many pixels a step of Auto-PGD changes in L1 (Croce and Hein 2021, "Mind the box: l1-APGD for sparse adversarial attacks
/// on image classifiers", section 3.2 and Algorithm 1; the published code has 0.04 of the steps between checkpoints).
///
/// At a checkpoint the number becomes that of the pixels which the best point changes, over 1.5. Where that has fallen by more
/// than a twentieth the step is ε again and the run goes on from the best point; else the step falls by a third, down to ε/10.
struct SparsitySchedule {
    /// Between checkpoints.
    let window: Int
    /// The part of the pixels that a step changes.
    private var share: Float
    private var changed: Float
    private let pixels: Int

    /// - Parameter start: how many pixels the start changes; nil: a random start, from which 20 % are tried.
    init(steps: Int, pixels: Int, start: Int?) {
        window = max(Int(0.04 * Double(steps)), 1)
        self.pixels = pixels
        share = start.map { Float($0) / Float(pixels) / 1.5 } ?? 0.2
        changed = Float(start ?? pixels)
    }

    /// How many pixels a step changes. In float32 and in this order, so that it is the published code's number.
    var number: Int { pixels - Int(min(max((1 - share) * Float(pixels), 0), Float(pixels - 1))) }

    /// At a checkpoint, told how many pixels the best point changes: whether to begin again there with the whole step.
    mutating func beginsAgain(_ best: Int) -> Bool {
        defer { changed = Float(best) }
        share = Float(best) / Float(pixels) / 1.5
        return Float(best) / changed < 0.95
    }

    /// The step after a checkpoint that did not begin again.
    static func shorter(_ step: Float, whole: Float) -> Float { max(step / 1.5, whole / 10) }
}
