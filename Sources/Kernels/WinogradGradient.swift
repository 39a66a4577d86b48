import Runtime

/// Floats that the transformed inputs and gradients of one chunk of tiles may take: what a third-level cache holds.
private let largestChunk = 3 << 20
/// The block of the filter gradient that one piece of work sums up, in input and output channels; its 36 positions
/// stay in the second-level cache.
private let pieceChannels = 32
private let pieceColumns = 64

/// dw (OIHW) += the filter gradient of a 3×3 convolution of stride 1, by F(3×3, 4×4): the transformed input tiles of the
/// forward pass times transformed output gradients, summed over all tiles.
///
/// `tiles` are those of the forward convolution.
func winogradWeightGradient(
    _ dw: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, _ dy: UnsafePointer<Float>, count: Int,
    tiles: WinogradTiles, table: KernelTable, zeros: UnsafePointer<Float>
) {
    let total = count * tiles.count
    let channels = tiles.input.channels
    let columns = tiles.output.channels
    let inputRow = (channels + table.laneCount - 1) / table.laneCount * table.laneCount + 16
    let gradientRow = (columns + table.laneCount - 1) / table.laneCount * table.laneCount + 16
    let chunk = min(total, max(32, largestChunk / (36 * (inputRow + gradientRow))))
    let inputPlane = chunk * inputRow + 64
    let gradientPlane = chunk * gradientRow + 64
    let pieceRow = pieceColumns + 2 * table.laneCount
    // A last register tile may be wider than the channels that are left.
    let piecePlane = (pieceChannels + table.rowsPerTile) * pieceRow
    let down = (channels + pieceChannels - 1) / pieceChannels
    let across = (columns + pieceColumns - 1) / pieceColumns
    let isWhole = chunk == total
    let memory = Scratch.floats(
        36 * (inputPlane + gradientPlane) + (isWhole ? 0 : down * across * 36 * piecePlane), .shared)
    let input = memory
    let gradient = input + 36 * inputPlane
    let sums = gradient + 36 * gradientPlane

    var first = 0
    while first < total {
        let size = min(chunk, total - first)
        let isLast = first + size == total
        transformTiles(
            input, inputPlane, inputRow, gradient, gradientPlane, gradientRow, x, dy, first: first, count: size, tiles, table,
            zeros)
        WorkerPool.parallelFor(down * across) { piece in
            let scratch = Scratch.floats(table.winogradScratch + 36 * piecePlane)
            let own = isWhole ? scratch + table.winogradScratch : sums + piece * 36 * piecePlane
            let channel = piece / across * pieceChannels
            let column = piece % across * pieceColumns
            let height = min(pieceChannels, channels - channel)
            let width = min(pieceColumns, columns - column)
            table.denseOuterProducts(
                own, piecePlane, pieceRow, input + channel, inputPlane, inputRow, gradient + column, gradientPlane,
                gradientRow, 36, size, height, width, first > 0)
            if isLast {
                table.winogradGradientOutput(
                    dw + column * 9 * channels + channel * 9, 9 * channels, own, piecePlane, pieceRow, height, width, scratch)
            }
        }
        first += size
    }
}

/// Tiles of one piece of work of the transforms.
private let tilesPerPiece = 16

private func transformTiles(
    _ input: UnsafeMutablePointer<Float>, _ inputPlane: Int, _ inputRow: Int, _ gradient: UnsafeMutablePointer<Float>,
    _ gradientPlane: Int, _ gradientRow: Int, _ x: UnsafePointer<Float>, _ dy: UnsafePointer<Float>, first: Int,
    count: Int, _ tiles: WinogradTiles, _ table: KernelTable, _ zeros: UnsafePointer<Float>
) {
    WorkerPool.parallelFor((count + tilesPerPiece - 1) / tilesPerPiece) { piece in
        let begin = piece * tilesPerPiece
        let size = min(tilesPerPiece, count - begin)
        let words = 36 * tilesPerPiece
        let pointers = Scratch.take(words * MemoryLayout<Int>.stride)
            .bindMemory(to: UnsafePointer<Float>.self, capacity: words)
        tiles.pointers(pointers, to: x, tiles.inputs, 36, tiles.input, first: first + begin, count: size, zeros)
        table.winogradInput(
            input + begin * inputRow, inputPlane, inputRow, UnsafePointer(pointers), size, tiles.input.channels, nil)
        tiles.pointers(pointers, to: dy, tiles.outputs, 16, tiles.output, first: first + begin, count: size, zeros)
        table.winogradGradient(
            gradient + begin * gradientRow, gradientPlane, gradientRow, UnsafePointer(pointers), size,
            tiles.output.channels)
    }
}
