import CZlib
import Glibc
import Kernels
import Runtime

extension Dataset {
    /// MNIST's IDX files (http://yann.lecun.com/exdb/mnist), plain or compressed with gzip: 8-bit images (N, H, W),
    /// which become (N, 1, H, W), and 8-bit labels (N).
    ///
    /// Throws `notFound`, `io`, `format`; `invalidArgument` for `classes` < 1 or a label that is not below it.
    public static func openIDX(images: String, labels: String, classes: Int) throws -> Dataset {
        let pixels = try readIDX(images, dimensions: 3, what: "images")
        let classNumbers = try readIDX(labels, dimensions: 1, what: "labels")
        let count = pixels.shape[0]
        guard classNumbers.shape[0] == count else {
            throw EngineError(
                .format,
                "\(quoted(labels)): got \(classNumbers.shape[0]) labels, want \(count), one for each image of "
                    + quoted(images))
        }
        let wide = try Buffer<Int64>(count)
        for index in 0..<count { wide[index] = Int64(classNumbers.bytes[index]) }
        return try Dataset(
            .bytes(pixels.bytes), labels: wide.pointer, count: count,
            shape: ImageShape(1, pixels.shape[1], pixels.shape[2]),
            classes: classes, source: labels)
    }

    /// The format: two zero bytes, the type of the values (8: bytes), the number of dimensions, each dimension as a
    /// big-endian 32-bit number, the values.
    private static func readIDX(
        _ path: String, dimensions: Int, what: String
    ) throws -> (shape: [Int], bytes: Buffer<UInt8>) {
        let file = try GzipFile(path)
        func bad(_ problem: String) -> EngineError { EngineError(.format, "\(quoted(path)): \(problem)") }
        var magic = [UInt8](repeating: 0, count: 4)
        try file.read(magic.count, into: &magic)
        guard magic == [0, 0, 8, UInt8(dimensions)] else {
            let got = magic.map { "\($0)" }.joined(separator: " ")
            let want = "0 0 8 \(dimensions) (IDX \(what): \(dimensions)-dimensional bytes)"
            throw bad("got \(got) at the beginning, want \(want)")
        }
        var sizes = [UInt8](repeating: 0, count: 4 * dimensions)
        try file.read(sizes.count, into: &sizes)
        let shape = (0..<dimensions).map { sizes[4 * $0..<4 * $0 + 4].reduce(0) { $0 << 8 | Int($1) } }
        guard let count = elementCount(shape), count > 0 else {
            throw bad("got \(what) of shape \(described(shape)), want every dimension >= 1")
        }
        try file.checkRoom(for: count, after: magic.count + sizes.count, shape: shape)
        let bytes = try Buffer<UInt8>(count)
        try file.read(count, into: bytes.pointer)
        try file.requireEnd()
        return (shape, bytes)
    }
}

/// A file that zlib reads, decompressing it where it is compressed.
private struct GzipFile: ~Copyable {
    private let path: String
    private let stream: gzFile
    private let size: Int

    init(_ path: String) throws {
        let input = try InputFile(path)
        // zlib closes the descriptor that it is given.
        let descriptor = dup(input.descriptor)
        guard descriptor >= 0 else {
            throw EngineError(.io, "cannot open \(quoted(path)): \(systemReason(errno))")
        }
        guard let stream = gzdopen(descriptor, "rb") else {
            close(descriptor)
            throw EngineError(.outOfMemory, "cannot open \(quoted(path)): no memory for decompression")
        }
        self.path = path
        self.stream = stream
        size = input.size
    }

    deinit { gzclose_r(stream) }

    /// Reads the next `count` bytes; fewer are an error.
    func read(_ count: Int, into bytes: UnsafeMutablePointer<UInt8>) throws {
        var done = 0
        while done < count {
            let result = gzread(stream, bytes + done, UInt32(min(count - done, 1 << 30)))
            guard result >= 0 else { throw failure() }
            guard result > 0 else {
                throw EngineError(
                    .format, "\(quoted(path)): ended after \(done) of \(count) bytes: truncated, or not an IDX file")
            }
            done += Int(result)
        }
    }

    /// Refuses a claim of `count` bytes that the file cannot hold, before memory is taken for it.
    func checkRoom(for count: Int, after header: Int, shape: [Int]) throws {
        let want = "shape \(described(shape)) makes \(count) bytes after a header of \(header)"
        if gzdirect(stream) != 0 {
            guard size - header == count else {
                throw EngineError(.format, "\(quoted(path)): got \(size) bytes, but \(want)")
            }
        } else if count / 1100 > size {
            // Deflate makes data at most 1032 times smaller.
            throw EngineError(.format, "\(quoted(path)): got \(size) compressed bytes, but \(want)")
        }
    }

    /// Refuses bytes that are left over; at the end zlib also compares the check sum.
    func requireEnd() throws {
        var extra: UInt8 = 0
        let result = gzread(stream, &extra, 1)
        guard result >= 0 else { throw failure() }
        guard result == 0 else {
            throw EngineError(.format, "\(quoted(path)): has more bytes than its dimensions say")
        }
    }

    private func failure() -> EngineError {
        var number: Int32 = 0
        let text = gzerror(stream, &number).map { String(cString: $0) } ?? ""
        if number == Z_ERRNO { return EngineError(.io, "cannot read \(quoted(path)): \(systemReason(errno))") }
        return EngineError(.format, "\(quoted(path)): damaged gzip data (\(text))")
    }
}
