import Networks
import Runtime

/// The teachers of a training.
public struct Teachers {
    /// The one that is right under attack; nil in trainings without a teacher.
    public let robust: Network?
    /// Another one that is right on clean images, for methods with two teachers.
    public let clean: Network?

    public init(robust: Network? = nil, clean: Network? = nil) {
        self.robust = robust
        self.clean = clean
    }

    /// Throws `invalidArgument` (a teacher missing, too many, the student itself) and `shape`.
    func check(for student: Network, method: any DistillationMethod.Type, igdm: IGDM?) throws {
        let name = method.name
        if method.teachers == 2, robust == nil || clean == nil {
            throw EngineError(
                .invalidArgument,
                "\(robust == nil ? "teacher" : "clean_teacher"): got none, but \(name) needs two teachers, a robust one "
                    + "(teacher) and one for clean images (clean_teacher)")
        }
        if let robust {
            try Self.check(robust, "teacher", for: student)
        } else if method.teachers > 0 || igdm?.usesTeacher == true {
            let what = igdm == nil ? name : "\(name) with IGDM"
            throw EngineError(
                .invalidArgument,
                "teacher: got none, but \(what) needs one; only pgd-at and trades without IGDM's own term do not")
        }
        if let clean {
            guard method.teachers == 2 else {
                throw EngineError.invalid(
                    "clean_teacher", got: "a model", want: "none: \(name) learns from one teacher at most")
            }
            try Self.check(clean, "clean_teacher", for: student)
        }
    }

    private static func check(_ teacher: Network, _ role: String, for student: Network) throws {
        guard teacher !== student else {
            throw EngineError(.invalidArgument, "\(role): got the student itself, want another model or a copy")
        }
        guard teacher.options.shape == student.options.shape, teacher.options.classes == student.options.classes
        else {
            throw EngineError(
                .shape,
                "\(role): takes images \(teacher.options.shape) in \(teacher.options.classes) classes, "
                    + "the student \(student.options.shape) in \(student.options.classes)")
        }
    }
}
