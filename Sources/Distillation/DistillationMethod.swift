import Attacks
import Kernels
import Runtime

/// A way to train a robust student: how the adversary is found and what is minimised at it.
///
/// Notation of the method files, as in the papers: S and T are the logits of student and teacher, x the clean image, d
/// the perturbation, KL(p ‖ q) the divergence of softmax(p) from softmax(q), summed over classes; every loss is a mean
/// over the batch. A new method is one file and one line of the registry.
public protocol DistillationMethod {
    /// The name that options use.
    static var name: String { get }
    /// False for plain adversarial training.
    static var usesTeacher: Bool { get }

    init(_ options: MethodOptions)

    var inner: InnerMaximisation { get }
    /// The logits that `loss` reads. The student's pass over x is run only where it is asked for, because each pass
    /// changes the running statistics; that over x+d always is, for the training accuracy.
    var needs: LogitNeeds { get }
    /// The loss; adds its gradient with respect to the student's logits to the gradients of the context.
    func loss(_ context: LossContext) -> Double
}

/// Parameters that some methods have.
public struct MethodOptions {
    /// τ of ARD, > 0.
    public var temperature: Float = 1
    /// a of ARD and AdaAD, in [0,1].
    public var adversarialWeight = 1.0

    public init() {}
}

/// Which logits an outer loss reads.
public struct LogitNeeds: OptionSet, Sendable {
    public let rawValue: Int
    public init(rawValue: Int) { self.rawValue = rawValue }

    public static let studentAdversarial = LogitNeeds(rawValue: 1)
    public static let studentClean = LogitNeeds(rawValue: 2)
    public static let teacherAdversarial = LogitNeeds(rawValue: 4)
    public static let teacherClean = LogitNeeds(rawValue: 8)
}

/// The methods by name.
public enum MethodRegistry {
    public static let all: [any DistillationMethod.Type] = [PGDAT.self, ARD.self, RSLAD.self, AdaAD.self]
    public static var names: [String] { all.map { $0.name } }

    /// Throws `invalidArgument` for an unknown name.
    public static func named(_ name: String) throws -> any DistillationMethod.Type {
        guard let method = all.first(where: { $0.name == name }) else {
            throw EngineError.unknownName("method", got: name, known: names)
        }
        return method
    }
}

/// One batch as an outer loss sees it. Logits are (count, classes); only those that the method needs hold values.
public struct LossContext {
    /// Counted from 1, of `epochs`.
    public let epoch: Int
    public let epochs: Int
    public let count: Int
    public let classes: Int
    public let labels: UnsafePointer<Int64>
    /// S(x+d) and S(x), in training mode.
    public let studentAdversarial: UnsafePointer<Float>
    public let studentClean: UnsafePointer<Float>
    /// T(x+d) and T(x).
    public let teacherAdversarial: UnsafePointer<Float>
    public let teacherClean: UnsafePointer<Float>
    /// d loss / d S(x+d) and d loss / d S(x), to be added to.
    public let adversarialGradient: UnsafeMutablePointer<Float>
    public let cleanGradient: UnsafeMutablePointer<Float>

    /// weight * mean CE(logits, y), its gradient added to `gradient`.
    func crossEntropy(
        _ logits: UnsafePointer<Float>, weight: Double = 1, gradient: UnsafeMutablePointer<Float>
    ) -> Double {
        let scale = Float(weight / Double(count))
        var sum = 0.0
        for i in 0..<count {
            sum += Double(
                Kernels.crossEntropy(
                    logits + i * classes, label: Int(labels[i]), classes: classes, scale: scale,
                    gradient: gradient + i * classes))
        }
        return weight * sum / Double(count)
    }

    /// weight * mean KL(target/τ ‖ model/τ), its gradient with respect to `model` added to `gradient`.
    func divergence(
        _ target: UnsafePointer<Float>, _ model: UnsafePointer<Float>, temperature: Float = 1, weight: Double = 1,
        gradient: UnsafeMutablePointer<Float>
    ) -> Double {
        let scale = Float(weight / Double(count))
        var sum = 0.0
        for i in 0..<count {
            sum += Double(
                klDivergence(
                    target: target + i * classes, model: model + i * classes, classes: classes,
                    temperature: temperature, scale: scale, dq: gradient + i * classes, dp: nil))
        }
        return weight * sum / Double(count)
    }
}
