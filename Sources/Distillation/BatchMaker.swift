import Kernels
import Runtime
import Storage

/// Makes batches of a dataset in an order drawn anew for each pass through it, augmented. What it gives depends on (seed,
/// epoch, batch) alone.
///
/// With generated images (Gowal, Rebuffi, Wiles, Stimberg, Calian, Mann, NeurIPS 2021; Wang, Pang, Du, Lin, Liu, Yan,
/// ICML 2023) the last samples of each batch are drawn from those, with replacement. An epoch has as many batches as
/// without, as in these papers, so that a pass through the dataset takes longer than an epoch.
///
/// Not for two threads at once: the loader waits for the one before it lets the other.
final class BatchMaker: @unchecked Sendable {
    private let dataset: Dataset
    private let generated: Dataset?
    private let ratio: Double
    private let augmentation: Augmentation
    private let mix: CutMix?
    private let batchSize: Int
    private let batches: Int
    private let seed: UInt64
    private let spare: Buffer<UInt8>
    private let asRead: FloatBuffer
    private let order: Buffer<Int>
    private var orderedPass = -1
    /// Of the batch: sample numbers, first those of the dataset, and the keys of their random numbers.
    private let chosen: Buffer<Int>
    private let keys: Buffer<UInt64>
    /// What `makeWanted` makes, and where.
    var wanted: (place: BatchPlace, memory: BatchMemory)?

    init(_ dataset: Dataset, generated: Dataset?, _ options: TrainerOptions) throws {
        self.dataset = dataset
        self.generated = generated
        ratio = generated == nil ? 0 : options.generatedRatio
        augmentation = try options.makeAugmentation()
        batchSize = min(options.batchSize, dataset.count)
        batches = (dataset.count - 1) / batchSize + 1
        mix =
            options.cutmix > 0
            ? try CutMix(
                part: Float(options.cutmix), augmentation: augmentation, shape: dataset.shape,
                classes: dataset.classes, capacity: batchSize)
            : nil
        seed = options.seed
        spare = try Buffer(batchSize * augmentation.spareBytes(dataset.shape))
        asRead = try FloatBuffer(batchSize * dataset.shape.count)
        order = try Buffer(dataset.count)
        chosen = try Buffer(batchSize)
        keys = try Buffer(batchSize)
    }

    func makeMemory() throws -> BatchMemory {
        let isSoft = mix != nil || dataset.hasSoftLabels || generated?.hasSoftLabels == true
        return try BatchMemory(
            samples: batchSize, shape: dataset.shape, softClasses: isSoft ? dataset.classes : nil)
    }

    func makeWanted() {
        if let wanted { make(wanted.place, in: wanted.memory) }
    }

    func make(_ place: BatchPlace, in memory: BatchMemory) {
        memory.place = place
        memory.error = nil
        do { try fill(memory, place) } catch { memory.error = error }
    }

    private func fill(_ memory: BatchMemory, _ place: BatchPlace) throws {
        let count = count(of: place.batch)
        let own = count - drawn(of: count)
        choose(place, own: own, count: count)
        let (shape, images) = (dataset.shape, memory.images)
        try dataset.readImages(own, into: asRead.pointer) { chosen[$0] }
        for i in 0..<own { readLabel(i, of: dataset, memory) }
        if let generated {
            try generated.readImages(count - own, into: asRead.pointer + own * shape.count) { chosen[own + $0] }
            for i in own..<count { readLabel(i, of: generated, memory) }
        }
        WorkerPool.parallelFor(count) { i in
            augmentation.apply(
                asRead.pointer + i * shape.count, into: images.pointer + i * shape.count, shape: shape, key: keys[i],
                spare: spare.pointer + i * augmentation.spareBytes(shape))
        }
        if let mix, let softLabels = memory.softLabels {
            mix.apply(
                images.pointer, memory.labels.pointer, softLabels.pointer, count: count, copy: asRead.pointer,
                key: { keys[$0] })
        }
        memory.count = count
    }

    private func readLabel(_ i: Int, of data: Dataset, _ memory: BatchMemory) {
        memory.labels[i] = Int64(data.label(chosen[i]))
        guard let softLabels = memory.softLabels else { return }
        data.readSoftLabels(1, into: softLabels.pointer + i * data.classes) { _ in chosen[i] }
    }

    private func count(of batch: Int) -> Int { min(batchSize, dataset.count - batch * batchSize) }

    /// How many of a batch of `count` samples are generated.
    private func drawn(of count: Int) -> Int { min(Int((ratio * Double(count)).rounded()), count - 1) }

    private func choose(_ place: BatchPlace, own: Int, count: Int) {
        let (epoch, batch) = (place.epoch, place.batch)
        let last = self.count(of: batches - 1)
        let ownInFull = batchSize - drawn(of: batchSize)
        let first = epoch * ((batches - 1) * ownInFull + last - drawn(of: last)) + batch * ownInFull
        for i in 0..<own {
            let (pass, place) = (first + i).quotientAndRemainder(dividingBy: dataset.count)
            if orderedPass != pass { shuffle(pass) }
            chosen[i] = order[place]
            keys[i] = UInt64(pass) * UInt64(dataset.count) + UInt64(chosen[i])
        }
        guard let generated else { return }
        let step = UInt64(epoch) * UInt64(batches) + UInt64(batch)
        var random = CounterRandom(seed: seed, stream: .generated, index: step)
        for i in own..<count {
            chosen[i] = random.below(generated.count)
            // Other numbers than those of the dataset's samples, whatever the two sizes.
            keys[i] = 1 << 63 | (step * UInt64(batchSize) + UInt64(i))
        }
    }

    /// Fisher–Yates, from the sorted order.
    private func shuffle(_ pass: Int) {
        var random = CounterRandom(seed: seed, stream: .shuffle, index: UInt64(pass))
        for i in 0..<dataset.count { order[i] = i }
        for i in stride(from: dataset.count - 1, to: 0, by: -1) {
            let j = random.below(i + 1)
            (order[i], order[j]) = (order[j], order[i])
        }
        orderedPass = pass
    }
}

/// Which batch: both counted from 0.
struct BatchPlace: Equatable {
    let epoch: Int
    let batch: Int
}

/// Room for a batch, and what is in it.
final class BatchMemory {
    var place: BatchPlace?
    /// Why it could not be made.
    var error: (any Error)?
    var count = 0
    let images: FloatBuffer
    let labels: Buffer<Int64>
    /// nil where each sample of a batch has one label.
    let softLabels: FloatBuffer?

    init(samples: Int, shape: ImageShape, softClasses: Int?) throws {
        images = try FloatBuffer(samples * shape.count)
        labels = try Buffer(samples)
        softLabels = try softClasses.map { try FloatBuffer(samples * $0) }
    }

    var batch: TrainingBatch {
        TrainingBatch(
            images: images.pointer, labels: labels.pointer, count: count,
            softLabels: softLabels.map { UnsafePointer($0.pointer) })
    }
}
