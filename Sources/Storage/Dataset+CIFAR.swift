import Kernels
import Runtime

extension Dataset {
    /// A folder of CIFAR's binary files (https://www.cs.toronto.edu/~kriz/cifar.html): records of one label byte
    /// (CIFAR-100: a coarse one, which is ignored, and a fine one) and 3072 bytes, (3, 32, 32).
    ///
    /// Throws `notFound`, `io`, `format`; `invalidArgument` for another number of `classes` than 10 and 100, another
    /// `split` than train and test, or a label that is out of range.
    public static func openCIFAR(folder: String, classes: Int, split: String) throws -> Dataset {
        guard classes == 10 || classes == 100 else {
            throw EngineError.invalid("classes", got: classes, want: "10 (CIFAR-10) or 100 (CIFAR-100, fine labels)")
        }
        guard split == "train" || split == "test" else {
            throw EngineError.unknownName("split", got: split, known: ["train", "test"])
        }
        let names: [String]
        switch (classes, split) {
        case (10, "train"): names = (1...5).map { "data_batch_\($0).bin" }
        case (10, _): names = ["test_batch.bin"]
        default: names = [split + ".bin"]
        }
        let shape = ImageShape(3, 32, 32)
        let labelBytes = classes == 10 ? 1 : 2
        let record = labelBytes + shape.count

        // All sizes are known before memory is taken.
        let counts = try names.map { name in
            let file = try InputFile(folder + "/" + name)
            guard file.size > 0, file.size % record == 0 else {
                throw EngineError(
                    .format,
                    "\(quoted(file.path)): got \(file.size) bytes, want a multiple of \(record), one record "
                        + "(CIFAR-\(classes))")
            }
            // The largest CIFAR file has 50 000 records; a sparse one can claim so many that sums of them overflow.
            guard file.size / record <= 10_000_000 else {
                throw EngineError(
                    .format, "\(quoted(file.path)): got \(file.size / record) records, want at most 10000000")
            }
            return file.size / record
        }
        let count = counts.reduce(0, +)
        let pixels = try Buffer<UInt8>(count * shape.count)
        let labels = try Buffer<Int64>(count)
        var done = 0
        var label = [UInt8](repeating: 0, count: labelBytes)
        for (name, records) in zip(names, counts) {
            let file = try InputFile(folder + "/" + name)
            for _ in 0..<records {
                try file.read(labelBytes, into: &label)
                try file.read(shape.count, into: pixels.pointer + done * shape.count)
                labels[done] = Int64(label[labelBytes - 1])
                done += 1
            }
        }
        return try Dataset(
            .bytes(pixels), labels: labels.pointer, count: count, shape: shape, classes: classes, source: folder)
    }
}
