import Glibc

/// The learning rate over the steps of a training, as a part of the peak rate.
enum Schedule {
    /// Multiplied by `decay` after each of the epochs `milestones`.
    case multistep(milestones: [Int], decay: Double)
    /// Half a cosine over all steps, down to 0 (Loshchilov and Hutter 2017, without restarts).
    case cosine
    /// Up from 1/25 of the peak in the first `warmup` part of the steps, then down to 1/10⁴ of where it began, both
    /// along half cosines (Smith and Topin 2018; the phases and defaults of PyTorch's OneCycleLR). Momentum stays as it
    /// is.
    case oneCycle(warmup: Double)
    case constant

    /// Names that options take, in the order in which messages list them.
    static let names = ["multistep", "cosine", "onecycle", "constant"]

    /// After a half and three quarters of the epochs, rounded down; in short trainings those of the two that are not 0.
    static func defaultMilestones(epochs: Int) -> [Int] {
        let (half, threeQuarters) = (epochs / 2, epochs * 3 / 4)
        return (half == threeQuarters ? [half] : [half, threeQuarters]).filter { $0 >= 1 }
    }

    /// The factor in step `step`, counted from 0, of `epochs * stepsPerEpoch`.
    func factor(step: Int, epochs: Int, stepsPerEpoch: Int) -> Double {
        let total = epochs * stepsPerEpoch
        // A host may go on after the last epoch: at the last step's rate.
        let step = min(step, total - 1)
        switch self {
        case .multistep(let milestones, let decay):
            let epochsDone = step / stepsPerEpoch
            return pow(decay, Double(milestones.lazy.filter { $0 <= epochsDone }.count))
        case .cosine:
            return Self.anneal(from: 1, to: 0, Double(step) / Double(total))
        case .oneCycle(let warmup):
            let initial = 1.0 / 25
            let peak = warmup * Double(total) - 1
            let last = Double(total - 1)
            if Double(step) <= peak {
                // A warm-up of a single step is its own end.
                return peak > 0 ? Self.anneal(from: initial, to: 1, Double(step) / peak) : 1
            }
            return Self.anneal(from: 1, to: initial / 1e4, (Double(step) - peak) / (last - peak))
        case .constant:
            return 1
        }
    }

    /// The factor of a warm-up of `steps` steps, in step `step`, counted from 0: 1/steps, 2/steps, ... 1. It multiplies the
    /// schedule's own.
    static func warmUp(step: Int, steps: Int) -> Double {
        step + 1 < steps ? Double(step + 1) / Double(steps) : 1
    }

    private static func anneal(from start: Double, to end: Double, _ part: Double) -> Double {
        end + (start - end) / 2 * (1 + cos(Double.pi * part))
    }
}
