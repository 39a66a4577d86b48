import Runtime

/// What the authors of the attacks below have settled; the defaults are theirs, or those of the packages that the field uses.
public struct SearchTuning: Sendable {
    /// DeepFool: how far to go beyond the border, as a part of the way.
    public var deepFoolOvershoot = 0.02
    /// DDN: by what part the radius of the search changes from step to step, and its first value.
    public var ddnGamma = 0.05
    public var ddnRadius = 1.0
    /// FMN: the first and the last step, and by what part the radius of the search changes in the first and the last step.
    public var fmnStep = 1.0
    public var fmnLastStep = 0.01
    public var fmnGamma = 0.05
    public var fmnLastGamma = 0.001
    /// SPSA: how far apart the loss is measured, Adam's learning rate, and the directions tried per step.
    public var spsaDelta = 0.01
    public var spsaRate = 0.01
    public var spsaDirections = 128
    /// HopSkipJump: directions tried in the first step (the n-th takes √n times as many) and at most; how exactly to find the
    /// border.
    public var jumpDirections = 100
    public var jumpMostDirections = 10000
    public var jumpGamma = 1.0
    /// C&W in L2: Adam's learning rate, the first c, how many are tried, the margin that a success must have, and whether to give up
    /// a c whose objective no longer falls.
    public var cwRate = 0.01
    public var cwConstant = 0.001
    public var cwSearches = 9
    public var cwConfidence = 0.0
    public var cwAbortEarly = true

    public init() {}

    /// Throws `invalidArgument` for what is out of range.
    func check() throws {
        let parts = [
            ("ddn_gamma", ddnGamma), ("fmn_gamma", fmnGamma), ("fmn_last_gamma", fmnLastGamma),
        ]
        for (name, value) in parts {
            guard value > 0, value < 1 else { throw EngineError.invalid(name, got: value, want: "above 0, below 1") }
        }
        let lengths = [
            ("ddn_radius", ddnRadius), ("fmn_step", fmnStep), ("fmn_last_step", fmnLastStep), ("spsa_delta", spsaDelta),
            ("spsa_rate", spsaRate), ("jump_gamma", jumpGamma), ("cw_rate", cwRate), ("cw_constant", cwConstant),
        ]
        for (name, value) in lengths {
            guard value > 0, value.isFinite else {
                throw EngineError.invalid(name, got: value, want: "a finite number above 0")
            }
        }
        guard deepFoolOvershoot >= 0, deepFoolOvershoot <= 10 else {
            throw EngineError.invalid("deepfool_overshoot", got: deepFoolOvershoot, want: "0 ... 10")
        }
        guard (1...100).contains(cwSearches) else {
            throw EngineError.invalid("cw_searches", got: cwSearches, want: "1 ... 100")
        }
        guard cwConfidence >= 0, cwConfidence.isFinite else {
            throw EngineError.invalid("cw_confidence", got: cwConfidence, want: "a finite number >= 0")
        }
        let counts = [
            ("spsa_directions", spsaDirections), ("jump_directions", jumpDirections),
            ("jump_most_directions", jumpMostDirections),
        ]
        for (name, value) in counts {
            guard (1...1_000_000).contains(value) else {
                throw EngineError.invalid(name, got: value, want: "1 ... 1000000")
            }
        }
    }
}
