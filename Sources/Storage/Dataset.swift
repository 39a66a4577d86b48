import Glibc
import Kernels
import Runtime

/// Labelled images in memory: immutable, shared by its subsets. One byte a value where the source has bytes.
public final class Dataset: @unchecked Sendable {
    /// Of one image.
    public let shape: ImageShape
    public let classes: Int
    public let count: Int

    private let pixels: Pixels
    private let labels: Buffer<Int32>
    /// Where this dataset begins in `pixels` and `labels`, in samples.
    private let first: Int

    /// Where the images lie, one after the other, each CHW.
    enum Pixels {
        case bytes(Buffer<UInt8>)
        case floats(FloatBuffer)
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
        if case .floats(let buffer) = pixels { try Dataset.checkRange(buffer, perImage: shape.count, prefix: prefix) }
        let narrow = try Buffer<Int32>(count)
        for index in 0..<count {
            guard labels[index] >= 0, labels[index] < Int64(classes) else {
                throw EngineError.invalid(
                    "\(prefix)labels[\(index)]", got: labels[index], want: "0 ... \(classes - 1) (\(classes) classes)")
            }
            narrow[index] = Int32(labels[index])
        }
        self.init(pixels, narrow, first: 0, count: count, shape: shape, classes: classes)
    }

    private init(_ pixels: Pixels, _ labels: Buffer<Int32>, first: Int, count: Int, shape: ImageShape, classes: Int) {
        self.pixels = pixels
        self.labels = labels
        self.first = first
        self.count = count
        self.shape = shape
        self.classes = classes
    }

    /// `count` samples from `first` on, sharing memory with this dataset. Throws `invalidArgument`.
    public func subset(first: Int, count: Int) throws -> Dataset {
        guard (0..<self.count).contains(first) else {
            throw EngineError.invalid("first", got: first, want: "0 ... \(self.count - 1)")
        }
        guard (1...self.count - first).contains(count) else {
            throw EngineError.invalid("count", got: count, want: "1 ... \(self.count - first) from sample \(first) on")
        }
        return Dataset(pixels, labels, first: self.first + first, count: count, shape: shape, classes: classes)
    }

    /// Copies sample `index`, which is in 0 ..< count, as `shape.count` floats in [0,1], CHW.
    public func readImage(_ index: Int, into values: UnsafeMutablePointer<Float>) {
        let start = (first + index) * shape.count
        switch pixels {
        case .bytes(let buffer):
            for i in 0..<shape.count { values[i] = Float(buffer.pointer[start + i]) / 255 }
        case .floats(let buffer):
            values.update(from: buffer.pointer + start, count: shape.count)
        }
    }

    /// The label of sample `index`, which is in 0 ..< count.
    public func label(_ index: Int) -> Int { Int(labels[first + index]) }

    /// Of all images and labels, as they lie in memory.
    public func checksum() throws -> Checksum {
        let chunk = 256
        let sums = try Buffer<UInt64>((count + chunk - 1) / chunk)
        WorkerPool.parallelFor(sums.count) { index in
            let start = first + index * chunk
            let samples = min(chunk, count - index * chunk)
            var sum = Checksum()
            switch pixels {
            case .bytes(let buffer): sum.add(buffer.pointer + start * shape.count, samples * shape.count)
            case .floats(let buffer):
                sum.add(buffer.pointer + start * shape.count, samples * shape.count * MemoryLayout<Float>.stride)
            }
            sum.add(labels.pointer + start, samples * MemoryLayout<Int32>.stride)
            sums[index] = sum.value
        }
        var all = Checksum()
        for sum in sums { all.mix(sum) }
        return all
    }

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

    private static func checkRange(_ buffer: FloatBuffer, perImage: Int, prefix: String) throws {
        for index in 0..<buffer.count {
            let value = buffer.pointer[index]
            // False for a NaN too.
            if value >= 0 && value <= 1 { continue }
            let place = "\(prefix)images: value \(index % perImage) of sample \(index / perImage)"
            guard value.isFinite else { throw EngineError(.notFinite, "\(place): got \(value), want finite numbers") }
            throw EngineError.invalid(place, got: value, want: "0 ... 1")
        }
    }
}
