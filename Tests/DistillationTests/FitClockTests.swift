import Testing

@testable import Distillation

/// By hand: steps of 2 s with 10 images each, validations of 6 s.
@Suite struct FitClockTests {
    @Test func trainingAndValidationAreToldApart() {
        var time = 100.0
        var clock = FitClock(now: { time })
        #expect(clock.estimate(steps: 4, validations: 2) == 0)
        for _ in 0..<2 {
            time += 2
            clock.count(images: 10)
        }
        #expect(clock.seconds == 4 && clock.imagesPerSecond == 5)
        // No validation has been seen.
        #expect(clock.estimate(steps: 3, validations: 2) == 6)
        clock.beginValidation()
        time += 3
        clock.advanceValidation(part: 0.5)
        #expect(clock.imagesPerSecond == 5)
        // Half of this one is left and a whole one to come, 6 s each.
        #expect(clock.estimate(steps: 3, validations: 2) == 6 + 9)
        time += 3
        clock.endValidation()
        #expect(clock.seconds == 10 && clock.imagesPerSecond == 5)
        #expect(clock.estimate(steps: 3, validations: 1) == 6 + 6)
        #expect(clock.estimate(steps: 0, validations: 0) == 0)
    }
}
