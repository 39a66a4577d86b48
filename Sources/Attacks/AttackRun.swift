import Kernels
import Runtime

/// A sample that is under attack. Borrowed memory.
struct AttackSample {
    /// (channels, height, width) in [0,1].
    let clean: UnsafePointer<Float>
    /// (classes): what the model says to it.
    let logits: UnsafePointer<Float>
    /// In `0..<classes`.
    var label: Int
    /// What its random numbers are keyed by, usually its index in the dataset.
    let key: UInt64
    let shape: ImageShape
    let classes: Int
    /// The class to reach; nil: any but the label. With a target the label is the class that the model gives the clean image.
    var target: Int?

    /// Whether the attack has what it wants.
    func isBroken(by logits: UnsafePointer<Float>) -> Bool {
        let found = argmax(logits, classes)
        return target.map { found == $0 } ?? (found != label)
    }

    /// What a run maximises: `loss` of the label, or with a target `aimed` of it.
    func evaluate(
        _ loss: AttackLoss, aimed: AttackLoss, _ logits: UnsafePointer<Float>, slope: UnsafeMutablePointer<Float>?
    ) -> Float {
        guard let target else { return loss.evaluate(logits, label: label, classes: classes, slope: slope) }
        return aimed.evaluate(logits, label: target, classes: classes, slope: slope)
    }
}

/// One run of an attack on one sample, from outside: it says where it wants the model evaluated, is told the result, and
/// chooses the next point. Runs of many samples so share the passes of a model whatever each of them is doing, and a
/// run's result depends on its sample and its number alone.
protocol AttackRun: AnyObject {
    /// Where the model is to be evaluated next. Lies in [0,1].
    var query: UnsafePointer<Float> { get }

    /// The loss at the query, and the derivatives by the logits that are to be taken back to the image, added to `slope`.
    func loss(_ logits: UnsafePointer<Float>, slope: UnsafeMutablePointer<Float>?) -> Float

    /// Takes in the evaluation and moves `query`. `gradient` is nil in stages that use none. false: the run is over.
    func receive(logits: UnsafePointer<Float>, loss: Float, gradient: UnsafePointer<Float>?) -> Bool

    /// The misclassified image that the run has found, inside the ball and the box; nil: none so far.
    var result: UnsafePointer<Float>? { get }

    /// Whether the run began where the gradient is zero, so that it saw nothing to climb.
    var gradientVanished: Bool { get }
}

/// An attack as a number of runs, one after the other until one succeeds.
public struct AttackStage: Sendable {
    /// That of the attack; of an entry of a list, the entry's.
    public internal(set) var name: String
    /// Restarts, or targets times restarts.
    let runs: Int
    let usesGradient: Bool
    /// How many images' worth of memory a run works in.
    let planes: Int
    /// At most; for estimating times.
    let passes: Int
    /// What the attack does otherwise because there are so few classes.
    let fallback: String?
    /// Whether a run goes on after a success (unless it is to stop early) and gives its last one, or has one query only. Others end at
    /// the first, or look for the nearest.
    var keepsGoing = false
    /// Whether results are evaluated once more: see VerifiedRun.
    var isVerified = false
    /// Starts a run: the sample, the number of the run, its memory of `planes` images.
    let begin: @Sendable (AttackSample, Int, UnsafeMutablePointer<Float>) -> any AttackRun

    /// Through the log.
    func tellFallback() {
        if let fallback { Log.warning("\(name): \(fallback)") }
    }
}

extension AttackPlan {
    /// The random numbers of one run on one sample.
    func random(_ sample: AttackSample, run: Int, stream: RandomStream = .attackStart) -> CounterRandom {
        attackRandom(seed: seed, attack: attackNumber, key: sample.key, run: run, stream: stream)
    }
}

/// The random numbers of one run of an attack on the sample with that key.
func attackRandom(seed: UInt64, attack: UInt32, key: UInt64, run: Int, stream: RandomStream) -> CounterRandom {
    CounterRandom(seed: seed, stream: stream, index: key, sub: attack << 16 | UInt32(truncatingIfNeeded: run))
}
