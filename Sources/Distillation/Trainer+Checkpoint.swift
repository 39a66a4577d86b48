import Kernels
import Networks
import Runtime
import Storage

/// Checkpoints of a training: from any of them it goes on to the same bits as if it had never stopped.
extension Trainer {
    /// Writes a checkpoint of the student that holds the training as well, whole or not at all; also from inside a callback
    /// of `fit`.
    ///
    /// Throws `io`, `notFinite` (the training has diverged: an earlier checkpoint stays), `outOfMemory`.
    public func save(to path: String) throws {
        var checkpoint = try student.checkpoint()
        checkpoint.training = TrainingRecord(settings: try settings(), parts: parts { $0 })
        try checkpoint.write(to: path)
    }

    /// Takes up the training that `save` wrote: the student's weights, and where the training stood. All or nothing.
    ///
    /// The trainer must have been made with the same student, teachers and options as the one that wrote it. The next fit must
    /// have the same data.
    /// Throws `notFound`, `io`, `format` (no such file, damaged, of another kind), `invalidArgument` (of another training:
    /// says what differs), `notFinite`, `outOfMemory`, `busy`.
    public func resume(from path: String) throws {
        try exclusively {
            let wanted = try settings().filter { !Self.dataSettings.contains($0.name) }
            let (record, weights) = try TrainingRecord.read(
                path, weights: student.graph.tensorShapes, accept: { try Self.checkSame($0, wanted, path: path) },
                into: try parts { try FloatBuffer($0.count) })
            let numbers = try checkNumbers(record, path: path)
            try student.assignWeights(from: weights, source: quoted(path))
            for ((state, part), numbers) in zip(zip(state, record.parts), numbers) {
                state.numbers = numbers
                for (own, read) in zip(state.tensors.filter { $0.values.count > 0 }, part.tensors) {
                    own.values.copy(from: read.values)
                }
            }
            lastStepIsGone()
            func value(_ name: String) -> String { record.settings.first { $0.name == name }?.value ?? "none" }
            data =
                value("train") == "none"
                ? nil
                : TrainingData(
                    train: value("train"), validation: value("validation"), generated: value("generated"))
            mustKeepData = data != nil
            if value("cpu") != CPUPath.active.rawValue {
                Log.warning(
                    "training: \(quoted(path)) was written on the CPU path \(value("cpu")), this is "
                        + "\(CPUPath.active.rawValue): it goes on, but rounds differently")
            }
        }
    }

    /// The state as a file holds it; `place` gives the memory for an array.
    private func parts(_ place: (FloatBuffer) throws -> FloatBuffer) rethrows -> [TrainingRecord.Part] {
        try state.map { part in
            TrainingRecord.Part(
                name: part.stateName, numbers: part.numbers.map { ($0.name, $0.value) },
                tensors: try part.tensors.filter { $0.values.count > 0 }.map { ($0.name, try place($0.values)) })
        }
    }

    private func checkNumbers(_ record: TrainingRecord, path: String) throws -> [[StateNumber]] {
        try record.requireFinite()
        let numbers = try zip(state, record.parts).map { state, part in
            try state.numbers.map { number in
                var number = number
                number.value = part.numbers.first { $0.name == number.name }?.value ?? 0
                guard number.isPossible else {
                    throw EngineError(
                        .format, "\(quoted(path)): training/\(part.name): \(number.name) cannot be \(number.value)")
                }
                return number
            }
        }
        let position = numbers[0].map(\.value)
        guard position[2] < max(position[0], 1) else {
            throw EngineError(
                .format, "\(quoted(path)): training/position: batch \(position[2]) of an epoch of \(position[0])")
        }
        return numbers
    }
}

// What a training was asked to do.
extension Trainer {
    static let dataSettings = ["train", "validation", "generated"]

    /// All that the results depend on. Options have their names in the C header.
    private func settings() throws -> [TrainingRecord.Setting] {
        var settings: [TrainingRecord.Setting] = options.described
        settings.append(("student", student.identity(withWeights: false)))
        settings += teacherIdentities
        settings.append(("train", data?.train ?? "none"))
        settings.append(("validation", data?.validation ?? "none"))
        if generated != nil { settings.append(("generated", data?.generated ?? "none")) }
        settings.append(("cpu", CPUPath.active.rawValue))
        return settings
    }

    private static func checkSame(
        _ found: [TrainingRecord.Setting], _ wanted: [TrainingRecord.Setting], path: String
    ) throws {
        // An option that is newer than the file had its default then; the path of the CPU is no reason to refuse.
        let defaults = TrainerOptions().described
        var differences: [String] = []
        for (name, value) in wanted where name != "cpu" {
            let there = (found + defaults).first { $0.name == name }?.value ?? "nothing"
            if there != value { differences.append("\(name): the file has \(there), this training \(value)") }
        }
        for (name, value) in found where !wanted.contains(where: { $0.name == name }) && !dataSettings.contains(name) {
            differences.append("\(name): the file has \(value), this training nothing")
        }
        guard differences.isEmpty else {
            throw EngineError(
                .invalidArgument,
                "\(quoted(path)) belongs to another training: " + differences.joined(separator: "; "))
        }
    }

    /// Called with the data of a fit.
    func checkData(_ given: TrainingData) throws {
        if mustKeepData, let data, data != given {
            let pairs = [
                ("train", data.train, given.train), ("validation", data.validation, given.validation),
                ("generated", data.generated, given.generated),
            ]
            let differences = pairs.filter { $0.1 != $0.2 }.map {
                "\($0.0): the training was begun with \($0.1), this is \($0.2)"
            }
            throw EngineError(.invalidArgument, differences.joined(separator: "; "))
        }
        data = given
    }
}

/// Which data a training sees, in words.
struct TrainingData: Equatable {
    let train: String
    let validation: String
    let generated: String
}

extension TrainerOptions {
    /// Every option by its name in the C header.
    var described: [TrainingRecord.Setting] {
        Mirror(reflecting: self).children.map { child in
            let name = (child.label ?? "").map { $0.isUppercase ? "_\($0.lowercased())" : String($0) }.joined()
            if let milestones = child.value as? [Int]? { return (name, milestones?.description ?? "default") }
            return (name, "\(child.value)")
        }
    }
}

extension Network {
    /// What tells networks apart, in words.
    func identity(withWeights: Bool) -> String {
        var layers = Checksum()
        layers.add((try? graphText()) ?? "")
        var text = "\(architecture) \(shape), \(classes) classes, layers \(layers.text)"
        if isExact { text += ", exact" }
        guard withWeights else { return text }
        var sum = Checksum()
        for values in [weights, statistics] {
            sum.add(values.pointer, values.count * MemoryLayout<Float>.stride)
        }
        return text + ", weights \(sum.text)"
    }
}
