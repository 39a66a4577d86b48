import Kernels
import Runtime

/// CutMix (Yun, Han, Oh, Chun, Choe, Yoo, ICCV 2019, section 3.1): a rectangle of an image is taken from the next one
/// of the batch, and the soft labels are mixed by the parts of the area. The rectangle has the part 1-λ of it, λ uniform
/// in [0,1], its centre is a random pixel, and at the border a part of it is cut off.
///
/// Cross-entropy in outer losses takes the soft labels. What knows one label only (the adversary of cross-entropy, the
/// training accuracy, introspection) sees that of the larger part.
final class CutMix {
    /// Of the samples.
    private let part: Float
    private let augmentation: Augmentation
    private let shape: ImageShape
    private let classes: Int
    /// Soft labels before they are mixed.
    private let before: FloatBuffer

    /// Throws `outOfMemory`.
    init(part: Float, augmentation: Augmentation, shape: ImageShape, classes: Int, capacity: Int) throws {
        self.part = part
        self.augmentation = augmentation
        self.shape = shape
        self.classes = classes
        before = try FloatBuffer(capacity * classes)
    }

    /// Mixes a batch in place.
    ///
    /// - Parameters:
    ///   - labels: (count); that of the larger part afterwards.
    ///   - softLabels: (count, classes).
    ///   - copy: room for the images.
    ///   - key: of a sample's random numbers.
    func apply(
        _ images: UnsafeMutablePointer<Float>, _ labels: UnsafeMutablePointer<Int64>,
        _ softLabels: UnsafeMutablePointer<Float>, count: Int, copy: UnsafeMutablePointer<Float>, key: (Int) -> UInt64
    ) {
        copy.update(from: images, count: count * shape.count)
        before.pointer.update(from: softLabels, count: count * classes)
        let first = labels[0]
        for i in 0..<count {
            let next = i + 1 < count ? i + 1 : 0
            let box = box(key(i))
            box.forEachRow(of: shape) { start, length in
                (images + i * shape.count + start).update(from: copy + next * shape.count + start, count: length)
            }
            let share = 1 - Float(box.rows.count * box.columns.count) / Float(shape.pixels)
            if share < 0.5 { labels[i] = next == 0 ? first : labels[next] }
            let (own, other) = (before.pointer + i * classes, before.pointer + next * classes)
            for c in 0..<classes { softLabels[i * classes + c] = share * own[c] + (1 - share) * other[c] }
        }
    }

    /// Empty for a sample that stays as it is.
    private func box(_ key: UInt64) -> Box {
        var random = augmentation.random(key, .mix)
        guard random.uniform() < part else { return Box(rows: 0..<0, columns: 0..<0) }
        let side = (1 - random.uniform()).squareRoot()
        let rows = Box.side(
            around: random.below(shape.height), length: Int(side * Float(shape.height)), within: shape.height)
        let columns = Box.side(
            around: random.below(shape.width), length: Int(side * Float(shape.width)), within: shape.width)
        return Box(rows: rows, columns: columns)
    }
}
