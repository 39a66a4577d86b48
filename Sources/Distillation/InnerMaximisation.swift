import Attacks

/// How a method finds its adversary: what is maximised over the ball, and from where.
public struct InnerMaximisation: Sendable {
    public enum Objective: Sendable {
        /// CE(S(x'), y).
        case crossEntropy
        /// KL(S(x) ‖ S(x')), the target of the student in inference mode, once.
        case divergenceFromCleanStudent
        /// KL(T(x) ‖ S(x')): the teacher looks at the clean image only, once.
        case divergenceFromCleanTeacher
        /// KL(T(x') ‖ S(x')), with the gradient through both.
        case divergenceFromTeacher
        /// KL(T̃(x') ‖ S(x')), T̃ = T(x) with the label's logit carried on along its gradient; with the gradient through both.
        case divergenceFromLinearisedTeacher
    }

    public let objective: Objective
    public let start: AttackStart

    /// PGD on the student alone (Madry et al. 2018).
    public static let student = InnerMaximisation(objective: .crossEntropy, start: .uniform)

    /// The small step away from the image, where a divergence from its own output would have no gradient.
    static let smallGaussian = AttackStart.gaussian(scale: 0.001)

    /// The loss of the attack loop, for objectives on the student alone.
    var loss: AttackLoss { objective == .crossEntropy ? .crossEntropy : .divergence }

    /// The objective on these models, both in inference mode. Throws `outOfMemory`.
    func makeObjective(
        student: any DifferentiableClassifier, teacher: (any DifferentiableClassifier)?, capacity: Int
    ) throws -> any AttackObjective {
        switch (objective, teacher) {
        case (.divergenceFromTeacher, let teacher?):
            return try TeacherStudentObjective(
                student: student, teacher: AskedTeacher(teacher, capacity: capacity), capacity: capacity)
        case (.divergenceFromLinearisedTeacher, let teacher?):
            return try TeacherStudentObjective(
                student: student, teacher: LinearisedTeacher(teacher, capacity: capacity), capacity: capacity)
        default:
            return try ClassifierObjective(student, loss: loss, capacity: capacity)
        }
    }
}
