import Attacks
import CIgdm
import Runtime

// Section 4 of the header: the parameters of attacks that their authors have settled.

private func defaultSearchTuning() -> igdm_search_tuning {
    let defaults = SearchTuning()
    var tuning = igdm_search_tuning()
    tuning.struct_size = UInt32(MemoryLayout<igdm_search_tuning>.size)
    tuning.deepfool_overshoot = defaults.deepFoolOvershoot
    tuning.ddn_gamma = defaults.ddnGamma
    tuning.ddn_radius = defaults.ddnRadius
    tuning.fmn_step = defaults.fmnStep
    tuning.fmn_last_step = defaults.fmnLastStep
    tuning.fmn_gamma = defaults.fmnGamma
    tuning.fmn_last_gamma = defaults.fmnLastGamma
    tuning.spsa_delta = defaults.spsaDelta
    tuning.spsa_rate = defaults.spsaRate
    tuning.spsa_directions = Int64(defaults.spsaDirections)
    tuning.jump_directions = Int64(defaults.jumpDirections)
    tuning.jump_most_directions = Int64(defaults.jumpMostDirections)
    tuning.jump_gamma = defaults.jumpGamma
    tuning.cw_rate = defaults.cwRate
    tuning.cw_constant = defaults.cwConstant
    tuning.cw_searches = Int64(defaults.cwSearches)
    tuning.cw_confidence = defaults.cwConfidence
    tuning.cw_abort_early = defaults.cwAbortEarly ? 1 : 0
    return tuning
}

private func defaultAttackTuning() -> igdm_attack_tuning {
    let defaults = AttackOptions()
    var tuning = igdm_attack_tuning()
    tuning.struct_size = UInt32(MemoryLayout<igdm_attack_tuning>.size)
    tuning.reference_quirks = defaults.referenceQuirks ? 1 : 0
    tuning.rho = defaults.rho
    tuning.fab_alpha = defaults.fabAlpha
    tuning.fab_eta = defaults.fabEta
    tuning.fab_beta = defaults.fabBeta
    tuning.square_share = defaults.squareShare
    tuning.large_radii = defaults.largeRadii ? 1 : 0
    tuning.momentum_decay = defaults.momentumDecay
    return tuning
}

@_cdecl("igdm_search_tuning_init") @implementation
public func igdm_search_tuning_init(_ tuning: UnsafeMutablePointer<igdm_search_tuning>!) -> Int32 {
    guarded { try pointer(tuning, "tuning").pointee = defaultSearchTuning() }
}

@_cdecl("igdm_attack_tuning_init") @implementation
public func igdm_attack_tuning_init(_ tuning: UnsafeMutablePointer<igdm_attack_tuning>!) -> Int32 {
    guarded { try pointer(tuning, "tuning").pointee = defaultAttackTuning() }
}

/// Takes over what a host has tuned; nil: the defaults.
func apply(
    _ tuning: UnsafePointer<igdm_attack_tuning>?, _ argument: String, to chosen: inout AttackOptions
) throws {
    let given = try Igdm.options(
        tuning, argument, defaults: defaultAttackTuning(), firstSize: FirstSize.attackTuning)
    try checkReserved(Int64(given.reserved0), given.reserved, argument: argument)
    chosen.referenceQuirks = try flag(given.reference_quirks, "\(argument).reference_quirks")
    chosen.rho = given.rho
    chosen.fabAlpha = given.fab_alpha
    chosen.fabEta = given.fab_eta
    chosen.fabBeta = given.fab_beta
    chosen.squareShare = given.square_share
    chosen.largeRadii = try flag(given.large_radii, "\(argument).large_radii")
    chosen.momentumDecay = given.momentum_decay
    chosen.search = try searchTuning(given.search, "\(argument).search")
}

private func searchTuning(_ tuning: UnsafePointer<igdm_search_tuning>?, _ argument: String) throws -> SearchTuning {
    let given = try Igdm.options(
        tuning, argument, defaults: defaultSearchTuning(), firstSize: FirstSize.searchTuning)
    let r = given.reserved
    try checkReserved(
        Int64(given.reserved0), r.0, r.1, r.2, argument: argument)
    var chosen = SearchTuning()
    chosen.deepFoolOvershoot = given.deepfool_overshoot
    chosen.ddnGamma = given.ddn_gamma
    chosen.ddnRadius = given.ddn_radius
    chosen.fmnStep = given.fmn_step
    chosen.fmnLastStep = given.fmn_last_step
    chosen.fmnGamma = given.fmn_gamma
    chosen.fmnLastGamma = given.fmn_last_gamma
    chosen.spsaDelta = given.spsa_delta
    chosen.spsaRate = given.spsa_rate
    chosen.spsaDirections = Int(given.spsa_directions)
    chosen.jumpDirections = Int(given.jump_directions)
    chosen.jumpMostDirections = Int(given.jump_most_directions)
    chosen.jumpGamma = given.jump_gamma
    chosen.cwRate = given.cw_rate
    chosen.cwConstant = given.cw_constant
    chosen.cwSearches = Int(given.cw_searches)
    chosen.cwConfidence = given.cw_confidence
    guard given.cw_abort_early == 0 || given.cw_abort_early == 1 else {
        throw EngineError.invalid("\(argument).cw_abort_early", got: given.cw_abort_early, want: "0 or 1")
    }
    chosen.cwAbortEarly = given.cw_abort_early == 1
    return chosen
}
