import Runtime

/// The misclassified point nearest to the image that a run has seen.
struct NearestPoint {
    private(set) var distance = Double.infinity
    private let image: UnsafeMutablePointer<Float>

    /// - Parameter memory: for one image.
    init(_ memory: UnsafeMutablePointer<Float>) { image = memory }

    mutating func consider(_ point: UnsafePointer<Float>, _ sample: AttackSample, _ norm: any AttackNorm) {
        let length = norm.distance(point, sample.clean, sample.shape.count)
        guard length < distance else { return }
        distance = length
        image.update(from: point, count: sample.shape.count)
    }

    /// It, if it lies in the ball.
    func result(_ plan: AttackPlan) -> UnsafePointer<Float>? {
        distance <= Double(plan.epsilon) ? UnsafePointer(image) : nil
    }

    /// Whether a run has what it is to find.
    func isEnough(_ plan: AttackPlan) -> Bool { plan.rest != .never && result(plan) != nil }
}

extension AttackPlan {
    /// Where an attack that looks for the nearest point begins: the first run at the image, others at a random point half as
    /// far away as the radius.
    func beginSearch(_ iterate: UnsafeMutablePointer<Float>, _ sample: AttackSample, run: Int, atRandom: Bool) {
        let pixels = sample.shape.count
        guard atRandom else { return iterate.update(from: sample.clean, count: pixels) }
        var random = random(sample, run: run)
        norm.borderStart(iterate, around: sample.clean, radius: epsilon / 2, count: pixels, random: &random)
        norm.project(iterate, around: sample.clean, radius: epsilon / 2, count: pixels)
    }

    /// Throws `invalidArgument` unless the norm is one of `names`.
    func requireNorm(_ names: [String], for attack: String) throws {
        let name = type(of: norm).name
        guard names.contains(name) else {
            throw EngineError.invalid(
                "norm", got: "\"\(name)\"", want: "\(names.joined(separator: " or ")) for \(attack)")
        }
    }
}
