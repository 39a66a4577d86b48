"""How an error is measured and shown."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def errors(got: ArrayLike, wanted: ArrayLike, allowance: ArrayLike = 0.0) -> tuple[float, float]:
    """The largest error as a part of the largest value, and the RMS error as a part of the values' RMS.

    allowance  what of each error does not count
    """
    got, wanted = np.asarray(got, np.float64), np.asarray(wanted, np.float64)
    beyond = np.maximum(np.abs(got - wanted) - allowance, 0)
    return float(beyond.max() / np.abs(wanted).max()), float(np.sqrt((beyond**2).mean() / (wanted**2).mean()))


def cell(worst: float, rms: float) -> str:
    return f"{1e7 * worst:.1f} / {1e7 * rms:.1f}"
