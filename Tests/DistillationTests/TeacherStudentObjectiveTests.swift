import Attacks
import Kernels
import Networks
import Runtime
import Testing

@testable import Distillation

/// What the adversaries of AdaAD and SAAD maximise.
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
        let clean = samples.images
        try images.withUnsafeBufferPointer { images in
            try samples.labels.withUnsafeBufferPointer { labels in
                try keys.withUnsafeBufferPointer { keys in
                    let images = try #require(images.baseAddress)
                    let labels = try #require(labels.baseAddress)
                    let keys = try #require(keys.baseAddress)
                    try clean.withUnsafeBufferPointer { clean in
                        let batch = AttackBatch(
                            images: try #require(clean.baseAddress), labels: labels, keys: keys, count: count)
                        try objective.begin(batch)
                        try objective.evaluate(
                            images, rows: Array(0..<count), count: count, of: batch, loss: &loss,
                            gradient: &gradient, logits: &logits)
                    }
                }
            }
        }
        return (loss, gradient, logits)
    }

    /// Along its gradient g a sample's loss grows by h ‖g‖²; without the teacher's part of the gradient it would not.
    @Test(arguments: [InnerMaximisation.Objective.divergenceFromTeacher, .divergenceFromLinearisedTeacher])
    func theGradientGoesThroughBothModels(kind: InnerMaximisation.Objective) throws {
        let student = try InferencePass(try makeNetwork(seed: 1), capacity: 4)
        let teacher = try InferencePass(try makeNetwork(seed: 2), capacity: 4)
        let objective = try InnerMaximisation(objective: kind, start: .clean).makeObjective(
            student: student, teacher: teacher, capacity: 4)
        let images = perturbed(samples, by: 0.03)
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

    /// T̃ agrees with T at the image; away from it the label's logit alone is another one, by its gradient times the way.
    @Test func theLinearisedTeacherFollowsTheGradientOfTheLabel() throws {
        let student = try InferencePass(try makeNetwork(seed: 1), capacity: 4)
        let teacher = try InferencePass(try makeNetwork(seed: 2), capacity: 4)
        let linearised = try TeacherStudentObjective(
            student: student, teacher: LinearisedTeacher(teacher, capacity: 4), capacity: 4)
        let full = try TeacherStudentObjective(
            student: student, teacher: AskedTeacher(teacher, capacity: 4), capacity: 4)
        #expect(try evaluate(linearised, at: samples.images).loss == evaluate(full, at: samples.images).loss)

        let moved = perturbed(samples, by: 0.5)
        let result = try evaluate(linearised, at: moved)
        var target = [Float](repeating: 0, count: 12)
        try teacher.forward(samples.images, count: 4, logits: &target, retain: true)
        var cotangent = [Float](repeating: 0, count: 12)
        for i in 0..<4 { cotangent[i * 3 + Int(samples.labels[i])] = 1 }
        var gradient = [Float](repeating: 0, count: moved.count)
        try teacher.inputGradient(cotangent, count: 4, gradient: &gradient)
        let pixels = smallShape.count
        for i in 0..<4 {
            var change = 0.0
            for j in i * pixels..<(i + 1) * pixels {
                change += Double(gradient[j]) * Double(moved[j] - samples.images[j])
            }
            target[i * 3 + Int(samples.labels[i])] += Float(change)
            let expected = target.withUnsafeBufferPointer { target in
                result.logits.withUnsafeBufferPointer { logits -> Float in
                    guard let p = target.baseAddress, let q = logits.baseAddress else { return .nan }
                    return klDivergence(
                        target: p + i * 3, model: q + i * 3, classes: 3, scale: 1, dq: nil, dp: nil)
                }
            }
            #expect(abs(change) > 1e-5)
            #expect(result.loss[i] == expected)
        }
    }

    @Test func equalModelsHaveNoDivergence() throws {
        let network = try makeNetwork(seed: 1)
        let student = try InferencePass(network, capacity: 4)
        let teacher = try InferencePass(try network.copy(), capacity: 4)
        let objective = try TeacherStudentObjective(
            student: student, teacher: AskedTeacher(teacher, capacity: 4), capacity: 4)
        let result = try evaluate(objective, at: samples.images)
        #expect(result.loss.allSatisfy { $0 == 0 })
        #expect(result.gradient.allSatisfy { $0 == 0 })
    }
}
