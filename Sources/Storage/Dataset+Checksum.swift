import Runtime

extension Dataset {
    /// Of all images and labels, soft ones too. The same for the same samples, however they lie in memory or are streamed: then
    /// the whole file is read once, which also finds what is damaged.
    ///
    /// - Parameter progress: called again and again with the number of samples that are done, the last time with all.
    /// Throws what reading a streamed dataset throws, and what `progress` throws; `outOfMemory`.
    public func checksum(progress: ((_ done: Int) throws -> Void)? = nil) throws -> Checksum {
        let chunk = 256
        let sums = try Buffer<UInt64>((count + chunk - 1) / chunk)
        func rows(_ index: Int) -> Range<Int> { index * chunk..<min((index + 1) * chunk, count) }
        func finish(_ index: Int, _ addImages: (inout Checksum, Range<Int>) throws -> Void) rethrows {
            let samples = rows(index)
            var sum = Checksum()
            try addImages(&sum, samples)
            sum.add(
                labels.pointer + first + samples.lowerBound, samples.count * MemoryLayout<Int32>.stride)
            if let softLabels {
                sum.add(
                    softLabels.pointer + (first + samples.lowerBound) * classes,
                    samples.count * classes * MemoryLayout<Float>.stride)
            }
            sums[index] = sum.value
        }
        if let start = contiguousImages {
            let together = 64
            for begin in stride(from: 0, to: sums.count, by: together) {
                let some = begin..<min(begin + together, sums.count)
                WorkerPool.parallelFor(some.count) { i in
                    finish(begin + i) { $0.add(start + $1.lowerBound * imageBytes, $1.count * imageBytes) }
                }
                try progress?(rows(some.upperBound - 1).upperBound)
            }
        } else {
            // The sum goes by words of eight bytes, which eight images fill.
            let few = 8
            let part = try Buffer<UInt8>(few * imageBytes)
            for index in 0..<sums.count {
                try finish(index) { sum, samples in
                    for start in stride(from: samples.lowerBound, to: samples.upperBound, by: few) {
                        let some = start..<min(start + few, samples.upperBound)
                        try readRaw(some, into: part.pointer)
                        sum.add(part.pointer, some.count * imageBytes)
                    }
                }
                try progress?(rows(index).upperBound)
            }
        }
        var all = Checksum()
        for sum in sums { all.mix(sum) }
        return all
    }

    private var imageBytes: Int {
        switch pixels {
        case .bytes: shape.count
        case .floats: shape.count * MemoryLayout<Float>.stride
        case .streamed(let images): shape.count * (images.isBytes ? 1 : MemoryLayout<Float>.stride)
        }
    }

    /// The images one after the other, where they lie in memory like that.
    private var contiguousImages: UnsafeRawPointer? {
        switch pixels {
        case _ where order != nil: nil
        case .bytes(let buffer): UnsafeRawPointer(buffer.pointer) + first * imageBytes
        case .floats(let buffer): UnsafeRawPointer(buffer.pointer) + first * imageBytes
        case .streamed: nil
        }
    }

    /// The values of samples as the source has them: bytes, or floats in the machine's order.
    private func readRaw(_ rows: Range<Int>, into values: UnsafeMutableRawPointer) throws {
        func copy(_ images: UnsafeRawPointer) {
            for (i, row) in rows.enumerated() {
                (values + i * imageBytes).copyMemory(from: images + place(row) * imageBytes, byteCount: imageBytes)
            }
        }
        switch pixels {
        case .bytes(let buffer): copy(buffer.pointer)
        case .floats(let buffer): copy(buffer.pointer)
        case .streamed(let images): try images.readRaw(rows.map(place), into: values)
        }
    }
}
