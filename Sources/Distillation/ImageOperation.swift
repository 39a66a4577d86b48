import Glibc
import Kernels

/// What augmentation policies do to images, as they define it: on bytes, with Pillow's rounding, so that images are the same
/// as those of the published policies, bit for bit (Tests/Parity/make_image_operations.py compares).
enum ImageOperation {
    case identity
    case geometric(Affine)
    /// A factor of 1 changes nothing; of 0 all is black, grey, of the mean grey, or smooth.
    case brightness(Double)
    case colour(Double)
    case contrast(Double)
    case sharpness(Double)
    /// Keeps so many bits of eight.
    case posterise(bits: Int)
    /// Inverts values of at least the threshold, 0 ... 256.
    case solarise(threshold: Double)
    /// Stretches each channel to 0 ... 255.
    case autocontrast
    /// Makes all values of a channel equally frequent.
    case equalise
    case invert
}

/// Where a pixel comes from: source = (a x + b y + c, d x + e y + f), in pixels from the upper left corner, whose own centre
/// is (0.5, 0.5). Pixels from outside are zero, like those of the crop.
struct Affine {
    var a = 1.0
    var b = 0.0
    var c = 0.0
    var d = 0.0
    var e = 1.0
    var f = 0.0

    /// Moves the content by whole pixels to the right and down; fractions are cut off.
    static func translation(x: Double = 0, y: Double = 0) -> Affine {
        Affine(c: -x.rounded(.towardZero), f: -y.rounded(.towardZero))
    }

    /// Rows move to the left, by x times their distance from the centre, columns up; by default the centre is the corner.
    static func shear(x: Double = 0, y: Double = 0, centre: (x: Double, y: Double) = (0, 0)) -> Affine {
        Affine(b: x, c: -x * centre.y, d: y, f: -y * centre.x)
    }

    /// About the middle of the image, counter-clockwise.
    static func rotation(degrees: Double, _ shape: ImageShape) -> Affine {
        let angle = -degrees * Double.pi / 180
        let (x, y) = (Double(shape.width) / 2, Double(shape.height) / 2)
        let (cosine, sine) = (cos(angle), sin(angle))
        return Affine(
            a: cosine, b: sine, c: x - cosine * x - sine * y, d: -sine, e: cosine, f: y + sine * x - cosine * y)
    }
}

/// An image of bytes, (channels, height, width), with room for a second one. Grey is luminance where there are three channels,
/// else the mean over the channels.
struct ByteImage {
    private(set) var pixels: UnsafeMutablePointer<UInt8>
    private var other: UnsafeMutablePointer<UInt8>
    private let shape: ImageShape

    /// - Parameter memory: 2 * shape.count bytes, the first half of them the image.
    init(_ memory: UnsafeMutablePointer<UInt8>, shape: ImageShape) {
        (pixels, other, self.shape) = (memory, memory + shape.count, shape)
    }

    mutating func apply(_ operation: ImageOperation) {
        switch operation {
        case .identity: break
        case .geometric(let map): move(map)
        case .brightness(let factor): blend(factor) { _ in 0 }
        case .colour(let factor):
            let pixels = shape.pixels
            for i in 0..<pixels { other[i] = grey(i) }
            blend(factor) { [other] in Int(other[$0 % pixels]) }
        case .contrast(let factor):
            var sum = 0
            for i in 0..<shape.pixels { sum += Int(grey(i)) }
            let mean = (2 * sum + shape.pixels) / (2 * shape.pixels)
            blend(factor) { _ in mean }
        case .sharpness(let factor):
            smooth()
            blend(factor) { [other] in Int(other[$0]) }
        case .posterise(let bits):
            let mask = UInt8(truncatingIfNeeded: 0xFF << (8 - bits))
            for i in 0..<shape.count { pixels[i] &= mask }
        case .solarise(let threshold):
            for i in 0..<shape.count where Double(pixels[i]) >= threshold { pixels[i] = 255 - pixels[i] }
        case .autocontrast: mapChannels(autocontrast)
        case .equalise: mapChannels(equalise)
        case .invert: for i in 0..<shape.count { pixels[i] = 255 - pixels[i] }
        }
    }

    private func grey(_ pixel: Int) -> UInt8 {
        func value(_ channel: Int) -> Int { Int(pixels[channel * shape.pixels + pixel]) }
        if shape.channels == 3 {
            // 0.299, 0.587 and 0.114 in 16 bits.
            return UInt8((19595 * value(0) + 38470 * value(1) + 7471 * value(2) + 0x8000) >> 16)
        }
        let sum = (0..<shape.channels).reduce(0) { $0 + value($1) }
        return UInt8((2 * sum + shape.channels) / (2 * shape.channels))
    }

    /// From the nearest pixel, in Pillow's fixed point of 16 bits.
    private mutating func move(_ map: Affine) {
        func fixed(_ value: Double) -> Int { Int((value * 65536 + 0.5).rounded(.down)) }
        let (a, b, d, e) = (fixed(map.a), fixed(map.b), fixed(map.d), fixed(map.e))
        let first = (x: fixed(map.c + (map.a + map.b) * 0.5), y: fixed(map.f + (map.d + map.e) * 0.5))
        for y in 0..<shape.height {
            for x in 0..<shape.width {
                let column = (first.x + a * x + b * y) >> 16
                let row = (first.y + d * x + e * y) >> 16
                let isInside = column >= 0 && column < shape.width && row >= 0 && row < shape.height
                for channel in 0..<shape.channels {
                    let start = channel * shape.pixels
                    other[start + y * shape.width + x] = isInside ? pixels[start + row * shape.width + column] : 0
                }
            }
        }
        swap(&pixels, &other)
    }

    /// background + factor * (image - background), cut off at both ends of the range.
    private func blend(_ factor: Double, _ background: (Int) -> Int) {
        let factor = Float(factor)
        for i in 0..<shape.count {
            let under = background(i)
            let value = Float(under) + factor * Float(Int(pixels[i]) - under)
            pixels[i] = UInt8(min(max(value, 0), 255))
        }
    }

    /// A mean over 3x3 pixels in which the middle counts five times, into `other`; pixels at the border stay.
    private func smooth() {
        other.update(from: pixels, count: shape.count)
        guard shape.height > 2, shape.width > 2 else { return }
        for channel in 0..<shape.channels {
            let (from, to) = (pixels + channel * shape.pixels, other + channel * shape.pixels)
            for y in 1..<shape.height - 1 {
                for x in 1..<shape.width - 1 {
                    let place = y * shape.width + x
                    var sum = 4 * Int(from[place])
                    for row in -1...1 {
                        for column in -1...1 { sum += Int(from[place + row * shape.width + column]) }
                    }
                    to[place] = UInt8((2 * sum + 13) / 26)
                }
            }
        }
    }

    /// Replaces the values of each channel by what a table says, made from how often each occurs. Without a table the
    /// channel stays.
    private func mapChannels(_ table: (UnsafeMutablePointer<Int>) -> ((Int) -> Int)?) {
        withUnsafeTemporaryAllocation(of: Int.self, capacity: 256) { counts in
            guard let counts = counts.baseAddress else { return }
            for channel in 0..<shape.channels {
                let values = pixels + channel * shape.pixels
                counts.update(repeating: 0, count: 256)
                for i in 0..<shape.pixels { counts[Int(values[i])] += 1 }
                guard let newValue = table(counts) else { continue }
                for value in 0..<256 { counts[value] = min(max(newValue(value), 0), 255) }
                for i in 0..<shape.pixels { values[i] = UInt8(counts[Int(values[i])]) }
            }
        }
    }

    private func autocontrast(_ counts: UnsafeMutablePointer<Int>) -> ((Int) -> Int)? {
        guard let low = (0..<256).first(where: { counts[$0] > 0 }),
            let high = (0..<256).last(where: { counts[$0] > 0 }),
            low < high
        else { return nil }
        let scale = 255 / Double(high - low)
        let offset = -Double(low) * scale
        return { Int(Double($0) * scale + offset) }
    }

    private func equalise(_ counts: UnsafeMutablePointer<Int>) -> ((Int) -> Int)? {
        guard let high = (0..<256).last(where: { counts[$0] > 0 }) else { return nil }
        let step = (shape.pixels - counts[high]) / 255
        guard step > 0 else { return nil }
        // The table is made from the lowest value up; what it replaces has been counted by then.
        var below = step / 2
        return { value in
            defer { below += counts[value] }
            return below / step
        }
    }
}
