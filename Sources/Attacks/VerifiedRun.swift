import Kernels

extension AttackStage {
    /// The same attack, whose results are evaluated once more before they count: for models that answer differently each
    /// time, of which a single misclassification is to be expected on many iterates.
    var verified: AttackStage {
        let begin = begin
        return AttackStage(
            name: name, runs: runs, usesGradient: usesGradient, planes: planes, passes: passes + 1, fallback: fallback
        ) { sample, run, memory in
            VerifiedRun(begin(sample, run, memory), sample)
        }
    }
}

/// A run, and at its end one more evaluation of what it has found.
private final class VerifiedRun: AttackRun {
    private let inner: any AttackRun
    private let sample: AttackSample
    /// What the run has found, once it is over.
    private var found: UnsafePointer<Float>?
    private var isConfirmed = false

    init(_ inner: any AttackRun, _ sample: AttackSample) {
        (self.inner, self.sample) = (inner, sample)
    }

    var query: UnsafePointer<Float> { found ?? inner.query }
    var result: UnsafePointer<Float>? { isConfirmed ? found : nil }
    var gradientVanished: Bool { inner.gradientVanished }

    func loss(_ logits: UnsafePointer<Float>, slope: UnsafeMutablePointer<Float>?) -> Float {
        inner.loss(logits, slope: slope)
    }

    func receive(logits: UnsafePointer<Float>, loss: Float, gradient: UnsafePointer<Float>?) -> Bool {
        if found != nil {
            isConfirmed = sample.isBroken(by: logits)
            return false
        }
        if inner.receive(logits: logits, loss: loss, gradient: gradient) { return true }
        found = inner.result
        return found != nil
    }
}
