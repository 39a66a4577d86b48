"""Attacks on a model: FGSM, PGD, C&W-inf (Goodfellow et al. 2015, Madry et al. 2018, Carlini and Wagner 2017)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

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


class Adversarial(NamedTuple):
    """The result of attack()."""

    images: Floats
    """(N, C, H, W), within eps of the originals and inside [0,1]."""
    success: NDArray[np.bool_]
    """(N), True where the model misclassifies the result."""


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
    success = np.empty(len(batch), np.uint8)
    with Display(progress) as display, watched(display, callback) as watcher:
        options.progress = watcher.pointer
        call(
            "igdm_attack", model._handle, pointer(batch), pointer(truth), len(batch), options, pointer(adversarial),
            pointer(success),
        )  # fmt: skip
    return Adversarial(adversarial, success.astype(bool))


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
