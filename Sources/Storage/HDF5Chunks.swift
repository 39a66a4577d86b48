import CHDF5
import CZlib
import Runtime

/// The chunks of a compressed dataset.
///
/// HDF5 takes a chunk that decompresses to fewer bytes than a chunk has for a whole one. The rest of its values are then what
/// happened to lie in memory, others at each read. So the sizes are looked at before HDF5 reads, once for each chunk.
final class HDF5Chunks {
    let shape: [Int]
    /// Of a chunk, decompressed.
    let bytes: Int
    /// In the order in which they were applied when the file was written.
    private let filters: [H5Z_filter_t]
    /// Whether the chunks that stick out of the dataset are stored as they are.
    private let leavesPartialOnes: Bool
    /// Of each band of chunks along the first axis, whether it has been looked at.
    private var isChecked: [Bool] = []

    /// For a dataset with chunks of `shape` and allowed filters.
    init(_ creation: borrowing HDF5Object, shape: [Int], bytes: Int) {
        self.shape = shape
        self.bytes = bytes
        filters = (0..<UInt32(max(H5Pget_nfilters(creation.id), 0))).map { index in
            var (flags, values, name): (UInt32, Int, CChar) = (0, 0, 0)
            return H5Pget_filter2(creation.id, index, &flags, &values, nil, 1, &name, nil)
        }
        var options: UInt32 = 0
        leavesPartialOnes =
            H5Pget_chunk_opts(creation.id, &options) >= 0 && options & UInt32(H5D_CHUNK_DONT_FILTER_PARTIAL_CHUNKS) != 0
    }

    /// Throws what `damaged` makes of a problem, for the first chunk under `rows` of the first axis that decompresses to
    /// another size than that of a chunk.
    func check(
        _ dataset: hid_t, of extent: [Int], rows: Range<Int>, damaged: (String) -> EngineError
    ) throws {
        guard filters.contains(H5Z_FILTER_DEFLATE), !rows.isEmpty else { return }
        if isChecked.isEmpty { isChecked = Array(repeating: false, count: (extent[0] + shape[0] - 1) / shape[0]) }
        for band in rows.lowerBound / shape[0]...(rows.upperBound - 1) / shape[0] where !isChecked[band] {
            try checkBand(from: band * shape[0], dataset, of: extent, damaged: damaged)
            isChecked[band] = true
        }
    }

    /// Those whose first row is `row`.
    private func checkBand(
        from row: Int, _ dataset: hid_t, of extent: [Int], damaged: (String) -> EngineError
    ) throws {
        var place = extent.map { _ in 0 }
        place[0] = row
        while true {
            let isPartial = zip(zip(place, shape), extent).contains { $0.0 + $0.1 > $1 }
            if !(isPartial && leavesPartialOnes) { try check(dataset, at: place, damaged: damaged) }
            // The next one: the last axis goes first.
            var axis = place.count - 1
            while axis > 0 {
                place[axis] += shape[axis]
                if place[axis] < extent[axis] { break }
                place[axis] = 0
                axis -= 1
            }
            if axis == 0 { return }
        }
    }

    private func check(_ dataset: hid_t, at place: [Int], damaged: (String) -> EngineError) throws {
        let offset = place.map { hsize_t($0) }
        func unreadable() -> EngineError {
            damaged("the chunk at \(described(place)) cannot be read (\(hdf5Reason()))")
        }
        var stored: hsize_t = 0
        try Storage.check(H5Dget_chunk_storage_size(dataset, offset, &stored), else: unreadable())
        // One that was never written has the fill value.
        guard stored > 0 else { return }
        let raw = try Buffer<UInt8>(Int(clamping: stored))
        var mask: UInt32 = 0
        try Storage.check(
            H5Dread_chunk(dataset, chdf5_default_properties(), offset, &mask, raw.pointer), else: unreadable())
        var size = raw.count
        for (index, filter) in filters.enumerated().reversed() where mask & (1 << UInt32(index)) == 0 {
            switch filter {
            case H5Z_FILTER_FLETCHER32: size -= 4
            case H5Z_FILTER_DEFLATE:
                guard size > 0, let whole = try inflatedSize(raw.pointer, size) else {
                    throw damaged("the chunk at \(described(place)) cannot be decompressed")
                }
                size = whole
            default: break
            }
        }
        guard size == bytes else {
            throw damaged(
                "the chunk at \(described(place)) decompresses to \(size) bytes instead of the \(bytes) of a chunk")
        }
    }

    /// nil where it is no whole stream, or one of more than a chunk and a check sum.
    private func inflatedSize(_ source: UnsafePointer<UInt8>, _ count: Int) throws -> Int? {
        let target = try Buffer<UInt8>(bytes + 4)
        var length = uLongf(target.count)
        return uncompress(target.pointer, &length, source, uLong(count)) == Z_OK ? Int(length) : nil
    }
}
