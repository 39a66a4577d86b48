"""Attacks on a model: FGSM, PGD, C&W-inf (Goodfellow et al. 2015, Madry et al. 2018, Carlini and Wagner 2017), and
those of AutoAttack: Auto-PGD, FAB, Square (Croce and Hein 2020, Andriushchenko et al. 2020); DeepFool, DDN, FMN,
C&W-L2, SPSA, HopSkipJump and noise."""

from __future__ import annotations

import ctypes
import numbers
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _arrays as arrays
from . import _structures as structures
from ._arrays import Floats, pointer
from ._callbacks import Callback
from ._library import ask, call
from .errors import InvalidArgument
from .hosts import HostModel, attacked
from .models import Model
from .progress import Display, Progress

Watcher = Callable[[Progress], object]

# The arrays of igdm_attack_report.
_REPORTED = {
    "success": np.uint8,
    "first_success": np.int64,
    "linf": np.float64,
    "l2": np.float64,
    "l1": np.float64,
    "forwards": np.int64,
    "backwards": np.int64,
    "quantised": np.uint8,
}


@dataclass(frozen=True, eq=False)
class Adversarial:
    """The result of attack(); but for `images` and `seconds`, arrays of length N."""

    images: Floats
    """(N, C, H, W), within eps of the originals and inside [0,1]."""
    success: NDArray[np.bool_]
    """True where the model misclassifies the result; with a target: takes it for the target."""
    first_success: NDArray[np.int64]
    """How many steps a sample had taken, those of earlier restarts included, when an iterate was first misclassified:
    0 = at a start, -1 = none was. Without early_stop the result can be classified correctly all the same. Of
    AutoAttack's attacks: how many passes it had made."""
    linf: NDArray[np.float64]
    """Distance of the result from the image: the largest change of a value."""
    l2: NDArray[np.float64]
    """The same, Euclidean."""
    l1: NDArray[np.float64]
    """The same, the sum of all changes."""
    forwards: NDArray[np.int64]
    """Passes of a sample through the model."""
    backwards: NDArray[np.int64]
    """Those of them whose gradient was taken back to the image."""
    quantised: NDArray[np.bool_] | None
    """True where the result is a success and stays one as an image of bytes, its values rounded to multiples of 1/255
    (which may leave the ball); None where that has not been looked at."""
    seconds: float
    """Wall time of the whole attack."""


def attack(
    model: Model | HostModel,
    images: ArrayLike,
    labels: ArrayLike,
    attack: str | None = None,
    *,
    eps: float | str | None = None,
    step: float | str | None = None,
    steps: int | None = None,
    norm: str | None = None,
    loss: str | None = None,
    random_start: bool | None = None,
    restarts: int | None = None,
    kappa: float | None = None,
    seed: int | None = None,
    early_stop: bool | None = None,
    first_index: int | None = None,
    indices: ArrayLike | None = None,
    target_logits: ArrayLike | None = None,
    targets: int | None = None,
    eot: int | None = None,
    tuning: Mapping[str, float] | None = None,
    target: str | int | ArrayLike | None = None,
    quantise: bool = False,
    progress: bool | None = None,
    callback: Watcher | None = None,
) -> Adversarial:
    """Looks for images near `images` that the model misclassifies. What is left out has the library's default.

    images         (N, C, H, W) float32 in [0,1]
    labels         (N) integers
    model          a Model, or a HostModel: any function
    attack         "pgd", "fgsm", "cw", "bim", "mi-fgsm", "r-fgsm", "tpgd";
                   "apgd-ce", "apgd-dlr", "apgd-t", "fab", "fab-t", "square"; "autoattack";
                   "deepfool", "ddn", "fmn", "cw-l2", "spsa", "hopskipjump", "noise-gaussian", "noise-uniform"; a
                   corruption ("fog", ...), whose steps are the severity
    eps            radius: a number on the [0,1] pixel scale, or a string such as "8/255"
    step           step size; 0 = eps/4 (mi-fgsm: eps/steps, r-fgsm: eps/2)
    steps          iterations; 0 = the attack's own number
    norm           "linf", "l2" or "l1"; r-fgsm has "linf" alone, ddn and cw-l2 "l2" alone, deepfool and hopskipjump
                   "linf" and "l2", fmn also "l0"
    loss           "ce", "margin", "kl" or "dlr"; of pgd, fgsm, bim, mi-fgsm and r-fgsm
    random_start   start at a random point of the ball
    restarts       independent runs, of which the strongest counts
    kappa          confidence of the margin loss
    seed           of the random starts
    early_stop     let a sample rest at its first misclassified iterate
    first_index    index of the first sample in its dataset: it keys the random numbers
    indices        (N) indices of the samples in their dataset, in the place of first_index, ...: then a sample has the
                   same result in any order
    target_logits  (N, classes) float32 for the "kl" loss
    targets        apgd-t and fab-t: how many classes to go for, the nearest first; 0 = 9
    eot            passes over which gradients are averaged, for models that are random
    target         the class to reach: "least-likely", "random", a class, or (N) classes: success is to be taken for it
    quantise       see whether successes outlive rounding to bytes
    tuning         members of igdm_attack_tuning and igdm_search_tuning by name: rho, fab_alpha, ddn_gamma, ...
    progress       True, False, or None = on a terminal
    callback       called with a Progress after each internal batch, and in long ones; a true result cancels
                   (Cancelled is raised)

    "pgd", "fgsm", "cw", "bim", "mi-fgsm", "r-fgsm" and "tpgd" move every image, as adversarial training needs it (with
    early_stop not where it is misclassified at the start). The others leave images as they are that are misclassified
    already (with a target: taken for it), or on which they have no success (of corruptions too). evaluate() gives all
    attacks only the images that are classified correctly.

    An exception that stops the attack on its way (Cancelled, NotFiniteError, what a callback or a HostModel raises) has
    what was found so far as its attribute `partial`, an Adversarial: of a sample whose first run was under way the last
    iterate that was misclassified; other samples not finished are as they were, with success False.
    """
    report, adversarial = None, None
    try:
        with attacked("model", model) as under:
            batch = arrays.images("images", images, under.input_shape)
            truth = arrays.labels("labels", labels, len(batch))
            options = structures.AttackOptions()
            call("igdm_attack_options_init", options)
            options.assign(
                attack=attack, epsilon=eps, step=step, steps=steps, norm=norm, loss=loss, random_start=random_start,
                restarts=restarts, kappa=kappa, seed=seed, early_stop=early_stop, first_index=first_index,
                targets=targets, eot=eot,
            )  # fmt: skip
            if target is not None:
                name, wanted_classes = as_target(target, len(batch))
                if wanted_classes is not None:
                    truth = _checked_targets(wanted_classes, under.classes)
                options.assign(target=name)
            if indices is not None:
                places = arrays.labels("indices", indices, len(batch))
                options.indices = pointer(places)
            if target_logits is not None:
                wanted = arrays.floats("target_logits", target_logits, (len(batch), under.classes))
                options.target_logits = pointer(wanted)
            if tuning is not None:
                options.tuning = ctypes.pointer(tuned(tuning))
            adversarial = np.empty_like(batch)
            report = Report(len(batch), quantised=quantise)
            report.structure.keep_partial = 1
            with Display(progress) as display, watched(display, callback) as watcher:
                options.progress = watcher.pointer
                call(
                    under.function("igdm_attack_with_report", "igdm_attack_host_model"), under.handle, pointer(batch),
                    pointer(truth), len(batch), options, pointer(adversarial), report.structure,
                )  # fmt: skip
    except BaseException as error:
        # Out here, because what a host model raises comes out of its context.
        if report is not None and adversarial is not None and report.structure.total_forwards > 0:
            error.partial = report.result(adversarial)  # type: ignore[attr-defined]
        raise
    return report.result(adversarial)


def as_target(target: str | int | ArrayLike, count: int) -> tuple[str, arrays.Labels | None]:
    """What the library calls a target, and the classes to reach where there is one for each of `count` samples."""
    if isinstance(target, str):
        return target, None
    if isinstance(target, numbers.Integral):
        return str(int(target)), None
    return "labels", arrays.labels("target", target, count)


def _checked_targets(targets: arrays.Labels, classes: int) -> arrays.Labels:
    """Looked at here, because the library takes them as labels, and would call them so."""
    wrong = np.flatnonzero((targets < 0) | (targets >= classes))
    if len(wrong):
        raise InvalidArgument(f"target: sample {wrong[0]}: got {targets[wrong[0]]}, want 0 ... {classes - 1}")
    return targets


def tuned(tuning: Mapping[str, float]) -> structures.AttackTuning:
    details, search = structures.AttackTuning(), structures.SearchTuning()
    call("igdm_attack_tuning_init", details)
    call("igdm_search_tuning_init", search)
    known = [*details.values(), *search.values()]
    for name in tuning:
        if name not in known:
            raise InvalidArgument(f"tuning: got {name!r}, want one of {', '.join(known)}")
    of_search = search.values()
    details.assign(**{name: value for name, value in tuning.items() if name not in of_search})
    search.assign(**{name: value for name, value in tuning.items() if name in of_search})
    details.search = ctypes.pointer(search)
    return details


def as_tuned(details: structures.AttackTuning, names: Iterable[str]) -> dict[str, float]:
    """The plain values of those members."""
    values = details.values() | details.search.contents.values()
    return {name: values[name] for name in names}


class Report:
    """An igdm_attack_report with arrays for `count` samples."""

    def __init__(self, count: int, quantised: bool = True) -> None:
        self.structure = structures.AttackReport()
        call("igdm_attack_report_init", self.structure)
        self._told: dict[str, NDArray[Any]] = {
            name: np.zeros(count, kind) for name, kind in _REPORTED.items() if quantised or name != "quantised"
        }
        for name, array in self._told.items():
            setattr(self.structure, name, pointer(array))

    def result(self, adversarial: Floats) -> Adversarial:
        told = dict(self._told, success=self._told["success"].astype(bool))
        # Not looked at where that was not asked for, or where an error came before.
        looked_at = self.structure.quantised_successes >= 0
        told["quantised"] = self._told["quantised"].astype(bool) if looked_at else None
        return Adversarial(images=adversarial, seconds=self.structure.seconds, **told)


def watched(display: Display, callback: Watcher | None) -> Callback:
    """The progress callback of attack() and evaluate(). It is there even with nothing to show: Ctrl-C acts in it."""

    def receive(event: structures.Progress) -> object:
        progress = Progress(
            event.stage.decode(), event.done, event.total, event.seconds,
            None if event.eta_seconds < 0 else event.eta_seconds, None if event.accuracy < 0 else event.accuracy,
        )  # fmt: skip
        note = "" if progress.accuracy is None else f"robust {100 * progress.accuracy:.1f} %"
        if note and progress.eta is not None:
            note += f", {_duration(progress.eta)} left"
        display.update(progress.stage, progress.done, progress.total, note)
        if progress.done >= progress.total:
            display.line(f"{progress.stage}: {progress.done} samples, {progress.seconds:.1f} s")
        return callback(progress) if callback is not None else None

    return Callback(structures.ProgressCallback, receive)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def names() -> tuple[str, ...]:
    """The names of the attacks."""
    return tuple(ask("igdm_attacks").split(","))
