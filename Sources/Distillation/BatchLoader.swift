import Runtime
import Storage

/// Batches of a dataset, in memory that is used again. While a step works on one a thread can make the next, so that reading
/// from files and augmentation cost a step no time where there is a processor for it.
final class BatchLoader {
    private let maker: BatchMaker
    private var current: BatchMemory
    /// What the thread makes, or has made.
    private var ahead: BatchMemory?
    private let thread: Companion?

    /// - Parameter generated: those that `options.generatedRatio` speaks of; nil where it is 0.
    /// Throws `outOfMemory`.
    init(_ dataset: Dataset, generated: Dataset?, _ options: TrainerOptions) throws {
        let maker = try BatchMaker(dataset, generated: generated, options)
        self.maker = maker
        current = try maker.makeMemory()
        // Who asks for one thread gets no second one.
        guard WorkerPool.threads > 1 else {
            thread = nil
            return
        }
        ahead = try maker.makeMemory()
        thread = Companion { maker.makeWanted() }
    }

    /// Batch `batch` of epoch `epoch`, both counted from 0; valid until the next call. Throws what reading a streamed
    /// dataset throws.
    func load(epoch: Int, batch: Int) throws -> TrainingBatch {
        finish()
        let place = BatchPlace(epoch: epoch, batch: batch)
        if let ahead, ahead.place == place {
            (current, self.ahead) = (ahead, current)
        } else {
            maker.make(place, in: current)
        }
        if let error = current.error { throw error }
        return current.batch
    }

    /// Begins with the batch that `load` will be asked for next. Until `finish` the dataset's files are being read.
    func begin(epoch: Int, batch: Int) {
        guard let thread, let ahead else { return }
        finish()
        maker.wanted = (BatchPlace(epoch: epoch, batch: batch), ahead)
        thread.start()
    }

    /// Waits for what `begin` has begun; its errors are left to `load`.
    func finish() { thread?.wait() }
}
