import Attacks
import Runtime

/// A way to train a robust student: how the adversary is found and what is minimised at it.
///
/// Notation of the method files, as in the papers: S and T are the logits of student and teacher, x the clean image, d
/// the perturbation, KL(p ‖ q) the divergence of softmax(p) from softmax(q), summed over classes; every loss is a mean
/// over the batch. A new method is one file and one line of the registry.
public protocol DistillationMethod {
    /// The name that options use.
    static var name: String { get }
    /// How many teachers the outer loss looks at: none, a robust one, or that and another one for clean images.
    static var teachers: Int { get }

    init(_ options: MethodOptions)

    var inner: InnerMaximisation { get }
    /// The logits that `loss` reads. The student's pass over x is run only where it is asked for, because each pass
    /// changes the running statistics; that over x+d always is, for the training accuracy.
    var needs: LogitNeeds { get }
    /// Whether a cross-entropy of the loss sees soft labels. false unless a method says otherwise.
    var readsSoftLabels: Bool { get }
    /// The loss; adds its gradient with respect to the student's logits to the gradients of the context.
    func loss(_ context: LossContext) -> MethodLoss
    /// Called when the student has taken the step of the last `loss`: what the method learns from step to step is kept
    /// here and not in `loss`, which may be called for a step that is not taken.
    func commit()
}

/// A method's loss: the terms of its formula, with their weights, in the order in which the method's file writes them.
public struct MethodLoss {
    public var first = 0.0
    /// 0 where the method has one term, or a weight has taken it away.
    public var second = 0.0

    public var total: Double { first + second }
}

extension DistillationMethod {
    public var readsSoftLabels: Bool { false }
    public func commit() {}
}

/// Parameters that some methods have.
public struct MethodOptions {
    /// τ of ARD, > 0.
    public var temperature: Float = 1
    /// a of ARD and AdaAD, in [0,1].
    public var adversarialWeight = 1.0
    /// λ of AKD, in [0,1].
    public var distillationWeight = 0.5
    /// β of TRADES, >= 0.
    public var tradesBeta = 6.0
    /// The first epoch, counted from 1, in which IAD and AdaIAD weigh the teacher's word; 1 or more.
    public var introspectionStart = 60
    /// The power of the teacher's probability that is that weight, > 0.
    public var introspectionPower = 0.1
    /// How fast MTARD's weights of its two teachers follow the losses, in [0,1].
    public var balanceRate = 0.025
    /// β of DGAD, >= 0.
    public var consistencyWeight = 1.0
    /// s of SAAD, >= 0.
    public var entropyScale = 5.0
    /// γ of SAAD, > 0.
    public var entropyOrder = 1.0
    /// β of SAAD, >= 0.
    public var cleanWeight = 0.0

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
    public static let all: [any DistillationMethod.Type] = [
        PGDAT.self,
        ARD.self,
        RSLAD.self,
        AdaAD.self,
        TRADES.self,
        IAD.self,
        AKD.self,
        AdaIAD.self,
        MTARD.self,
        DGAD.self,
        SAAD.self,
    ]
    public static var names: [String] { all.map { $0.name } }

    /// Throws `invalidArgument` for an unknown name.
    public static func named(_ name: String) throws -> any DistillationMethod.Type {
        guard let method = all.first(where: { $0.name == name }) else {
            throw EngineError.unknownName("method", got: name, known: names)
        }
        return method
    }
}
