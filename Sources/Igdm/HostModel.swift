import Attacks
import CIgdm
import Kernels
import Runtime

// Sections 4 and 5 of the header: classifiers that the host computes.

private func defaultHostModel() -> igdm_host_model {
    var model = igdm_host_model()
    model.struct_size = UInt32(MemoryLayout<igdm_host_model>.size)
    model.has_gradient = 1
    model.classes = 10
    model.channels = 3
    model.height = 32
    model.width = 32
    return model
}

@_cdecl("igdm_host_model_init") @implementation
public func igdm_host_model_init(_ model: UnsafeMutablePointer<igdm_host_model>!) -> Int32 {
    guarded { try pointer(model, "model").pointee = defaultHostModel() }
}

/// A classifier behind a callback of the host.
final class HostClassifier: DifferentiableClassifier {
    let classes: Int
    let shape: ImageShape
    let hasGradient: Bool
    private let evaluate: igdm_host_callback
    private let user: UnsafeMutableRawPointer?
    /// Of the last pass, which a gradient belongs to.
    private var images: UnsafePointer<Float>?

    /// Throws `invalidArgument`.
    init(_ model: UnsafePointer<igdm_host_model>?) throws {
        let given = try Igdm.options(
            try pointer(model, "model"), "model", defaults: defaultHostModel(), firstSize: FirstSize.hostModel)
        let r = given.reserved
        try checkReserved(r.0, r.1, r.2, r.3, argument: "model")
        hasGradient = try flag(given.has_gradient, "model.has_gradient")
        classes = try dimension(given.classes, "model.classes", 2...1_000_000)
        shape = ImageShape(
            try dimension(given.channels, "model.channels", 1...4096),
            try dimension(given.height, "model.height", 1...16384),
            try dimension(given.width, "model.width", 1...16384))
        guard let evaluate = given.evaluate else {
            throw EngineError.invalid("model.evaluate", got: "NULL", want: "a function")
        }
        self.evaluate = evaluate
        user = given.user
    }

    func forward(
        _ images: UnsafePointer<Float>, count: Int, logits: UnsafeMutablePointer<Float>, retain: Bool
    ) throws {
        self.images = images
        var pass = igdm_host_pass()
        pass.logits = logits
        // What the host leaves unwritten is not to pass for a result.
        logits.update(repeating: .nan, count: count * classes)
        try make(&pass, count: count)
    }

    func inputGradient(
        _ cotangent: UnsafePointer<Float>, count: Int, gradient: UnsafeMutablePointer<Float>
    ) throws {
        var pass = igdm_host_pass()
        pass.cotangent = cotangent
        pass.gradient = gradient
        gradient.update(repeating: .nan, count: count * shape.count)
        try make(&pass, count: count)
    }

    private func make(_ pass: inout igdm_host_pass, count: Int) throws {
        pass.struct_size = UInt32(MemoryLayout<igdm_host_pass>.size)
        pass.images = images
        pass.count = count
        let answer = Callbacks.run { evaluate(&pass, user) }
        if answer != 0 {
            throw EngineError(.cancelled, "cancelled by the host model's callback (it returned \(answer))")
        }
    }
}
