import CHDF5
import Runtime

extension TrainingRecord {
    /// What was saved, with the weights of its network.
    ///
    /// - Parameters:
    ///   - weights: that the file must have.
    ///   - accept: throws for settings of another training, before anything else is read.
    ///   - parts: that the file must have: their names, those of their numbers, and their arrays, into which it reads. Numbers that
    ///     are newer than the file are not in what it gives.
    /// Throws `notFound`, `io`, `format`, whatever `accept` throws, `outOfMemory`. Numbers are as in the file: any at all.
    public static func read(
        _ path: String, weights: [TensorShape], accept: ([Setting]) throws -> Void, into parts: [Part]
    ) throws -> (record: TrainingRecord, weights: [NamedTensor]) {
        try withHDF5 {
            let file = try CheckpointFile(path)
            let group = try file.openTraining()
            var record = TrainingRecord(settings: try file.settings(in: group), parts: parts)
            try accept(record.settings)
            let tensors = try file.weights(expecting: weights)
            try file.requireParts(parts, in: group)
            for index in parts.indices { try file.read(into: &record.parts[index], in: group) }
            guard try file.file.string("checksum", of: group) == record.checksum(with: tensors) else {
                throw file.file.formatError(Self.group, "is damaged: its check sum is wrong")
            }
            return (record, tensors)
        }
    }
}

extension CheckpointFile {
    fileprivate func openTraining() throws -> HDF5Object {
        guard file.has(TrainingRecord.group, in: file.root) else {
            throw file.formatError(
                TrainingRecord.group, "is missing: this is no checkpoint of a training (igdm_trainer_save writes one)")
        }
        let group = try file.openGroup(TrainingRecord.group, in: file.root, label: TrainingRecord.group)
        let version = try file.integer("version", of: group, in: 1...Int(Int32.max))
        guard version <= TrainingRecord.version else {
            throw file.formatError(
                TrainingRecord.group,
                "got version \(version), want at most \(TrainingRecord.version): a newer igdm wrote this file")
        }
        return group
    }

    fileprivate func settings(in training: borrowing HDF5Object) throws -> [TrainingRecord.Setting] {
        let name = TrainingRecord.settingsGroup
        guard file.has(name, in: training) else { throw file.formatError("training/\(name)", "is missing") }
        let group = try file.openGroup(name, in: training, label: "training/\(name)")
        return try file.attributeNames(of: group).map { ($0, try file.string($0, of: group)) }
    }

    fileprivate func requireParts(_ parts: [TrainingRecord.Part], in training: borrowing HDF5Object) throws {
        let found = try file.names(in: training, label: TrainingRecord.group)
        let wanted = [TrainingRecord.settingsGroup] + parts.map(\.name)
        guard found.sorted() == wanted.sorted() else {
            throw file.formatError(TrainingRecord.group, "got the groups \(listed(found)), want \(listed(wanted))")
        }
    }

    fileprivate func read(into part: inout TrainingRecord.Part, in training: borrowing HDF5Object) throws {
        let label = "training/\(part.name)"
        let group = try file.openGroup(part.name, in: training, label: label)
        let numbers = try file.attributeNames(of: group)
        part.numbers.removeAll { TrainingRecord.laterNumbers.contains($0.name) && !numbers.contains($0.name) }
        guard numbers == part.numbers.map(\.name).sorted() else {
            throw file.formatError(
                label, "got the numbers \(listed(numbers)), want \(listed(part.numbers.map(\.name)))")
        }
        for index in part.numbers.indices {
            part.numbers[index].value = try file.double(part.numbers[index].name, of: group)
        }
        let arrays = try file.names(in: group, label: label)
        guard arrays.sorted() == part.tensors.map(\.name).sorted() else {
            throw file.formatError(label, "got the arrays \(listed(arrays)), want \(listed(part.tensors.map(\.name)))")
        }
        for tensor in part.tensors {
            let dataset = try floats(tensor.name, in: group, label: "\(label)/\(tensor.name)")
            guard dataset.shape == [tensor.values.count] else {
                throw file.formatError(
                    dataset.label, "got shape \(described(dataset.shape)), want (\(tensor.values.count))")
            }
            try dataset.readFloats(into: tensor.values.pointer)
        }
    }
}
