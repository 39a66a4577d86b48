import Runtime

/// Input and output channels of the part of the filter gradient that one piece of work sums up, and the tiles that it
/// transforms at a time: together they fill a second-level cache of a megabyte.
private let largestSide = 64
private let tilesAtATime = 16
/// Pieces that there should be, for any number of channels.
private let fewestPieces = 8

/// dw (OIHW) += the filter gradient of a 3×3 convolution of stride 1 or 2: the transformed input tiles of the forward pass
/// times transformed output gradients, summed over all tiles (for stride 1 this is F(3×3, 4×4)).
///
/// `tiles` are those of the forward convolution.
func winogradWeightGradient(
    _ dw: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, _ dy: UnsafePointer<Float>, count: Int,
    tiles: WinogradTiles, table: KernelTable, zeros: UnsafePointer<Float>
) {
    let job = GradientJob(dw: dw, x: x, dy: dy, total: count * tiles.count, tiles: tiles, table: table, zeros: zeros)
    if job.parts == 1 { job.runWhole() } else { job.runInParts() }
}

/// One filter gradient, cut into blocks of channels, and where these are few into parts of the tiles, whose sums are
/// added in order.
private struct GradientJob {
    let dw: UnsafeMutablePointer<Float>
    let x: UnsafePointer<Float>
    let dy: UnsafePointer<Float>
    /// Tiles of all samples.
    let total: Int
    let tiles: WinogradTiles
    let table: KernelTable
    let zeros: UnsafePointer<Float>

    var positions: Int { tiles.positions }
    var channels: Int { tiles.input.channels }
    var columns: Int { tiles.output.channels }
    var across: Int { (columns + largestSide - 1) / largestSide }
    var blocks: Int { (channels + largestSide - 1) / largestSide * across }
    var parts: Int {
        min((fewestPieces + blocks - 1) / blocks, (total + 4 * tilesAtATime - 1) / (4 * tilesAtATime))
    }

    // Floats of a transformed tile's row and position, and of a block of sums: a last register tile may have rows beyond
    // the channels.
    var tileRow: Int { largestSide + 16 }
    var tilePlane: Int { tilesAtATime * tileRow + 16 }
    var sumPlane: Int { (largestSide + table.rowsPerTile) * largestSide }

    func runWhole() {
        WorkerPool.parallelFor(blocks) { block in
            let memory = Scratch.floats(floats + 36 * sumPlane)
            let sums = memory + floats
            sum(block, 0..<total, into: sums, memory)
            finish(block, sums, scratch: memory)
        }
    }

    func runInParts() {
        let partial = Scratch.floats(blocks * parts * 36 * sumPlane, .shared)
        WorkerPool.parallelFor(blocks * parts) { piece in
            let part = piece % parts
            sum(
                piece / parts, total * part / parts..<total * (part + 1) / parts, into: partial + piece * 36 * sumPlane,
                Scratch.floats(floats))
        }
        // By position of the tile, of which there are enough for all threads.
        WorkerPool.parallelFor(blocks * 36) { item in
            let first = partial + item / 36 * parts * 36 * sumPlane + item % 36 * sumPlane
            for part in 1..<parts {
                table.add(first, first, first + part * 36 * sumPlane, sumPlane, false, nil)
            }
        }
        WorkerPool.parallelFor(blocks) { block in
            finish(block, partial + block * parts * 36 * sumPlane, scratch: Scratch.floats(floats))
        }
    }

    /// Floats of working memory of a piece, its sums apart.
    private var floats: Int {
        // Pointers are as large as two floats.
        2 * positions * tilesAtATime + max(2 * positions * tilePlane, table.winogradScratch)
    }

    private func sum(
        _ block: Int, _ range: Range<Int>, into sums: UnsafeMutablePointer<Float>, _ memory: UnsafeMutablePointer<Float>
    ) {
        let channel = block / across * largestSide
        let column = block % across * largestSide
        let height = min(largestSide, channels - channel)
        let width = min(largestSide, columns - column)
        let pointers = UnsafeMutableRawPointer(memory)
            .bindMemory(to: UnsafePointer<Float>.self, capacity: positions * tilesAtATime)
        let input = memory + 2 * positions * tilesAtATime
        let gradient = input + positions * tilePlane
        var first = range.lowerBound
        while first < range.upperBound {
            let size = min(tilesAtATime, range.upperBound - first)
            tiles.pointers(
                pointers, to: x + channel, tiles.inputs, positions, tiles.input, first: first, count: size, zeros)
            tiles.transform(
                table, input, plane: tilePlane, row: tileRow, UnsafePointer(pointers), tiles: size,
                channels: 0..<height,
                scale: nil)
            tiles.pointers(pointers, to: dy + column, tiles.outputs, 16, tiles.output, first: first, count: size, zeros)
            let transform = positions == 36 ? table.winogradGradient : table.stridedGradient
            transform(gradient, tilePlane, tileRow, UnsafePointer(pointers), size, width)
            tiles.planes.withUnsafeBufferPointer { planes in
                guard let planes = planes.baseAddress else { return }
                table.denseOuterProducts(
                    sums, sumPlane, largestSide, input, tilePlane, tileRow, gradient, tilePlane, tileRow, planes,
                    positions, size, height, width, first == range.lowerBound)
            }
            first += size
        }
    }

    private func finish(_ block: Int, _ sums: UnsafePointer<Float>, scratch: UnsafeMutablePointer<Float>) {
        let channel = block / across * largestSide
        let column = block % across * largestSide
        let transform = positions == 36 ? table.winogradGradientOutput : table.stridedFilterGradient
        transform(
            dw + (column * channels + channel) * 9, 9 * channels, sums, sumPlane, largestSide,
            min(largestSide, channels - channel), min(largestSide, columns - column), scratch)
    }
}
