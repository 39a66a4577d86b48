import Kernels
import Runtime

/// Checks on arrays that come from the host.
public enum Validation {
    /// Throws `notFinite` for a NaN or infinity and `invalidArgument` for a value outside [0,1], saying where it is.
    public static func checkImages(
        _ images: UnsafePointer<Float>, count: Int, shape: ImageShape, argument: String
    ) throws {
        let pixels = shape.count
        for sample in 0..<count {
            let image = images + sample * pixels
            var smallest = Float.infinity
            var largest = -Float.infinity
            // The sum catches a NaN, which comparisons overlook.
            var sum: Float = 0
            for i in 0..<pixels {
                smallest = min(smallest, image[i])
                largest = max(largest, image[i])
                sum += image[i]
            }
            if smallest >= 0, largest <= 1, sum.isFinite { continue }
            for i in 0..<pixels where !(image[i] >= 0 && image[i] <= 1) {
                let place = "\(argument): sample \(sample), value \(i)"
                guard image[i].isFinite else {
                    throw EngineError(.notFinite, "\(place): got \(image[i]), want a number in [0,1]")
                }
                throw EngineError.invalid(
                    place, got: image[i], want: "a number in [0,1] (divide bytes by 255; do not normalise)")
            }
        }
    }

    /// Throws `invalidArgument` for a label outside `0..<classes`, saying where it is.
    public static func checkLabels(
        _ labels: UnsafePointer<Int64>, count: Int, classes: Int, argument: String
    ) throws {
        for i in 0..<count where labels[i] < 0 || labels[i] >= Int64(classes) {
            throw EngineError.invalid("\(argument): sample \(i)", got: labels[i], want: "0 ... \(classes - 1)")
        }
    }

    /// Throws `notFinite` for a NaN or infinity in what a model computed, (count, perSample), naming the sample, of which
    /// the first has the number `first`.
    public static func checkOutputs(
        _ values: UnsafePointer<Float>, count: Int, perSample: Int, argument: String, first: Int = 0
    ) throws {
        if isFinite(values, count: count * perSample) { return }
        for i in 0..<count * perSample where !values[i].isFinite {
            throw EngineError(
                .notFinite,
                "\(argument): sample \(first + i / perSample): got \(values[i]), want finite numbers; "
                    + "weights, images or a cotangent are too large to compute with, or a host's model returned it")
        }
    }

    /// The same where the samples have no order: `sample(i)` is the number of the i-th.
    static func checkOutputs(
        _ values: UnsafePointer<Float>, count: Int, perSample: Int, argument: String, sample: (Int) -> Int
    ) throws {
        if isFinite(values, count: count * perSample) { return }
        for i in 0..<count {
            try checkOutputs(
                values + i * perSample, count: 1, perSample: perSample, argument: argument, first: sample(i))
        }
    }

    /// Throws `notFinite` for a NaN or infinity among `count` values, saying where it is.
    public static func checkFinite(_ values: UnsafePointer<Float>, count: Int, argument: String) throws {
        if isFinite(values, count: count) { return }
        for i in 0..<count where !values[i].isFinite {
            throw EngineError(.notFinite, "\(argument): value \(i): got \(values[i]), want a finite number")
        }
    }

    /// Whether there is no NaN or infinity among `count` values. Written on bits so that it is done in whole vectors.
    public static func isFinite(_ values: UnsafePointer<Float>, count: Int) -> Bool {
        let exponent = Float.infinity.bitPattern
        var beyond: UInt32 = 0
        for i in 0..<count { beyond |= (values[i].bitPattern & exponent) == exponent ? 1 : 0 }
        return beyond == 0
    }
}
