import Glibc
import Kernels
import Runtime

/// Labelled images: immutable, shared by its subsets. In memory, one byte a value where the source has bytes, or streamed
/// from a file.
public final class Dataset: @unchecked Sendable {
    /// Of one image.
    public let shape: ImageShape
    public let classes: Int
    public let count: Int

    let pixels: Pixels
    let labels: Buffer<Int32>
    /// (labels.count, classes): probabilities, whose largest `labels` are; nil = each sample has one label.
    let softLabels: FloatBuffer?
    /// Which sample of `pixels` each one of `labels` belongs to; nil = the one of the same number.
    let order: Buffer<Int>?
    /// Where this dataset begins in `labels`, `softLabels` and `order`, in samples.
    let first: Int

    /// Where the images lie, one after the other, each CHW.
    enum Pixels {
        case bytes(Buffer<UInt8>)
        case floats(FloatBuffer)
        case streamed(StreamedImages)
    }

    /// Whether the source's values are bytes, which stand for byte / 255.
    public var hasBytes: Bool {
        switch pixels {
        case .bytes: true
        case .floats: false
        case .streamed(let images): images.isBytes
        }
    }

    /// Copies `count` images of floats in [0,1], (count, C, H, W), and their labels.
    ///
    /// Throws `invalidArgument` (a dimension < 1, a value outside [0,1], a label outside 0 ..< classes), `notFinite`,
    /// `outOfMemory`.
    public convenience init(
        floats: UnsafePointer<Float>, labels: UnsafePointer<Int64>, count: Int, shape: ImageShape, classes: Int
    ) throws {
        let size = try Dataset.size(count: count, shape: shape)
        let buffer = try FloatBuffer(size)
        buffer.pointer.update(from: floats, count: size)
        try self.init(.floats(buffer), labels: labels, count: count, shape: shape, classes: classes, source: nil)
    }

    /// Copies `count` images of bytes, (count, C, H, W), which stand for byte / 255, and their labels.
    ///
    /// Throws `invalidArgument` (a dimension < 1, a label outside 0 ..< classes), `outOfMemory`.
    public convenience init(
        bytes: UnsafePointer<UInt8>, labels: UnsafePointer<Int64>, count: Int, shape: ImageShape, classes: Int
    ) throws {
        let size = try Dataset.size(count: count, shape: shape)
        let buffer = try Buffer<UInt8>(size)
        buffer.pointer.update(from: bytes, count: size)
        try self.init(.bytes(buffer), labels: labels, count: count, shape: shape, classes: classes, source: nil)
    }

    /// Takes over pixels and checks them; `source` is the file that messages name.
    convenience init(
        _ pixels: Pixels, labels: UnsafePointer<Int64>, count: Int, shape: ImageShape, classes: Int, source: String?
    ) throws {
        let prefix = source.map { quoted($0) + ": " } ?? ""
        guard (1...Int(Int32.max)).contains(classes) else {
            throw EngineError.invalid(prefix + "classes", got: classes, want: "a number >= 1")
        }
        if case .floats(let buffer) = pixels {
            try Dataset.checkRange(
                UnsafeBufferPointer(start: buffer.pointer, count: buffer.count), perImage: shape.count, prefix: prefix,
                sample: { $0 })
        }
        let narrow = try Buffer<Int32>(count)
        for index in 0..<count {
            guard labels[index] >= 0, labels[index] < Int64(classes) else {
                throw EngineError.invalid(
                    "\(prefix)labels[\(index)]", got: labels[index], want: "0 ... \(classes - 1) (\(classes) classes)")
            }
            narrow[index] = Int32(labels[index])
        }
        self.init(pixels, narrow, nil, order: nil, first: 0, count: count, shape: shape, classes: classes)
    }

    init(
        _ pixels: Pixels, _ labels: Buffer<Int32>, _ softLabels: FloatBuffer?, order: Buffer<Int>?, first: Int,
        count: Int, shape: ImageShape, classes: Int
    ) {
        self.pixels = pixels
        self.labels = labels
        self.softLabels = softLabels
        self.order = order
        self.first = first
        self.count = count
        self.shape = shape
        self.classes = classes
    }

    /// Copies samples, all in 0 ..< count, as floats in [0,1], (rows.count, C, H, W). Throws as below.
    public func readImages(_ rows: Range<Int>, into values: UnsafeMutablePointer<Float>) throws {
        try readImages(rows.count, into: values) { rows.lowerBound + $0 }
    }

    /// Copies `count` samples, the i-th of them number `row(i)`, all in 0 ..< self.count, as floats in [0,1],
    /// (count, C, H, W). Allocates nothing where the images lie in memory.
    ///
    /// Throws only where the images are streamed: `format` (damaged), `io` (written to since it was opened),
    /// `invalidArgument`, `notFinite` (a value), naming file and rows.
    public func readImages(_ count: Int, into values: UnsafeMutablePointer<Float>, row: (Int) -> Int) throws {
        let size = shape.count
        switch pixels {
        case .bytes(let buffer):
            WorkerPool.parallelFor(count) { i in
                let (source, target) = (buffer.pointer + place(row(i)) * size, values + i * size)
                for j in 0..<size { target[j] = Float(source[j]) / 255 }
            }
        case .floats(let buffer):
            WorkerPool.parallelFor(count) { i in
                (values + i * size).update(from: buffer.pointer + place(row(i)) * size, count: size)
            }
        case .streamed(let images):
            // In parts, so that no memory grows with the number of rows.
            let part = 256
            for start in stride(from: 0, to: count, by: part) {
                let places = start..<min(start + part, count)
                try images.read(places.map { place(row($0)) }, into: values + start * size)
            }
        }
    }

    /// Whether the images stay in a file.
    public var isStreamed: Bool {
        if case .streamed = pixels { true } else { false }
    }

    /// Where sample `index` lies in the dataset that this is a part of.
    public func place(_ index: Int) -> Int { order?.pointer[first + index] ?? first + index }

    /// The label of sample `index`, which is in 0 ..< count; with soft labels the most probable class, of equals the first.
    public func label(_ index: Int) -> Int { Int(labels[first + index]) }

    /// Values in `count` images. Throws `invalidArgument`, also for products that do not fit.
    private static func size(count: Int, shape: ImageShape) throws -> Int {
        let named = [("count", count), ("channels", shape.channels), ("height", shape.height), ("width", shape.width)]
        for (name, value) in named where value < 1 {
            throw EngineError.invalid(name, got: value, want: "a number >= 1")
        }
        guard let size = elementCount(named.map(\.1)), size <= Int.max / 16 else {
            throw EngineError.invalid(
                "images", got: described(named.map(\.1)),
                want: "a shape (count, channels, height, width) that fits memory")
        }
        return size
    }

    /// Refuses values outside [0,1]; `sample` is the number of the i-th image, for messages.
    static func checkRange(
        _ values: UnsafeBufferPointer<Float>, perImage: Int, prefix: String, sample: (Int) -> Int
    ) throws {
        for index in values.indices {
            let value = values[index]
            // False for a NaN too.
            if value >= 0 && value <= 1 { continue }
            let place = "\(prefix)images: value \(index % perImage) of sample \(sample(index / perImage))"
            guard value.isFinite else { throw EngineError(.notFinite, "\(place): got \(value), want finite numbers") }
            throw EngineError.invalid(place, got: value, want: "0 ... 1")
        }
    }
}
