import Kernels

/// A layer that is a step of its own, taken up by no other: one file each, with what it adds to a graph and its entry in the
/// table of descriptions (`LayerType`). Convolutions, BatchNorm, ReLU and sums, which become parts of each other, are in
/// `Pass`.
protocol Layer: Sendable {
    /// The name of its `LayerType`.
    var typeName: String { get }
    /// Indices of its parameters in the graph.
    var parameters: [Int] { get }
    /// The backward pass reads the inputs.
    var readsInputs: Bool { get }
    /// The output may be in the place of the first input, and the first input's gradient in that of the output's.
    var worksInPlace: Bool { get }
    /// Bytes that the forward pass keeps for the gradient for each number of the output.
    var bytesPerOutput: Int { get }
    /// Of one sample.
    var multiplyAdds: Int { get }

    func forward(_ run: LayerForward)
    /// Operands with the highest number first: the first one's gradient may take the place of the output's.
    func backward(_ run: LayerBackward)
}

extension Layer {
    var parameters: [Int] { [] }
    var readsInputs: Bool { false }
    var worksInPlace: Bool { false }
    var bytesPerOutput: Int { 0 }
    var multiplyAdds: Int { 0 }
}

/// Some samples on their way through a layer.
struct LayerForward {
    let run: StepRun
    var count: Int { run.piece.count }
    /// Of one sample of the output.
    var shape: ImageShape { run.step.shape }
    var output: UnsafeMutablePointer<Float> { run.pass.activation(run.step.output, run.piece) }
    /// `bytesPerOutput` for each number of the output; nil where no gradient follows.
    var kept: UnsafeMutablePointer<UInt8>? { run.pass.signs(run.step.output, run.piece) }

    func input(_ operand: Int = 0) -> UnsafePointer<Float> { run.input(operand) }
    func parameter(_ index: Int) -> UnsafePointer<Float> { run.parameter(index) }
}

/// And their gradients back.
struct LayerBackward {
    let run: StepRun
    /// Of all parameters, to add to; nil where nobody asks for them.
    let parameters: UnsafeMutablePointer<Float>?
    var count: Int { run.piece.count }
    var shape: ImageShape { run.step.shape }
    /// Of the output.
    var gradient: UnsafeMutablePointer<Float> { run.pass.gradient(run.step.output, run.piece) }
    var kept: UnsafeMutablePointer<UInt8>? { run.pass.signs(run.step.output, run.piece) }

    /// What the forward pass has read; for layers that say so.
    func input(_ operand: Int = 0) -> UnsafePointer<Float> { run.input(operand) }
    func parameter(_ index: Int) -> UnsafePointer<Float> { run.parameter(index) }

    /// Where an operand's gradient goes; nothing happens where nobody asks for it.
    func write(_ operand: Int = 0, _ body: (_ gradient: UnsafeMutablePointer<Float>, _ accumulate: Bool) -> Void) {
        let value = run.step.operands[operand]
        guard run.pass.plan.needsGradient[value] else { return }
        body(run.pass.gradient(value, run.piece), run.pass.plan.accumulates[run.index][operand])
    }

    /// Where a parameter's gradient is added.
    func addTo(_ index: Int, _ body: (_ gradient: UnsafeMutablePointer<Float>) -> Void) {
        guard let parameters else { return }
        body(parameters + run.pass.network.parameters[index].offset)
    }
}

/// A step of a pass, for some samples.
struct StepRun {
    let pass: Pass
    let index: Int
    let step: Step
    let piece: Pass.Piece

    func input(_ operand: Int) -> UnsafePointer<Float> {
        UnsafePointer(pass.activation(step.operands[operand], piece))
    }
    func parameter(_ index: Int) -> UnsafePointer<Float> { UnsafePointer(pass.network.pointer(to: index)) }
}
