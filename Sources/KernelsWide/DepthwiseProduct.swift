// Depthwise convolution: every channel has a filter of its own, so vectors run across channels and nothing is shared
// between lanes. Rows are found through pointers, as in IndirectProduct.swift.

/// output[m][c] = epilogue( Σ_t row(m, t)[c] · filters[t][c] ),  m < count, c < channels
///
/// - pointers: [row][tap].
/// - filters: [filter tap][channel]; tapBlocks: which of them each tap of the rows is.
/// - rowOffsets: start of output row m, in floats, in `output`, `residual`, `mask` and `signs`.
public func depthwiseProduct(
    pointers: UnsafePointer<UnsafePointer<Float>>, count: Int, taps: Int, filters: UnsafePointer<Float>,
    tapBlocks: UnsafePointer<Int>, channels: Int, shift: UnsafePointer<Float>?, residual: UnsafePointer<Float>?,
    mask: UnsafePointer<UInt8>?, rectify: Bool, signs: UnsafeMutablePointer<UInt8>?,
    output: UnsafeMutablePointer<Float>, rowOffsets: UnsafePointer<Int>
) {
    let epilogue = Epilogue(
        scale: nil, shift: shift, residual: residual, mask: mask, rectify: rectify, signs: signs,
        output: output)
    var channel = 0
    while channel < channels {
        let own = filters + channel
        let parameters = epilogue.parameters(channel)
        let isWhole = channel + laneCount <= channels
        @inline(always)
        func finish(_ sum: Lanes, _ row: Int) {
            let offset = rowOffsets[row] + channel
            if isWhole {
                epilogue.finish(sum, parameters, at: offset)
            } else {
                epilogue.finishPart(sum, parameters, at: offset, channels: channels - channel)
            }
        }
        @inline(always)
        func filter(_ tap: Int) -> Lanes { load(own + tapBlocks[tap] * channels) }
        if taps == 9 {
            // The usual case, with the filter in registers.
            let (f0, f1, f2) = (filter(0), filter(1), filter(2))
            let (f3, f4, f5) = (filter(3), filter(4), filter(5))
            let (f6, f7, f8) = (filter(6), filter(7), filter(8))
            for row in 0..<count {
                let pixels = pointers + 9 * row
                @inline(always)
                func pixel(_ tap: Int) -> Lanes { load(pixels[tap] + channel) }
                var sum = pixel(0) * f0
                sum = multiplyAdd(sum, pixel(1), f1)
                sum = multiplyAdd(sum, pixel(2), f2)
                sum = multiplyAdd(sum, pixel(3), f3)
                sum = multiplyAdd(sum, pixel(4), f4)
                sum = multiplyAdd(sum, pixel(5), f5)
                sum = multiplyAdd(sum, pixel(6), f6)
                sum = multiplyAdd(sum, pixel(7), f7)
                sum = multiplyAdd(sum, pixel(8), f8)
                finish(sum, row)
            }
        } else {
            for row in 0..<count {
                var sum = Lanes.zero
                for tap in 0..<taps {
                    sum = multiplyAdd(sum, load(pointers[taps * row + tap] + channel), filter(tap))
                }
                finish(sum, row)
            }
        }
        channel += laneCount
    }
}

/// A line of outputs of a 3×3 depthwise convolution of stride 1, four pixels at a time, which share what they read:
/// output[x][c] = epilogue( Σ_rs line(r, x + s)[c] · filters[3r + s][c] ),  x < count, c < channels
///
/// - lines: [3][count + 2], the input pixels of three lines.
/// - rotate: the filter turned by 180°, for the input gradient.
/// - output, residual, mask, signs: at the first pixel of the line; pixels are `channels` floats apart.
public func depthwiseLine(
    lines: UnsafePointer<UnsafePointer<Float>>, count: Int, filters: UnsafePointer<Float>, rotate: Bool, channels: Int,
    shift: UnsafePointer<Float>?, residual: UnsafePointer<Float>?, mask: UnsafePointer<UInt8>?, rectify: Bool,
    signs: UnsafeMutablePointer<UInt8>?, output: UnsafeMutablePointer<Float>
) {
    let epilogue = Epilogue(
        scale: nil, shift: shift, residual: residual, mask: mask, rectify: rectify, signs: signs,
        output: output)
    var x = 0
    while x < count {
        let pixels = count - x >= 4 ? 4 : 1
        var channel = 0
        while channel < channels {
            let parameters = epilogue.parameters(channel)
            @inline(always)
            func finish(_ sum: Lanes, _ pixel: Int) {
                let offset = (x + pixel) * channels + channel
                if channel + laneCount <= channels {
                    epilogue.finish(sum, parameters, at: offset)
                } else {
                    epilogue.finishPart(sum, parameters, at: offset, channels: channels - channel)
                }
            }
            @inline(always)
            func input(_ line: Int, _ column: Int) -> Lanes { load(lines[line * (count + 2) + x + column] + channel) }
            @inline(always)
            func filter(_ tap: Int) -> Lanes { load(filters + (rotate ? 8 - tap : tap) * channels + channel) }
            if pixels == 4 {
                var (s0, s1, s2, s3) = (Lanes.zero, Lanes.zero, Lanes.zero, Lanes.zero)
                for line in 0..<3 {
                    let (f0, f1, f2) = (filter(3 * line), filter(3 * line + 1), filter(3 * line + 2))
                    let (i0, i1, i2) = (input(line, 0), input(line, 1), input(line, 2))
                    let (i3, i4, i5) = (input(line, 3), input(line, 4), input(line, 5))
                    s0 = multiplyAdd(multiplyAdd(multiplyAdd(s0, i0, f0), i1, f1), i2, f2)
                    s1 = multiplyAdd(multiplyAdd(multiplyAdd(s1, i1, f0), i2, f1), i3, f2)
                    s2 = multiplyAdd(multiplyAdd(multiplyAdd(s2, i2, f0), i3, f1), i4, f2)
                    s3 = multiplyAdd(multiplyAdd(multiplyAdd(s3, i3, f0), i4, f1), i5, f2)
                }
                finish(s0, 0)
                finish(s1, 1)
                finish(s2, 2)
                finish(s3, 3)
            } else {
                var sum = Lanes.zero
                for line in 0..<3 {
                    for column in 0..<3 { sum = multiplyAdd(sum, input(line, column), filter(3 * line + column)) }
                }
                finish(sum, 0)
            }
            channel += laneCount
        }
        x += pixels
    }
}

/// sums[t][c] += Σ_m row(m, t)[c] · gradient[m][c],  c < channels
///
/// - gradient: rows `gradientStride` floats apart. sums: taps `channels` floats apart.
public func depthwiseGradient(
    _ sums: UnsafeMutablePointer<Float>, pointers: UnsafePointer<UnsafePointer<Float>>, count: Int, taps: Int,
    gradient: UnsafePointer<Float>, gradientStride: Int, channels: Int
) {
    var channel = 0
    while channel < channels {
        var tap = 0
        while tap + 3 <= taps {
            var first = Lanes.zero
            var second = Lanes.zero
            var third = Lanes.zero
            for row in 0..<count {
                let g = load(gradient + row * gradientStride + channel)
                let pixels = pointers + taps * row + tap
                first = multiplyAdd(first, load(pixels[0] + channel), g)
                second = multiplyAdd(second, load(pixels[1] + channel), g)
                third = multiplyAdd(third, load(pixels[2] + channel), g)
            }
            accumulate(first, sums + tap * channels + channel, channels - channel)
            accumulate(second, sums + (tap + 1) * channels + channel, channels - channel)
            accumulate(third, sums + (tap + 2) * channels + channel, channels - channel)
            tap += 3
        }
        while tap < taps {
            var sum = Lanes.zero
            for row in 0..<count {
                sum = multiplyAdd(
                    sum, load(pointers[taps * row + tap] + channel), load(gradient + row * gradientStride + channel))
            }
            accumulate(sum, sums + tap * channels + channel, channels - channel)
            tap += 1
        }
        channel += laneCount
    }
}
