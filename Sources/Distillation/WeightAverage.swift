import Networks
import Runtime

/// An average of the weights that a training passes through, kept beside them. Running statistics are averaged with
/// them; for SWA they can be taken anew from data (`reestimateStatistics`).
final class WeightAverage {
    enum Kind {
        /// Exponential moving average: after each step `a = a + (1-decay) (w - a)`; it begins as the weights after the
        /// first step.
        case exponential(decay: Double)
        /// Stochastic weight averaging (Izmailov, Podoprikhin, Garipov, Vetrov, Wilson 2018): the mean of the weights at
        /// the end of each epoch from `start` on, counted from 1.
        case stochastic(start: Int)
    }

    private let kind: Kind
    private let weights: FloatBuffer
    private let statistics: FloatBuffer
    /// How many sets of weights went in.
    private(set) var count = 0

    /// Throws `outOfMemory`.
    init(_ kind: Kind, of network: Network) throws {
        self.kind = kind
        weights = try FloatBuffer(network.weights.count)
        statistics = try FloatBuffer(network.statistics.count)
    }

    /// To be called after each step.
    ///
    /// - Parameter finishedEpoch: counted from 1, where the step was the last one of an epoch.
    func add(_ network: Network, finishedEpoch: Int?) {
        switch kind {
        case .exponential(let decay): add(network, share: count == 0 ? 1 : Float(1 - decay))
        case .stochastic(let start):
            guard let finishedEpoch, finishedEpoch >= start else { return }
            add(network, share: 1 / Float(count + 1))
        }
    }

    private func add(_ network: Network, share: Float) {
        count += 1
        for (average, values) in [(weights, network.weights), (statistics, network.statistics)] {
            let (a, w) = (average.pointer, values.pointer)
            forEachChunk(of: average.count) { chunk in
                for i in chunk { a[i] = share == 1 ? w[i] : a[i] + share * (w[i] - a[i]) }
            }
        }
    }

    /// Writes the average into a network of the same architecture.
    func write(to network: Network) {
        network.weights.copy(from: weights)
        network.statistics.copy(from: statistics)
        network.weightsChanged()
    }
}

extension WeightAverage: TrainingState {
    var stateName: String { "average" }

    var tensors: [(name: String, values: FloatBuffer)] { [("weights", weights), ("statistics", statistics)] }

    var numbers: [StateNumber] {
        get { [.count("count", count)] }
        set { count = Int(newValue[0].value) }
    }
}
