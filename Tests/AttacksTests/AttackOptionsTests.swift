import Kernels
import Runtime
import Testing

@testable import Attacks

@Suite struct AttackOptionsTests {
    private func plan(_ change: (inout AttackOptions) -> Void) throws -> AttackPlan {
        var options = AttackOptions()
        change(&options)
        return try options.plan()
    }

    @Test func defaultsAreThoseOfTheHeader() throws {
        let plan = try plan { _ in }
        #expect(plan.norm is MaximumNorm)
        #expect(plan.loss == .crossEntropy)
        #expect(plan.steps == 20)
        #expect(plan.restarts == 1)
        #expect(plan.start == .uniform)
        #expect(abs(plan.epsilon - 8 / 255) < 1e-8)
        #expect(plan.step == plan.epsilon / 4)
    }

    @Test func attacksSetTheirOwnParameters() throws {
        let fgsm = try plan {
            $0.attack = "fgsm"; $0.step = 0.001; $0.restarts = 7
        }
        #expect(fgsm.steps == 1)
        #expect(fgsm.step == fgsm.epsilon)
        #expect(fgsm.start == .clean)
        #expect(fgsm.restarts == 1)
        let cw = try plan {
            $0.attack = "cw"; $0.kappa = 3; $0.loss = "ce"
        }
        #expect(cw.steps == 30)
        #expect(cw.loss == .margin(kappa: 3))
        #expect(
            try plan {
                $0.attack = "cw"; $0.steps = 7
            }.steps == 7)
        #expect(try plan { $0.randomStart = false }.start == .clean)
        let momentum = try plan {
            $0.attack = "mi-fgsm"; $0.steps = 5
        }
        #expect(momentum.momentum == 1)
        #expect(momentum.start == .clean)
        #expect(momentum.step == momentum.epsilon / 5)
        let corner = try plan {
            $0.attack = "r-fgsm"; $0.epsilon = 0.25; $0.step = 0.0625
        }
        #expect(corner.start == .signs(size: 0.1875))
        #expect(corner.steps == 1)
        let trades = try plan { $0.attack = "tpgd" }
        #expect(trades.loss == .divergence)
        #expect(trades.start == .gaussian(scale: 0.001))
    }

    @Test func theFloatRadiusIsNeverLarger() throws {
        for epsilon in [8.0 / 255, 4.0 / 255, 0.1, 0.3, 1e-3, 0.5] {
            let budget = try PerturbationBudget(epsilon: epsilon, step: epsilon)
            #expect(Double(budget.epsilon) <= epsilon)
            #expect(Double(budget.epsilon.nextUp) > epsilon)
            #expect(budget.step <= budget.epsilon)
        }
    }

    @Test func whatIsOutOfRangeIsNamed() {
        let cases: [(String, (inout AttackOptions) -> Void)] = [
            ("epsilon", { $0.epsilon = -0.1 }), ("epsilon", { $0.epsilon = .nan }),
            ("epsilon", { $0.epsilon = .infinity }),
            ("step", { $0.step = -1 }), ("step", { $0.step = 0.5 }), ("step", { $0.step = .nan }),
            ("steps", { $0.steps = -1 }), ("steps", { $0.steps = 1_000_001 }),
            (
                "steps",
                {
                    $0.attack = "fgsm"; $0.steps = 2
                }
            ),
            ("restarts", { $0.restarts = 0 }), ("restarts", { $0.restarts = 65536 }),
            ("kappa", { $0.kappa = -1 }), ("kappa", { $0.kappa = .infinity }),
            ("eot", { $0.expectation = 0 }), ("eot", { $0.expectation = 65536 }),
            ("momentum_decay", { $0.momentumDecay = -0.1 }), ("momentum_decay", { $0.momentumDecay = .nan }),
            ("attack", { $0.attack = "pdg" }), ("norm", { $0.norm = "l7" }), ("loss", { $0.loss = "dlr2" }),
        ]
        for (name, change) in cases {
            let error = thrownError { _ = try plan(change) }
            #expect(error?.code == .invalidArgument)
            #expect(error?.message.hasPrefix("\(name): got ") == true)
        }
    }

    @Test func unknownNamesListTheKnown() {
        #expect(
            thrownError { _ = try plan { $0.attack = "x" } }?.message
                == "attack: got \"x\", want one of fgsm, pgd, cw, apgd-ce, apgd-dlr, apgd-t, fab, fab-t, square, autoattack, "
                + "deepfool, ddn, fmn, spsa, noise-gaussian, noise-uniform, hopskipjump, bim, mi-fgsm, r-fgsm, tpgd, "
                + "cw-l2, gaussian_noise, shot_noise, impulse_noise, defocus_blur, glass_blur, motion_blur, zoom_blur, snow, frost, fog, brightness, contrast, elastic_transform, pixelate, jpeg_compression"
        )
        #expect(thrownError { _ = try plan { $0.norm = "x" } }?.message == "norm: got \"x\", want one of linf, l2, l1")
        #expect(
            thrownError {
                _ = try plan {
                    $0.attack = "fmn"; $0.norm = "x"
                }
            }?.message == "norm: got \"x\", want one of linf, l2, l1, l0")
        #expect(
            thrownError { _ = try plan { $0.loss = "x" } }?.message
                == "loss: got \"x\", want one of ce, margin, kl, dlr")
    }

    @Test func evaluationListsAreRead() throws {
        let list = try AttackRegistry.parse(list: " fgsm, pgd-20,cw,cw-7 ,pgd")
        #expect(list.map(\.name) == ["fgsm", "pgd-20", "cw", "cw-7", "pgd"])
        #expect(list.map(\.attack) == ["fgsm", "pgd", "cw", "cw", "pgd"])
        #expect(list.map(\.steps) == [0, 20, 0, 7, 0])
        #expect(try AttackRegistry.parse(list: "").isEmpty)
        #expect(try AttackRegistry.parse(list: "  ").isEmpty)
    }

    @Test(arguments: [
        "pdg-20", "pgd-", "pgd-0", "pgd--3", "pgd-+5", "pgd-05", "pgd-x", "fgsm-2", "fgsm,,cw", "fgsm,", "clean",
        "pgd-20-3", "-",
    ])
    func badEvaluationListsAreRefused(list: String) {
        let error = thrownError { _ = try AttackRegistry.parse(list: list) }
        #expect(error?.code == .invalidArgument)
        #expect(error?.message.contains("fgsm, pgd, pgd-K (K steps), cw, cw-K (K steps)") == true)
    }

    @Test func arraysOfTheHostAreChecked() {
        let shape = ImageShape(1, 1, 2)
        func images(_ values: [Float]) -> EngineError? {
            thrownError {
                try Validation.checkImages(values, count: values.count / 2, shape: shape, argument: "images")
            }
        }
        #expect(images([0, 1, 0.5, 1]) == nil)
        #expect(images([0, 1, 0.5, 1.5])?.code == .invalidArgument)
        #expect(images([0, 1, 0.5, 1.5])?.message.hasPrefix("images: sample 1, value 1: got 1.5") == true)
        #expect(images([-0.25, 1])?.code == .invalidArgument)
        #expect(images([0, .nan])?.code == .notFinite)
        #expect(images([.infinity, 0])?.code == .notFinite)
        func labels(_ values: [Int64]) -> EngineError? {
            thrownError { try Validation.checkLabels(values, count: values.count, classes: 3, argument: "labels") }
        }
        #expect(labels([0, 2]) == nil)
        #expect(labels([0, 3])?.message == "labels: sample 1: got 3, want 0 ... 2")
        #expect(labels([-1])?.code == .invalidArgument)
    }

    @Test func optionsThatNoAttackHasAUseForAreNamed() throws {
        func names(_ attacks: [String], step: Double = 0, _ change: (inout AttackOptions) -> Void) throws -> [String] {
            var options = AttackOptions()
            change(&options)
            return try Doubts.unused(options, step: step, by: attacks).map { String($0.prefix { $0 != ":" }) }
        }
        let every = { (options: inout AttackOptions) in
            (options.loss, options.kappa, options.targets, options.randomStart) = ("dlr", 3, 2, false)
        }
        #expect(try names(AttackRegistry.names) { _ in }.isEmpty)
        #expect(try names([], step: 0.1, every).isEmpty)
        #expect(try names(AttackRegistry.names, step: 0.1, every).isEmpty)
        #expect(
            try names(["apgd-ce", "square"], step: 0.1, every) == ["loss", "kappa", "targets", "random_start", "step"])
        #expect(try names(["pgd"], step: 0.1, every) == ["kappa", "targets"])
        #expect(try names(["pgd"]) { ($0.loss, $0.kappa) = ("margin", 3) }.isEmpty)
        #expect(try names(["cw", "fgsm"]) { $0.kappa = 3 }.isEmpty)
        #expect(try names(["tpgd"]) { $0.loss = "margin" } == ["loss"])
        #expect(try names(["fab-t"], every) == ["loss", "kappa", "random_start"])
        #expect(try names(["fgsm"]) { $0.randomStart = false } == ["random_start"])
        #expect(try names(["tpgd"]) { $0.randomStart = false }.isEmpty)
    }
}
