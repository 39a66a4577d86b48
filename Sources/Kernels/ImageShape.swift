/// Channels, height and width of one sample. Outside the engine samples are CHW; inside, channels are innermost (HWC),
/// which makes every kernel a run over contiguous channels.
public struct ImageShape: Equatable, Sendable, CustomStringConvertible {
    public var channels: Int
    public var height: Int
    public var width: Int

    public init(_ channels: Int, _ height: Int, _ width: Int) {
        self.channels = channels
        self.height = height
        self.width = width
    }

    /// Floats in one sample.
    public var count: Int { channels * height * width }
    public var pixels: Int { height * width }
    public var description: String { "(\(channels), \(height), \(width))" }
}
