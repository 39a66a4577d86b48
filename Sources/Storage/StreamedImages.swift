import Kernels
import Runtime

/// The images of an HDF5 file, (N, C, H, W), which stay there: each read takes those it is asked for, under the lock of
/// HDF5, in the order of the file. The file is open as long as this lives.
///
/// What loading checks once, reading checks each time: values of float images in [0,1]. A file that was written to since
/// it was opened is refused, because HDF5 takes bytes that are missing at its end for zeros.
final class StreamedImages: @unchecked Sendable {
    let count: Int
    let shape: ImageShape
    let path: String
    /// One byte a value in the file, which stands for byte / 255; else floats.
    let isBytes: Bool
    private let name: String
    // Let go of under HDF5's lock.
    private var file: HDF5File?
    private var dataset: HDF5Dataset?

    /// Within `withHDF5`. Throws what `Dataset.openHDF5` does.
    init(path: String, name: String) throws {
        let file = try HDF5File(path)
        let dataset = try file.openDataset(path: name)
        shape = try Dataset.imageShape(of: dataset, name, in: file)
        guard dataset.chunkBytes <= HDF5File.cacheBytes else {
            throw file.formatError(
                quoted(name),
                "got chunks of \(dataset.chunkBytes) bytes, want at most \(HDF5File.cacheBytes) for streaming; write it "
                    + "with chunks of a few images, or load it")
        }
        try dataset.checkChunks(0..<1)
        count = dataset.shape[0]
        isBytes = dataset.type != .float(bits: 32)
        self.path = path
        self.name = name
        self.file = consume file
        self.dataset = consume dataset
    }

    deinit {
        withHDF5 {
            dataset = nil
            file = nil
        }
    }

    /// Reads images, whose numbers are `rows`, as floats in [0,1], (rows.count, C, H, W).
    ///
    /// Throws `format` (damaged), `io` (changed since it was opened), `invalidArgument` and `notFinite` (a value), naming
    /// file and rows.
    func read(_ rows: [Int], into values: UnsafeMutablePointer<Float>) throws {
        if isBytes {
            let bytes = try Buffer<UInt8>(rows.count * shape.count)
            try forEachRun(of: rows) { run, place in
                try dataset?.readBytes(rows: run, into: bytes.pointer + place * shape.count)
            }
            WorkerPool.parallelFor(rows.count) { i in
                for j in i * shape.count..<(i + 1) * shape.count { values[j] = Float(bytes.pointer[j]) / 255 }
            }
        } else {
            try readFloats(rows, into: values)
        }
    }

    /// The values as the file has them: bytes, or floats in the machine's order.
    func readRaw(_ rows: [Int], into values: UnsafeMutableRawPointer) throws {
        if isBytes {
            let bytes = values.assumingMemoryBound(to: UInt8.self)
            try forEachRun(of: rows) { run, place in
                try dataset?.readBytes(rows: run, into: bytes + place * shape.count)
            }
        } else {
            try readFloats(rows, into: values.assumingMemoryBound(to: Float.self))
        }
    }

    private func readFloats(_ rows: [Int], into values: UnsafeMutablePointer<Float>) throws {
        try forEachRun(of: rows) { run, place in
            try dataset?.readFloats(rows: run, into: values + place * shape.count)
        }
        try Dataset.checkRange(
            UnsafeBufferPointer(start: values, count: rows.count * shape.count), perImage: shape.count,
            prefix: quoted(path) + ": ", sample: { rows[$0] })
    }

    /// Calls `body` with rows that follow each other in the file and in `rows`, and the place of the first in `rows`.
    private func forEachRun(of rows: [Int], _ body: (Range<Int>, Int) throws -> Void) throws {
        let order = rows.indices.sorted { rows[$0] < rows[$1] }
        try withHDF5 {
            var begin = 0
            while begin < order.count {
                let (place, row) = (order[begin], rows[order[begin]])
                var end = begin + 1
                while end < order.count, order[end] == place + end - begin, rows[order[end]] == row + end - begin {
                    end += 1
                }
                do { try body(row..<row + end - begin, place) } catch {
                    // What changed under the reader explains the error better than what HDF5 makes of it.
                    try checkUnchanged(rows, order)
                    throw error
                }
                begin = end
            }
            try checkUnchanged(rows, order)
        }
    }

    private func checkUnchanged(_ rows: [Int], _ order: [Int]) throws {
        guard file?.isUnchanged != true else { return }
        let read = order.isEmpty ? "" : ", at rows \(rows[order[0]]) ... \(rows[order[order.count - 1]])"
        throw EngineError(
            .io, "\(quoted(path)): \(name): was written to while it was streamed\(read); open it again")
    }
}
