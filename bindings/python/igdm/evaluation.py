"""Accuracy of a model under a list of attacks, and agreement of its input gradients with a teacher's."""

from __future__ import annotations

import ctypes
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _structures as structures
from ._arrays import pointer
from ._library import Handle, call, in_python
from .attacks import Adversarial, Report, Watcher, as_target, as_tuned, tuned, watched
from .datasets import Dataset, require_dataset
from .errors import InvalidArgument
from .hosts import HostModel, attacked
from .models import Model, require_model
from .progress import Display


@dataclass(frozen=True)
class Row:
    """Accuracy on clean images or under one attack."""

    name: str
    correct: int
    count: int
    accuracy: float
    """correct / count"""
    seconds: float
    quantised: int | None = None
    """Samples correct when what the attack found is rounded to bytes; None where that has not been looked at."""
    unfinished: int = 0
    """Samples that an attack which was stopped had not finished: they count as correct."""


@dataclass(frozen=True)
class Evaluation:
    """The result of evaluate(). ``print(evaluation)`` shows the table."""

    rows: tuple[Row, ...]
    """"clean" first, then the attacks in the order asked for."""
    correct: dict[str, NDArray[np.bool_]]
    """For each row the samples that are still classified correctly."""
    gradient_cosine: float | None
    """Mean cosine of the input gradients of student and teacher (cross-entropy); None without a teacher."""
    gradient_distance: float | None
    """Mean L2 distance of the two gradients."""
    options: dict[str, Any]
    """What was asked for: norm, eps, step, restarts, batch_size, seed. Fractions are as written: "8/255"."""
    samples: Mapping[str, Adversarial] = field(default_factory=dict)
    """What each attack found, by row name; with ``keep_samples`` only. Samples misclassified clean count as broken,
    unmoved."""
    warnings: tuple[str, ...] = ()
    """What makes the numbers doubtful: gradients that are zero where an attack begins, too few classes for it, options
    that no attack has a use for, ..."""

    @property
    def accuracy(self) -> dict[str, float]:
        """Accuracy in [0,1] by row name: ``evaluation.accuracy["pgd-20"]``."""
        return {row.name: row.accuracy for row in self.rows}

    @property
    def worst(self) -> NDArray[np.bool_]:
        """The samples that are classified correctly clean and under every attack."""
        return np.logical_and.reduce(list(self.correct.values()))

    @property
    def count(self) -> int:
        """The number of samples."""
        return self.rows[0].count

    def to_dict(self) -> dict[str, Any]:
        """Everything but the flags of the single samples, ready for json.dump()."""
        return {
            "rows": [asdict(row) for row in self.rows],
            "worst": float(self.worst.mean()) if self.count else 0.0,
            "gradient_cosine": self.gradient_cosine,
            "gradient_distance": self.gradient_distance,
            "warnings": list(self.warnings),
            "options": self.options,
        }

    def __str__(self) -> str:
        about = f"eps {self.options['eps']} ({self.options['norm']}), {self.count} samples"
        lines = [format_rows("", self.rows), about]
        if len(self.rows) > 2:
            lines.insert(1, f"under all of them {100 * self.worst.mean():.2f} %")
        lines += stopped(self.rows)
        return "\n".join([*lines, *agreement(self), *told(self.warnings)])


def evaluate(
    model: Model | HostModel,
    data: Dataset,
    *,
    attacks: Sequence[str] | str | None = None,
    eps: float | str | None = None,
    step: float | str | None = None,
    norm: str | None = None,
    restarts: int | None = None,
    count: int | None = None,
    batch_size: int | None = None,
    seed: int | None = None,
    target: str | int | ArrayLike | None = None,
    eot: int | None = None,
    loss: str | None = None,
    kappa: float | None = None,
    targets: int | None = None,
    random_start: bool | None = None,
    tuning: Mapping[str, float] | None = None,
    keep_samples: bool = False,
    teacher: Model | None = None,
    progress: bool | None = None,
    callback: Watcher | None = None,
) -> Evaluation:
    """Measures accuracy, clean and under attacks. What is left out has the library's default.

    attacks     a list, or a comma-separated string, of names; those with steps also as "pgd-K"; [] = clean only
    eps         radius: a number on the [0,1] pixel scale, or a string such as "8/255"
    step        step size; 0 = eps/4
    norm        "linf", "l2" or "l1"; one that all the attacks have
    restarts    independent runs of each attack
    count       the first so many samples; 0 = all
    batch_size  changes speed and memory only
    target      the class that the attacks want to reach: "least-likely", "random", a class, or (N) classes, one a
                sample. Accuracy is then the part that is correct and not taken for its target
    eot         passes over which gradients are averaged, for models that are random
    loss        of pgd, fgsm, bim, mi-fgsm and r-fgsm: "ce", "margin", "dlr" or "kl"
    kappa       confidence at which the margin loss is capped, of cw too
    targets     how many classes apgd-t and fab-t go for; 0 = 9
    random_start  False: pgd and cw start at the image
    tuning      members of igdm_attack_tuning and igdm_search_tuning by name, for all attacks: momentum_decay, ...
    keep_samples  keep what each attack finds (Evaluation.samples), and see whether it outlives rounding to bytes
    teacher     measure the agreement with this model's input gradients too; not for a HostModel
    progress    True, False, or None = on a terminal
    callback    called with a Progress after each internal batch, and in long ones; a true result cancels
                (Cancelled is raised)

    An exception that comes while attacks run (Cancelled, NotFiniteError, what a callback or a HostModel raises) has as
    its attribute `partial` the Evaluation so far: the rows of the attacks that were finished, and as the last that of
    the one under way, with what it had found (Row.unfinished).
    """
    with measured(
        None, model, data, attacks=attacks, eps=eps, step=step, norm=norm, restarts=restarts, count=count,
        batch_size=batch_size, seed=seed, target=target, eot=eot, loss=loss, kappa=kappa, targets=targets,
        random_start=random_start, tuning=tuning, keep_samples=keep_samples, teacher=teacher, progress=progress,
        callback=callback,
    ) as (result, _):  # fmt: skip
        return result


@contextmanager
def measured(
    smaller: Any,
    model: Model | HostModel,
    data: Dataset,
    *,
    attacks: Sequence[str] | str | None = None,
    eps: float | str | None = None,
    step: float | str | None = None,
    norm: str | None = None,
    restarts: int | None = None,
    count: int | None = None,
    batch_size: int | None = None,
    seed: int | None = None,
    target: str | int | ArrayLike | None = None,
    eot: int | None = None,
    loss: str | None = None,
    kappa: float | None = None,
    targets: int | None = None,
    random_start: bool | None = None,
    tuning: Mapping[str, float] | None = None,
    keep_samples: bool = False,
    teacher: Model | None = None,
    progress: bool | None = None,
    callback: Watcher | None = None,
) -> Generator[tuple[Evaluation, Any], None, None]:
    """evaluate(), with the library's handle of the result as long as the block lasts. `smaller`: None, or the handle of
    the same evaluation at a smaller radius, whose broken samples are not attacked again."""
    require_dataset("data", data)
    options = structures.EvaluateOptions()
    call("igdm_evaluate_options_init", options)
    if attacks is not None and not isinstance(attacks, str):
        attacks = ",".join(attacks)
    if attacks is not None and "corruptions" in map(str.strip, attacks.split(",")):
        raise InvalidArgument(
            f"attacks: got {attacks!r}, want single ones, such as fog-3; all of them, of all images, are "
            "evaluate_corruptions(), on the command line --attacks corruptions with nothing beside it"
        )
    options.assign(
        attacks=attacks, epsilon=eps, step=step, norm=norm, restarts=restarts, count=count, batch_size=batch_size,
        seed=seed, keep_samples=int(keep_samples), eot=eot, loss=loss, kappa=kappa,
        targets=targets, random_start=None if random_start is None else int(random_start),
    )  # fmt: skip
    if teacher is not None and isinstance(model, HostModel):
        raise InvalidArgument("teacher: got one for a HostModel, want none")
    options.keep_partial = 1
    classes = None
    if target is not None:
        # A count that is none is the library's to refuse.
        if isinstance(target, str) and target == "labels":
            raise InvalidArgument("target: got 'labels', want an array of classes, one for each sample")
        name, classes = as_target(target, options.count if 0 < options.count <= len(data) else len(data))
        options.assign(target=name)
    if classes is not None:
        options.target_labels, options.target_count = pointer(classes), len(classes)
    if smaller is not None:
        options.smaller = smaller
    if tuning is not None:
        options.tuning = ctypes.pointer(tuned(tuning))
    made = structures.Evaluation()

    def result(has_agreement: bool) -> Evaluation:
        asked = options.values()
        del asked["keep_samples"], asked["keep_partial"], asked["target_count"]
        asked["eps"] = asked.pop("epsilon")
        asked |= {name: one for name, one in (("eps", eps), ("step", step)) if isinstance(one, str)}
        if tuning is not None:
            asked["tuning"] = as_tuned(options.tuning.contents, tuning)
        rows, flags = read_rows(made)
        cosine, distance = ctypes.c_double(), ctypes.c_double()
        if has_agreement:
            call("igdm_evaluation_get_gradient_agreement", made, cosine, distance)
        samples = _read_samples(made, rows, data.image_shape) if keep_samples else {}
        return Evaluation(
            rows,
            flags,
            cosine.value if has_agreement else None,
            distance.value if has_agreement else None,
            asked,
            samples,
            read_warnings(made),
        )

    try:
        with attacked("model", model) as under, Display(progress) as display, watched(display, callback) as watcher:
            options.progress = watcher.pointer
            if under.is_host:
                call("igdm_evaluate_host_model", under.handle, data._handle, options, made)
            else:
                rival = None if teacher is None else require_model("teacher", teacher)._handle
                call("igdm_evaluate", under.handle, data._handle, rival, options, made)
    except BaseException as error:
        # Out here, because what a host model raises comes out of its context.
        if made:
            with Handle(made, "igdm_evaluation_release"):
                error.partial = result(has_agreement=False)  # type: ignore[attr-defined]
        raise
    with Handle(made, "igdm_evaluation_release"):
        yield result(has_agreement=teacher is not None), made


def agreement(evaluation: Evaluation) -> list[str]:
    """A line about the gradients, where there was a teacher."""
    if evaluation.gradient_cosine is None:
        return []
    return [
        f"input gradients against the teacher's: cosine {evaluation.gradient_cosine:.3f}, "
        f"distance {evaluation.gradient_distance:.3f}"
    ]


def told(warnings: Sequence[str]) -> list[str]:
    """Lines of a printed result."""
    return [f"warning: {warning}" for warning in warnings]


def read_warnings(evaluation: Any) -> tuple[str, ...]:
    """Those of an igdm_evaluation."""
    count = ctypes.c_size_t()
    call("igdm_evaluation_warning_count", evaluation, count)
    found = []
    for index in range(count.value):
        text = ctypes.c_char_p()
        call("igdm_evaluation_get_warning", evaluation, index, text)
        found.append(in_python((text.value or b"").decode()))
    return tuple(found)


def _read_samples(evaluation: Any, rows: Sequence[Row], shape: tuple[int, int, int]) -> dict[str, Adversarial]:
    found = {}
    for index, row in enumerate(rows[1:], 1):
        images = np.empty((row.count, *shape), np.float32)
        report = Report(row.count)
        call("igdm_evaluation_get_samples", evaluation, index, pointer(images), row.count, report.structure)
        found[row.name] = report.result(images)
    return found


def read_rows(evaluation: Any) -> tuple[tuple[Row, ...], dict[str, NDArray[np.bool_]]]:
    """The table of an igdm_evaluation, and for each row the samples that are still classified correctly."""
    row_count = ctypes.c_size_t()
    call("igdm_evaluation_row_count", evaluation, row_count)
    rows, flags = [], {}
    for index in range(row_count.value):
        row = structures.EvaluationRow(struct_size=ctypes.sizeof(structures.EvaluationRow))
        call("igdm_evaluation_get_row", evaluation, index, row)
        correct = np.empty(row.count, np.uint8)
        call("igdm_evaluation_get_correct", evaluation, index, pointer(correct), correct.size)
        name = row.name.decode()
        rows.append(
            Row(
                name, row.correct, row.count, row.accuracy, row.seconds,
                None if row.quantised < 0 else row.quantised, row.unfinished,
            )
        )  # fmt: skip
        flags[name] = correct.astype(bool)
    return tuple(rows), flags


def stopped(rows: Sequence[Row]) -> list[str]:
    """A line about the attack that was stopped, where one was."""
    last = rows[-1]
    if not last.unfinished:
        return []
    return [f"{last.name} was stopped: {last.unfinished} samples not finished count as correct"]


def format_rows(title: str, rows: Sequence[Row]) -> str:
    """Rows as a table, their names under `title`."""
    header = [title, "accuracy", "correct", "time"]
    cells = [
        [row.name, f"{100 * row.accuracy:.2f} %", f"{row.correct}/{row.count}", f"{row.seconds:.1f} s"] for row in rows
    ]
    if any(row.quantised is not None for row in rows):
        header.insert(2, "as bytes")
        for line, row in zip(cells, rows, strict=True):
            line.insert(2, "" if row.quantised is None else f"{100 * row.quantised / max(row.count, 1):.2f} %")
    return format_table(header, cells)


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Text columns under a ruled header: the first to the left, numbers to the right."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        first = cells[0].ljust(widths[0])
        return "   ".join([first, *(cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))])

    return "\n".join([line(header), "─" * len(line(header)), *map(line, rows)])
