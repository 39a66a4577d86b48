import CHDF5
import Kernels
import Networks
import Runtime

extension CheckpointFile {
    /// The group `golden/`; nil where the file has none.
    func golden(shape: ImageShape, classes: Int) throws -> GoldenBlock? {
        guard let (count, source) = try goldenSummary(shape: shape, classes: classes) else { return nil }
        let group = try file.openGroup("golden", in: file.root, label: "golden")
        let inputs = try read(try floats("inputs", in: group, label: "golden/inputs"))
        let logits = try read(try floats("logits", in: group, label: "golden/logits"))
        if let index = inputs.firstIndex(where: { !($0 >= 0 && $0 <= 1) }) {
            throw file.formatError("golden/inputs", "got \(inputs[index]) at element \(index), want numbers in [0,1]")
        }
        if let index = logits.firstIndex(where: { !$0.isFinite }) {
            throw file.formatError("golden/logits", "got \(logits[index]) at element \(index), want finite numbers")
        }
        return GoldenBlock(count: count, inputs: inputs, logits: logits, source: source)
    }

    /// The same without the numbers.
    func goldenSummary(shape: ImageShape, classes: Int) throws -> (count: Int, source: String)? {
        guard file.has("golden", in: file.root) else { return nil }
        let group = try file.openGroup("golden", in: file.root, label: "golden")
        let source = file.hasAttribute("source", of: group) ? try file.string("source", of: group) : ""
        let inputs = try floats("inputs", in: group, label: "golden/inputs")
        let logits = try floats("logits", in: group, label: "golden/logits")
        guard inputs.shape.count == 4, Array(inputs.shape.dropFirst()) == [shape.channels, shape.height, shape.width]
        else {
            throw file.formatError(
                "golden/inputs",
                "got shape \(described(inputs.shape)), want (n, \(shape.channels), \(shape.height), \(shape.width))")
        }
        guard logits.shape == [inputs.shape[0], classes] else {
            throw file.formatError(
                "golden/logits", "got shape \(described(logits.shape)), want (\(inputs.shape[0]), \(classes))")
        }
        return (inputs.shape[0], source)
    }
}
