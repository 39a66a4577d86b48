import Kernels
import Runtime

/// The runs of an attack that goes for one class after the other: in each restart for all of them, the nearest first.
///
/// What a run draws depends on its restart and its target, not on how many there are: with more of either the same runs are
/// made, and then some.
struct TargetedRuns: Sendable {
    let count: Int
    private let targets: Int
    /// Classes that can be gone for.
    private let rivals: Int

    /// Throws `invalidArgument` for more than can be told apart.
    init(_ options: AttackOptions, classes: Int) throws {
        targets = options.targetCount(classes)
        rivals = max(classes - 1, 1)
        count = targets * options.restarts
        let most = AttackOptions.mostRestarts / rivals
        guard options.restarts == 1 || options.restarts <= most else {
            throw EngineError.invalid(
                "restarts", got: options.restarts, want: "at most \(most) with \(classes) classes")
        }
    }

    /// The class of a run.
    func target(_ run: Int, of sample: AttackSample) -> Int {
        sample.target ?? classOfRank(1 + run % max(targets, 1), sample.logits, sample.classes)
    }

    /// What its random numbers are keyed by.
    func key(_ run: Int) -> Int { run / max(targets, 1) * rivals + run % max(targets, 1) }

    /// Whether it belongs to a later restart than the first.
    func isRestart(_ run: Int) -> Bool { run >= targets }
}
