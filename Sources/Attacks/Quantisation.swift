import Kernels
import Runtime

/// Whether what an attack has found outlives being saved as an image of bytes: every value goes to the nearest multiple of
/// 1/255, which moves it by up to 1/510 and may take it out of the ball.
struct QuantisationCheck {
    private let classifier: any DifferentiableClassifier
    private let capacity: Int
    private let images: FloatBuffer
    private let logits: FloatBuffer

    init(_ classifier: any DifferentiableClassifier, capacity: Int) throws {
        (self.classifier, self.capacity) = (classifier, max(capacity, 1))
        images = try FloatBuffer(self.capacity * classifier.shape.count)
        logits = try FloatBuffer(self.capacity * classifier.classes)
    }

    /// Calls `judge` with each of `samples`, and the logits of its image once rounded.
    ///
    /// - Parameter number: what errors call a sample.
    func run(
        _ samples: Buffer<Int>, image: (Int) throws -> UnsafePointer<Float>, number: (Int) -> Int,
        _ monitor: RunMonitor,
        judge: (Int, UnsafePointer<Float>) -> Void
    ) throws {
        let (pixels, classes) = (classifier.shape.count, classifier.classes)
        for first in stride(from: 0, to: samples.count, by: capacity) {
            let size = min(capacity, samples.count - first)
            for i in 0..<size {
                let (source, target) = (try image(samples[first + i]), images.pointer + i * pixels)
                for j in 0..<pixels { target[j] = (source[j] * 255).rounded(.toNearestOrEven) / 255 }
            }
            try monitor.checkpoint?()
            try classifier.forward(images.pointer, count: size, logits: logits.pointer, retain: false)
            try Validation.checkOutputs(
                logits.pointer, count: size, perSample: classes, argument: "the model's logits of rounded images",
                sample: { number(samples[first + $0]) })
            for i in 0..<size { judge(samples[first + i], UnsafePointer(logits.pointer + i * classes)) }
        }
    }
}
