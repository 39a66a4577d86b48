import Kernels
import Networks
import Runtime
import Testing

@testable import Distillation

@Suite struct TrainerOptionsTests {
    @Test func defaultsAreThePapersCIFARSettings() throws {
        let options = TrainerOptions()
        try options.validate()
        #expect(options.learningRate == 0.1)
        #expect(options.weightDecay == 5e-4)
        #expect(options.steps == 10)
        guard case .multistep(let milestones, let decay) = try options.makeSchedule() else {
            Issue.record("the default schedule is multistep")
            return
        }
        #expect(milestones == [100, 150])
        #expect(decay == 0.1)
        #expect(try options.makeIGDM() == nil)
    }

    @Test func whatIsOutOfRangeIsNamed() {
        let cases: [(String, (inout TrainerOptions) -> Void)] = [
            ("method", { $0.method = "trades2" }), ("igdm", { $0.igdm = -1 }), ("igdm", { $0.igdm = .nan }),
            ("mirror", { $0.mirror = "wrap" }), ("igdm_distance", { $0.igdmDistance = "cos" }),
            ("inner", { $0.inner = "teacher" }), ("temperature", { $0.temperature = 0 }),
            ("temperature", { $0.temperature = .infinity }), ("adversarial_weight", { $0.adversarialWeight = 1.1 }),
            ("adversarial_weight", { $0.adversarialWeight = -0.1 }),
            ("adversarial_weight", { $0.adversarialWeight = .nan }), ("epsilon", { $0.epsilon = -1 }),
            ("step", { $0.step = 0.5 }), ("step", { $0.step = -0.5 }), ("steps", { $0.steps = 0 }),
            ("learning_rate", { $0.learningRate = -0.1 }), ("learning_rate", { $0.learningRate = .nan }),
            ("momentum", { $0.momentum = 1 }), ("momentum", { $0.momentum = -0.1 }),
            ("weight_decay", { $0.weightDecay = -1 }),
            (
                "nesterov",
                {
                    $0.nesterov = true
                    $0.momentum = 0
                }
            ),
            ("crop_padding", { $0.cropPadding = -1 }), ("schedule", { $0.schedule = "linear" }),
            ("milestones", { $0.milestones = [0, 5] }), ("milestones", { $0.milestones = [5, 5] }),
            ("milestones", { $0.milestones = [7, 5] }), ("decay", { $0.decay = 0 }), ("warmup", { $0.warmup = 1.5 }),
            ("warmup", { $0.warmup = -0.1 }), ("epochs", { $0.epochs = 0 }), ("epochs", { $0.epochs = .max }),
            ("batch_size", { $0.batchSize = 0 }), ("steps_per_epoch", { $0.stepsPerEpoch = -1 }),
            ("steps_per_epoch", { $0.stepsPerEpoch = .max }), ("validation_count", { $0.validationCount = -1 }),
            ("validation_steps", { $0.validationSteps = -1 }),
            ("distillation_weight", { $0.distillationWeight = 1.5 }), ("trades_beta", { $0.tradesBeta = -1 }),
            ("introspection_start", { $0.introspectionStart = 0 }),
            ("introspection_power", { $0.introspectionPower = 0 }), ("balance_rate", { $0.balanceRate = .nan }),
            ("consistency_weight", { $0.consistencyWeight = -1 }), ("igdm_term", { $0.igdmTerm = "trades" }),
            ("igdm_ramp", { $0.igdmRamp = "cosine" }),
            ("optimiser", { $0.optimiser = "adam" }), ("beta2", { $0.beta2 = 1 }),
            ("adam_epsilon", { $0.adamEpsilon = 0 }), ("adam_epsilon", { $0.adamEpsilon = 1e-46 }),
            (
                "nesterov",
                {
                    $0.nesterov = true
                    $0.optimiser = "adamw"
                }
            ),
            ("gradient_clip", { $0.gradientClip = -1 }), ("warmup_epochs", { $0.warmupEpochs = 201 }),
            ("warmup_epochs", { $0.warmupEpochs = .nan }),
            (
                "warmup_epochs",
                {
                    $0.warmupEpochs = 1
                    $0.schedule = "onecycle"
                }
            ),
            ("awp", { $0.awp = -0.1 }), ("awp_start", { $0.awpStart = 0 }), ("average", { $0.average = "mean" }),
            ("ema_decay", { $0.emaDecay = 1 }), ("swa_start", { $0.swaStart = -1 }), ("cutout", { $0.cutout = -1 }),
            ("cutmix", { $0.cutmix = 1.1 }), ("augment", { $0.augment = "AutoAugment" }),
            ("crop_shift", { $0.cropShift = -1 }),
            ("crop_shift", { $0.cropShift = 3 }),  // beside a padded crop
            ("erasing", { $0.erasing = 1.1 }), ("erasing", { $0.erasing = .nan }),
            ("erasing_area", { $0.erasingArea = 0.01 }), ("erasing_area", { $0.erasingArea = 1.1 }),
        ]
        for (name, change) in cases {
            var options = TrainerOptions()
            change(&options)
            let error = thrownError { try options.validate() }
            #expect(error?.code == .invalidArgument, "\(name)")
            #expect(error?.message.hasPrefix("\(name): got ") == true, "\(name): \(error?.message ?? "no error")")
        }
    }

    @Test func unknownNamesListTheKnown() {
        func message(_ change: (inout TrainerOptions) -> Void) -> String? {
            var options = TrainerOptions()
            change(&options)
            return thrownError { try options.validate() }?.message
        }
        #expect(message { $0.mirror = "x" } == "mirror: got \"x\", want one of paper, clip")
        #expect(message { $0.igdmDistance = "x" } == "igdm_distance: got \"x\", want one of kl, l1, l2")
        #expect(message { $0.inner = "x" } == "inner: got \"x\", want one of method, student")
        #expect(
            message { $0.schedule = "x" } == "schedule: got \"x\", want one of multistep, cosine, onecycle, constant")
    }

    @Test func teachersMustFit() throws {
        let student = try makeNetwork(seed: 1)
        func error(_ teacher: Network?, _ change: (inout TrainerOptions) -> Void) -> EngineError? {
            thrownError { _ = try makeTrainer(student, teacher, change) }
        }
        for method in ["pgd-at", "trades"] { #expect(error(nil) { $0.method = method } == nil) }
        for method in ["ard", "rslad", "adaad", "iad", "akd", "adaiad", "dgad"] {
            #expect(error(nil) { $0.method = method }?.message.hasPrefix("teacher: got none") == true)
        }
        let withIGDM = error(nil) {
            $0.method = "pgd-at"
            $0.igdm = 1
        }
        #expect(withIGDM?.code == .invalidArgument)
        for term in ["trades-reg", "trades-like"] {
            let rival = error(nil) {
                $0.method = "pgd-at"
                $0.igdm = 1
                $0.igdmTerm = term
            }
            #expect(rival == nil)
        }
        #expect(error(student) { _ in }?.message.hasPrefix("teacher: got the student itself") == true)
        #expect(error(try makeNetwork(seed: 1, classes: 4)) { _ in }?.code == .shape)
        #expect(error(try makeNetwork(seed: 1, shape: ImageShape(3, 8, 8))) { _ in }?.code == .shape)
        #expect(error(try student.copy()) { _ in } == nil)
    }
    @Test func twoTeachersForMTARDOnly() throws {
        let (student, robust, clean) = (try makeNetwork(seed: 1), try makeNetwork(seed: 2), try makeNetwork(seed: 3))
        func message(_ method: String, _ robust: Network?, _ clean: Network?) -> String? {
            var options = TrainerOptions()
            options.method = method
            return thrownError {
                _ = try Trainer(
                    student: student, teachers: Teachers(robust: robust, clean: clean), options: options)
            }?.message
        }
        #expect(message("mtard", robust, clean) == nil)
        for one in [nil, clean] {
            #expect(message("mtard", nil, one)?.hasPrefix("teacher: got none, but mtard needs two") == true)
        }
        #expect(message("mtard", robust, nil)?.hasPrefix("clean_teacher: got none, but mtard needs two") == true)
        #expect(message("ard", robust, clean)?.hasPrefix("clean_teacher: got a model, want none") == true)
        #expect(message("mtard", robust, student)?.hasPrefix("clean_teacher: got the student itself") == true)
        let wide = try makeNetwork(seed: 3, classes: 4)
        #expect(message("mtard", robust, wide)?.hasPrefix("clean_teacher: takes images") == true)
    }
}
