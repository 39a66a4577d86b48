"""What is compared, how near it must be, and how near it was."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Quantity:
    """A kind of number, and what the largest error may be: absolute, or as a part of the largest reference value, or
    with `pointwise` of each one."""

    name: str
    tolerance: float
    relative: bool
    pointwise: bool = False

    def error(self, got: ArrayLike, wanted: ArrayLike, allowance: ArrayLike = 0.0) -> float:
        """The largest error, as far as it exceeds `allowance` (the same everywhere, or element by element).

        Infinite where shapes differ, NaN where a value is NaN, which no tolerance lets pass.
        """
        got, wanted = np.asarray(got, np.float64), np.asarray(wanted, np.float64)
        if got.shape != wanted.shape:
            return float("inf")
        if self.pointwise:
            return float((np.abs(got - wanted) / np.abs(wanted)).max())
        largest = np.abs(wanted).max() if self.relative else 1.0
        error = np.maximum(np.abs(got - wanted) - allowance, 0).max()
        return float(error / largest) if error else 0.0


LOGITS = Quantity("logits", 1e-4, relative=True)
INPUT_GRADIENT = Quantity("input gradient", 1e-4, relative=True)
ITERATE = Quantity("attack iterate", 1e-5, relative=False)
LOSS = Quantity("loss and its parts", 1e-5, relative=True)
# Each of the fifty losses by itself. Rounding grows along the way.
LOSS_CURVE = Quantity("loss in 50 steps", 1e-2, relative=True, pointwise=True)
# Where a ReLU input lies within rounding of 0, input gradients are compared beyond what the nearest units may change
# (reference/compute.py, kink_allowance) and, more widely, as they are.
BEYOND_KINKS = Quantity("input gradient, case with kinks, beyond them", 1e-4, relative=True)
KINKED_INPUT_GRADIENT = Quantity("input gradient, case with kinks", 1e-2, relative=True)
PARAMETER_GRADIENT = Quantity("parameter gradient", 1e-4, relative=True)
# Of a shift that every BatchNorm after it takes away, as those of MobileNetV2's linear bottlenecks are: what is
# computed is rounding and has no size to compare with.
VANISHING_GRADIENT = Quantity("parameter gradient that is 0", 1e-5, relative=False)
WEIGHT = Quantity("updated weight", 1e-4, relative=False)
STATISTIC = Quantity("running statistic", 1e-4, relative=False)


@dataclass(frozen=True)
class Row:
    quantity: Quantity
    case: str
    name: str
    exact: bool
    error: float
    torch_error: float | None


@dataclass
class Report:
    """Rows of all comparisons of a run."""

    mode: str = "committed"
    rows: list[Row] = field(default_factory=list)

    def table(self) -> list[str]:
        """Markdown: the worst comparison of each quantity."""
        lines = [
            "| quantity | comparisons | worst error, Winograd / exact | tolerance | where "
            "| PyTorch's own float32 error, worst |",
            "|---|---|---|---|---|---|",
        ]
        for quantity in dict.fromkeys(row.quantity for row in self.rows):
            rows = [row for row in self.rows if row.quantity == quantity]
            worst = max(rows, key=_size)
            torch_rows = [row for row in rows if row.torch_error is not None]
            torch_worst = "-"
            if torch_rows:
                row = max(torch_rows, key=lambda row: row.torch_error)
                torch_worst = f"{row.torch_error:.1e} ({row.case}: {row.name})"
            kind = "of each" if quantity.pointwise else "of the largest" if quantity.relative else "absolute"
            lines.append(
                f"| {quantity.name} | {len(rows)} | {_both(rows)} | {quantity.tolerance:.0e} {kind} "
                f"| {worst.case}: {worst.name} | {torch_worst} |"
            )
        return lines

    def cases(self) -> list[str]:
        """Markdown: the worst error of each quantity, case by case, with Winograd's convolutions / exact."""
        quantities = list(dict.fromkeys(row.quantity for row in self.rows))
        lines = ["| case | " + " | ".join(quantity.name for quantity in quantities) + " |"]
        lines.append("|---" * (1 + len(quantities)) + "|")
        for case in dict.fromkeys(row.case for row in self.rows):
            cells = []
            for quantity in quantities:
                rows = [row for row in self.rows if row.case == case and row.quantity == quantity]
                cells.append(_both(rows) if rows else "")
            lines.append(f"| {case} | " + " | ".join(cells) + " |")
        return lines


def _size(row: Row) -> float:
    return float(np.nan_to_num(row.error, nan=np.inf))


def _both(rows: list[Row]) -> str:
    """The largest error of models that are not exact, and of those that are."""
    settings = ([_size(row) for row in rows if row.exact == exact] for exact in (False, True))
    return " / ".join(f"{max(errors):.1e}" if errors else "-" for errors in settings)
