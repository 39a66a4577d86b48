import Runtime

/// How far a long computation has come.
public struct RunProgress: Sendable {
    /// What is being done: "clean", "pgd-20", …
    public let stage: String
    /// Samples finished, of `total`.
    public let done: Int
    public let total: Int
    /// Since the stage began.
    public let seconds: Double
    /// Expected until the stage ends; negative where that cannot be told yet.
    public internal(set) var remaining: Double
    /// Of all samples, the part that is not broken so far; negative where that is not counted.
    public internal(set) var accuracy = -1.0

    init(stage: String, done: Int, total: Int, seconds: Double) {
        (self.stage, self.done, self.total, self.seconds) = (stage, done, total, seconds)
        remaining = done > 0 ? seconds * Double(total - done) / Double(done) : -1
    }
}

/// How the caller of a long computation watches and stops it. Both closures may throw, which ends the computation
/// with that error: to cancel, throw an `EngineError` with the code `cancelled`.
public struct RunMonitor {
    /// Called after each batch, and within long ones of the loop's attacks.
    public var progress: ((RunProgress) throws -> Void)?
    /// Called before each pass through a model, so that a cancellation waits for one pass at most.
    public var checkpoint: (() throws -> Void)?

    public init(progress: ((RunProgress) throws -> Void)? = nil, checkpoint: (() throws -> Void)? = nil) {
        self.progress = progress
        self.checkpoint = checkpoint
    }

    /// The checkpoint of a stage whose batches may take long: it reports four times a second too, so that a progress callback
    /// can cancel within a batch.
    ///
    /// - Parameter done: samples finished so far, of `total`.
    func checkpoint(of stage: String, total: Int, done: @escaping () -> Int) -> (() throws -> Void)? {
        guard let progress else { return checkpoint }
        let began = monotonicSeconds()
        var told = began
        // When the last batch ended, and what was done then.
        var (ended, finished) = (began, 0)
        return {
            try checkpoint?()
            let now = monotonicSeconds()
            if done() != finished { (ended, finished) = (now, done()) }
            guard now - told >= 0.25 else { return }
            told = now
            var state = RunProgress(stage: stage, done: finished, total: total, seconds: now - began)
            if finished > 0 {
                let expected = (ended - began) * Double(total - finished) / Double(finished)
                state.remaining = max(expected - (now - ended), 0)
            }
            try progress(state)
        }
    }
}
