import Kernels
import Runtime

/// What an attack notes of each sample on its way: arrays with one value a sample, borrowed.
public struct AttackTrace {
    /// How many steps the sample had taken, those of earlier restarts included, when its first misclassified iterate was
    /// seen: 0 = a start. -1 where none was.
    public let firstSuccess: UnsafeMutablePointer<Int64>
    /// Passes of the sample through the model.
    public let forwards: UnsafeMutablePointer<Int64>
    /// Those of them after which the gradient was taken back to the image.
    public let backwards: UnsafeMutablePointer<Int64>

    func reset(count: Int) {
        firstSuccess.update(repeating: -1, count: count)
        forwards.update(repeating: 0, count: count)
        backwards.update(repeating: 0, count: count)
    }
}

/// Where an attack's results go, one value (or image) a sample; nil for what is not wanted.
public struct AttackOutputs {
    /// Like the images; may be their memory.
    public var adversarial: UnsafeMutablePointer<Float>
    /// 1 where the model misclassifies the result.
    public var success: UnsafeMutablePointer<UInt8>?
    /// As in `AttackTrace`; so `forwards` and `backwards`.
    public var firstSuccess: UnsafeMutablePointer<Int64>?
    /// Distances of the result from the image: max |x' - x|, ‖x' - x‖₂ and Σ |x' - x|.
    public var linf: UnsafeMutablePointer<Double>?
    public var l2: UnsafeMutablePointer<Double>?
    public var l1: UnsafeMutablePointer<Double>?
    public var forwards: UnsafeMutablePointer<Int64>?
    public var backwards: UnsafeMutablePointer<Int64>?
    /// 1 where the result is a success and stays one once it is rounded to bytes.
    public var quantised: UnsafeMutablePointer<UInt8>?
    /// Where an error ends the attack: what was found so far is written, then this called. nil: nothing is written then.
    public var interrupted: ((AttackTotals) -> Void)?

    public init(adversarial: UnsafeMutablePointer<Float>) { self.adversarial = adversarial }
}

/// What an attack comes to as a whole.
public struct AttackTotals: Sendable {
    /// Samples whose result is misclassified.
    public internal(set) var successes = 0
    public internal(set) var forwards = 0
    public internal(set) var backwards = 0
    public internal(set) var seconds = 0.0
    /// Successes that outlive rounding to bytes; -1 where that was not asked for.
    public internal(set) var quantised = -1

    init(count: Int, isQuantised: Bool, seconds: Double, outcome: (Int) -> AttackOutcome) {
        self.seconds = seconds
        if isQuantised { quantised = 0 }
        for i in 0..<count {
            let one = outcome(i)
            successes += one.isSuccess ? 1 : 0
            forwards += Int(one.forwards)
            backwards += Int(one.backwards)
            if isQuantised { quantised += one.isQuantisedSuccess ? 1 : 0 }
        }
    }
}

/// The samples after an attack.
public protocol AttackResults {
    var count: Int { get }
    /// Of one image.
    var pixels: Int { get }
    /// Writes what is wanted. `outputs.adversarial` may be the memory of the source's images. Throws what reading the
    /// source throws.
    func write(to outputs: AttackOutputs) throws
    /// Whether the results have been looked at rounded to bytes.
    var isQuantised: Bool { get }
    func outcome(_ sample: Int) -> AttackOutcome
}

extension AttackResults {
    public func totals(seconds: Double) -> AttackTotals {
        AttackTotals(count: count, isQuantised: isQuantised, seconds: seconds, outcome: outcome)
    }
}

/// What an attack comes to on one sample.
public struct AttackOutcome {
    let isSuccess: Bool
    /// Whether it outlives rounding to bytes, where that has been looked at.
    let isQuantisedSuccess: Bool
    let forwards: Int64
    let backwards: Int64
}

/// The results of an attack on `count` samples while it runs: the caller's memory is written at the end, all at once.
final class AttackRecord {
    let count: Int
    let images: FloatBuffer
    let success: Buffer<UInt8>
    private let pixels: Int
    private let firstSuccess: Buffer<Int64>
    private let forwards: Buffer<Int64>
    private let backwards: Buffer<Int64>
    private(set) var quantised: Buffer<UInt8>?

    /// Throws `outOfMemory`.
    init(count: Int, pixels: Int) throws {
        self.count = count
        self.pixels = pixels
        images = try FloatBuffer(count * pixels)
        success = try Buffer(count)
        firstSuccess = try Buffer(count)
        forwards = try Buffer(count)
        backwards = try Buffer(count)
    }

    /// Of the samples from `first` on.
    func trace(from first: Int) -> AttackTrace {
        AttackTrace(
            firstSuccess: firstSuccess.pointer + first, forwards: forwards.pointer + first,
            backwards: backwards.pointer + first)
    }

    /// Counts a pass forward that the loop did not make.
    func addForwards(_ samples: Range<Int>) {
        for i in samples { forwards[i] += 1 }
    }

    /// The images themselves in the place of the samples from `first` on, which have not been attacked.
    func leave(from first: Int, clean: UnsafePointer<Float>) {
        guard first < count else { return }
        (images.pointer + first * pixels).update(from: clean + first * pixels, count: (count - first) * pixels)
        trace(from: first).reset(count: count - first)
    }

    /// Takes over the result of one sample: the `i`-th of a batch with that trace, and `passes` more.
    func take(
        _ sample: Int, image: UnsafePointer<Float>, success: UInt8, trace: AttackTrace, at i: Int, passes: Int64
    ) {
        (images.pointer + sample * pixels).update(from: image, count: pixels)
        self.success[sample] = success
        firstSuccess[sample] = trace.firstSuccess[i]
        forwards[sample] = trace.forwards[i] + passes
        backwards[sample] = trace.backwards[i]
    }

    /// Evaluates the successes once more, rounded to bytes.
    ///
    /// - Parameters:
    ///   - label: of a sample; where it `isTargeted` the class that it was to reach.
    ///   - number: what errors call a sample.
    func quantise(
        _ classifier: any DifferentiableClassifier, capacity: Int, label: (Int) -> Int, isTargeted: (Int) -> Bool,
        number: (Int) -> Int, _ monitor: RunMonitor
    ) throws {
        let flags = try Buffer<UInt8>(count)
        let broken = try Buffer(copying: success.indices.lazy.filter { self.success[$0] == 1 })
        let check = try QuantisationCheck(classifier, capacity: capacity)
        try check.run(
            broken, image: { UnsafePointer(images.pointer + $0 * pixels) }, number: number, monitor
        ) { i, logits in
            flags[i] = (argmax(logits, classifier.classes) == label(i)) == isTargeted(i) ? 1 : 0
        }
        quantised = flags
    }

    func outcome(_ sample: Int) -> AttackOutcome {
        AttackOutcome(
            isSuccess: success[sample] == 1, isQuantisedSuccess: quantised?[sample] == 1, forwards: forwards[sample],
            backwards: backwards[sample])
    }

    func totals(seconds: Double) -> AttackTotals {
        AttackTotals(count: count, isQuantised: quantised != nil, seconds: seconds, outcome: outcome)
    }

    /// - Parameter clean: the images that were attacked, (count, pixels).
    func write(to outputs: AttackOutputs, clean: UnsafePointer<Float>) {
        // Before the results, which may take the place of the images.
        writeDistances(to: outputs, clean: clean)
        if let quantised { outputs.quantised?.update(from: quantised.pointer, count: count) }
        outputs.adversarial.update(from: images.pointer, count: count * pixels)
        outputs.success?.update(from: success.pointer, count: count)
        outputs.firstSuccess?.update(from: firstSuccess.pointer, count: count)
        outputs.forwards?.update(from: forwards.pointer, count: count)
        outputs.backwards?.update(from: backwards.pointer, count: count)
    }

    private func writeDistances(to outputs: AttackOutputs, clean: UnsafePointer<Float>) {
        guard outputs.linf != nil || outputs.l2 != nil || outputs.l1 != nil else { return }
        WorkerPool.parallelFor(count) { i in
            let moved = distances(images.pointer + i * pixels, clean + i * pixels, pixels)
            outputs.linf?[i] = moved.linf
            outputs.l2?[i] = moved.l2
            outputs.l1?[i] = moved.l1
        }
    }
}

/// The samples after an attack of the loop on a source.
struct RecordedSamples: AttackResults {
    let source: any ImageSource
    let record: AttackRecord

    var count: Int { record.count }
    var pixels: Int { source.shape.count }

    func write(to outputs: AttackOutputs) throws {
        // The clean images go where the result will lie, to be compared with it.
        let adversarial = outputs.adversarial
        try source.readImages(0..<count, into: adversarial)
        record.write(to: outputs, clean: UnsafePointer(adversarial))
    }

    var isQuantised: Bool { record.quantised != nil }
    func outcome(_ sample: Int) -> AttackOutcome { record.outcome(sample) }
}

/// The samples after an attack in stages.
public struct AttackedSamples: AttackResults {
    let source: any ImageSource
    let state: CascadeState

    init(_ source: any ImageSource, _ state: CascadeState) {
        (self.source, self.state) = (source, state)
    }

    public var count: Int { state.count }
    /// Of one image.
    public var pixels: Int { state.pixels }

    /// Writes what is wanted: images that no attack broke are the clean ones. `outputs.adversarial` may be the memory of the
    /// source's images.
    public func write(to outputs: AttackOutputs) throws {
        let pixels = state.pixels
        // A broken image's memory holds the attack's; the result takes the clean one first, to be compared with it.
        try source.readImages(0..<state.count, into: outputs.adversarial)
        WorkerPool.parallelFor(state.count) { i in
            let result = outputs.adversarial + i * pixels
            var moved = (linf: 0.0, l2: 0.0, l1: 0.0)
            if state.breaker[i] >= 0 {
                moved = distances(state.image(i), result, pixels)
                result.update(from: state.image(i), count: pixels)
            }
            outputs.success?[i] = state.isMisclassified(i) ? 1 : 0
            outputs.linf?[i] = moved.linf
            outputs.l2?[i] = moved.l2
            outputs.l1?[i] = moved.l1
        }
        outputs.firstSuccess?.update(from: state.firstSuccess.pointer, count: state.count)
        outputs.forwards?.update(from: state.forwards.pointer, count: state.count)
        outputs.backwards?.update(from: state.backwards.pointer, count: state.count)
        if let quantised = state.quantised { outputs.quantised?.update(from: quantised.pointer, count: state.count) }
    }

    public var isQuantised: Bool { state.quantised != nil }
    public func outcome(_ sample: Int) -> AttackOutcome {
        AttackOutcome(
            isSuccess: state.isMisclassified(sample), isQuantisedSuccess: state.quantised?[sample] == 1,
            forwards: state.forwards[sample], backwards: state.backwards[sample])
    }
}
