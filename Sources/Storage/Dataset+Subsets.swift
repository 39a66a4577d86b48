import Runtime

/// Parts of a dataset, which share its images.
extension Dataset {
    /// `count` samples from `first` on. Throws `invalidArgument`.
    public func subset(first: Int, count: Int) throws -> Dataset {
        guard (0..<self.count).contains(first) else {
            throw EngineError.invalid("first", got: first, want: "0 ... \(self.count - 1)")
        }
        guard (1...self.count - first).contains(count) else {
            throw EngineError.invalid("count", got: count, want: "1 ... \(self.count - first) from sample \(first) on")
        }
        return Dataset(
            pixels, labels, softLabels, order: order, first: self.first + first, count: count, shape: shape,
            classes: classes)
    }

    /// The samples of these numbers, in this order; a number may come several times.
    ///
    /// Throws `invalidArgument` (no number, or one outside 0 ..< count), `outOfMemory`.
    public func selection(_ samples: some RandomAccessCollection<Int64>) throws -> Dataset {
        guard samples.count >= 1 else { throw EngineError.invalid("count", got: 0, want: "at least 1") }
        let (chosen, order) = (try Buffer<Int32>(samples.count), try Buffer<Int>(samples.count))
        let soft = try softLabels.map { _ in try FloatBuffer(samples.count * classes) }
        for (index, sample) in samples.enumerated() {
            guard (0..<Int64(count)).contains(sample) else {
                throw EngineError.invalid("samples[\(index)]", got: sample, want: "0 ... \(count - 1)")
            }
            chosen[index] = labels[first + Int(sample)]
            order[index] = place(Int(sample))
            if let soft { readSoftLabels(1, into: soft.pointer + index * classes) { _ in Int(sample) } }
        }
        return Dataset(
            pixels, chosen, soft, order: order, first: 0, count: samples.count, shape: shape, classes: classes)
    }

    /// Holds out `count` samples, of each class as near its part of the dataset as whole samples allow: the whole part of
    /// it, and one more for the classes with the largest fractions (of equal ones, the lower label). Of a class the last
    /// ones are held out; both parts keep the dataset's order. Nothing is random.
    ///
    /// Throws `invalidArgument`, `outOfMemory`.
    public func holdingOut(_ count: Int) throws -> (others: Dataset, heldOut: Dataset) {
        guard count >= 1, count < self.count else {
            throw EngineError.invalid(
                "count", got: count, want: "1 ... \(self.count - 1), less than the \(self.count) samples")
        }
        // By class, within each in the dataset's order.
        var sorted = try Buffer<Int64>(self.count)
        for i in 0..<self.count { sorted[i] = Int64(i) }
        sorted.sort { (label(Int($0)), $0) < (label(Int($1)), $1) }
        var groups: [(rows: Range<Int>, count: Int, fraction: UInt)] = []
        var begin = 0
        while begin < self.count {
            let label = label(Int(sorted[begin]))
            var end = begin + 1
            while end < self.count, self.label(Int(sorted[end])) == label { end += 1 }
            // In full width: nothing overflows, nothing is rounded.
            let part = UInt(self.count).dividingFullWidth(UInt(count).multipliedFullWidth(by: UInt(end - begin)))
            groups.append((begin..<end, Int(part.quotient), part.remainder))
            begin = end
        }
        let missing = count - groups.reduce(0) { $0 + $1.count }
        let byFraction = groups.indices.sorted { (groups[$1].fraction, $0) < (groups[$0].fraction, $1) }
        for index in byFraction.prefix(missing) { groups[index].count += 1 }

        let isHeldOut = try Buffer<Bool>(self.count)
        for one in groups {
            for place in one.rows.suffix(one.count) { isHeldOut[Int(sorted[place])] = true }
        }
        let (others, heldOut) = (try Buffer<Int64>(self.count - count), try Buffer<Int64>(count))
        var (other, held) = (0, 0)
        for i in 0..<self.count {
            if isHeldOut[i] {
                heldOut[held] = Int64(i)
                held += 1
            } else {
                others[other] = Int64(i)
                other += 1
            }
        }
        return (try selection(others), try selection(heldOut))
    }
}
