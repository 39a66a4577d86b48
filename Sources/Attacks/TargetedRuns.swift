import Kernels
import Runtime

/// The runs of an attack that goes for one class after the other: in each restart for all of them, the nearest first.
///
/// What a run draws depends on its restart and its target, not on how many there are: with more of either the same runs are
/// made, and then some.
struct TargetedRuns: Sendable {
    let count: Int
    /// At least 1, also where there are none.
    private let targets: Int
    /// At least as many as there are targets, whatever was asked for.
    private let rivals: Int

    /// Throws `invalidArgument` for more than can be told apart.
    init(_ options: AttackOptions, classes: Int) throws {
        count = options.targetCount(classes) * options.restarts
        targets = max(options.targetCount(classes), 1)
        rivals = options.target.isEmpty ? max(min(classes - 1, AttackOptions.mostTargets), 1) : 1
        let most = AttackOptions.mostRestarts / rivals
        guard options.restarts == 1 || options.restarts <= most else {
            throw EngineError.invalid(
                "restarts", got: options.restarts, want: "at most \(most) with \(classes) classes")
        }
    }

    /// The class of a run.
    func target(_ run: Int, of sample: AttackSample) -> Int {
        sample.target ?? classOfRank(1 + run % targets, sample.logits, sample.classes)
    }

    /// What its random numbers are keyed by.
    func key(_ run: Int) -> Int { run / targets * rivals + run % targets }

    /// Whether it belongs to a later restart than the first.
    func isRestart(_ run: Int) -> Bool { run >= targets }
}
