import Kernels
import Networks
import Runtime
import Storage

/// Replaces the running statistics by the mean of the batch statistics over a whole dataset, in its order and without
/// augmentation: what an average of weights needs, for which nobody ever gathered statistics (Izmailov et al. 2018,
/// section 3.2; PyTorch's update_bn). Every batch counts alike, also a smaller last one.
///
/// Throws `outOfMemory`; `io`, `format` where the images are streamed from a file.
func reestimateStatistics(of network: Network, on dataset: Dataset, batchSize: Int) throws {
    guard network.statistics.count > 0 else { return }
    let (capacity, pixels) = (min(batchSize, dataset.count), dataset.shape.count)
    let images = try FloatBuffer(capacity * pixels)
    let logits = try FloatBuffer(capacity * network.classes)
    let pass = try TrainingPass(network, capacity: capacity)
    let sums = try Buffer<Double>(network.statistics.count)
    // A pass moves statistics by a fixed part of the way; from 0 it leaves that part of the batch's own.
    let part = Double(Graph.batchNormMomentum)
    var batches = 0.0
    for first in stride(from: 0, to: dataset.count, by: capacity) {
        let count = min(capacity, dataset.count - first)
        try dataset.readImages(first..<first + count, into: images.pointer)
        network.statistics.fill(0)
        try pass.forward(images.pointer, count: count, logits: logits.pointer, updateStatistics: true)
        for i in 0..<network.statistics.count { sums[i] += Double(network.statistics.pointer[i]) / part }
        batches += 1
    }
    for i in 0..<network.statistics.count { network.statistics.pointer[i] = Float(sums[i] / batches) }
    network.weightsChanged()
}
