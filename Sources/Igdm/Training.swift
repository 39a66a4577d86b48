import Attacks
import CIgdm
import Distillation
import Networks
import Runtime
import Storage

// Section 6 of the header: distillation.

final class TrainerHandle: Handle {
    override class var typeName: String { "igdm_trainer" }

    let trainer: Trainer
    /// Kept alive, and locked while the trainer works. The teacher is the trainer's own copy, or has weights that the host
    /// promises not to change, and needs no lock.
    let student: ModelHandle

    init(_ trainer: Trainer, student: ModelHandle) {
        self.trainer = trainer
        self.student = student
    }

    /// Holds all that a step or a fit uses. A call from inside a callback gets through the locks, and the trainer itself
    /// refuses what cannot be nested.
    func work<Result>(_ body: () throws -> Result) throws -> Result {
        try locked([self, student], body)
    }
}

@_cdecl("igdm_trainer_create") @implementation
public func igdm_trainer_create(
    _ student: OpaquePointer!, _ teacher: OpaquePointer!, _ options: UnsafePointer<igdm_trainer_options>!,
    _ trainer: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    guarded {
        let student: ModelHandle = try HandleTable.get(student, "student")
        let teacher: ModelHandle? = teacher == nil ? nil : try HandleTable.get(teacher, "teacher")
        let given = try Igdm.options(
            options, "options", defaults: defaultTrainerOptions(), firstSize: FirstSize.trainerOptions)
        let trainer = try pointer(trainer, "trainer")
        guard teacher !== student else {
            throw EngineError.invalid(
                "teacher", got: "the student itself", want: "another model (igdm_model_copy makes one)")
        }
        let details = try trainerDetails(given)
        let cleanTeacher: ModelHandle? =
            details.clean_teacher == nil ? nil : try HandleTable.get(details.clean_teacher, "details.clean_teacher")
        guard cleanTeacher !== student else {
            throw EngineError.invalid(
                "details.clean_teacher", got: "the student itself", want: "another model (igdm_model_copy makes one)")
        }
        let generated: DatasetHandle? =
            details.generated == nil ? nil : try HandleTable.get(details.generated, "details.generated")
        let chosen = try trainerOptions(given, details)
        let sharesTeachers = try flag(details.share_teachers, "details.share_teachers")
        func own(_ teacher: ModelHandle?) throws -> Network? {
            try locked([teacher]) { try sharesTeachers ? teacher?.network.twin() : teacher?.network.copy() }
        }
        let (robust, clean) = (try own(teacher), try own(cleanTeacher))
        let made = try Trainer(
            student: student.network, teachers: Teachers(robust: robust, clean: clean), options: chosen,
            generated: generated?.dataset)
        trainer.pointee = HandleTable.register(TrainerHandle(made, student: student))
    }
}

private func defaultBatch() -> igdm_batch {
    var batch = igdm_batch()
    batch.struct_size = UInt32(MemoryLayout<igdm_batch>.size)
    batch.update = 1
    return batch
}

@_cdecl("igdm_batch_init") @implementation
public func igdm_batch_init(_ batch: UnsafeMutablePointer<igdm_batch>!) -> Int32 {
    guarded { try pointer(batch, "batch").pointee = defaultBatch() }
}

@_cdecl("igdm_trainer_step") @implementation
public func igdm_trainer_step(
    _ trainer: OpaquePointer!, _ batch: UnsafePointer<igdm_batch>!, _ report: UnsafeMutablePointer<igdm_step_report>!
) -> Int32 {
    guarded {
        let handle: TrainerHandle = try HandleTable.get(trainer, "trainer")
        let reportSize = FirstSize.stepReport
        guard batch != nil else { throw EngineError.invalid("batch", got: "NULL", want: "a pointer") }
        let given = try Igdm.options(
            batch, "batch", defaults: defaultBatch(), firstSize: FirstSize.batch)
        if report != nil { try checkOutput(report, "report", firstSize: reportSize) }
        let r = given.reserved
        try checkReserved(Int64(given.reserved0), Int64(given.reserved1), r.0, r.1, r.2, argument: "batch")
        let network = handle.student.network
        let images = try pointer(given.images, "batch.images")
        let labels = try pointer(given.labels, "batch.labels")
        let count = try sampleCount(
            given.count, floatsPerSample: max(network.shape.count, network.classes), argument: "batch.count", atLeast: 1
        )
        let adversarial = try optionalPointer(given.adversarial, "batch.adversarial")
        let softLabels = try optionalPointer(given.soft_labels, "batch.soft_labels")
        let update = try flag(given.update, "batch.update")
        let result = try handle.work {
            try handle.trainer.step(
                TrainingBatch(
                    images: images, labels: labels, count: count, adversarial: adversarial, softLabels: softLabels,
                    update: update))
        }
        if report != nil { try fill(report, "report", stepReport(result), firstSize: reportSize) }
    }
}

private func stepReport(_ source: StepReport) -> igdm_step_report {
    var report = igdm_step_report()
    report.loss = source.loss
    report.base_loss = source.baseLoss
    report.second_loss = source.secondLoss
    report.igdm_loss = source.igdmLoss
    report.igdm_weight = source.igdmWeight
    report.learning_rate = source.learningRate
    report.adversarial_accuracy = source.adversarialAccuracy
    report.mirror_outside = source.mirrorOutside
    report.epoch = Int64(source.epoch)
    report.step = Int64(source.step)
    return report
}

@_cdecl("igdm_trainer_get_gradient") @implementation
public func igdm_trainer_get_gradient(
    _ trainer: OpaquePointer!, _ name: UnsafePointer<CChar>!, _ values: UnsafeMutablePointer<Float>!, _ count: Int
) -> Int32 {
    guarded {
        let handle: TrainerHandle = try HandleTable.get(trainer, "trainer")
        let name = try text(name, "name")
        let values = try pointer(values, "values")
        try locked([handle]) {
            let gradient = try handle.trainer.gradient(of: name)
            guard count == gradient.count, let source = gradient.baseAddress else {
                throw EngineError(
                    .shape, "count: got \(UInt(bitPattern: count)), want \(gradient.count), the size of \(name)")
            }
            values.update(from: source, count: count)
        }
    }
}

@_cdecl("igdm_trainer_get_adversarial") @implementation
public func igdm_trainer_get_adversarial(
    _ trainer: OpaquePointer!, _ images: UnsafeMutablePointer<Float>!, _ count: Int
) -> Int32 {
    guarded {
        let handle: TrainerHandle = try HandleTable.get(trainer, "trainer")
        let images = try pointer(images, "images")
        try locked([handle]) {
            let last = try handle.trainer.lastAdversarial()
            guard count == last.count, let source = last.baseAddress else {
                throw EngineError(
                    .shape,
                    "count: got \(UInt(bitPattern: count)), want \(last.count), the floats of the last step's batch")
            }
            images.update(from: source, count: count)
        }
    }
}

@_cdecl("igdm_trainer_fit") @implementation
public func igdm_trainer_fit(
    _ trainer: OpaquePointer!, _ train: OpaquePointer!, _ validation: OpaquePointer!,
    _ callback: igdm_fit_callback!, _ user: UnsafeMutableRawPointer!
) -> Int32 {
    guarded {
        let handle: TrainerHandle = try HandleTable.get(trainer, "trainer")
        let train: DatasetHandle = try HandleTable.get(train, "train")
        let validation: DatasetHandle? = validation == nil ? nil : try HandleTable.get(validation, "validation")
        let callback = callback as igdm_fit_callback?
        let user = user as UnsafeMutableRawPointer?
        try handle.work {
            try handle.trainer.fit(train: train.dataset, validation: validation?.dataset) { event in
                guard let callback else { return }
                var given = fitEvent(event)
                let answer = Callbacks.run { callback(&given, user) }
                if answer != 0 {
                    throw EngineError(.cancelled, "cancelled by the fit callback (it returned \(answer))")
                }
            }
        }
    }
}

private func fitEvent(_ source: FitEvent) -> igdm_fit_event {
    var event = igdm_fit_event()
    event.struct_size = UInt32(MemoryLayout<igdm_fit_event>.size)
    event.kind = source.kind.rawValue
    event.epoch = Int64(source.epoch)
    event.epochs = Int64(source.epochs)
    event.batch = Int64(source.batch)
    event.batches = Int64(source.batches)
    event.loss = source.loss
    event.base_loss = source.baseLoss
    event.second_loss = source.secondLoss
    event.igdm_loss = source.igdmLoss
    event.adversarial_accuracy = source.adversarialAccuracy
    event.igdm_weight = source.igdmWeight
    event.learning_rate = source.learningRate
    event.mirror_outside = source.mirrorOutside
    event.validation_clean = source.validationClean
    event.validation_robust = source.validationRobust
    event.images_per_second = source.imagesPerSecond
    event.seconds = source.seconds
    event.eta_seconds = source.etaSeconds
    event.gradient_cosine = source.agreement?.cosine ?? 0
    event.gradient_distance = source.agreement?.distance ?? -1
    return event
}

@_cdecl("igdm_trainer_average") @implementation
public func igdm_trainer_average(
    _ trainer: OpaquePointer!, _ train: OpaquePointer!, _ average: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    guarded {
        let handle: TrainerHandle = try HandleTable.get(trainer, "trainer")
        let train: DatasetHandle? = train == nil ? nil : try HandleTable.get(train, "train")
        let average = try pointer(average, "average")
        let made = try handle.work { try handle.trainer.averageModel(statisticsFrom: train?.dataset) }
        average.pointee = HandleTable.register(ModelHandle(made))
    }
}

@_cdecl("igdm_trainer_save") @implementation
public func igdm_trainer_save(_ trainer: OpaquePointer!, _ path: UnsafePointer<CChar>!) -> Int32 {
    guarded {
        let handle: TrainerHandle = try HandleTable.get(trainer, "trainer")
        let path = try Igdm.path(path, "path")
        try handle.work { try handle.trainer.save(to: path) }
    }
}

@_cdecl("igdm_trainer_resume") @implementation
public func igdm_trainer_resume(_ trainer: OpaquePointer!, _ path: UnsafePointer<CChar>!) -> Int32 {
    guarded {
        let handle: TrainerHandle = try HandleTable.get(trainer, "trainer")
        let path = try Igdm.path(path, "path")
        try handle.work { try handle.trainer.resume(from: path) }
    }
}

@_cdecl("igdm_trainer_get_position") @implementation
public func igdm_trainer_get_position(
    _ trainer: OpaquePointer!, _ position: UnsafeMutablePointer<igdm_trainer_position>!
) -> Int32 {
    guarded {
        let handle: TrainerHandle = try HandleTable.get(trainer, "trainer")
        var result = igdm_trainer_position()
        try locked([handle]) {
            let found = handle.trainer.position
            result.epochs = Int64(found.epochs)
            result.batches = Int64(found.batches)
            result.steps = Int64(found.steps)
            result.steps_per_epoch = Int64(found.stepsPerEpoch)
            result.epochs_reported = Int64(found.epochsReported)
        }
        try fill(position, "position", result, firstSize: FirstSize.trainerPosition)
    }
}

@_cdecl("igdm_trainer_release") @implementation
public func igdm_trainer_release(_ trainer: OpaquePointer!) { HandleTable.release(trainer, as: TrainerHandle.self) }
