import Glibc
import Kernels
import Runtime

/// What `fit` does to an image, in this order: random crop, random horizontal flip, a policy's operations, Cutout (DeVries
/// and Taylor 2017), random erasing (Zhong, Zheng, Kang, Li, Yang 2017).
struct Augmentation {
    /// Zeros on each side of the image that a window of its size is cut from; 0 = no crop.
    let padding: Int
    let flip: Bool
    /// CropShift (Li and Spratling 2023): rows and columns, so many in all, are cut off, and what is left is put anywhere into
    /// zeros. At most so many; 0 = none.
    var shift = 0
    var policy: AugmentationPolicy?
    /// Side of a square of zeros whose centre is a random pixel: at the border a part of it is cut off. 0 = none.
    var cutout = 0
    /// How likely a rectangle of zeros is, whose part of the area is uniform in 0.02 ... `erasingArea`, and whose height is
    /// 0.3 ... 3.3 times its width.
    var erasing: Float = 0
    var erasingArea: Float = 0.33
    let seed: UInt64

    /// Which numbers of a sample's augmentation a generator gives: parts that are switched on or off do not change the
    /// others.
    enum Part: UInt32 {
        case crop = 0
        case cutout = 1
        case mix = 2
        case shift = 3
        case policy = 4
        case erasing = 5
    }

    func random(_ key: UInt64, _ part: Part) -> CounterRandom {
        CounterRandom(seed: seed, stream: .augmentation, index: key, sub: part.rawValue)
    }

    /// Bytes of memory that `apply` needs.
    func spareBytes(_ shape: ImageShape) -> Int { policy == nil ? 0 : 2 * shape.count }

    /// Writes the augmented form of `image`, both (channels, height, width) and not the same memory.
    ///
    /// - Parameters:
    ///   - key: of the random numbers; different for each sample and epoch.
    ///   - spare: `spareBytes(shape)` of them.
    func apply(
        _ image: UnsafePointer<Float>, into result: UnsafeMutablePointer<Float>, shape: ImageShape, key: UInt64,
        spare: UnsafeMutablePointer<UInt8>
    ) {
        var random = random(key, .crop)
        let down = random.below(2 * padding + 1) - padding
        let right = random.below(2 * padding + 1) - padding
        let mirrored = random.below(2) == 1 && flip
        var rows = Visible(output: 0..<shape.height, offset: down)
        var columns = Visible(output: 0..<shape.width, offset: right)
        if shift > 0 {
            var random = self.random(key, .shift)
            let strength = random.below(shift + 1)
            let across = random.below(strength + 1)
            columns = Visible(cutting: across, of: shape.width, &random)
            rows = Visible(cutting: strength - across, of: shape.height, &random)
        }
        copy(image, into: result, shape, rows, columns, mirrored: mirrored)
        if let policy { operate(policy, result, shape, key, spare) }
        if cutout > 0 { cutOut(result, shape, key) }
        if erasing > 0 { erase(result, shape, key) }
    }

    /// Along one axis: which output pixels show the image, and how far from each the one that it shows is.
    private struct Visible {
        let output: Range<Int>
        let offset: Int

        init(output: Range<Int>, offset: Int) {
            (self.output, self.offset) = (output, offset)
        }

        /// `count` pixels are cut off on both sides together, and the rest lies anywhere.
        init(cutting count: Int, of size: Int, _ random: inout CounterRandom) {
            let source = random.below(count + 1)
            let target = random.below(count + 1)
            self.init(output: target..<target + size - count, offset: source - target)
        }
    }

    private func copy(
        _ image: UnsafePointer<Float>, into result: UnsafeMutablePointer<Float>, _ shape: ImageShape, _ rows: Visible,
        _ columns: Visible, mirrored: Bool
    ) {
        let (height, width) = (shape.height, shape.width)
        for channel in 0..<shape.channels {
            for y in 0..<height {
                let row = result + (channel * height + y) * width
                let sourceY = y + rows.offset
                guard rows.output.contains(y), sourceY >= 0, sourceY < height else {
                    row.update(repeating: 0, count: width)
                    continue
                }
                let source = image + (channel * height + sourceY) * width
                for x in 0..<width {
                    let sourceX = (mirrored ? width - 1 - x : x) + columns.offset
                    let isThere = columns.output.contains(mirrored ? width - 1 - x : x)
                    row[x] = isThere && sourceX >= 0 && sourceX < width ? source[sourceX] : 0
                }
            }
        }
    }

    /// On the image in bytes: images that have come from bytes lose nothing.
    private func operate(
        _ policy: AugmentationPolicy, _ image: UnsafeMutablePointer<Float>, _ shape: ImageShape, _ key: UInt64,
        _ spare: UnsafeMutablePointer<UInt8>
    ) {
        for i in 0..<shape.count { spare[i] = UInt8((image[i] * 255).rounded()) }
        var bytes = ByteImage(spare, shape: shape)
        var random = random(key, .policy)
        policy.forEachOperation(&random, shape) { bytes.apply($0) }
        for i in 0..<shape.count { image[i] = Float(bytes.pixels[i]) / 255 }
    }

    private func cutOut(_ image: UnsafeMutablePointer<Float>, _ shape: ImageShape, _ key: UInt64) {
        var random = random(key, .cutout)
        let rows = Box.side(around: random.below(shape.height), length: cutout, within: shape.height)
        let columns = Box.side(around: random.below(shape.width), length: cutout, within: shape.width)
        Box(rows: rows, columns: columns).clear(image, shape)
    }

    private func erase(_ image: UnsafeMutablePointer<Float>, _ shape: ImageShape, _ key: UInt64) {
        var random = random(key, .erasing)
        guard random.uniform() < erasing else { return }
        // A rectangle that does not fit is drawn again, a few times, as in torchvision.
        for _ in 0..<10 {
            let area = Float(shape.pixels) * (0.02 + random.uniform() * (erasingArea - 0.02))
            let ratio = exp(log(0.3) + random.uniform() * (log(3.3) - log(0.3) as Float))
            let height = Int((area * ratio).squareRoot().rounded(.toNearestOrEven))
            let width = Int((area / ratio).squareRoot().rounded(.toNearestOrEven))
            guard height < shape.height, width < shape.width else { continue }
            let (top, left) = (random.below(shape.height - height + 1), random.below(shape.width - width + 1))
            Box(rows: top..<top + height, columns: left..<left + width).clear(image, shape)
            return
        }
    }
}

/// A rectangle of pixels.
struct Box {
    let rows: Range<Int>
    let columns: Range<Int>

    /// `length` pixels around a centre, as far as they lie within 0 ..< size.
    static func side(around centre: Int, length: Int, within size: Int) -> Range<Int> {
        let first = centre - length / 2
        return max(first, 0)..<max(min(first + length, size), 0)
    }

    /// Calls `body` with the start and length of each of its rows in an image (channels, height, width).
    func forEachRow(of shape: ImageShape, _ body: (_ start: Int, _ count: Int) -> Void) {
        for channel in 0..<shape.channels {
            for y in rows {
                body((channel * shape.height + y) * shape.width + columns.lowerBound, columns.count)
            }
        }
    }

    /// Makes it zero.
    func clear(_ image: UnsafeMutablePointer<Float>, _ shape: ImageShape) {
        forEachRow(of: shape) { start, count in (image + start).update(repeating: 0, count: count) }
    }
}
