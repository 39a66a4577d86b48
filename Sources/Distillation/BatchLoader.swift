import Kernels
import Runtime
import Storage

/// Batches of a dataset in an order drawn anew for each epoch, augmented. What it gives depends on (seed, epoch, batch)
/// alone.
final class BatchLoader {
    private let dataset: Dataset
    private let augmentation: Augmentation
    private let mix: CutMix?
    private let batchSize: Int
    private let seed: UInt64
    private let asRead: FloatBuffer
    private let images: FloatBuffer
    private let labels: Buffer<Int64>
    private let order: Buffer<Int>
    private var orderedEpoch = -1

    /// Throws `outOfMemory`.
    init(_ dataset: Dataset, _ options: TrainerOptions) throws {
        self.dataset = dataset
        augmentation = Augmentation(
            padding: options.cropPadding, flip: options.flip, cutout: options.cutout, seed: options.seed)
        batchSize = min(options.batchSize, dataset.count)
        mix =
            options.cutmix > 0
            ? try CutMix(
                part: Float(options.cutmix), augmentation: augmentation, shape: dataset.shape, capacity: batchSize)
            : nil
        seed = options.seed
        asRead = try FloatBuffer(batchSize * dataset.shape.count)
        images = try FloatBuffer(batchSize * dataset.shape.count)
        labels = try Buffer(batchSize)
        order = try Buffer(dataset.count)
    }

    /// Batch `batch` of epoch `epoch`, both counted from 0; valid until the next call. Throws what reading a streamed
    /// dataset throws.
    func load(epoch: Int, batch: Int) throws -> TrainingBatch {
        if orderedEpoch != epoch { shuffle(epoch) }
        let chosen = order.pointer + batch * batchSize
        let count = min(batchSize, dataset.count - batch * batchSize)
        let shape = dataset.shape
        let firstKey = UInt64(epoch) * UInt64(dataset.count)
        try dataset.readImages(count, into: asRead.pointer) { chosen[$0] }
        WorkerPool.parallelFor(count) { i in
            augmentation.apply(
                asRead.pointer + i * shape.count, into: images.pointer + i * shape.count, shape: shape,
                key: firstKey + UInt64(chosen[i]))
        }
        for i in 0..<count { labels[i] = Int64(dataset.label(chosen[i])) }
        let mixture = mix?.apply(
            images.pointer, labels.pointer, count: count, copy: asRead.pointer,
            key: { firstKey + UInt64(chosen[$0]) })
        return TrainingBatch(images: images.pointer, labels: labels.pointer, count: count, mixture: mixture)
    }

    /// Fisher–Yates, from the sorted order.
    private func shuffle(_ epoch: Int) {
        var random = CounterRandom(seed: seed, stream: .shuffle, index: UInt64(epoch))
        for i in 0..<dataset.count { order[i] = i }
        for i in stride(from: dataset.count - 1, to: 0, by: -1) {
            let j = random.below(i + 1)
            (order[i], order[j]) = (order[j], order[i])
        }
        orderedEpoch = epoch
    }
}
