import Runtime

/// What a checkpoint of a training holds beside its network: what the training was asked to do, and where it stands, part by
/// part. Knows no trainings.
public struct TrainingRecord: Sendable {
    public typealias Setting = (name: String, value: String)

    /// Names of numbers and arrays are unique within a part.
    public struct Part: Sendable {
        public var name: String
        public var numbers: [(name: String, value: Double)]
        /// None of them empty.
        public var tensors: [(name: String, values: FloatBuffer)]

        public init(
            name: String, numbers: [(name: String, value: Double)], tensors: [(name: String, values: FloatBuffer)]
        ) {
            self.name = name
            self.numbers = numbers
            self.tensors = tensors
        }
    }

    /// By name, as in the file.
    public let settings: [Setting]
    public var parts: [Part]

    public init(settings: [Setting], parts: [Part]) {
        self.settings = settings.sorted { $0.name < $1.name }
        self.parts = parts
    }

    static let group = "training"
    static let settingsGroup = "settings"
    static let version = 1
    /// Numbers that files of earlier versions lack.
    static let laterNumbers = ["second_loss"]

    var floats: Int { parts.reduce(0) { $0 + $1.tensors.reduce(0) { $0 + $1.values.count } } }

    /// Over everything in the record, and the weights that belong to it: every bit of a training counts.
    func checksum(with weights: [NamedTensor]) -> String {
        var sum = Checksum()
        for setting in settings {
            sum.add(setting.name)
            sum.add(setting.value)
        }
        for part in parts {
            sum.add(part.name)
            for number in part.numbers {
                sum.add(number.name)
                sum.mix(number.value.bitPattern)
            }
            for tensor in part.tensors {
                sum.add(tensor.name)
                sum.add(tensor.values.pointer, tensor.values.count * MemoryLayout<Float>.stride)
            }
        }
        for tensor in weights {
            sum.add(tensor.name)
            sum.add(tensor.values.pointer, tensor.values.count * MemoryLayout<Float>.stride)
        }
        return sum.text
    }

    /// Throws `notFinite` for the first NaN or infinity.
    public func requireFinite() throws {
        for part in parts {
            for number in part.numbers where !number.value.isFinite {
                throw EngineError(.notFinite, "training: \(part.name): \(number.name) is \(number.value)")
            }
            for tensor in part.tensors {
                let values = UnsafeBufferPointer(start: tensor.values.pointer, count: tensor.values.count)
                guard let index = values.firstIndex(where: { !$0.isFinite }) else { continue }
                throw EngineError(
                    .notFinite,
                    "training: \(part.name): \(tensor.name): got \(values[index]) at element \(index), want finite numbers"
                )
            }
        }
    }
}
