import Attacks
import CIgdm
import Glibc
import Kernels
import Networks
import Runtime
import Storage

// Section 2 of the header: models.

final class ModelHandle: Handle {
    override class var typeName: String { "igdm_model" }

    let network: Network
    /// Strings handed out, valid as long as the model.
    let architecture: StaticText
    let names: [StaticText]
    /// The description, made when somebody first asks for it.
    private var graphText: StaticText?
    /// The model's own pass for predictions; trainers and evaluations have theirs.
    private var pass: InferencePass?

    /// Samples computed at a time in predictions: changes speed and memory only.
    static let batchSize = 64

    init(_ network: Network) {
        self.network = network
        architecture = StaticText(network.architecture)
        names = network.parameters.map { StaticText($0.name) }
    }

    func inference() throws -> InferencePass {
        let pass = try pass ?? InferencePass(network, capacity: Self.batchSize)
        self.pass = pass
        return pass
    }

    func graph() throws -> UnsafePointer<CChar> {
        let text = try graphText ?? StaticText(network.graphText())
        graphText = text
        return text.pointer
    }

    func parameter(named name: UnsafePointer<CChar>?) throws -> Parameter {
        let wanted = try text(name, "name")
        guard let parameter = network.parameters.first(where: { $0.name == wanted }) else {
            throw EngineError(
                .notFound,
                "name: got \"\(wanted)\", want a parameter of \(network.architecture) such as "
                    + "\"\(network.parameters[0].name)\" (igdm_model_parameter_info lists them)")
        }
        return parameter
    }

    /// Throws for values that no parameter, or not this one, can have.
    func checkValues(_ values: UnsafePointer<Float>, of parameter: Parameter) throws {
        if !network.allowsNotFinite { try Validation.checkFinite(values, count: parameter.count, argument: "values") }
        guard parameter.name.hasSuffix(".running_var") else { return }
        for i in 0..<parameter.count where values[i] < 0 {
            throw EngineError.invalid("values[\(i)]", got: values[i], want: "a running variance >= 0")
        }
    }

    func assign(_ values: UnsafePointer<Float>, to parameter: Parameter) {
        network.pointer(to: parameter).update(from: values, count: parameter.count)
        network.weightsChanged()
    }

    func checkSize(_ parameter: Parameter, _ count: Int) throws {
        guard count == parameter.count else {
            throw EngineError(
                .shape,
                "count: got \(UInt(bitPattern: count)), want \(parameter.count), "
                    + "the size of \(parameter.name) \(parameter.shape)")
        }
    }
}

private let rawText = StaticText(ShortcutInput.raw.rawValue)
private let activatedText = StaticText(ShortcutInput.activated.rawValue)

func defaultModelOptions() -> igdm_model_options {
    var options = igdm_model_options()
    let defaults = NetworkOptions()
    options.struct_size = UInt32(MemoryLayout<igdm_model_options>.size)
    options.classes = Int64(defaults.classes)
    options.channels = Int64(defaults.shape.channels)
    options.height = Int64(defaults.shape.height)
    options.width = Int64(defaults.shape.width)
    return options
}

@_cdecl("igdm_model_options_init") @implementation
public func igdm_model_options_init(_ options: UnsafeMutablePointer<igdm_model_options>!) -> Int32 {
    guarded { try pointer(options, "options").pointee = defaultModelOptions() }
}

/// Those of the host as far as this version knows them, or the defaults; what they say is still to be checked.
func modelOptions(_ value: UnsafePointer<igdm_model_options>?) throws -> igdm_model_options {
    let given = try options(
        value, "options", defaults: defaultModelOptions(), firstSize: FirstSize.modelOptions)
    let r = given.reserved
    try checkReserved(Int64(given.reserved0), r.0, r.1, argument: "options")
    return given
}

@_cdecl("igdm_model_create") @implementation
public func igdm_model_create(
    _ architecture: UnsafePointer<CChar>!, _ options: UnsafePointer<igdm_model_options>!,
    _ model: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    guarded {
        let name = try text(architecture, "architecture")
        let given = try modelOptions(options)
        let model = try pointer(model, "model")
        var network = NetworkOptions()
        network.classes = Int(given.classes)
        network.shape = ImageShape(Int(given.channels), Int(given.height), Int(given.width))
        network.baseWidth = Int(given.base_width)
        (network.mean, network.std) = try normalisation(given, channels: given.channels)
        if given.shortcut_input != nil {
            network.shortcutInput = try ShortcutInput(named: text(given.shortcut_input, "options.shortcut_input"))
        }
        network.finalBN = try dimension(given.final_bn, "options.final_bn", 0...1) == 1
        let made = try Network(architecture: name, options: network, seed: given.seed)
        model.pointee = HandleTable.register(ModelHandle(made))
    }
}

/// Both empty where the options have none.
func normalisation(
    _ options: igdm_model_options, channels: some BinaryInteger
) throws -> (mean: [Float], std: [Float]) {
    let mean = try optionalPointer(options.mean, "options.mean")
    let std = try optionalPointer(options.std, "options.std")
    let count = options.normalisation_count
    guard let mean, let std else {
        guard mean == nil, std == nil else {
            throw EngineError.invalid(
                mean == nil ? "options.mean" : "options.std", got: "NULL", want: "both mean and std, or neither")
        }
        guard count == 0 else {
            throw EngineError.invalid(
                "options.normalisation_count", got: UInt(bitPattern: count), want: "0: mean and std are NULL")
        }
        return ([], [])
    }
    guard count == channels, count >= 1, count <= 4096 else {
        throw EngineError.invalid(
            "options.normalisation_count", got: UInt(bitPattern: count),
            want: "the number of input channels, \(channels)")
    }
    return (
        Array(UnsafeBufferPointer(start: mean, count: count)), Array(UnsafeBufferPointer(start: std, count: count))
    )
}

@_cdecl("igdm_model_load") @implementation
public func igdm_model_load(_ path: UnsafePointer<CChar>!, _ model: UnsafeMutablePointer<OpaquePointer?>!) -> Int32 {
    guarded {
        let path = try Igdm.path(path, "path")
        let model = try pointer(model, "model")
        model.pointee = HandleTable.register(ModelHandle(try Network.load(path)))
    }
}

private func defaultLoadOptions() -> igdm_load_options {
    var options = igdm_load_options()
    options.struct_size = UInt32(MemoryLayout<igdm_load_options>.size)
    return options
}

@_cdecl("igdm_load_options_init") @implementation
public func igdm_load_options_init(_ options: UnsafeMutablePointer<igdm_load_options>!) -> Int32 {
    guarded { try pointer(options, "options").pointee = defaultLoadOptions() }
}

@_cdecl("igdm_model_load_with_options") @implementation
public func igdm_model_load_with_options(
    _ path: UnsafePointer<CChar>!, _ options: UnsafePointer<igdm_load_options>!,
    _ model: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    guarded {
        let path = try Igdm.path(path, "path")
        let given = try Igdm.options(
            options, "options", defaults: defaultLoadOptions(), firstSize: FirstSize.loadOptions)
        let model = try pointer(model, "model")
        let r = given.reserved
        try checkReserved(Int64(given.reserved0), r.0, r.1, r.2, r.3, argument: "options")
        let allowNotFinite = try flag(given.allow_not_finite, "options.allow_not_finite")
        let verify = try flag(given.verify, "options.verify")
        let tolerance = try verifyTolerance(given.tolerance, "options.tolerance")
        let handle = ModelHandle(try Network.load(path, allowNotFinite: allowNotFinite))
        if verify { try handle.golden().worstDifference(of: handle.inference()).check(tolerance) }
        model.pointee = HandleTable.register(handle)
    }
}

@_cdecl("igdm_model_load_weights") @implementation
public func igdm_model_load_weights(_ model: OpaquePointer!, _ path: UnsafePointer<CChar>!) -> Int32 {
    guarded {
        let handle: ModelHandle = try HandleTable.get(model, "model")
        let path = try Igdm.path(path, "path")
        try locked([handle]) { try handle.network.loadWeights(path) }
    }
}

@_cdecl("igdm_model_save") @implementation
public func igdm_model_save(_ model: OpaquePointer!, _ path: UnsafePointer<CChar>!) -> Int32 {
    guarded {
        let handle: ModelHandle = try HandleTable.get(model, "model")
        let path = try Igdm.path(path, "path")
        try locked([handle]) { try handle.network.save(to: path) }
    }
}

@_cdecl("igdm_model_copy") @implementation
public func igdm_model_copy(_ model: OpaquePointer!, _ copy: UnsafeMutablePointer<OpaquePointer?>!) -> Int32 {
    guarded {
        let handle: ModelHandle = try HandleTable.get(model, "model")
        let copy = try pointer(copy, "copy")
        let network = try locked([handle]) { try handle.network.copy() }
        copy.pointee = HandleTable.register(ModelHandle(network))
    }
}

/// NULL where the architecture has no such option.
func shortcutInputText(_ options: NetworkOptions) -> UnsafePointer<CChar>? {
    switch options.shortcutInput {
    case .raw: rawText.pointer
    case .activated: activatedText.pointer
    case nil: nil
    }
}

@_cdecl("igdm_model_get_info") @implementation
public func igdm_model_get_info(_ model: OpaquePointer!, _ info: UnsafeMutablePointer<igdm_model_info>!) -> Int32 {
    guarded {
        let handle: ModelHandle = try HandleTable.get(model, "model")
        let network = handle.network
        var result = igdm_model_info()
        result.classes = Int64(network.classes)
        result.channels = Int64(network.shape.channels)
        result.height = Int64(network.shape.height)
        result.width = Int64(network.shape.width)
        result.base_width = Int64(network.options.baseWidth)
        result.parameter_count = Int64(network.trainableCount)
        result.multiply_adds = Int64(network.multiplyAdds)
        result.architecture = handle.architecture.pointer
        result.has_normalisation = network.options.mean.isEmpty ? 0 : 1
        result.shortcut_input = shortcutInputText(network.options)
        result.final_bn = network.options.finalBN ? 1 : 0
        try fill(info, "info", result, firstSize: FirstSize.modelInfo)
    }
}

@_cdecl("igdm_model_get_normalisation") @implementation
public func igdm_model_get_normalisation(
    _ model: OpaquePointer!, _ mean: UnsafeMutablePointer<Float>!, _ std: UnsafeMutablePointer<Float>!
) -> Int32 {
    guarded {
        let handle: ModelHandle = try HandleTable.get(model, "model")
        let options = handle.network.options
        try writeNormalisation(options.mean, options.std, channels: options.shape.channels, mean, std)
    }
}

func writeNormalisation(
    _ means: [Float], _ stds: [Float], channels: Int, _ mean: UnsafeMutablePointer<Float>?,
    _ std: UnsafeMutablePointer<Float>?
) throws {
    let mean = try optionalPointer(mean, "mean")
    let std = try optionalPointer(std, "std")
    for c in 0..<channels {
        mean?[c] = means.isEmpty ? 0 : means[c]
        std?[c] = stds.isEmpty ? 1 : stds[c]
    }
}

@_cdecl("igdm_model_set_exact") @implementation
public func igdm_model_set_exact(_ model: OpaquePointer!, _ exact: Int32) -> Int32 {
    guarded {
        let handle: ModelHandle = try HandleTable.get(model, "model")
        let exact = try flag(exact, "exact")
        try locked([handle]) { handle.network.isExact = exact }
    }
}

@_cdecl("igdm_model_get_exact") @implementation
public func igdm_model_get_exact(_ model: OpaquePointer!, _ exact: UnsafeMutablePointer<Int32>!) -> Int32 {
    guarded {
        let handle: ModelHandle = try HandleTable.get(model, "model")
        let exact = try pointer(exact, "exact")
        try locked([handle]) { exact.pointee = handle.network.isExact ? 1 : 0 }
    }
}

@_cdecl("igdm_model_set_allow_not_finite") @implementation
public func igdm_model_set_allow_not_finite(_ model: OpaquePointer!, _ allow: Int32) -> Int32 {
    guarded {
        let handle: ModelHandle = try HandleTable.get(model, "model")
        let allow = try flag(allow, "allow")
        try locked([handle]) { handle.network.allowsNotFinite = allow }
    }
}

@_cdecl("igdm_model_get_allow_not_finite") @implementation
public func igdm_model_get_allow_not_finite(_ model: OpaquePointer!, _ allow: UnsafeMutablePointer<Int32>!) -> Int32 {
    guarded {
        let handle: ModelHandle = try HandleTable.get(model, "model")
        let allow = try pointer(allow, "allow")
        try locked([handle]) { allow.pointee = handle.network.allowsNotFinite ? 1 : 0 }
    }
}

/// The larger of what a sample needs as an image and as logits.
func floatsPerSample(_ network: Network) -> Int { max(network.shape.count, network.classes) }

@_cdecl("igdm_model_predict") @implementation
public func igdm_model_predict(
    _ model: OpaquePointer!, _ images: UnsafePointer<Float>!, _ count: Int, _ logits: UnsafeMutablePointer<Float>!
) -> Int32 {
    guarded {
        let handle: ModelHandle = try HandleTable.get(model, "model")
        let network = handle.network
        let images = try pointer(images, "images")
        let count = try sampleCount(count, floatsPerSample: floatsPerSample(network))
        let logits = try pointer(logits, "logits")
        try Validation.checkImages(images, count: count, shape: network.shape, argument: "images")
        let computed = try FloatBuffer(count * network.classes)
        try locked([handle]) {
            try handle.inference().forward(images, count: count, logits: computed.pointer, retain: false)
        }
        try Validation.checkOutputs(computed.pointer, count: count, perSample: network.classes, argument: "logits")
        logits.update(from: computed.pointer, count: count * network.classes)
    }
}

@_cdecl("igdm_model_input_gradient") @implementation
public func igdm_model_input_gradient(
    _ model: OpaquePointer!, _ images: UnsafePointer<Float>!, _ cotangent: UnsafePointer<Float>!, _ count: Int,
    _ logits: UnsafeMutablePointer<Float>!, _ gradient: UnsafeMutablePointer<Float>!
) -> Int32 {
    guarded {
        let handle: ModelHandle = try HandleTable.get(model, "model")
        let network = handle.network
        let images = try pointer(images, "images")
        let cotangent = try pointer(cotangent, "cotangent")
        let count = try sampleCount(count, floatsPerSample: floatsPerSample(network))
        let logits = try optionalPointer(logits, "logits")
        let gradient = try pointer(gradient, "gradient")
        try Validation.checkImages(images, count: count, shape: network.shape, argument: "images")
        try Validation.checkFinite(cotangent, count: count * network.classes, argument: "cotangent")
        let batch = ModelHandle.batchSize
        let computedLogits = try FloatBuffer(count * network.classes)
        let computedGradient = try FloatBuffer(count * network.shape.count)
        try locked([handle]) {
            let pass = try handle.inference()
            for first in stride(from: 0, to: count, by: batch) {
                let size = min(batch, count - first)
                try pass.forward(
                    images + first * network.shape.count, count: size,
                    logits: computedLogits.pointer + first * network.classes, retain: true)
                try pass.inputGradient(
                    cotangent + first * network.classes, count: size,
                    gradient: computedGradient.pointer + first * network.shape.count)
            }
        }
        try Validation.checkOutputs(
            computedLogits.pointer, count: count, perSample: network.classes, argument: "logits")
        try Validation.checkOutputs(
            computedGradient.pointer, count: count, perSample: network.shape.count, argument: "gradient")
        logits?.update(from: computedLogits.pointer, count: count * network.classes)
        gradient.update(from: computedGradient.pointer, count: count * network.shape.count)
    }
}

@_cdecl("igdm_model_parameter_count") @implementation
public func igdm_model_parameter_count(_ model: OpaquePointer!, _ count: UnsafeMutablePointer<Int>!) -> Int32 {
    guarded {
        let handle: ModelHandle = try HandleTable.get(model, "model")
        try pointer(count, "count").pointee = handle.network.parameters.count
    }
}

@_cdecl("igdm_model_parameter_info") @implementation
public func igdm_model_parameter_info(
    _ model: OpaquePointer!, _ index: Int, _ name: UnsafeMutablePointer<UnsafePointer<CChar>?>!,
    _ shape: UnsafeMutablePointer<Int64>!, _ dimensions: UnsafeMutablePointer<Int64>!,
    _ trainable: UnsafeMutablePointer<Int32>!
) -> Int32 {
    guarded {
        let handle: ModelHandle = try HandleTable.get(model, "model")
        try writeParameterInfo(handle.network.parameters, handle.names, index, name, shape, dimensions, trainable)
    }
}

func writeParameterInfo(
    _ parameters: [Parameter], _ names: [StaticText], _ index: Int,
    _ name: UnsafeMutablePointer<UnsafePointer<CChar>?>?, _ shape: UnsafeMutablePointer<Int64>?,
    _ dimensions: UnsafeMutablePointer<Int64>?, _ trainable: UnsafeMutablePointer<Int32>?
) throws {
    try checkIndex(index, parameters.count, "parameters")
    let name = try optionalPointer(name, "name")
    let shape = try optionalPointer(shape, "shape")
    let dimensions = try optionalPointer(dimensions, "dimensions")
    let trainable = try optionalPointer(trainable, "trainable")
    let parameter = parameters[index]
    name?.pointee = names[index].pointer
    dimensions?.pointee = Int64(parameter.shape.count)
    trainable?.pointee = parameter.trainable ? 1 : 0
    if let shape {
        for (axis, length) in parameter.shape.enumerated() { shape[axis] = Int64(length) }
    }
}

@_cdecl("igdm_model_get_parameter") @implementation
public func igdm_model_get_parameter(
    _ model: OpaquePointer!, _ name: UnsafePointer<CChar>!, _ values: UnsafeMutablePointer<Float>!, _ count: Int
) -> Int32 {
    guarded {
        let handle: ModelHandle = try HandleTable.get(model, "model")
        let parameter = try handle.parameter(named: name)
        let values = try pointer(values, "values")
        try handle.checkSize(parameter, count)
        try locked([handle]) { values.update(from: handle.network.pointer(to: parameter), count: count) }
    }
}

@_cdecl("igdm_model_set_parameter") @implementation
public func igdm_model_set_parameter(
    _ model: OpaquePointer!, _ name: UnsafePointer<CChar>!, _ values: UnsafePointer<Float>!, _ count: Int
) -> Int32 {
    guarded {
        let handle: ModelHandle = try HandleTable.get(model, "model")
        let parameter = try handle.parameter(named: name)
        let values = try pointer(values, "values")
        try handle.checkSize(parameter, count)
        try locked([handle]) {
            try handle.checkValues(values, of: parameter)
            handle.assign(values, to: parameter)
        }
    }
}

@_cdecl("igdm_model_release") @implementation
public func igdm_model_release(_ model: OpaquePointer!) { HandleTable.release(model, as: ModelHandle.self) }
