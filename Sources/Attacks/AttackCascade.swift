import Kernels
import Runtime

/// Takes samples through the stages of an attack, each until one of them succeeds.
///
/// The unit of work is a run of one stage on one sample. Runs that are under way share the passes of the model, whatever
/// stages they belong to, and where one ends the next begins: batches stay full until fewer samples than a batch are left.
/// Samples come in order, and each goes through all its stages as early as possible, so that a cascade which is stopped has
/// finished results of the first ones.
final class AttackCascade {
    private let classifier: any DifferentiableClassifier
    private let source: any ImageSource
    private let stages: [AttackStage]
    private let state: CascadeState
    private let mean: GradientMean
    private let aim: (target: AttackTarget, seed: UInt64)?
    private let (pixels, classes): (Int, Int)
    private let capacity: Int
    /// Of stages with and without gradients.
    private let pools: [RunPool]
    // Of one pass.
    private let images: FloatBuffer
    private let gradient: FloatBuffer
    private let logits: FloatBuffer
    private let slopes: FloatBuffer
    private let loss: FloatBuffer
    private let goesOn: Buffer<Bool>

    /// - Parameters:
    ///   - expectation: passes over which gradients are averaged.
    ///   - aim: the class to reach, and the seed of a random one; nil: any class but the label.
    ///   - batchSize: changes speed and memory only.
    /// Throws `invalidArgument` (a model without a gradient), `outOfMemory`.
    init(
        _ classifier: any DifferentiableClassifier, source: any ImageSource, stages: [AttackStage], expectation: Int,
        aim: (target: AttackTarget, seed: UInt64)? = nil, batchSize: Int, state: CascadeState
    ) throws {
        for stage in stages where stage.usesGradient { try classifier.requireGradient(for: stage.name) }
        self.classifier = classifier
        self.source = source
        self.stages = stages
        self.state = state
        self.aim = aim
        (pixels, classes) = (classifier.shape.count, classifier.classes)
        capacity = min(max(batchSize, 1), max(state.count, 1))
        let (capacity, pixels) = (capacity, pixels)
        pools = try [true, false].map { usesGradient in
            let planes = stages.filter { $0.usesGradient == usesGradient }.map(\.planes).max() ?? 0
            return try RunPool(
                usesGradient: usesGradient, planes: planes, pixels: pixels, capacity: planes == 0 ? 0 : capacity,
                samples: state.count)
        }
        images = try FloatBuffer(capacity * pixels)
        gradient = try FloatBuffer(capacity * pixels)
        mean = try GradientMean(passes: expectation, count: capacity * pixels)
        logits = try FloatBuffer(capacity * classes)
        slopes = try FloatBuffer(capacity * classes)
        loss = try FloatBuffer(capacity)
        goesOn = try Buffer(capacity)
    }

    /// The clean images' logits, and which of them are classified correctly. Returns the seconds spent.
    func runClean(_ monitor: RunMonitor) throws -> Double {
        let began = monotonicSeconds()
        for first in stride(from: 0, to: state.count, by: capacity) {
            let size = min(capacity, state.count - first)
            try source.readImages(first..<first + size, into: images.pointer)
            try monitor.checkpoint?()
            let row = state.logits.pointer + first * classes
            try classifier.forward(images.pointer, count: size, logits: row, retain: false)
            try Validation.checkOutputs(
                row, count: size, perSample: classes, argument: "the model's logits",
                sample: { source.number(first + $0) })
            for i in 0..<size {
                let isWhole = !known(first + i, clean: images.pointer + i * pixels).isBroken(by: row + i * classes)
                state.clean[first + i] = isWhole ? 1 : 0
                state.firstSuccess[first + i] = isWhole ? -1 : 0
                state.forwards[first + i] = 1
            }
            try monitor.progress?(
                RunProgress(
                    stage: "clean", done: first + size, total: state.count, seconds: monotonicSeconds() - began))
        }
        return monotonicSeconds() - began
    }

    /// From where the state stands to the end.
    ///
    /// - Parameter afterPass: called after each pass, with the seconds since the beginning.
    /// Throws `notFinite` where the model's output is NaN or infinite, naming the sample; whatever the monitor and
    /// `afterPass` throw. The state is then one to go on from.
    func run(_ monitor: RunMonitor, afterPass: (Double) throws -> Void) throws {
        let began = monotonicSeconds()
        for sample in 0..<state.count {
            if state.clean[sample] == 0 { state.stage[sample] = Int32(stages.count) }
            if let pool = pool(of: sample) { pool.wait(sample) }
        }
        while let pool = nextPool() {
            while pool.runs.count < pool.capacity, let sample = pool.nextWaiting() {
                let place = pool.takePlace()
                try source.readImages(sample..<sample + 1, into: pool.clean(place))
                pool.runs.append(begin(sample, in: pool, place))
            }
            let start = monotonicSeconds()
            try pass(pool, monitor)
            noteTime(pool, monotonicSeconds() - start)
            noteResults(pool)
            try afterPass(monotonicSeconds() - began)
        }
    }

    /// A full batch without gradients first: it finishes samples. Nil when all is done.
    private func nextPool() -> RunPool? {
        let (withGradient, without) = (pools[0], pools[1])
        if without.load >= without.capacity, without.load > 0 { return without }
        if withGradient.load > 0 { return withGradient }
        return without.load > 0 ? without : nil
    }

    private func pool(of sample: Int) -> RunPool? {
        let stage = Int(state.stage[sample])
        return stages.indices.contains(stage) ? pools[stages[stage].usesGradient ? 0 : 1] : nil
    }

    /// What is known of a sample once its clean logits are.
    private func known(_ sample: Int, clean: UnsafePointer<Float>) -> AttackSample {
        let logits = UnsafePointer(state.logits.pointer + sample * classes)
        let key = source.key(sample)
        var known = AttackSample(
            clean: clean, logits: logits, label: source.label(sample), key: key, shape: classifier.shape,
            classes: classes, target: nil)
        guard let aim else { return known }
        known.target = aim.target.resolve(
            sample: sample, logits: logits, label: known.label, classes: classes, seed: aim.seed, key: key)
        known.label = argmax(logits, classes)
        return known
    }

    /// Evaluates the results once more, rounded to bytes.
    func quantise(_ monitor: RunMonitor) throws {
        let flags = try Buffer<UInt8>(state.count)
        let broken = try Buffer(copying: (0..<state.count).lazy.filter { self.state.isMisclassified($0) })
        let check = try QuantisationCheck(classifier, capacity: capacity)
        let clean = try FloatBuffer(pixels)
        try check.run(
            broken,
            image: { sample in
                guard state.breaker[sample] < 0 else { return UnsafePointer(state.image(sample)) }
                try source.readImages(sample..<sample + 1, into: clean.pointer)
                return UnsafePointer(clean.pointer)
            }, number: source.number, monitor
        ) { sample, logits in
            let known = known(sample, clean: logits)
            // What was misclassified from the start and was given no target.
            let isLeft = state.clean[sample] == 0 && !known.isBroken(by: state.logits.pointer + sample * classes)
            let isSuccess =
                isLeft ? argmax(logits, classes) != source.label(sample) : known.isBroken(by: logits)
            flags[sample] = isSuccess ? 1 : 0
        }
        state.quantised = flags
    }

    private func begin(_ sample: Int, in pool: RunPool, _ place: Int) -> RunPool.Slot {
        let known = known(sample, clean: UnsafePointer(pool.clean(place)))
        let run = stages[Int(state.stage[sample])].begin(known, Int(state.run[sample]), pool.memory(place))
        return RunPool.Slot(sample: sample, place: place, run: run)
    }

    /// One evaluation of the model for every run of the pool, and their answer to it.
    private func pass(_ pool: RunPool, _ monitor: RunMonitor) throws {
        let active = pool.runs.count
        WorkerPool.parallelFor(active) { i in
            (images.pointer + i * pixels).update(from: pool.runs[i].run.query, count: pixels)
        }
        func evaluate() throws {
            try monitor.checkpoint?()
            try classifier.forward(images.pointer, count: active, logits: logits.pointer, retain: pool.usesGradient)
            try check(logits.pointer, classes, "the model's logits under attack", pool)
            slopes.pointer.update(repeating: 0, count: active * classes)
            for i in 0..<active {
                loss.pointer[i] = pool.runs[i].run.loss(
                    logits.pointer + i * classes, slope: pool.usesGradient ? slopes.pointer + i * classes : nil)
            }
            guard pool.usesGradient else { return }
            try classifier.inputGradient(slopes.pointer, count: active, gradient: gradient.pointer)
            try check(gradient.pointer, pixels, "the model's gradient under attack", pool)
        }
        if pool.usesGradient {
            try mean.take(gradient.pointer, count: active * pixels, pass: evaluate)
        } else {
            try evaluate()
        }
        let told = pool.usesGradient ? UnsafePointer(gradient.pointer) : nil
        WorkerPool.parallelFor(active) { i in
            goesOn[i] = pool.runs[i].run.receive(
                logits: UnsafePointer(logits.pointer + i * classes), loss: loss.pointer[i],
                gradient: told.map { $0 + i * pixels })
        }
    }

    private func check(_ values: UnsafePointer<Float>, _ perSample: Int, _ what: String, _ pool: RunPool) throws {
        try Validation.checkOutputs(
            values, count: pool.runs.count, perSample: perSample, argument: what,
            sample: { source.number(pool.runs[$0].sample) })
    }

    private func noteTime(_ pool: RunPool, _ seconds: Double) {
        let share = seconds / Double(pool.runs.count)
        for slot in pool.runs { state.seconds[Int(state.stage[slot.sample])] += share }
    }

    private func noteResults(_ pool: RunPool) {
        let times = Int64(pool.usesGradient ? mean.passes : 1)
        var kept = 0
        for i in 0..<pool.runs.count {
            var slot = pool.runs[i]
            let sample = slot.sample
            if slot.passesToSuccess < 0, slot.run.result != nil { slot.passesToSuccess = slot.passes }
            slot.passes += times
            if !goesOn[i] {
                finish(slot)
                guard let next = self.pool(of: sample), next === pool else {
                    pool.leave(slot.place)
                    self.pool(of: sample)?.wait(sample)
                    continue
                }
                slot = begin(sample, in: pool, slot.place)
            }
            pool.runs[kept] = slot
            kept += 1
        }
        pool.runs.removeLast(pool.runs.count - kept)
    }

    /// Writes down the end of a run: on to the next, or to the end where it succeeded.
    private func finish(_ slot: RunPool.Slot) {
        let sample = slot.sample
        let stage = Int(state.stage[sample])
        if slot.passesToSuccess >= 0 { state.firstSuccess[sample] = state.forwards[sample] + slot.passesToSuccess }
        state.forwards[sample] += slot.passes
        state.backwards[sample] += stages[stage].usesGradient ? slot.passes : 0
        if slot.run.gradientVanished { state.vanished[sample] = 1 }
        if let result = slot.run.result {
            state.image(sample).update(from: result, count: pixels)
            state.breaker[sample] = Int32(stage)
            state.stage[sample] = Int32(stages.count)
            state.run[sample] = 0
        } else if Int(state.run[sample]) + 1 < stages[stage].runs {
            state.run[sample] += 1
        } else {
            state.stage[sample] += 1
            state.run[sample] = 0
        }
    }
}

/// The runs that share passes: those under way, their memory, and the samples that wait for room.
private final class RunPool {
    struct Slot {
        let sample: Int
        let place: Int
        let run: any AttackRun
        var passes: Int64 = 0
        /// How many it had made when it first found something; -1 before.
        var passesToSuccess: Int64 = -1
    }

    let usesGradient: Bool
    let capacity: Int
    var runs: [Slot] = []
    /// Those under way and those that wait.
    var load: Int { runs.count + waitingCount }

    private let planes: Int
    private let pixels: Int
    private let buffer: FloatBuffer
    private var freePlaces: [Int]
    // A ring: no sample waits twice.
    private let waiting: Buffer<Int>
    private var waitingFirst = 0
    private var waitingCount = 0

    init(usesGradient: Bool, planes: Int, pixels: Int, capacity: Int, samples: Int) throws {
        self.usesGradient = usesGradient
        self.planes = planes
        self.pixels = pixels
        self.capacity = capacity
        buffer = try FloatBuffer(capacity * (planes + 1) * pixels)
        freePlaces = Array((0..<capacity).reversed())
        waiting = try Buffer(samples)
        runs.reserveCapacity(capacity)
    }

    /// The clean image of a place, and the memory of its run behind it.
    func clean(_ place: Int) -> UnsafeMutablePointer<Float> { buffer.pointer + place * (planes + 1) * pixels }
    func memory(_ place: Int) -> UnsafeMutablePointer<Float> { clean(place) + pixels }

    func takePlace() -> Int { freePlaces.removeLast() }
    func leave(_ place: Int) { freePlaces.append(place) }

    func wait(_ sample: Int) {
        waiting[(waitingFirst + waitingCount) % waiting.count] = sample
        waitingCount += 1
    }

    func nextWaiting() -> Int? {
        guard waitingCount > 0 else { return nil }
        defer {
            waitingFirst = (waitingFirst + 1) % waiting.count
            waitingCount -= 1
        }
        return waiting[waitingFirst]
    }
}
