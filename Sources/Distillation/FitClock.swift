import Runtime

/// Times a fit: training and validation apart, so that the time left can be told of both.
struct FitClock {
    private let now: () -> Double
    private let began: Double
    private var images = 0
    private var steps = 0
    private var validations = 0
    private var validationSeconds = 0.0
    private var running: (began: Double, part: Double)?

    /// - Parameter now: seconds since any time.
    init(now: @escaping () -> Double = monotonicSeconds) {
        self.now = now
        began = now()
    }

    mutating func count(images count: Int) {
        images += count
        steps += 1
    }

    mutating func beginValidation() { running = (now(), 0) }

    /// - Parameter part: what is done of the validation that is running, in [0,1].
    mutating func advanceValidation(part: Double) { running?.part = part }

    mutating func endValidation() {
        validations += 1
        validationSeconds += runningSeconds
        running = nil
    }

    private var runningSeconds: Double { running.map { now() - $0.began } ?? 0 }
    var seconds: Double { now() - began }
    private var trainingSeconds: Double { max(seconds - validationSeconds - runningSeconds, 1e-9) }
    var imagesPerSecond: Double { Double(images) / trainingSeconds }

    /// - Parameter validationsLeft: the one that is running included.
    func estimate(steps stepsLeft: Int, validations validationsLeft: Int) -> Double {
        let perStep = steps > 0 ? trainingSeconds / Double(steps) : 0
        let part = running?.part ?? 0
        let perValidation =
            validations > 0 ? validationSeconds / Double(validations) : part > 0 ? runningSeconds / part : 0
        return Double(stepsLeft) * perStep + max(Double(validationsLeft) - part, 0) * perValidation
    }
}
