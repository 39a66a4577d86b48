"""Attacks on a model: FGSM, PGD, C&W-inf (Goodfellow et al. 2015, Madry et al. 2018, Carlini and Wagner 2017)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _arrays as arrays
from . import _structures as structures
from ._arrays import Floats, pointer
from ._callbacks import Callback
from ._library import ask, call
from .models import Model, require_model
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
}


@dataclass(frozen=True, eq=False)
class Adversarial:
    """The result of attack(); but for `images` and `seconds`, arrays of length N."""

    images: Floats
    """(N, C, H, W), within eps of the originals and inside [0,1]."""
    success: NDArray[np.bool_]
    """True where the model misclassifies the result."""
    first_success: NDArray[np.int64]
    """How many steps a sample had taken, those of earlier restarts included, when an iterate was first misclassified:
    0 = at a start, -1 = none was. Without early_stop the result can be classified correctly all the same."""
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
    seconds: float
    """Wall time of the whole attack."""


def attack(
    model: Model,
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
    target_logits: ArrayLike | None = None,
    progress: bool | None = None,
    callback: Watcher | None = None,
) -> Adversarial:
    """Looks for images near `images` that the model misclassifies. What is left out has the library's default.

    images         (N, C, H, W) float32 in [0,1]
    labels         (N) integers
    attack         "pgd", "fgsm" or "cw"
    eps            radius: a number on the [0,1] pixel scale, or a string such as "8/255"
    step           step size; 0 = eps/4
    steps          iterations; 0 = the attack's own number
    norm           "linf" or "l2"
    loss           "ce", "margin" or "kl"
    random_start   start at a random point of the ball
    restarts       independent runs, of which the strongest counts
    kappa          confidence of the margin loss
    seed           of the random starts
    early_stop     let a sample rest at its first misclassified iterate
    first_index    index of the first sample in its dataset: it keys the random numbers
    target_logits  (N, classes) float32 for the "kl" loss
    progress       True, False, or None = on a terminal
    callback       called with a Progress after each internal batch; a true result cancels (Cancelled is raised)
    """
    require_model("model", model)
    batch = arrays.images("images", images, model.info.input_shape)
    truth = arrays.labels("labels", labels, len(batch))
    options = structures.AttackOptions()
    call("igdm_attack_options_init", options)
    options.assign(
        attack=attack, epsilon=eps, step=step, steps=steps, norm=norm, loss=loss, random_start=random_start,
        restarts=restarts, kappa=kappa, seed=seed, early_stop=early_stop, first_index=first_index,
    )  # fmt: skip
    if target_logits is not None:
        targets = arrays.floats("target_logits", target_logits, (len(batch), model.info.classes))
        options.target_logits = pointer(targets)
    adversarial = np.empty_like(batch)
    report = structures.AttackReport()
    call("igdm_attack_report_init", report)
    told = {name: np.empty(len(batch), kind) for name, kind in _REPORTED.items()}
    for name, array in told.items():
        setattr(report, name, pointer(array))
    with Display(progress) as display, watched(display, callback) as watcher:
        options.progress = watcher.pointer
        call(
            "igdm_attack_with_report", model._handle, pointer(batch), pointer(truth), len(batch), options,
            pointer(adversarial), report,
        )  # fmt: skip
    told["success"] = told["success"].astype(bool)
    return Adversarial(images=adversarial, seconds=report.seconds, **told)


def watched(display: Display, callback: Watcher | None) -> Callback:
    """The progress callback of attack() and evaluate(). It is there even with nothing to show: Ctrl-C acts in it."""

    def receive(event: structures.Progress) -> object:
        progress = Progress(event.stage.decode(), event.done, event.total, event.seconds)
        display.update(progress.stage, progress.done, progress.total)
        if progress.done >= progress.total:
            display.line(f"{progress.stage}: {progress.done} samples, {progress.seconds:.1f} s")
        return callback(progress) if callback is not None else None

    return Callback(structures.ProgressCallback, receive)


def names() -> tuple[str, ...]:
    """The names of the attacks."""
    return tuple(ask("igdm_attacks").split(","))
