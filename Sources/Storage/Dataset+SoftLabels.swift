import Kernels
import Runtime

/// Labels that are probabilities of classes: those of a teacher, or of several people.
extension Dataset {
    /// Whether samples have probabilities instead of one label each.
    public var hasSoftLabels: Bool { softLabels != nil }

    /// This dataset with other labels; shares the images.
    ///
    /// - Parameters:
    ///   - probabilities: (count, classes), copied; see `SoftLabels.check`.
    ///   - argument: what messages call them.
    /// Throws `invalidArgument`, `notFinite`, `outOfMemory`.
    public func softlyLabelled(
        _ probabilities: UnsafePointer<Float>, argument: String = "soft_labels"
    ) throws -> Dataset {
        try SoftLabels.check(probabilities, count: count, classes: classes, argument: argument)
        let soft = try FloatBuffer(count * classes)
        soft.pointer.update(from: probabilities, count: soft.count)
        let labels = try Buffer<Int32>(count)
        for i in 0..<count { labels[i] = Int32(argmax(soft.pointer + i * classes, classes)) }
        var order: Buffer<Int>?
        if self.order != nil || first > 0 {
            let places = try Buffer<Int>(count)
            for i in 0..<count { places[i] = place(i) }
            order = places
        }
        return Dataset(pixels, labels, soft, order: order, first: 0, count: count, shape: shape, classes: classes)
    }

    /// Copies the probabilities of `count` samples, the i-th of them number `row(i)`, all in 0 ..< self.count, as (count, classes);
    /// where each sample has one label it has the probability 1.
    public func readSoftLabels(_ count: Int, into values: UnsafeMutablePointer<Float>, row: (Int) -> Int) {
        for i in 0..<count {
            let target = values + i * classes
            if let softLabels {
                target.update(from: softLabels.pointer + (first + row(i)) * classes, count: classes)
            } else {
                target.update(repeating: 0, count: classes)
                target[label(row(i))] = 1
            }
        }
    }
}

/// What soft labels have to be.
public enum SoftLabels {
    /// How far from 1 the sum of a row may be: that of probabilities in half precision, or printed with three digits.
    private static let tolerance = 0.01

    /// Throws `notFinite`, and `invalidArgument` for a probability outside [0,1] or a row of `classes` that does not sum up to 1.
    public static func check(
        _ probabilities: UnsafePointer<Float>, count: Int, classes: Int, argument: String
    ) throws {
        for sample in 0..<count {
            let row = probabilities + sample * classes
            var sum = 0.0
            for c in 0..<classes {
                // False for a NaN too.
                if row[c] >= 0, Double(row[c]) <= 1 + tolerance {
                    sum += Double(row[c])
                    continue
                }
                let place = "\(argument): sample \(sample), class \(c)"
                guard row[c].isFinite else {
                    throw EngineError(.notFinite, "\(place): got \(row[c]), want a probability")
                }
                throw EngineError.invalid(
                    place, got: row[c], want: "a probability in [0,1] (of logits, take the softmax)")
            }
            guard abs(sum - 1) <= tolerance else {
                throw EngineError.invalid(
                    "\(argument): sample \(sample)", got: sum,
                    want: "probabilities that sum up to 1, but for \(tolerance)")
            }
        }
    }
}
