import Kernels
import Runtime

/// What makes an attack's numbers worth less than they seem, in words: of one attack, of an evaluation, of AutoAttack.
public enum Doubts {
    /// A ball that leaves nothing of the box out; nil: there is no doubt. Throws `invalidArgument` for an unknown norm.
    public static func radius(_ epsilon: Double, norm: String, pixels: Int) throws -> String? {
        let diameter = try AttackNorms.named(norm, pixelCount: true).diameterOfBox(pixels)
        guard epsilon > diameter else { return nil }
        return "epsilon: \(epsilon) is larger than the whole range of images, \(rounded(diameter)) in \(norm): "
            + "if it is on the 0-255 scale, divide it by 255"
    }

    /// What the caller has changed and none of the attacks has a use for, an option each. Throws `invalidArgument` for an unknown
    /// attack.
    static func unused(_ options: AttackOptions, step: Double = 0, by attacks: [String]) throws -> [String] {
        let defaults = AttackOptions()
        let loops = try attacks.filter { if case .loop = try AttackRegistry.named($0).kind { true } else { false } }
        let ofAnyLoss = attacks.filter { ["pgd", "fgsm", "bim", "mi-fgsm", "r-fgsm"].contains($0) }
        let ofMargin = attacks.filter { $0 == "cw" } + (options.loss == "margin" ? ofAnyLoss : [])
        let targeted = attacks.filter { ["apgd-t", "fab-t", "autoattack"].contains($0) }
        let startingAtRandom = attacks.filter { ["pgd", "cw", "tpgd"].contains($0) }
        let changed = [
            ("loss", "\"\(options.loss)\"", options.loss != defaults.loss, ofAnyLoss),
            ("kappa", "\(options.kappa)", options.kappa != defaults.kappa, ofMargin),
            ("targets", "\(options.targets)", options.targets != defaults.targets, targeted),
            ("random_start", "0", !options.randomStart, startingAtRandom),
            ("step", "\(step)", step != 0, loops),
        ]
        guard !attacks.isEmpty else { return [] }
        return changed.filter { $0.2 && $0.3.isEmpty }.map { name, value, _, _ in
            "\(name): \(value) changes nothing, \(attacks.joined(separator: ",")) \(attacks.count == 1 ? "has" : "have") no use for it"
        }
    }

    static func rounded(_ value: Double) -> String { "\((value * 1e4).rounded() / 1e4)" }
}

/// Looks at a model's outputs, whether all of them are probabilities.
struct ProbabilityCheck {
    private var isCandidate = true
    private var seen = 0

    mutating func look(_ logits: UnsafePointer<Float>, count: Int, classes: Int) {
        seen += count
        for i in 0..<count where isCandidate {
            let row = UnsafeBufferPointer(start: logits + i * classes, count: classes)
            isCandidate =
                row.allSatisfy { $0 > -1e-5 && $0 < 1 + 1e-5 } && abs(row.reduce(0, +) - 1) < 1e-5
        }
    }

    var doubt: String? {
        guard seen > 0, isCandidate else { return nil }
        return "the model's output looks like probabilities: attacks need the logits before the softmax"
    }
}
