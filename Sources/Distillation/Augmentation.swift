import Kernels
import Runtime

/// Random crop from the image padded with zeros, then random horizontal flip: the usual augmentation of small images;
/// then Cutout (DeVries and Taylor 2017).
struct Augmentation {
    /// Zeros on each side; 0 = no crop.
    let padding: Int
    let flip: Bool
    /// Side of a square of zeros whose centre is a random pixel: at the border a part of it is cut off. 0 = none.
    var cutout = 0
    let seed: UInt64

    /// Which numbers of a sample's augmentation a generator gives: parts that are switched on or off do not change the
    /// others.
    enum Part: UInt32 {
        case crop = 0
        case cutout = 1
        case mix = 2
    }

    func random(_ key: UInt64, _ part: Part) -> CounterRandom {
        CounterRandom(seed: seed, stream: .augmentation, index: key, sub: part.rawValue)
    }

    /// Writes the augmented form of `image`, both (channels, height, width) and not the same memory.
    ///
    /// - Parameter key: of the random numbers; different for each sample and epoch.
    func apply(
        _ image: UnsafePointer<Float>, into result: UnsafeMutablePointer<Float>, shape: ImageShape, key: UInt64
    ) {
        var random = random(key, .crop)
        let down = random.below(2 * padding + 1) - padding
        let right = random.below(2 * padding + 1) - padding
        let mirrored = random.below(2) == 1 && flip
        let (height, width) = (shape.height, shape.width)
        for channel in 0..<shape.channels {
            for y in 0..<height {
                let row = result + (channel * height + y) * width
                let sourceY = y + down
                guard sourceY >= 0, sourceY < height else {
                    row.update(repeating: 0, count: width)
                    continue
                }
                let source = image + (channel * height + sourceY) * width
                for x in 0..<width {
                    let sourceX = (mirrored ? width - 1 - x : x) + right
                    row[x] = sourceX >= 0 && sourceX < width ? source[sourceX] : 0
                }
            }
        }
        if cutout > 0 { cutOut(result, shape, key) }
    }

    private func cutOut(_ image: UnsafeMutablePointer<Float>, _ shape: ImageShape, _ key: UInt64) {
        var random = random(key, .cutout)
        let rows = Box.side(around: random.below(shape.height), length: cutout, within: shape.height)
        let columns = Box.side(around: random.below(shape.width), length: cutout, within: shape.width)
        Box(rows: rows, columns: columns).forEachRow(of: shape) { start, count in
            (image + start).update(repeating: 0, count: count)
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
}
