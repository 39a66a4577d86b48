/// How a 3×3 convolution of stride 1 or 2, or its input gradient, is cut into tiles for Winograd's algorithm: the same for
/// every sample, made once.
struct WinogradTiles: Sendable {
    /// What is at the two ends of the products (KernelsWide/Winograd.swift and WinogradStrided.swift).
    enum Form: Sendable {
        /// 6×6 inputs to 4×4 outputs, for both directions.
        case unit
        /// 9×9 inputs to 4×4 outputs.
        case strided
        /// 9×9 pointers to 5×5 output gradients, to 8×8 input gradients.
        case stridedGradient(oddTop: Int, oddLeft: Int)
    }

    let form: Form
    let input: ImageShape
    let output: ImageShape
    /// Products of a tile, as many as pixels that its transform reads.
    let positions: Int
    /// By position: which transformed filter it uses.
    let planes: [Int]
    /// Tiles of one sample.
    let count: Int
    /// [tile][position]: the first channel of each input pixel, in floats from the start of a sample; -1 in the padding.
    let inputs: [Int32]
    /// [tile][16]: likewise of each output pixel of the convolution; -1 beyond the image.
    let outputs: [Int32]
    /// By tile: the start of its outputs, and how much of them lies inside the image.
    let origins: [Int]
    let heights: [Int]
    let widths: [Int]

    /// Of the forward convolution.
    static func forward(_ g: ConvolutionGeometry) -> WinogradTiles {
        if g.strideHeight == 1 { return unit(g.input, g.output, padTop: g.padTop, padLeft: g.padLeft) }
        func line(_ first: Int, _ pad: Int) -> [Int] {
            (0..<5).map { 2 * (first + $0) - pad } + (0..<4).map { 2 * (first + $0) - pad + 1 }
        }
        return WinogradTiles(
            .strided, input: g.input, output: g.output, side: 4, rows: { line($0, g.padTop) },
            columns: { line($0, g.padLeft) })
    }

    /// Of the input gradient: for stride 1 a convolution of the output gradient with the rotated filters; for stride 2
    /// see KernelsWide/WinogradStrided.swift.
    static func backward(_ g: ConvolutionGeometry) -> WinogradTiles {
        if g.strideHeight == 1 { return unit(g.output, g.input, padTop: 2 - g.padTop, padLeft: 2 - g.padLeft) }
        // Pixels of parity pad % 2 were seen by taps 0 and 2, the others by tap 1.
        func line(_ first: Int, _ pad: Int) -> [Int] {
            let odd = pad % 2
            let outer = first / 2 + (pad + odd) / 2 - 1
            let inner = first / 2 + (pad - odd) / 2
            return (0..<5).map { outer + $0 } + (0..<4).map { inner + $0 }
        }
        return WinogradTiles(
            .stridedGradient(oddTop: g.padTop % 2, oddLeft: g.padLeft % 2), input: g.output, output: g.input, side: 8,
            rows: { line($0, g.padTop) }, columns: { line($0, g.padLeft) })
    }

    private static func unit(_ input: ImageShape, _ output: ImageShape, padTop: Int, padLeft: Int) -> WinogradTiles {
        WinogradTiles(
            .unit, input: input, output: output, side: 4, rows: { first in (0..<6).map { first + $0 - padTop } },
            columns: { first in (0..<6).map { first + $0 - padLeft } })
    }

    /// - Parameters:
    ///   - side: pixels of a tile's output along each axis.
    ///   - rows, columns: the lines of the input that the tile reads whose output begins at the given one.
    private init(
        _ form: Form, input: ImageShape, output: ImageShape, side: Int, rows: (Int) -> [Int], columns: (Int) -> [Int]
    ) {
        var inputs: [Int32] = []
        var outputs: [Int32] = []
        var origins: [Int] = []
        var heights: [Int] = []
        var widths: [Int] = []
        for top in stride(from: 0, to: output.height, by: side) {
            for left in stride(from: 0, to: output.width, by: side) {
                for y in rows(top) {
                    for x in columns(left) { inputs.append(Self.offset(y, x, input)) }
                }
                if side == 4 {
                    for y in 0..<4 {
                        for x in 0..<4 { outputs.append(Self.offset(top + y, left + x, output)) }
                    }
                }
                origins.append((top * output.width + left) * output.channels)
                heights.append(min(side, output.height - top))
                widths.append(min(side, output.width - left))
            }
        }
        let lines = rows(0).count
        self.form = form
        self.input = input
        self.output = output
        positions = lines * lines
        // Of the nine lines of the strided forms the last four share the sixth filter.
        planes = (0..<lines * lines).map { min($0 / lines, 5) * 6 + min($0 % lines, 5) }
        self.inputs = inputs
        self.outputs = outputs
        self.origins = origins
        self.heights = heights
        self.widths = widths
        count = origins.count
    }

    private static func offset(_ y: Int, _ x: Int, _ shape: ImageShape) -> Int32 {
        guard y >= 0, y < shape.height, x >= 0, x < shape.width else { return -1 }
        return Int32((y * shape.width + x) * shape.channels)
    }

    /// Writes where the pixels of `count` tiles are, from tile `first` of the batch on: [tile][pixels].
    ///
    /// `offsets` is `inputs` with `positions` pixels a tile or `outputs` with 16, `shape` that of the samples at `base`.
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

    /// The transform of the inputs, in the given channels.
    func transform(
        _ table: KernelTable, _ v: UnsafeMutablePointer<Float>, plane: Int, row: Int,
        _ pointers: UnsafePointer<UnsafePointer<Float>>, tiles: Int, channels: Range<Int>, scale: UnsafePointer<Float>?
    ) {
        let kernel = positions == 36 ? table.winogradInput : table.stridedInput
        kernel(v, plane, row, pointers, tiles, channels.lowerBound, channels.upperBound, scale)
    }
}
