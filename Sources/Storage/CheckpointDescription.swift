import Networks

/// What a checkpoint file says of its network, without the weights; they are all there, with the right names, shapes and
/// type, but their values have not been looked at.
public struct CheckpointDescription: Sendable {
    public let formatVersion: Int
    /// In the file.
    public let bytes: Int
    /// Without weights and golden block.
    public let checkpoint: Checkpoint
    public let graph: Graph
    /// With everything that was left to the architecture filled in.
    public let options: NetworkOptions
    public let golden: (count: Int, source: String)?

    /// Throws what `Network.load` does, but for what it finds in the values.
    public static func read(_ path: String) throws -> CheckpointDescription {
        try withHDF5 {
            let file = try CheckpointFile(path)
            var checkpoint = try file.description()
            var options = checkpoint.networkOptions
            let graph = try checkpoint.graph(&options, path: path)
            checkpoint.baseWidth = options.baseWidth
            _ = try file.weightShapes(expecting: graph.tensorShapes)
            return CheckpointDescription(
                formatVersion: try file.formatVersion(), bytes: file.file.size, checkpoint: checkpoint, graph: graph,
                options: options, golden: try file.goldenSummary(shape: checkpoint.shape, classes: checkpoint.classes))
        }
    }
}
