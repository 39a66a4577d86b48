"""Whether both sides did the same work: a comparison of their results before the clock starts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .works import Work

TOLERANCES = {
    "logits": 1e-4,
    "teacher logits": 1e-4,
    "loss": 1e-3,
    "base loss": 1e-3,
    "IGDM loss": 1e-3,
    # No ReLU lies between the loss and the last layer.
    "last layer's gradients": 1e-3,
    # A ReLU whose input lies within rounding of 0 may switch between two correct programs. PyTorch in float32 differs
    # from itself in float64 by up to 8e-3 here.
    "first layer's gradient": 5e-2,
    "input gradient": 5e-2,
    # A sign jumps where a gradient is within rounding of 0, and one pixel's jump moves the gradients that follow. An
    # error of 1e-6 to 1e-4 in every convolution of resnet18 moves 3 to 13 % of the pixels in 10 or 20 steps; a missing
    # step moves 79 to 99 %.
    "adversarial images": 0.25,
    # Random starts and windows, and few iterations: single samples fall on one side only.
    "robust samples": 0.15,
}


FIRST_ITERATE = "given: first iterate of the attack"
"""Not compared: the other side's attack goes on from here."""


class Unequal(Exception):
    """The sides did not compute the same."""


def compare(ours: Path, theirs: Path) -> dict[str, float]:
    """The error of each quantity in two files of results. Raises Unequal."""
    errors = {}
    with np.load(ours) as mine, np.load(theirs) as other:
        names = [name for name in mine.files if name != FIRST_ITERATE]
        if set(names) != set(other.files):
            raise Unequal(f"results: got {', '.join(names)} and {', '.join(other.files)}")
        for name in names:
            errors[name] = error(name, mine[name], other[name])
    wrong = [
        f"{name} differ by {value:.1e}, want at most {TOLERANCES[name]:g}"
        for name, value in errors.items()
        if not value <= TOLERANCES[name]
    ]
    if wrong:
        raise Unequal("the sides do not compute the same: " + "; ".join(wrong))
    return errors


def compare_passes(work: Work, counted: Sequence[int]) -> None:
    """Whether PyTorch made as many passes through model and teacher as the work is said to be. Raises Unequal."""
    if work.counts_passes and tuple(counted) != work.passes:
        raise Unequal(f"PyTorch made {tuple(counted)} passes through model and teacher, want {work.passes}")


def error(name: str, ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> float:
    """Logits: largest difference, relative to the largest logit where that exceeds 1. Adversarial images: part of the
    pixels that differ. Others: norm of the difference relative to the norm."""
    if ours.shape != theirs.shape:
        return float("inf")
    if name.endswith("logits"):
        return float(np.abs(ours - theirs).max() / max(1.0, np.abs(theirs).max()))
    if name == "adversarial images":
        return float((np.abs(ours - theirs) > 1e-5).mean())
    return float(np.linalg.norm(ours - theirs) / max(np.linalg.norm(theirs), 1e-30))
