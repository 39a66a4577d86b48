import Attacks
import Kernels
import Networks
import Runtime
import Testing

@testable import Distillation

@Suite struct TeacherStudentObjectiveTests {
    private let samples = Samples(4, seed: 1)

    /// Losses, gradients and logits of the objective at `images`.
    private func evaluate(
        _ objective: any AttackObjective, at images: [Float]
    ) throws -> (loss: [Float], gradient: [Float], logits: [Float]) {
        let count = samples.count
        var loss = [Float](repeating: 0, count: count)
        var gradient = [Float](repeating: 0, count: images.count)
        var logits = [Float](repeating: 0, count: count * 3)
        let keys = [UInt64](repeating: 0, count: count)
        try images.withUnsafeBufferPointer { images in
            try samples.labels.withUnsafeBufferPointer { labels in
                try keys.withUnsafeBufferPointer { keys in
                    let images = try #require(images.baseAddress)
                    let labels = try #require(labels.baseAddress)
                    let keys = try #require(keys.baseAddress)
                    try objective.evaluate(
                        images, rows: Array(0..<count), count: count,
                        of: AttackBatch(images: images, labels: labels, keys: keys, count: count), loss: &loss,
                        gradient: &gradient, logits: &logits)
                }
            }
        }
        return (loss, gradient, logits)
    }

    /// Along its gradient g a sample's loss grows by h ‖g‖²; without the teacher's part of the gradient it would not.
    @Test func theGradientGoesThroughBothModels() throws {
        let student = try InferencePass(try makeNetwork(seed: 1), capacity: 4)
        let teacher = try InferencePass(try makeNetwork(seed: 2), capacity: 4)
        let objective = try TeacherStudentObjective(student: student, teacher: teacher, capacity: 4)
        let images = samples.images
        let here = try evaluate(objective, at: images)

        var expected = [Float](repeating: 0, count: 12)
        try student.forward(images, count: 4, logits: &expected, retain: false)
        #expect(here.logits == expected)

        let pixels = smallShape.count
        for sample in 0..<4 {
            let range = sample * pixels..<(sample + 1) * pixels
            let squares = range.reduce(0.0) { $0 + Double(here.gradient[$1]) * Double(here.gradient[$1]) }
            #expect(squares > 0)
            // Short enough that few activations change sign on the way: the gradients are small, so the images move
            // far.
            let h = 0.0005 * Double(here.loss[sample]) / squares
            func loss(_ factor: Double) throws -> Double {
                var moved = images
                for i in range { moved[i] += Float(factor * Double(here.gradient[i])) }
                return Double(try evaluate(objective, at: moved).loss[sample])
            }
            let slope = (try loss(h) - loss(-h)) / (2 * h)
            #expect(abs(slope / squares - 1) < 0.02)
        }
    }

    @Test func equalModelsHaveNoDivergence() throws {
        let network = try makeNetwork(seed: 1)
        let student = try InferencePass(network, capacity: 4)
        let teacher = try InferencePass(try network.copy(), capacity: 4)
        let objective = try TeacherStudentObjective(student: student, teacher: teacher, capacity: 4)
        let result = try evaluate(objective, at: samples.images)
        #expect(result.loss.allSatisfy { $0 == 0 })
        #expect(result.gradient.allSatisfy { $0 == 0 })
    }
}
