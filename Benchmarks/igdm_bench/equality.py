"""Whether both sides did the same work: a comparison of their results before the clock starts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

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
    # The random starts differ, and so do the last bits before a sign is taken.
    "loss after the attack": 0.1,
}


class Unequal(Exception):
    """The sides did not compute the same."""


def compare(ours: Path, theirs: Path) -> dict[str, float]:
    """The error of each quantity in two files of results. Raises Unequal."""
    errors = {}
    with np.load(ours) as mine, np.load(theirs) as other:
        if set(mine.files) != set(other.files):
            raise Unequal(f"results: got {', '.join(mine.files)} and {', '.join(other.files)}")
        for name in mine.files:
            errors[name] = error(name, mine[name], other[name])
    wrong = [
        f"{name} differ by {value:.1e}, want at most {TOLERANCES[name]:.0e}"
        for name, value in errors.items()
        if not value <= TOLERANCES[name]
    ]
    if wrong:
        raise Unequal("the sides do not compute the same: " + "; ".join(wrong))
    return errors


def error(name: str, ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> float:
    """Logits: largest difference, relative to the largest logit where that exceeds 1. Others: norm of the difference
    relative to the norm."""
    if ours.shape != theirs.shape:
        return float("inf")
    if name.endswith("logits"):
        return float(np.abs(ours - theirs).max() / max(1.0, np.abs(theirs).max()))
    return float(np.linalg.norm(ours - theirs) / max(np.linalg.norm(theirs), 1e-30))
