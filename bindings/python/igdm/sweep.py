"""Accuracy over the radius: the same attacks with one epsilon after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ._structures import number
from .datasets import Dataset
from .errors import InvalidArgument
from .evaluation import Evaluation, evaluate, format_table
from .hosts import HostModel
from .models import Model

WORST = "all attacks"


@dataclass(frozen=True)
class Sweep:
    """The result of sweep(). ``print(sweep)`` shows a row for each radius."""

    eps: tuple[float | str, ...]
    """As asked for, the smallest first."""
    evaluations: tuple[Evaluation, ...]
    """One for each radius."""

    @property
    def curves(self) -> dict[str, list[float]]:
        """Accuracy at each radius, by attack. With several attacks also "all attacks": the samples that all have
        left at this radius and all smaller ones: what lies in a ball lies in a larger one."""
        names = [row.name for row in self.evaluations[0].rows[1:]]
        curves = {name: [one.accuracy[name] for one in self.evaluations] for name in names}
        if len(names) > 1:
            left = np.logical_and.accumulate([one.worst for one in self.evaluations])
            curves[WORST] = [float(flags.mean()) for flags in left]
        return curves

    def to_dict(self) -> dict[str, Any]:
        """Everything but the single samples, ready for json.dump()."""
        return {
            "eps": list(self.eps),
            "curves": self.curves,
            "evaluations": [one.to_dict() for one in self.evaluations],
        }

    def __str__(self) -> str:
        curves = self.curves
        rows = [[str(eps), *(f"{100 * curve[i]:.2f} %" for curve in curves.values())] for i, eps in enumerate(self.eps)]
        first = self.evaluations[0]
        about = f"{first.options['norm']}, {first.count} samples, clean {100 * first.rows[0].accuracy:.2f} %"
        return "\n".join([format_table(["eps", *curves], rows), about])


def sweep(model: Model | HostModel, data: Dataset, eps: Sequence[float | str], **options: Any) -> Sweep:
    """evaluate() with each radius of `eps`, which rise; `options` are those of evaluate()."""
    radii = [number("eps", one) for one in eps]
    if not radii or any(a >= b for a, b in pairwise(radii)):
        raise InvalidArgument(f"eps: got {list(eps)}, want radii that rise")
    if options.get("attacks") in ("", [], ()):
        raise InvalidArgument("attacks: got none, want at least one for a sweep")
    return Sweep(tuple(eps), tuple(evaluate(model, data, eps=one, **options) for one in eps))
