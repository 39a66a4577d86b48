// What happens to a finished sum before it is stored, the same for every kernel that gives activations or gradients.

import CCPU

/// act( sum·scale + shift + residual ) where `mask` is not 0, else 0, element by element; whatever is nil or false is left
/// out. `signs` is set to 1 where the result is positive, else to 0: the mask of a ReLU's gradient, in a quarter of the
/// memory of what it is taken from.
///
/// `scale` and `shift` are per channel, `residual`, `mask`, `signs` and `output` have the shape of the result. `residual`
/// may be `output` itself, to accumulate. All point at the first channel of the block of channels that is being computed.
struct Epilogue {
    let scale: UnsafePointer<Float>?
    let shift: UnsafePointer<Float>?
    let residual: UnsafePointer<Float>?
    let mask: UnsafePointer<UInt8>?
    let rectify: Bool
    let signs: UnsafeMutablePointer<UInt8>?
    let output: UnsafeMutablePointer<Float>

    /// Factor and shift of the channels from `channel` on.
    @inline(always)
    func parameters(_ channel: Int) -> (factor: Lanes, shift: Lanes) {
        var factor = Lanes(repeating: 1)
        if let scale { factor = load(scale + channel) }
        var offset = Lanes.zero
        if let shift { offset = load(shift + channel) }
        return (factor, offset)
    }

    /// Stores a whole vector at `offset`, the place of its first channel; `parameters` are those of its channels.
    @inline(always)
    func finish(_ sum: Lanes, _ parameters: (factor: Lanes, shift: Lanes), at offset: Int) {
        var value = multiplyAdd(parameters.shift, sum, parameters.factor)
        if let residual { value += load(residual + offset) }
        if rectify { value = rectified(value) }
        if let mask { value = masked(value, mask + offset) }
        if let signs { storeSigns(value, signs + offset) }
        store(value, output + offset)
    }

    /// Stores up to four pixels, `pixelStride` floats apart; `channels` of each are left from this vector on.
    @inline(always)
    func finish(
        _ values: (Lanes, Lanes, Lanes, Lanes), _ parameters: (factor: Lanes, shift: Lanes), at offset: Int,
        pixelStride: Int, pixels: Int, channels: Int
    ) {
        @inline(always)
        func finish(_ value: Lanes, _ pixel: Int) {
            guard pixel < pixels else { return }
            if channels >= laneCount {
                self.finish(value, parameters, at: offset + pixel * pixelStride)
            } else {
                finishPart(value, parameters, at: offset + pixel * pixelStride, channels: channels)
            }
        }
        finish(values.0, 0)
        finish(values.1, 1)
        finish(values.2, 2)
        finish(values.3, 3)
    }

    /// The last channels, fewer than a vector. Per-channel parameters are padded to whole vectors, the tensors are not.
    @inline(always)
    func finishPart(_ sum: Lanes, _ parameters: (factor: Lanes, shift: Lanes), at offset: Int, channels: Int) {
        if channels == laneCount / 2 {
            finishHalf(multiplyAdd(parameters.shift, sum, parameters.factor).lowHalf, at: offset)
        } else {
            finishOneByOne(sum, parameters, at: offset, channels: channels)
        }
    }

    /// Half a vector, in line: small networks have 8 channels, and a call would cost more than what it does.
    @inline(always)
    func finishHalf(_ value: HalfLanes, at offset: Int) {
        var value = value
        if let residual { value += loadHalf(residual + offset) }
        if rectify { value = value.replacing(with: HalfLanes.zero, where: value .< HalfLanes.zero) }
        if let mask { ccpu_mask(&value, mask + offset, Int32(laneCount / 2)) }
        if let signs { ccpu_signs(&value, signs + offset, Int32(laneCount / 2)) }
        storeHalf(value, output + offset)
    }

    @inline(never)
    private func finishOneByOne(
        _ sum: Lanes, _ parameters: (factor: Lanes, shift: Lanes), at offset: Int, channels: Int
    ) {
        let value = multiplyAdd(parameters.shift, sum, parameters.factor)
        var lane = 0
        if channels > laneCount / 2 {
            finishHalf(value.lowHalf, at: offset)
            lane = laneCount / 2
        }
        while lane < channels {
            var scalar = value[lane]
            if let residual { scalar += residual[offset + lane] }
            if rectify && scalar < 0 { scalar = 0 }
            if let mask, mask[offset + lane] == 0 { scalar = 0 }
            signs?[offset + lane] = scalar > 0 ? 1 : 0
            output[offset + lane] = scalar
            lane += 1
        }
    }
}
