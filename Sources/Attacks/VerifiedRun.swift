import Kernels

extension AttackStage {
    /// The same attack, for models that answer differently each time, of which a single misclassification is to be expected on
    /// many iterates: what it finds is evaluated once more before it counts.
    var verified: AttackStage {
        guard !isVerified else { return self }
        let (begin, confirms) = (begin, !keepsGoing)
        var made = AttackStage(
            name: name, runs: runs, usesGradient: usesGradient, planes: planes, passes: passes + 1, fallback: fallback,
            keepsGoing: keepsGoing
        ) { sample, run, memory in
            VerifiedRun(begin(sample, run, memory), sample, confirms: confirms)
        }
        made.isVerified = true
        return made
    }
}

/// A run, and at its end one more evaluation of what it has found.
private final class VerifiedRun: AttackRun {
    /// So often in a row a point is to be misclassified before the run is told of it, and takes it for an end.
    private static let confirmations = 4

    private let inner: any AttackRun
    private let sample: AttackSample
    private let confirms: Bool
    private var confirmed = 0
    /// What the run has found, once it is over.
    private var found: UnsafePointer<Float>?
    private var isCounted = false

    /// - Parameter confirms: the run ends where it first sees a success, or keeps the nearest: chance would be its end or its result
    ///   before anything else.
    init(_ inner: any AttackRun, _ sample: AttackSample, confirms: Bool) {
        (self.inner, self.sample, self.confirms) = (inner, sample, confirms)
    }

    var query: UnsafePointer<Float> { found ?? inner.query }
    var result: UnsafePointer<Float>? { isCounted ? found : nil }
    var gradientVanished: Bool { inner.gradientVanished }

    func loss(_ logits: UnsafePointer<Float>, slope: UnsafeMutablePointer<Float>?) -> Float {
        inner.loss(logits, slope: slope)
    }

    func receive(logits: UnsafePointer<Float>, loss: Float, gradient: UnsafePointer<Float>?) -> Bool {
        if found != nil {
            isCounted = sample.isBroken(by: logits)
            return false
        }
        if confirms, sample.isBroken(by: logits) {
            confirmed += 1
            if confirmed < Self.confirmations { return true }
        }
        confirmed = 0
        if inner.receive(logits: logits, loss: loss, gradient: gradient) { return true }
        found = inner.result
        return found != nil
    }
}
