import Glibc

/// Losses on one sample's logits, a row of `classes` floats.
///
/// All are pure functions: inputs are read, the gradient is added to (`+= scale * derivative`) where one is given.
/// Sums and exponentials are taken in double precision, so that a float result is exact to its last bits even for
/// confident rows. Nothing is allocated, and a row's result does not depend on any other row.

/// Logarithms of softmax(row / τ).
///
/// log Σ exp is kept as largest + tail, tail = log(1 + Σ' exp(z - largest)) without the largest itself: nothing
/// overflows, and a confident row keeps the digits of 1 - p, which are all of its gradient.
package struct LogSoftmax {
    private let row: UnsafePointer<Float>
    private let inverseTemperature: Double
    private let largest: Double
    private let tail: Double

    @inline(__always)
    package init(_ row: UnsafePointer<Float>, _ classes: Int, inverseTemperature: Double = 1) {
        self.row = row
        self.inverseTemperature = inverseTemperature
        let best = argmax(row, classes)
        largest = Double(row[best]) * inverseTemperature
        var others = 0.0
        for c in 0..<classes where c != best { others += exp(Double(row[c]) * inverseTemperature - largest) }
        tail = log1p(others)
    }

    @inline(__always)
    package subscript(c: Int) -> Double { Double(row[c]) * inverseTemperature - largest - tail }
}

/// Cross-entropy `-log softmax(logits)[label]`.
///
/// - Parameters:
///   - label: in `0..<classes`, `classes` at least 2.
///   - gradient: if given, `scale * (softmax(logits) - onehot(label))` is added.
public func crossEntropy(
    _ logits: UnsafePointer<Float>, label: Int, classes: Int, scale: Float, gradient: UnsafeMutablePointer<Float>?
) -> Float {
    let logProbability = LogSoftmax(logits, classes)
    if let gradient {
        let scale = Double(scale)
        for c in 0..<classes {
            let derivative = c == label ? expm1(logProbability[c]) : exp(logProbability[c])
            gradient[c] += Float(scale * derivative)
        }
    }
    return Float(-logProbability[label])
}

/// Cross-entropy with soft labels, `-Σ_c y_c log softmax(logits)_c`.
///
/// - Parameters:
///   - target: (classes), y: the parts of the classes, at least 0, that sum up to about 1.
///   - gradient: if given, `scale * (softmax(logits) Σ_c y_c - y)` is added.
public func crossEntropy(
    _ logits: UnsafePointer<Float>, target: UnsafePointer<Float>, classes: Int, scale: Float,
    gradient: UnsafeMutablePointer<Float>?
) -> Float {
    let logProbability = LogSoftmax(logits, classes)
    var (sum, total) = (0.0, 0.0)
    for c in 0..<classes {
        sum -= Double(target[c]) * logProbability[c]
        total += Double(target[c])
    }
    if let gradient {
        for c in 0..<classes {
            gradient[c] += Float(Double(scale) * (exp(logProbability[c]) * total - Double(target[c])))
        }
    }
    return Float(sum)
}

/// Kullback–Leibler divergence `KL(softmax(p/τ) ‖ softmax(q/τ)) = Σ_c P_c (log P_c - log Q_c)`.
///
/// - Parameters:
///   - p: logits of the target; `q`: logits of the model.
///   - temperature: τ > 0 divides both; it is part of the gradients (a factor 1/τ), the usual τ² is not.
///   - dq: if given, `scale * d/dq = scale * (Q - P) / τ` is added.
///   - dp: if given, `scale * d/dp = scale * P * (log P - log Q - KL) / τ` is added.
public func klDivergence(
    target p: UnsafePointer<Float>, model q: UnsafePointer<Float>, classes: Int, temperature: Float = 1, scale: Float,
    dq: UnsafeMutablePointer<Float>?, dp: UnsafeMutablePointer<Float>?
) -> Float {
    let inverse = 1 / Double(temperature)
    let logTarget = LogSoftmax(p, classes, inverseTemperature: inverse)
    let logModel = LogSoftmax(q, classes, inverseTemperature: inverse)
    let factor = Double(scale) * inverse
    var divergence = 0.0
    for c in 0..<classes {
        let target = exp(logTarget[c])
        divergence += target * (logTarget[c] - logModel[c])
        if let dq { dq[c] += Float(factor * (exp(logModel[c]) - target)) }
    }
    if let dp {
        for c in 0..<classes {
            dp[c] += Float(factor * exp(logTarget[c]) * (logTarget[c] - logModel[c] - divergence))
        }
    }
    return Float(divergence)
}

/// Margin of the strongest wrong class over the true one, capped: `min(max_{i≠y} z_i - z_y, κ)`, to be maximised.
///
/// Positive where the row is misclassified. Carlini and Wagner 2017, objective f6 with the sign turned; up to the
/// constant κ it is the `-max(z_y - max_{i≠y} z_i + κ, 0)` of the L∞ literature.
///
/// - Parameter gradient: if given, `scale` is added at the strongest wrong class (the first of equals) and subtracted
///   at the true one; nothing is added where the margin exceeds κ.
public func marginLoss(
    _ logits: UnsafePointer<Float>, label: Int, classes: Int, kappa: Float, scale: Float,
    gradient: UnsafeMutablePointer<Float>?
) -> Float {
    var rival = label == 0 ? 1 : 0
    for c in 0..<classes where c != label && logits[c] > logits[rival] { rival = c }
    let margin = logits[rival] - logits[label]
    if margin > kappa { return kappa }
    if let gradient {
        gradient[rival] += scale
        gradient[label] -= scale
    }
    return margin
}

/// Index of the first maximum of `count >= 1` floats.
public func argmax(_ row: UnsafePointer<Float>, _ count: Int) -> Int {
    var best = 0
    for c in 1..<count where row[c] > row[best] { best = c }
    return best
}
