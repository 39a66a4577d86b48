import Runtime

/// A part of a training that changes from step to step and is not in the student: what a checkpoint of a training has
/// to hold beside the weights, for the training to go on to the same bits as if it had never stopped.
///
/// Names are unique within a part, and their order is fixed; `Trainer.state` gives the parts in a fixed order too.
protocol TrainingState: AnyObject {
    /// Of the part, unique within a training: "optimiser", "average", ...
    var stateName: String { get }
    /// The living memory: whoever restores a training writes into it.
    var tensors: [(name: String, values: FloatBuffer)] { get }
    /// Counters and weights. Set with the names and the order that were read, and values that they allow.
    var numbers: [StateNumber] { get set }
}

/// A number of a `TrainingState`, and what it can be: files may say anything.
struct StateNumber {
    let name: String
    var value: Double
    private let range: ClosedRange<Double>
    private let isWhole: Bool

    private init(_ name: String, _ value: Double, _ range: ClosedRange<Double>, isWhole: Bool) {
        (self.name, self.value, self.range, self.isWhole) = (name, value, range, isWhole)
    }

    /// A counter. The limit keeps products of two of them far from overflow.
    static func count(_ name: String, _ value: Int) -> StateNumber {
        StateNumber(name, Double(value), 0...1e9, isWhole: true)
    }

    /// Any finite number, or those of a range.
    static func real(
        _ name: String, _ value: Double,
        in range: ClosedRange<Double> = -Double.greatestFiniteMagnitude...Double.greatestFiniteMagnitude
    ) -> StateNumber {
        StateNumber(name, value, range, isWhole: false)
    }

    var isPossible: Bool { range.contains(value) && (!isWhole || value == value.rounded()) }
}

extension TrainingState {
    var tensors: [(name: String, values: FloatBuffer)] { [] }
}
