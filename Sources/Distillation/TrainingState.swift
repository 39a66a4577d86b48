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
    /// Counters and weights. Set with the names and the order that were read.
    var numbers: [(name: String, value: Double)] { get set }
}

extension TrainingState {
    var tensors: [(name: String, values: FloatBuffer)] { [] }
}
