/// Losses that do not change when the logits are scaled or shifted: the difference of logits ratio (DLR) of Croce and
/// Hein 2020 ("Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks",
/// section 4), to be maximised. As in Losses.swift, gradients are added where one is given, and a row stands for itself.
///
/// The ranks π1, π2, ... are those of the row's own logits, largest first, of equals the first. Both losses need classes
/// that small problems do not have; what they fall back on is stated, and `AttackStage.fallback` tells the user.

/// `-(z_y - max_{i≠y} z_i) / (z_π1 - z_π3 + 1e-12)`; with two classes the plain margin, the numerator.
public func logitsRatio(
    _ z: UnsafePointer<Float>, label: Int, classes: Int, scale: Float, gradient: UnsafeMutablePointer<Float>?
) -> Float {
    let ranks = TopRanks(z, classes)
    let rival = ranks.first == label ? ranks.second : ranks.first
    let margin = Double(z[label]) - Double(z[rival])
    guard classes > 2 else {
        gradient?[rival] += scale
        gradient?[label] -= scale
        return Float(-margin)
    }
    let spread = Double(z[ranks.first]) - Double(z[ranks.third]) + 1e-12
    if let gradient {
        let slope = Double(scale) / spread
        let bend = slope * margin / spread
        gradient[label] -= Float(slope)
        gradient[rival] += Float(slope)
        gradient[ranks.first] += Float(bend)
        gradient[ranks.third] -= Float(bend)
    }
    return Float(-margin / spread)
}

/// `-(z_y - z_t) / (z_π1 - (z_π3 + z_π4)/2 + 1e-12)`; with three classes π2 and π3 take the places of π3 and π4 (over
/// `z_π1 - z_π3` the loss towards π3 would be constant), with two the divisor is 1.
///
/// - Parameter target: t, another class than the label.
public func targetedLogitsRatio(
    _ z: UnsafePointer<Float>, label: Int, target: Int, classes: Int, scale: Float,
    gradient: UnsafeMutablePointer<Float>?
) -> Float {
    let margin = Double(z[label]) - Double(z[target])
    guard classes > 2 else {
        gradient?[target] += scale
        gradient?[label] -= scale
        return Float(-margin)
    }
    let ranks = TopRanks(z, classes)
    let (upper, lower) = classes > 3 ? (ranks.third, ranks.fourth) : (ranks.second, ranks.third)
    let spread = Double(z[ranks.first]) - 0.5 * (Double(z[upper]) + Double(z[lower])) + 1e-12
    if let gradient {
        let slope = Double(scale) / spread
        let bend = slope * margin / spread
        gradient[label] -= Float(slope)
        gradient[target] += Float(slope)
        gradient[ranks.first] += Float(bend)
        gradient[upper] -= Float(0.5 * bend)
        gradient[lower] -= Float(0.5 * bend)
    }
    return Float(-margin / spread)
}

/// `z_t - z_y`: how far the row is from class t, in logits. Its zero is the border between the two classes.
public func logitDifference(
    _ z: UnsafePointer<Float>, label: Int, target: Int, scale: Float, gradient: UnsafeMutablePointer<Float>?
) -> Float {
    gradient?[target] += scale
    gradient?[label] -= scale
    return z[target] - z[label]
}

/// The class of the `rank`-th largest logit, counted from 0; of equals the lower class comes first.
public func classOfRank(_ rank: Int, _ z: UnsafePointer<Float>, _ classes: Int) -> Int {
    var last = argmax(z, classes)
    for _ in 0..<min(rank, classes - 1) {
        var next = -1
        for c in 0..<classes where z[c] < z[last] || (z[c] == z[last] && c > last) {
            if next < 0 || z[c] > z[next] { next = c }
        }
        last = next
    }
    return last
}

/// The classes of the four largest logits; those beyond the number of classes are 0.
private struct TopRanks {
    private(set) var first = 0
    private(set) var second = 0
    private(set) var third = 0
    private(set) var fourth = 0

    init(_ z: UnsafePointer<Float>, _ classes: Int) {
        var found = 0
        for c in 0..<classes {
            let value = z[c]
            if found < 1 || value > z[first] {
                (first, second, third, fourth) = (c, first, second, third)
            } else if found < 2 || value > z[second] {
                (second, third, fourth) = (c, second, third)
            } else if found < 3 || value > z[third] {
                (third, fourth) = (c, third)
            } else if found < 4 || value > z[fourth] {
                fourth = c
            }
            found += 1
        }
    }
}
