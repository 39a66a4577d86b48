"""Training a student: distill() for a whole run, Trainer for hosts that bring their own batches."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from . import _arrays as arrays
from . import _structures as structures
from . import report
from ._arrays import Floats, pointer
from ._callbacks import Callback, HeldInterrupt
from ._library import Handle, ask, call, file_path
from .datasets import Dataset, require_dataset
from .errors import InvalidArgument, NotFiniteError, NotFoundError, ShapeError
from .models import Model, require_model
from .options import TrainingOptions
from .progress import Display, duration
from .runs import RunFolder, is_stalled

if TYPE_CHECKING:
    from typing_extensions import Unpack


@dataclass(frozen=True)
class FitEvent:
    """What a fit reports after each batch (kind "step"), each batch of the validation ("validation") and each epoch
    ("epoch"); before them, while streamed data are read for their check sum ("data": batch and batches count samples).
    Losses are means."""

    kind: str
    epoch: int
    """Counted from 1."""
    epochs: int
    batch: int
    """Counted from 1, within the epoch."""
    batches: int
    loss: float
    """base_loss + igdm_weight * igdm_loss"""
    base_loss: float
    second_loss: float
    """Part of base_loss: the second term of the method's formula (docs/methods.md); 0 where there is one only."""
    igdm_loss: float
    adversarial_accuracy: float
    igdm_weight: float
    learning_rate: float
    mirror_outside: float
    """Part of the mirrored pixels x-d outside [0,1]."""
    validation_clean: float | None
    """Accuracy in [0,1] after an epoch with validation, else None."""
    validation_robust: float | None
    images_per_second: float
    seconds: float
    """Since the fit began."""
    eta_seconds: float
    gradient_cosine: float | None
    """How alike the input gradients of student and (robust) teacher are on the validation images, after an epoch with
    validation and a teacher; else None."""
    gradient_distance: float | None


@dataclass(frozen=True)
class StepReport:
    """What Trainer.step() did. Losses are means over the batch."""

    loss: float
    """base_loss + igdm_weight * igdm_loss"""
    base_loss: float
    second_loss: float
    """Part of base_loss: the second term of the method's formula (docs/methods.md); 0 where there is one only."""
    igdm_loss: float
    igdm_weight: float
    learning_rate: float
    adversarial_accuracy: float
    mirror_outside: float
    epoch: int
    step: int


@dataclass(frozen=True)
class Position:
    """Where a training stands."""

    epochs: int
    """Finished."""
    batches: int
    """Of the next epoch, finished."""
    steps: int
    """In all."""
    steps_per_epoch: int
    """0 as long as it is not known."""
    epochs_reported: int
    """Those whose event has come."""


@dataclass(frozen=True)
class Run:
    """The result of distill()."""

    student: Model
    history: list[dict[str, Any]]
    """A row for each epoch: losses, weights, validation accuracies, times."""
    options: dict[str, Any]
    """All options of the training, defaults included."""
    average: Model | None
    """The student with averaged weights, where the options asked for an average and something went into it."""
    folder: Path | None
    """Where config.json, metrics.csv, last.h5 and best.h5 are, if a run_dir was given."""


EVENT_KINDS = {
    structures.EVENT_STEP: "step",
    structures.EVENT_EPOCH: "epoch",
    structures.EVENT_VALIDATION: "validation",
    structures.EVENT_DATA: "data",
}

Watcher = Callable[[FitEvent], object]


class Trainer(Handle):
    """Trains one student, whose weights it changes in place. Holds optimiser state and position in the schedule."""

    _instead = "Trainer.save() writes a file that a Trainer made with the same options takes up."

    def __init__(
        self,
        student: Model,
        teacher: Model | Sequence[Model] | None = None,
        *,
        generated: Dataset | None = None,
        share_teacher: bool = False,
        **options: Unpack[TrainingOptions],
    ) -> None:
        """student   the model to train
        teacher   never changed; None for methods "pgd-at" and "trades" without IGDM; [clean, robust] for "mtard"
        generated images of which fit() mixes the part generated_ratio into each batch
        share_teacher  do not copy the teacher, which saves its memory; then nobody may change it (or train it,
                  in another trainer) as long as this one exists
        options   see TrainingOptions
        """
        self._student = require_model("student", student)
        native, details = _defaults()
        milestones = _assign(native, details, options)
        if not isinstance(share_teacher, bool | np.bool_):
            raise TypeError(f"share_teacher: got {type(share_teacher).__name__}, want True or False")
        details.assign(share_teachers=bool(share_teacher))
        clean, robust = split_teachers(teacher)
        guide = None if robust is None else require_model("teacher", robust)._handle
        if clean is not None:
            details.clean_teacher = require_model("teacher", clean)._handle
        if generated is not None:
            details.generated = require_dataset("generated", generated)._handle
        created = structures.Trainer()
        call("igdm_trainer_create", student._handle, guide, native, created)
        super().__init__(created, "igdm_trainer_release")
        self._last_count: int | None = None
        self.options: dict[str, Any] = _recorded(native, details, options, milestones)
        """All options, defaults included."""

    def step(
        self, images: ArrayLike, labels: ArrayLike, *, adversarial: ArrayLike | None = None, update: bool = True
    ) -> StepReport:
        """One step on a batch: adversary, loss, gradients, update. Needs the option steps_per_epoch.

        images       (N, C, H, W) float32 in [0,1]; no augmentation is applied
        labels       (N) integers, or (N, classes) probabilities: see Dataset.with_soft_labels()
        adversarial  the caller's own adversarial images, shaped as images; None = the trainer attacks
        update       False: compute loss and gradients only
        """
        batch = arrays.images("images", images, self._student.info.input_shape)
        soft = None
        if arrays.is_soft(labels):
            soft = arrays.soft_labels("labels", labels, len(batch), self._student.info.classes)
            labels = soft.argmax(1)
        truth = arrays.labels("labels", labels, len(batch))
        native = structures.Batch()
        call("igdm_batch_init", native)
        native.images, native.labels, native.count = pointer(batch), pointer(truth), len(batch)
        if adversarial is not None:
            attacked = arrays.floats("adversarial", adversarial, batch.shape)
            native.adversarial = pointer(attacked)
        if soft is not None:
            native.soft_labels = pointer(soft)
        native.assign(update=update)
        report = structures.StepReport(struct_size=ctypes.sizeof(structures.StepReport))
        call("igdm_trainer_step", self._handle, native, report)
        self._last_count = len(batch)
        return StepReport(**report.values())

    def gradient(self, name: str) -> Floats:
        """Gradient of the last step's loss by a trainable parameter of the student, without weight decay."""
        parameters = self._student.parameters
        if name not in parameters.trainable:
            raise NotFoundError(f'name: got "{name}", want one of {", ".join(parameters.trainable)}')
        values = np.empty(parameters.shapes[name], np.float32)
        call("igdm_trainer_get_gradient", self._handle, structures.text("name", name), pointer(values), values.size)
        return values

    def adversarial(self) -> Floats:
        """The adversarial images of the last step."""
        if self._last_count is None:
            raise InvalidArgument("adversarial: no step() yet, so there are no adversarial images")
        images = np.empty((self._last_count, *self._student.info.input_shape), np.float32)
        call("igdm_trainer_get_adversarial", self._handle, pointer(images), images.size)
        return images

    def average(self, train: Dataset | None = None) -> Model:
        """A copy of the student with the average of the weights that it passed through (options average, ema_decay,
        swa_start).

        train  running statistics are taken anew from these images: what "swa" needs. None = the average of those of the
               student
        """
        source = None if train is None else require_dataset("train", train)._handle
        created = structures.Model()
        call("igdm_trainer_average", self._handle, source, created)
        return Model._of(created)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a checkpoint of the student that holds the whole training beside it; also from inside a callback of
        fit(). Model.load() takes it for one of the student."""
        call("igdm_trainer_save", self._handle, file_path("path", path))

    def resume(self, path: str | os.PathLike[str]) -> None:
        """Takes up the training that save() wrote: it goes on to the same bits as if it had never stopped.

        The trainer is to be a new one, made with the same options, teachers and student, of which the weights do not
        matter; the next fit() is to have the same data. What differs is refused by name.
        """
        call("igdm_trainer_resume", self._handle, file_path("path", path))
        self._last_count = None

    @property
    def position(self) -> Position:
        """Where the training stands: what Trainer.step() is to be given next."""
        native = structures.TrainerPosition(struct_size=ctypes.sizeof(structures.TrainerPosition))
        call("igdm_trainer_get_position", self._handle, native)
        return Position(**native.values())

    def fit(
        self,
        train: Dataset,
        validation: Dataset | None = None,
        *,
        progress: bool | None = None,
        callback: Watcher | None = None,
    ) -> list[dict[str, Any]]:
        """Trains from the current position to the last epoch; returns a row of numbers for each epoch.

        callback  called with a FitEvent after each batch and each epoch; a true result stops (Cancelled is raised), and
                  so does an exception. The student keeps what it has learned, and a further fit() goes on from there
        progress  True, False, or None = on a terminal
        """
        require_dataset("train", train)
        judged = None if validation is None else require_dataset("validation", validation)._handle
        history: list[dict[str, Any]] = []

        def receive(native: structures.FitEvent) -> object:
            event = _event(native)
            _show(display, event)
            if event.kind == "epoch":
                history.append(_history_row(event))
            return callback(event) if callback is not None else None

        self._last_count = None
        with Display(progress) as display, Callback(structures.FitCallback, receive) as watcher:
            call("igdm_trainer_fit", self._handle, train._handle, judged, watcher.pointer, None)
        return history


def split_teachers(teacher: Model | Sequence[Model] | None) -> tuple[Model | None, Model | None]:
    """The teacher for clean images and the robust one."""
    if isinstance(teacher, (list, tuple)):
        if len(teacher) != 2:
            raise InvalidArgument(f"teacher: got {len(teacher)} models, want one, or two: [clean, robust]")
        return require_model("teacher", teacher[0]), require_model("teacher", teacher[1])
    return None, teacher


def distill(
    student: Model,
    teacher: Model | Sequence[Model] | None,
    train: Dataset,
    *,
    validation: Dataset | None = None,
    generated: Dataset | None = None,
    patience: int | None = None,
    run_dir: str | os.PathLike[str] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    keep_data: bool = True,
    checkpoint_minutes: float = 10,
    progress: bool | None = None,
    callback: Watcher | None = None,
    **options: Unpack[TrainingOptions],
) -> Run:
    """Trains `student` on `train` under the guidance of `teacher`. With the option average, Run.average is the averaged
    model: with "ema" its running statistics are the average of the student's, with "swa" they are taken anew from
    `train`.

    teacher     one model; [clean, robust] for method "mtard"; None for "pgd-at" and "trades" without IGDM. Nobody may
                change it, or train it, meanwhile
    validation  measured after each epoch, with the agreement of the input gradients where there is a teacher
    generated   more images, such as those of a diffusion model, from which the part generated_ratio of each batch is
                drawn, with replacement. An epoch is as long as without them
    patience    stop when so many epochs have brought no better validation, under PGD where validation_steps > 0
    run_dir     folder for config.json (with which the run can be repeated), initial.h5, metrics.csv, last.h5, best.h5
                and, where epochs were trained, report.html
    resume      go on with the run that run_dir has, to the same bits as if it had never stopped; everything else is to
                be as it was. Without a run there, begin one
    overwrite   allow a run_dir that has a run already, which goes
    keep_data   write data that lie in no file (arrays, soft labels given to a dataset) into run_dir too, so that its
                config.json can be repeated; needs h5py
    checkpoint_minutes  last.h5 is written so often, and after each epoch. Ctrl-C ends the batch and writes it
    progress    True, False, or None = on a terminal
    callback    called with a FitEvent after each batch and each epoch; a true result stops (Cancelled is raised)
    options     see TrainingOptions: method, igdm, mirror, eps, step, steps, epochs, ...
    """
    require_dataset("train", train)
    if validation is not None:
        require_dataset("validation", validation)
    if patience is not None:
        patience = structures.positive("patience", patience)
        if validation is None:
            raise InvalidArgument(f"patience: got {patience} and no validation, want both")
    minutes = structures.number("checkpoint_minutes", checkpoint_minutes)
    if not minutes >= 0:
        raise InvalidArgument(f"checkpoint_minutes: got {minutes:g}, want a number >= 0")
    if resume and (run_dir is None or overwrite):
        raise InvalidArgument("resume: got no run_dir, or overwrite with it; want the run_dir of a run")
    with Trainer(student, teacher, generated=generated, share_teacher=True, **options) as trainer:
        _warn_of_late_starts(trainer.options)
        if run_dir is None:
            history = _fit(trainer, train, validation, patience, progress, callback)
            return Run(student, history, trainer.options, _average(trainer, train), None)
        # Before the folder's old run goes: what would stop the new one at once.
        for name, data in (("train", train), ("validation", validation)):
            if data is not None and (data.image_shape, data.classes) != (
                student.info.input_shape,
                student.info.classes,
            ):
                raise ShapeError(
                    f"{name}: got images {data.image_shape} in {data.classes} classes, want "
                    f"{student.info.input_shape} in {student.info.classes}, the student's"
                )
        clean, robust = split_teachers(teacher)
        with RunFolder(run_dir, overwrite=overwrite, resume=resume, minutes=minutes) as folder:
            folder.begin(
                student,
                robust,
                clean,
                train,
                validation,
                generated,
                trainer.options,
                patience,
                default_options(),
                keep_data,
            )
            _fit_in_folder(folder, trainer, student, train, validation, patience, progress, callback)
            average = _average(trainer, train)
            if average is not None:
                average.save(folder.average)
            _write_report(folder, student, robust, train, validation, trainer.options)
        return Run(student, folder.rows, trainer.options, average, folder.path)


def _warn_of_late_starts(options: Mapping[str, Any]) -> None:
    """Tells of what is asked for and will never begin."""
    begins = {
        "introspection_start": options["method"] in ("iad", "adaiad"),
        "awp_start": options["awp"] > 0,
        "swa_start": options["average"] == "swa",
    }
    for name, is_used in begins.items():
        if is_used and options[name] > options["epochs"]:
            logging.getLogger("igdm").warning(
                "%s: got %d with %d epochs: it never begins", name, options[name], options["epochs"]
            )


def _write_report(
    folder: RunFolder,
    student: Model,
    teacher: Model | None,
    train: Dataset,
    validation: Dataset | None,
    options: Mapping[str, Any],
) -> None:
    """The page of a run that has come further. It is not worth losing a training that is done."""
    if not folder.has_new_rows and (folder.path / "report.html").exists():
        return
    try:
        report.write_run(
            folder.path, report.contenders_of_run(folder.path, student, folder.rows), teacher=teacher, train=train,
            validation=validation, options=options,
        )  # fmt: skip
    except Exception as error:
        logging.getLogger("igdm").warning("report.html: not written: %s", error)


class _Stalled(Exception):
    """Ends a fit early."""


def _fit(
    trainer: Trainer,
    train: Dataset,
    validation: Dataset | None,
    patience: int | None,
    progress: bool | None,
    callback: Watcher | None,
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []

    def receive(event: FitEvent) -> object:
        if event.kind == "epoch":
            rows.append(_history_row(event))
        stop = callback(event) if callback is not None else None
        if event.kind == "epoch" and is_stalled(rows, patience):
            raise _Stalled
        return stop

    with contextlib.suppress(_Stalled):
        trainer.fit(train, validation, progress=progress, callback=receive)
    return rows


def _fit_in_folder(
    folder: RunFolder,
    trainer: Trainer,
    student: Model,
    train: Dataset,
    validation: Dataset | None,
    patience: int | None,
    progress: bool | None,
    callback: Watcher | None,
) -> None:
    if folder.has_run and folder.last.exists():
        trainer.resume(folder.last)
    folder.take_up(trainer)
    if is_stalled(folder.rows, patience):
        return
    seconds = folder.rows[-1]["seconds"] if folder.rows else 0.0

    def receive(event: FitEvent) -> object:
        if event.kind == "epoch":
            row = _history_row(event)
            row["seconds"] += seconds
            folder.add_epoch(row, student, trainer)
        else:
            folder.save_when_due(trainer)
        stop = callback(event) if callback is not None else None
        if interrupt.came:
            raise KeyboardInterrupt
        if event.kind == "epoch" and is_stalled(folder.rows, patience):
            raise _Stalled
        return stop

    with HeldInterrupt() as interrupt:
        try:
            trainer.fit(train, validation, progress=progress, callback=receive)
        except _Stalled:
            pass
        except NotFiniteError as error:
            raise NotFiniteError(f"{error}; {folder.checkpoint}") from None
        except BaseException:
            # A batch that was finished is kept, unless keeping it is what failed.
            if folder.is_recorded and trainer.position.steps > 0:
                folder.save(trainer)
            raise


def _average(trainer: Trainer, train: Dataset) -> Model | None:
    kind = trainer.options["average"]
    if kind == "none":
        return None
    try:
        # Statistics of clean images are not those of the adversarial ones that a student is trained on: robust accuracy
        # can fall by much (docs/methods.md). SWA has no others, since its weights are from different times.
        return trainer.average(train if kind == "swa" else None)
    except NotFoundError:
        return None  # swa_start lies behind the last epoch


def methods() -> tuple[str, ...]:
    """The names of the distillation methods."""
    return tuple(ask("igdm_methods").split(","))


def default_options() -> dict[str, Any]:
    """The library's defaults of TrainingOptions."""
    return _recorded(*_defaults(), {}, None)


def _defaults() -> tuple[structures.TrainerOptions, structures.TrainerDetails]:
    """The library's defaults; the first points to the second."""
    native, details = structures.TrainerOptions(), structures.TrainerDetails()
    call("igdm_trainer_options_init", native)
    call("igdm_trainer_details_init", details)
    native.details = ctypes.pointer(details)
    return native, details


def _assign(native: structures.TrainerOptions, details: structures.TrainerDetails, options: TrainingOptions) -> Any:
    """Sets the options; returns the array that native.milestones points to, to be kept alive."""
    known = TrainingOptions.__annotations__
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise TypeError(f"options: got {', '.join(unknown)}, want some of {', '.join(known)}")
    values: dict[str, Any] = dict(options)
    milestones = values.pop("milestones", None)
    rare = {name: values.pop(name) for name in details.values() if name in values}
    details.assign(**rare)
    native.assign(epsilon=values.pop("eps", None), **values)
    if milestones is None:
        return None
    epochs = [structures.integer("milestones", epoch) for epoch in milestones]
    kept = (ctypes.c_int64 * max(len(epochs), 1))(*epochs)  # an empty list is a choice too: no milestone at all
    native.milestones = ctypes.cast(kept, ctypes.POINTER(ctypes.c_int64))
    native.milestone_count = len(epochs)
    return kept[: len(epochs)]


def _recorded(
    native: structures.TrainerOptions, details: structures.TrainerDetails, given: TrainingOptions, milestones: Any
) -> dict[str, Any]:
    """The options in force under their Python names; eps and step as the caller wrote them ("8/255")."""
    values = native.values() | details.values()
    values["eps"] = values.pop("epsilon")
    values.pop("milestone_count")
    values["milestones"] = milestones
    for flag in ("nesterov", "flip", "mirror_statistics"):
        values[flag] = bool(values[flag])
    for name in ("eps", "step"):
        written = given.get(name)
        if isinstance(written, str):
            values[name] = written
    return {name: values[name] for name in TrainingOptions.__annotations__}


def _event(native: structures.FitEvent) -> FitEvent:
    values = native.values()
    values["kind"] = EVENT_KINDS[native.kind]
    for name in ("validation_clean", "validation_robust"):
        if values[name] < 0:
            values[name] = None
    if values["gradient_distance"] < 0:
        values["gradient_cosine"] = values["gradient_distance"] = None
    return FitEvent(**values)


def _history_row(event: FitEvent) -> dict[str, Any]:
    row = asdict(event)
    for name in ("kind", "epochs", "batch", "batches", "eta_seconds"):
        del row[name]
    row["images_per_second"], row["seconds"] = row.pop("images_per_second"), row.pop("seconds")
    return row


def _show(display: Display, event: FitEvent) -> None:
    title = f"epoch {event.epoch}/{event.epochs}"
    if event.kind == "validation":
        display.update(f"{title}, validation", event.batch, event.batches, "")
        return
    if event.kind == "data":
        display.update("reading the data", event.batch, event.batches, "")
        return
    if event.kind == "step":
        note = f"loss {event.loss:.3f}, {event.images_per_second:.0f} images/s, {duration(event.eta_seconds)} left"
        display.update(title, event.batch, event.batches, note)
        return
    parts = [f"loss {event.loss:.3f}", f"training robust {100 * event.adversarial_accuracy:.1f} %"]
    if event.validation_clean is not None:
        parts.append(f"validation clean {100 * event.validation_clean:.1f} %")
    if event.validation_robust is not None:
        parts.append(f"robust {100 * event.validation_robust:.1f} %")
    left = f", {duration(event.eta_seconds)} left" if event.epoch < event.epochs else ""
    display.line(f"{title}: {', '.join(parts)}, {duration(event.seconds)}{left}")
