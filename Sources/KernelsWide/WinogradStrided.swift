// Convolution of 3×3 filters, stride 2, with 81 instead of 144 multiplications for 4×4 outputs. Along each axis the taps
// 0 and 2 see every second input, a filter of two taps of stride 1 there: F(4, 2) with five points. Tap 1 sees the inputs
// between, a filter of one tap: four products. Both in one, a line of nine inputs q0 … q4, e0 … e3 gives
//
//     y = Aᵀ [ (G g) ⊙ (Bᵀ d) ],   Bᵀ = diag(B₅ᵀ, I₄),   Aᵀ = ( A₅ᵀ  I₄ ),
//
// and a tile is that along both axes, as in Winograd.swift. The four positions of tap 1 share one transformed filter, so
// that there are 6×6 of those for the 9×9 positions. The points are 0, 1/2, −1, 2 and ∞, whose rounding errors are a third
// smaller than those of 0, ±1, 2.
//
// The input gradient is of the same kind: the pixels that taps 0 and 2 saw come from two neighbours of the output gradient
// (F(4, 2) with the rotated filter), those between from one. So it begins with the same transform, of five and four output
// gradients, and ends with the two kinds of pixels apart, 8×8 for a tile.

private typealias Six = (Lanes, Lanes, Lanes, Lanes, Lanes, Lanes)
private typealias Five = (Lanes, Lanes, Lanes, Lanes, Lanes)
private typealias Four = (Lanes, Lanes, Lanes, Lanes)

@inline(always)
private func times(_ factor: Float, _ x: Lanes, plus y: Lanes) -> Lanes {
    multiplyAdd(y, x, Lanes(repeating: factor))
}

/// B₅ᵀ q.
@inline(always)
private func inputLine(_ q: Five) -> Five {
    let inner = times(-1.5, q.1 + q.2, plus: q.3)
    return (
        q.0 + inner,
        times(-2, q.1, plus: q.3 - q.2),
        times(-2.5, q.2, plus: q.3 + q.1),
        times(0.5, q.2 - q.1, plus: q.3),
        times(-1.5, q.2 + q.3, plus: q.4 + q.1)
    )
}

/// A₅ᵀ m.
@inline(always)
private func outputLine(_ m: Five) -> Four {
    (
        m.0 + m.1 + (m.2 + m.3),
        times(0.5, m.1, plus: times(2, m.3, plus: Lanes.zero - m.2)),
        times(0.25, m.1, plus: times(4, m.3, plus: m.2)),
        times(0.125, m.1, plus: times(8, m.3, plus: m.4 - m.2))
    )
}

/// The transposed output transform: A₅ g.
@inline(always)
private func gradientLine(_ g: Four) -> Five {
    (
        g.0,
        times(0.5, g.1, plus: times(0.25, g.2, plus: times(0.125, g.3, plus: g.0))),
        g.0 - g.1 + (g.2 - g.3),
        times(2, g.1, plus: times(4, g.2, plus: times(8, g.3, plus: g.0))),
        g.3
    )
}

/// v[position][tile][channel − first] of 9×9 pixels, in the channels `first ..< end`; position = 9 · row + column.
///
/// - pointers: [tile][81], rows and columns in the order q0 … q4, e0 … e3; zeros in the padding.
/// - scale, planeStride, rowStride: as in `winogradInput`.
public func stridedInput(
    _ v: UnsafeMutablePointer<Float>, planeStride: Int, rowStride: Int,
    pointers: UnsafePointer<UnsafePointer<Float>>, tiles: Int, from first: Int, to end: Int,
    scale: UnsafePointer<Float>?
) {
    for tile in 0..<tiles {
        let pixels = pointers + 81 * tile
        var channel = first
        while channel < end {
            let target = v + tile * rowStride + channel - first
            let factor = scale.map { load($0 + channel) } ?? Lanes(repeating: 1)
            @inline(always)
            func pixel(_ y: Int, _ x: Int) -> Lanes {
                let value = load(pixels[9 * y + x] + channel)
                return scale == nil ? value : value * factor
            }
            @inline(always)
            func line(_ y: Int) -> Five {
                inputLine((pixel(y, 0), pixel(y, 1), pixel(y, 2), pixel(y, 3), pixel(y, 4)))
            }
            @inline(always)
            func putColumn(_ q: Five, _ x: Int) {
                let out = inputLine(q)
                store(out.0, target + x * planeStride)
                store(out.1, target + (9 + x) * planeStride)
                store(out.2, target + (18 + x) * planeStride)
                store(out.3, target + (27 + x) * planeStride)
                store(out.4, target + (36 + x) * planeStride)
            }
            let (r0, r1, r2, r3, r4) = (line(0), line(1), line(2), line(3), line(4))
            putColumn((r0.0, r1.0, r2.0, r3.0, r4.0), 0)
            putColumn((r0.1, r1.1, r2.1, r3.1, r4.1), 1)
            putColumn((r0.2, r1.2, r2.2, r3.2, r4.2), 2)
            putColumn((r0.3, r1.3, r2.3, r3.3, r4.3), 3)
            putColumn((r0.4, r1.4, r2.4, r3.4, r4.4), 4)
            for x in 5..<9 {
                putColumn((pixel(0, x), pixel(1, x), pixel(2, x), pixel(3, x), pixel(4, x)), x)
            }
            for y in 5..<9 {
                let out = line(y)
                let row = target + 9 * y * planeStride
                store(out.0, row)
                store(out.1, row + planeStride)
                store(out.2, row + 2 * planeStride)
                store(out.3, row + 3 * planeStride)
                store(out.4, row + 4 * planeStride)
                for x in 5..<9 { store(pixel(y, x), row + x * planeStride) }
            }
            channel += laneCount
        }
    }
}

/// output = epilogue( Aᵀ m A ), 4×4 pixels a tile; parameters as in `winogradOutput`.
public func stridedOutput(
    _ m: UnsafePointer<Float>, planeStride: Int, rowStride: Int, tiles: Int, columns: Int,
    origins: UnsafePointer<Int>, heights: UnsafePointer<Int>, widths: UnsafePointer<Int>, pixelStride: Int,
    lineStride: Int, scale: UnsafePointer<Float>?, shift: UnsafePointer<Float>?, residual: UnsafePointer<Float>?,
    mask: UnsafePointer<UInt8>?, rectify: Bool, signs: UnsafeMutablePointer<UInt8>?, output: UnsafeMutablePointer<Float>
) {
    let epilogue = Epilogue(
        scale: scale, shift: shift, residual: residual, mask: mask, rectify: rectify, signs: signs,
        output: output)
    for tile in 0..<tiles {
        var column = 0
        while column < columns {
            let source = m + tile * rowStride + column
            let parameters = epilogue.parameters(column)
            @inline(always)
            func line(_ y: Int) -> Four {
                let row = source + 9 * y * planeStride
                @inline(always)
                func at(_ x: Int) -> Lanes { load(row + x * planeStride) }
                let out = outputLine((at(0), at(1), at(2), at(3), at(4)))
                return (out.0 + at(5), out.1 + at(6), out.2 + at(7), out.3 + at(8))
            }
            let (r0, r1, r2, r3, r4) = (line(0), line(1), line(2), line(3), line(4))
            let c0 = outputLine((r0.0, r1.0, r2.0, r3.0, r4.0))
            let c1 = outputLine((r0.1, r1.1, r2.1, r3.1, r4.1))
            let c2 = outputLine((r0.2, r1.2, r2.2, r3.2, r4.2))
            let c3 = outputLine((r0.3, r1.3, r2.3, r3.3, r4.3))
            @inline(always)
            func finish(_ top: Four, _ y: Int) {
                guard y < heights[tile] else { return }
                let between = line(5 + y)
                let offset = origins[tile] + y * lineStride + column
                epilogue.finish(
                    (top.0 + between.0, top.1 + between.1, top.2 + between.2, top.3 + between.3), parameters,
                    at: offset,
                    pixelStride: pixelStride, pixels: widths[tile], channels: columns - column)
            }
            finish((c0.0, c1.0, c2.0, c3.0), 0)
            finish((c0.1, c1.1, c2.1, c3.1), 1)
            finish((c0.2, c1.2, c2.2, c3.2), 2)
            finish((c0.3, c1.3, c2.3, c3.3), 3)
            column += laneCount
        }
    }
}

/// output = epilogue( 8×8 pixels of the input gradient ): those of taps 0 and 2 at the places of parity `oddTop`, `oddLeft`
/// (0 or 1) in the tile, those of tap 1 between them. Other parameters as in `winogradOutput`; heights and widths up to 8.
public func stridedGradientOutput(
    _ m: UnsafePointer<Float>, planeStride: Int, rowStride: Int, tiles: Int, columns: Int, oddTop: Int, oddLeft: Int,
    origins: UnsafePointer<Int>, heights: UnsafePointer<Int>, widths: UnsafePointer<Int>, pixelStride: Int,
    lineStride: Int, residual: UnsafePointer<Float>?, mask: UnsafePointer<UInt8>?, output: UnsafeMutablePointer<Float>
) {
    let epilogue = Epilogue(
        scale: nil, shift: nil, residual: residual, mask: mask, rectify: false, signs: nil,
        output: output)
    let evenTop = 1 - oddTop
    let evenLeft = 1 - oddLeft
    for tile in 0..<tiles {
        var column = 0
        while column < columns {
            let source = m + tile * rowStride + column
            let parameters = epilogue.parameters(column)
            let origin = origins[tile] + column
            // Four pixels of a line, every second one from `left` on.
            @inline(always)
            func finish(_ values: Four, _ y: Int, _ left: Int) {
                guard y < heights[tile] else { return }
                epilogue.finish(
                    values, parameters, at: origin + y * lineStride + left * pixelStride, pixelStride: 2 * pixelStride,
                    pixels: (widths[tile] - left + 1) / 2, channels: columns - column)
            }
            @inline(always)
            func at(_ y: Int, _ x: Int) -> Lanes { load(source + (9 * y + x) * planeStride) }
            @inline(always)
            func line(_ y: Int) -> Four { outputLine((at(y, 0), at(y, 1), at(y, 2), at(y, 3), at(y, 4))) }
            let (r0, r1, r2, r3, r4) = (line(0), line(1), line(2), line(3), line(4))
            let c0 = outputLine((r0.0, r1.0, r2.0, r3.0, r4.0))
            let c1 = outputLine((r0.1, r1.1, r2.1, r3.1, r4.1))
            let c2 = outputLine((r0.2, r1.2, r2.2, r3.2, r4.2))
            let c3 = outputLine((r0.3, r1.3, r2.3, r3.3, r4.3))
            finish((c0.0, c1.0, c2.0, c3.0), oddTop, oddLeft)
            finish((c0.1, c1.1, c2.1, c3.1), 2 + oddTop, oddLeft)
            finish((c0.2, c1.2, c2.2, c3.2), 4 + oddTop, oddLeft)
            finish((c0.3, c1.3, c2.3, c3.3), 6 + oddTop, oddLeft)
            @inline(always)
            func downwards(_ x: Int) -> Four { outputLine((at(0, x), at(1, x), at(2, x), at(3, x), at(4, x))) }
            let (d0, d1, d2, d3) = (downwards(5), downwards(6), downwards(7), downwards(8))
            finish((d0.0, d1.0, d2.0, d3.0), oddTop, evenLeft)
            finish((d0.1, d1.1, d2.1, d3.1), 2 + oddTop, evenLeft)
            finish((d0.2, d1.2, d2.2, d3.2), 4 + oddTop, evenLeft)
            finish((d0.3, d1.3, d2.3, d3.3), 6 + oddTop, evenLeft)
            for y in 0..<4 {
                finish(line(5 + y), 2 * y + evenTop, oddLeft)
                finish((at(5 + y, 5), at(5 + y, 6), at(5 + y, 7), at(5 + y, 8)), 2 * y + evenTop, evenLeft)
            }
            column += laneCount
        }
    }
}

/// u[position][row][column] of 6×6 positions, along both axes five points of taps 0 and 2, then tap 1. Parameters as in
/// `winogradFilters`.
public func stridedFilters(
    _ u: UnsafeMutablePointer<Float>, planeStride: Int, rows: Int, columns: Int, taps: UnsafePointer<Float>,
    rowStride: Int, columnStride: Int, filters: Int, rotate: Bool, scratch: UnsafeMutablePointer<Float>
) {
    eachFilter(taps, rows, columns, rowStride, columnStride, filters, rotate, scratch) { tap, row, column in
        @inline(always)
        func line(_ x: Int) -> Six { filterLine(load(tap(x)), load(tap(3 + x)), load(tap(6 + x))) }
        let (c0, c1, c2) = (line(0), line(1), line(2))
        @inline(always)
        func put(_ g: Six, _ y: Int) {
            let target = u + 6 * y * planeStride + row * columns + column
            store(g.0, target)
            store(g.1, target + planeStride)
            store(g.2, target + 2 * planeStride)
            store(g.3, target + 3 * planeStride)
            store(g.4, target + 4 * planeStride)
            store(g.5, target + 5 * planeStride)
        }
        put(filterLine(c0.0, c1.0, c2.0), 0)
        put(filterLine(c0.1, c1.1, c2.1), 1)
        put(filterLine(c0.2, c1.2, c2.2), 2)
        put(filterLine(c0.3, c1.3, c2.3), 3)
        put(filterLine(c0.4, c1.4, c2.4), 4)
        put(filterLine(c0.5, c1.5, c2.5), 5)
    }
}

/// G g.
@inline(always)
private func filterLine(_ first: Lanes, _ middle: Lanes, _ last: Lanes) -> Six {
    (
        first, times(0.5, last, plus: first) * (-8.0 / 9), (first - last) * (-2.0 / 9),
        times(2, last, plus: first) * (1.0 / 9), last, middle
    )
}

/// v[position][tile][column] of 4×4 output gradients: the second factor of the filter's gradient.
///
/// - pointers: [tile][16], as in `winogradGradient`.
public func stridedGradient(
    _ v: UnsafeMutablePointer<Float>, planeStride: Int, rowStride: Int,
    pointers: UnsafePointer<UnsafePointer<Float>>, tiles: Int, columns: Int
) {
    for tile in 0..<tiles {
        let pixels = pointers + 16 * tile
        var column = 0
        while column < columns {
            let target = v + tile * rowStride + column
            @inline(always)
            func pixel(_ y: Int, _ x: Int) -> Lanes { load(pixels[4 * y + x] + column) }
            @inline(always)
            func put(_ g: Four, _ row: Int) {
                let out = gradientLine(g)
                let line = target + 9 * row * planeStride
                store(out.0, line)
                store(out.1, line + planeStride)
                store(out.2, line + 2 * planeStride)
                store(out.3, line + 3 * planeStride)
                store(out.4, line + 4 * planeStride)
                store(g.0, line + 5 * planeStride)
                store(g.1, line + 6 * planeStride)
                store(g.2, line + 7 * planeStride)
                store(g.3, line + 8 * planeStride)
            }
            @inline(always)
            func down(_ x: Int) -> Five { gradientLine((pixel(0, x), pixel(1, x), pixel(2, x), pixel(3, x))) }
            let (c0, c1, c2, c3) = (down(0), down(1), down(2), down(3))
            put((c0.0, c1.0, c2.0, c3.0), 0)
            put((c0.1, c1.1, c2.1, c3.1), 1)
            put((c0.2, c1.2, c2.2, c3.2), 2)
            put((c0.3, c1.3, c2.3, c3.3), 3)
            put((c0.4, c1.4, c2.4, c3.4), 4)
            for y in 0..<4 { put((pixel(y, 0), pixel(y, 1), pixel(y, 2), pixel(y, 3)), 5 + y) }
            column += laneCount
        }
    }
}

/// dw[column][channel][tap] += the 3×3 gradient of each filter from 6×6 summed products; parameters as in
/// `winogradGradientOutput`.
public func stridedFilterGradient(
    _ dw: UnsafeMutablePointer<Float>, filterStride: Int, products: UnsafePointer<Float>, planeStride: Int,
    rowStride: Int, channels: Int, columns: Int, scratch: UnsafeMutablePointer<Float>
) {
    for channel in 0..<channels {
        var column = 0
        while column < columns {
            let source = products + channel * rowStride + column
            let lines = scratch + 9 * laneCount
            for x in 0..<6 {
                putTaps(source + x * planeStride, 6 * planeStride, lines + x * laneCount, 6 * laneCount)
            }
            for y in 0..<3 {
                putTaps(lines + 6 * y * laneCount, laneCount, scratch + 3 * y * laneCount, laneCount)
            }
            addTaps(dw + column * filterStride + 9 * channel, filterStride, scratch, columns - column)
            column += laneCount
        }
    }
}

/// Gᵀ m for the six sums at `m`, to three places at `out`.
@inline(always)
private func putTaps(_ m: UnsafePointer<Float>, _ step: Int, _ out: UnsafeMutablePointer<Float>, _ outStep: Int) {
    let half = load(m + step) * (-8.0 / 9)
    let minusOne = load(m + 2 * step) * (-2.0 / 9)
    let two = load(m + 3 * step) * (1.0 / 9)
    store(load(m) + half + (minusOne + two), out)
    store(load(m + 5 * step), out + outStep)
    store(times(0.5, half, plus: times(2, two, plus: load(m + 4 * step) - minusOne)), out + 2 * outStep)
}
