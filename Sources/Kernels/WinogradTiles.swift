/// How a 3×3 convolution of stride 1 is cut into tiles of 4×4 outputs, each from 6×6 inputs: the same for every sample,
/// made once.
struct WinogradTiles: Sendable {
    /// Tiles of one sample.
    let count: Int
    let input: ImageShape
    let output: ImageShape
    /// [tile][36]: the first channel of each input pixel, in floats from the start of a sample; -1 in the padding.
    let inputs: [Int32]
    /// [tile][16]: likewise of each output pixel; -1 beyond the image.
    let outputs: [Int32]
    /// How much of each tile's output lies inside the image.
    let heights: [Int]
    let widths: [Int]

    init(input: ImageShape, output: ImageShape, padTop: Int, padLeft: Int) {
        self.input = input
        self.output = output
        var inputs: [Int32] = []
        var outputs: [Int32] = []
        var heights: [Int] = []
        var widths: [Int] = []
        for top in stride(from: 0, to: output.height, by: 4) {
            for left in stride(from: 0, to: output.width, by: 4) {
                for y in 0..<6 {
                    for x in 0..<6 { inputs.append(Self.offset(top + y - padTop, left + x - padLeft, input)) }
                }
                for y in 0..<4 {
                    for x in 0..<4 { outputs.append(Self.offset(top + y, left + x, output)) }
                }
                heights.append(min(4, output.height - top))
                widths.append(min(4, output.width - left))
            }
        }
        self.inputs = inputs
        self.outputs = outputs
        self.heights = heights
        self.widths = widths
        count = heights.count
    }

    private static func offset(_ y: Int, _ x: Int, _ shape: ImageShape) -> Int32 {
        guard y >= 0, y < shape.height, x >= 0, x < shape.width else { return -1 }
        return Int32((y * shape.width + x) * shape.channels)
    }

    /// Of the forward convolution.
    static func forward(_ g: ConvolutionGeometry) -> WinogradTiles {
        WinogradTiles(input: g.input, output: g.output, padTop: g.padTop, padLeft: g.padLeft)
    }

    /// Of the input gradient, a convolution of the output gradient with the rotated filters.
    static func backward(_ g: ConvolutionGeometry) -> WinogradTiles {
        WinogradTiles(input: g.output, output: g.input, padTop: 2 - g.padTop, padLeft: 2 - g.padLeft)
    }

    /// Writes where the pixels of `count` tiles are, from tile `first` of the batch on: [tile][pixels].
    ///
    /// `offsets` is `inputs` with 36 pixels a tile or `outputs` with 16, `shape` that of the samples at `base`.
    @inline(__always)
    func pointers(
        _ target: UnsafeMutablePointer<UnsafePointer<Float>>, to base: UnsafePointer<Float>, _ offsets: [Int32],
        _ pixels: Int, _ shape: ImageShape, first: Int, count tileCount: Int, _ zeros: UnsafePointer<Float>
    ) {
        offsets.withUnsafeBufferPointer { offsets in
            guard let offsets = offsets.baseAddress else { return }
            var sample = first / count
            var local = first % count
            for tile in 0..<tileCount {
                let start = base + sample * shape.count
                for pixel in 0..<pixels {
                    let offset = Int(offsets[pixels * local + pixel])
                    target[pixels * tile + pixel] = offset < 0 ? zeros : start + offset
                }
                local += 1
                if local == count {
                    local = 0
                    sample += 1
                }
            }
        }
    }
}
