// Convolution of 3×3 filters, stride 1, with a quarter of the multiplications: Winograd's minimal filtering F(4×4, 3×3)
// (Winograd 1980; Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, arXiv 1509.09308).
// A tile of 6×6 inputs gives 4×4 outputs:
//
//     Y = Aᵀ [ (Bᵀ d B) ⊙ (G g Gᵀ) ] A,    the sum over input channels taken inside the brackets
//
// so that each of the 36 positions of the transformed tile is a matrix product of its own. The interpolation points are
// 0, ±a, ±b and ∞ with a = 5/8, b = 3/2: for any points 1D transforms cost the same with fused multiply-adds, and
// these give half the RMS rounding error of the textbook's 1 and 2. All their products that occur below are
// exact in float32. Vectors run across channels, so that the transforms are plain arithmetic.

import CCPU

private let a: Float = 0.625
private let b: Float = 1.5
private let aa: Float = a * a
private let bb: Float = b * b

private typealias Six = (Lanes, Lanes, Lanes, Lanes, Lanes, Lanes)
private typealias Four = (Lanes, Lanes, Lanes, Lanes)
private typealias Three = (Lanes, Lanes, Lanes)

@inline(always)
private func times(_ factor: Float, _ x: Lanes, plus y: Lanes) -> Lanes {
    multiplyAdd(y, x, Lanes(repeating: factor))
}

/// Bᵀ d: the coefficients of Π(x − other points) at each point.
@inline(always)
private func inputLine(_ d: Six) -> Six {
    let evenA = times(-bb, d.2, plus: d.4)
    let oddA = times(-bb, d.1, plus: d.3)
    let evenB = times(-aa, d.2, plus: d.4)
    let oddB = times(-aa, d.1, plus: d.3)
    // Sums and differences instead of two multiply-adds: processors add elsewhere than they multiply.
    let farA = oddA * a
    let farB = oddB * b
    return (
        times(aa * bb, d.0, plus: times(-(aa + bb), d.2, plus: d.4)),
        evenA + farA, evenA - farA, evenB + farB, evenB - farB,
        times(aa * bb, d.1, plus: times(-(aa + bb), d.3, plus: d.5))
    )
}

/// Aᵀ m.
@inline(always)
private func outputLine(_ m: Six) -> Four {
    let sumA = m.1 + m.2
    let differenceA = m.1 - m.2
    let sumB = m.3 + m.4
    let differenceB = m.3 - m.4
    return (
        m.0 + sumA + sumB,
        times(a, differenceA, plus: Lanes(repeating: b) * differenceB),
        times(aa, sumA, plus: Lanes(repeating: bb) * sumB),
        times(a * aa, differenceA, plus: times(b * bb, differenceB, plus: m.5))
    )
}

/// G g; the factors 1/Π(point − other points).
@inline(always)
private func filterLine(_ g: Three) -> Six {
    let zero: Float = 1 / (aa * bb)
    let nearA: Float = 1 / (2 * aa * (aa - bb))
    let nearB: Float = 1 / (2 * bb * (bb - aa))
    let evenA = times(aa, g.2, plus: g.0) * nearA
    let oddA = g.1 * (a * nearA)
    let evenB = times(bb, g.2, plus: g.0) * nearB
    let oddB = g.1 * (b * nearB)
    return (g.0 * zero, evenA + oddA, evenA - oddA, evenB + oddB, evenB - oddB, g.2)
}

/// The transformed output gradient of F(3×3, 4×4), four rows to six, without the factors of `filterLine`: those are in
/// `gradientOutputLine`.
@inline(always)
private func gradientLine(_ g: Four) -> Six {
    let evenA = times(aa, g.2, plus: g.0)
    let oddA = times(aa, g.3, plus: g.1)
    let evenB = times(bb, g.2, plus: g.0)
    let oddB = times(bb, g.3, plus: g.1)
    let farA = oddA * a
    let farB = oddB * b
    return (g.0, evenA + farA, evenA - farA, evenB + farB, evenB - farB, g.3)
}

/// Six rows of summed products to the three taps of the filter's gradient.
@inline(always)
private func gradientOutputLine(_ m: Six) -> Three {
    let zero: Float = 1 / (aa * bb)
    let nearA: Float = 1 / (2 * aa * (aa - bb))
    let nearB: Float = 1 / (2 * bb * (bb - aa))
    let sumA = (m.1 + m.2) * nearA
    let differenceA = (m.1 - m.2) * (a * nearA)
    let sumB = (m.3 + m.4) * nearB
    let differenceB = (m.3 - m.4) * (b * nearB)
    return (
        times(zero, m.0, plus: sumA + sumB), differenceA + differenceB,
        times(aa, sumA, plus: times(bb, sumB, plus: m.5))
    )
}

/// Six vectors that lie `step` vectors apart.
@inline(always)
private func six(_ p: UnsafePointer<Float>, _ step: Int) -> Six {
    (load(p), load(p + step), load(p + 2 * step), load(p + 3 * step), load(p + 4 * step), load(p + 5 * step))
}

@inline(always)
private func put(_ v: Six, _ p: UnsafeMutablePointer<Float>, _ step: Int) {
    store(v.0, p)
    store(v.1, p + step)
    store(v.2, p + 2 * step)
    store(v.3, p + 3 * step)
    store(v.4, p + 4 * step)
    store(v.5, p + 5 * step)
}

/// Floats of working memory that the transforms of filters and of their gradients want.
public let winogradScratch = 9 * laneCount * laneCount

/// v[position][tile][channel − first] = (Bᵀ d B)[position]: the transformed input tiles, in the channels `first ..< end`.
///
/// - pointers: [tile][36], the pixels of each tile row by row, or zeros in the padding. Whole vectors are read.
/// - scale: per channel, a factor of the input; nil = 1.
/// - planeStride, rowStride: floats between positions, and between tiles.
public func winogradInput(
    _ v: UnsafeMutablePointer<Float>, planeStride: Int, rowStride: Int,
    pointers: UnsafePointer<UnsafePointer<Float>>, tiles: Int, from first: Int, to end: Int,
    scale: UnsafePointer<Float>?
) {
    for tile in 0..<tiles {
        let pixels = pointers + 36 * tile
        let row = v + tile * rowStride
        var channel = first
        while channel < end {
            let factor = scale.map { load($0 + channel) } ?? Lanes(repeating: 1)
            @inline(always)
            func line(_ x: Int) -> Six {
                @inline(always)
                func pixel(_ y: Int) -> Lanes {
                    let value = load(pixels[6 * y + x] + channel)
                    return scale == nil ? value : value * factor
                }
                return inputLine((pixel(0), pixel(1), pixel(2), pixel(3), pixel(4), pixel(5)))
            }
            if tile + 1 < tiles {
                // The next tile's lines are too scattered for the processor to guess; its first two columns are here.
                for y in 0..<6 {
                    for x in 2..<6 { ccpu_prefetch(pixels[36 + 6 * y + x] + channel) }
                }
            }
            let (c0, c1, c2, c3, c4, c5) = (line(0), line(1), line(2), line(3), line(4), line(5))
            let target = row + channel - first
            put(inputLine((c0.0, c1.0, c2.0, c3.0, c4.0, c5.0)), target, planeStride)
            put(inputLine((c0.1, c1.1, c2.1, c3.1, c4.1, c5.1)), target + 6 * planeStride, planeStride)
            put(inputLine((c0.2, c1.2, c2.2, c3.2, c4.2, c5.2)), target + 12 * planeStride, planeStride)
            put(inputLine((c0.3, c1.3, c2.3, c3.3, c4.3, c5.3)), target + 18 * planeStride, planeStride)
            put(inputLine((c0.4, c1.4, c2.4, c3.4, c4.4, c5.4)), target + 24 * planeStride, planeStride)
            put(inputLine((c0.5, c1.5, c2.5, c3.5, c4.5, c5.5)), target + 30 * planeStride, planeStride)
            channel += laneCount
        }
    }
}

/// output = epilogue( Aᵀ m A ) for each tile.
///
/// - m: [position][tile][column], strides as in `winogradInput`.
/// - origins: start of each tile's first output pixel, in floats; heights, widths: how much of the 4×4 lies inside.
/// - pixelStride, lineStride: floats from one output pixel to the next, and from one line to the next.
public func winogradOutput(
    _ m: UnsafePointer<Float>, planeStride: Int, rowStride: Int, tiles: Int, columns: Int,
    origins: UnsafePointer<Int>, heights: UnsafePointer<Int>, widths: UnsafePointer<Int>, pixelStride: Int,
    lineStride: Int, scale: UnsafePointer<Float>?, shift: UnsafePointer<Float>?, residual: UnsafePointer<Float>?,
    mask: UnsafePointer<UInt8>?, rectify: Bool, signs: UnsafeMutablePointer<UInt8>?, output: UnsafeMutablePointer<Float>
) {
    let epilogue = Epilogue(
        scale: scale, shift: shift, residual: residual, mask: mask, rectify: rectify, signs: signs,
        output: output)
    for tile in 0..<tiles {
        let row = m + tile * rowStride
        let height = heights[tile]
        let width = widths[tile]
        var column = 0
        while column < columns {
            @inline(always)
            func line(_ x: Int) -> Four { outputLine(six(row + x * planeStride + column, 6 * planeStride)) }
            let (c0, c1, c2, c3, c4, c5) = (line(0), line(1), line(2), line(3), line(4), line(5))
            let parameters = epilogue.parameters(column)
            @inline(always)
            func finish(_ m: Six, _ y: Int) {
                guard y < height else { return }
                epilogue.finish(
                    outputLine(m), parameters, at: origins[tile] + y * lineStride + column, pixelStride: pixelStride,
                    pixels: width, channels: columns - column)
            }
            finish((c0.0, c1.0, c2.0, c3.0, c4.0, c5.0), 0)
            finish((c0.1, c1.1, c2.1, c3.1, c4.1, c5.1), 1)
            finish((c0.2, c1.2, c2.2, c3.2, c4.2, c5.2), 2)
            finish((c0.3, c1.3, c2.3, c3.3, c4.3, c5.3), 3)
            column += laneCount
        }
    }
}

/// u[position][row][column] = (G g Gᵀ)[position] for some rows (channels of the product's input) of a panel of `columns`
/// filters (whole vectors).
///
/// - taps: the nine taps of (row, column) are at `row · rowStride + column · columnStride`; `filters` columns are there.
/// - rotate: the filter turned by 180°, for the input gradient.
public func winogradFilters(
    _ u: UnsafeMutablePointer<Float>, planeStride: Int, rows: Int, columns: Int, taps: UnsafePointer<Float>,
    rowStride: Int, columnStride: Int, filters: Int, rotate: Bool, scratch: UnsafeMutablePointer<Float>
) {
    eachFilter(taps, rows, columns, rowStride, columnStride, filters, rotate, scratch) { tap, row, column in
        @inline(always)
        func line(_ x: Int) -> Six { filterLine((load(tap(x)), load(tap(3 + x)), load(tap(6 + x)))) }
        let (c0, c1, c2) = (line(0), line(1), line(2))
        let target = u + row * columns + column
        put(filterLine((c0.0, c1.0, c2.0)), target, planeStride)
        put(filterLine((c0.1, c1.1, c2.1)), target + 6 * planeStride, planeStride)
        put(filterLine((c0.2, c1.2, c2.2)), target + 12 * planeStride, planeStride)
        put(filterLine((c0.3, c1.3, c2.3)), target + 18 * planeStride, planeStride)
        put(filterLine((c0.4, c1.4, c2.4)), target + 24 * planeStride, planeStride)
        put(filterLine((c0.5, c1.5, c2.5)), target + 30 * planeStride, planeStride)
    }
}

/// v[position][tile][column] of output gradients, 4×4 to 6×6: the second factor of the filter's gradient.
///
/// - pointers: [tile][16], pixels of the output gradient row by row, or zeros beyond the image.
public func winogradGradient(
    _ v: UnsafeMutablePointer<Float>, planeStride: Int, rowStride: Int,
    pointers: UnsafePointer<UnsafePointer<Float>>, tiles: Int, columns: Int
) {
    for tile in 0..<tiles {
        let pixels = pointers + 16 * tile
        let row = v + tile * rowStride
        var column = 0
        while column < columns {
            @inline(always)
            func line(_ x: Int) -> Six {
                gradientLine(
                    (
                        load(pixels[x] + column), load(pixels[4 + x] + column), load(pixels[8 + x] + column),
                        load(pixels[12 + x] + column)
                    ))
            }
            let (c0, c1, c2, c3) = (line(0), line(1), line(2), line(3))
            let target = row + column
            put(gradientLine((c0.0, c1.0, c2.0, c3.0)), target, planeStride)
            put(gradientLine((c0.1, c1.1, c2.1, c3.1)), target + 6 * planeStride, planeStride)
            put(gradientLine((c0.2, c1.2, c2.2, c3.2)), target + 12 * planeStride, planeStride)
            put(gradientLine((c0.3, c1.3, c2.3, c3.3)), target + 18 * planeStride, planeStride)
            put(gradientLine((c0.4, c1.4, c2.4, c3.4)), target + 24 * planeStride, planeStride)
            put(gradientLine((c0.5, c1.5, c2.5, c3.5)), target + 30 * planeStride, planeStride)
            column += laneCount
        }
    }
}

/// dw[column][channel][tap] += the 3×3 gradient of each filter from summed products [position][channel][column].
///
/// - dw: filters lie `filterStride` floats apart, the taps of one input channel are contiguous.
public func winogradGradientOutput(
    _ dw: UnsafeMutablePointer<Float>, filterStride: Int, products: UnsafePointer<Float>, planeStride: Int,
    rowStride: Int, channels: Int, columns: Int, scratch: UnsafeMutablePointer<Float>
) {
    for channel in 0..<channels {
        var column = 0
        while column < columns {
            let source = products + channel * rowStride + column
            let lines = scratch + 9 * laneCount
            for x in 0..<6 {
                let line = gradientOutputLine(six(source + x * planeStride, 6 * planeStride))
                store(line.0, lines + x * laneCount)
                store(line.1, lines + (6 + x) * laneCount)
                store(line.2, lines + (12 + x) * laneCount)
            }
            for y in 0..<3 {
                let line = gradientOutputLine(six(lines + 6 * y * laneCount, laneCount))
                store(line.0, scratch + 3 * y * laneCount)
                store(line.1, scratch + (3 * y + 1) * laneCount)
                store(line.2, scratch + (3 * y + 2) * laneCount)
            }
            addTaps(dw + column * filterStride + 9 * channel, filterStride, scratch, columns - column)
            column += laneCount
        }
    }
}

/// Calls `body` for each row and each vector of columns with the places of the taps' vectors, the row and the column; zeros
/// stand for filters that are not there.
@inline(always)
func eachFilter(
    _ taps: UnsafePointer<Float>, _ rows: Int, _ columns: Int, _ rowStride: Int, _ columnStride: Int, _ filters: Int,
    _ rotate: Bool, _ scratch: UnsafeMutablePointer<Float>,
    _ body: (_ tap: (Int) -> UnsafePointer<Float>, _ row: Int, _ column: Int) -> Void
) {
    var column = 0
    while column < columns {
        var first = 0
        while first < rows {
            let count = min(laneCount, rows - first)
            gatherTaps(
                scratch, taps + first * rowStride + column * columnStride, count, rowStride, columnStride,
                filters - column)
            for row in 0..<count {
                let vectors = UnsafePointer(scratch + 9 * row * laneCount)
                body({ vectors + (rotate ? 8 - $0 : $0) * laneCount }, first + row, column)
            }
            first += count
        }
        column += laneCount
    }
}

/// target[row][tap][column] of up to laneCount rows and as many columns.
@inline(always)
private func gatherTaps(
    _ target: UnsafeMutablePointer<Float>, _ taps: UnsafePointer<Float>, _ rows: Int, _ rowStride: Int,
    _ columnStride: Int, _ filters: Int
) {
    if filters >= laneCount, rowStride == 9, rows == laneCount {
        for tap in 0..<9 {
            ccpu_transpose(taps + tap * laneCount, columnStride, target + tap * laneCount * laneCount)
        }
    } else if filters >= laneCount, columnStride == 9 {
        for row in 0..<rows { ccpu_gather_taps(taps + row * rowStride, target + 9 * row * laneCount) }
    } else {
        let valid = max(0, min(laneCount, filters))
        for row in 0..<rows {
            for tap in 0..<9 {
                let vector = target + (9 * row + tap) * laneCount
                for lane in 0..<valid { vector[lane] = taps[row * rowStride + lane * columnStride + tap] }
                for lane in valid..<laneCount { vector[lane] = 0 }
            }
        }
    }
}

/// Adds nine vectors of taps to up to laneCount filters `filterStride` floats apart.
@inline(always)
func addTaps(_ dw: UnsafeMutablePointer<Float>, _ filterStride: Int, _ taps: UnsafePointer<Float>, _ filters: Int) {
    for lane in 0..<min(laneCount, filters) {
        let target = dw + lane * filterStride
        for tap in 0..<9 { target[tap] += taps[tap * laneCount + lane] }
    }
}
