"""Accuracy over the radius: the same attacks with one epsilon after the other."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from ._structures import number
from .datasets import Dataset
from .ensemble import AutoAttack, ensembled, version_options
from .errors import InvalidArgument
from .evaluation import Evaluation, agreement, format_table, measured, stopped, told
from .hosts import HostModel
from .models import Model

WORST = "all attacks"


@dataclass(frozen=True)
class Sweep:
    """The result of sweep(). ``print(sweep)`` shows a row for each radius."""

    eps: tuple[float | str, ...]
    """As asked for, the smallest first."""
    evaluations: tuple[Evaluation | AutoAttack, ...]
    """One for each radius: of evaluate(), or of autoattack(). The last one may be incomplete in what an exception has
    as its `partial`."""

    @property
    def curves(self) -> dict[str, list[float]]:
        """Accuracy at each radius, by attack. With several attacks also "all attacks": the samples that all have
        left. Under AutoAttack each curve is what is left after that attack and those before it. Where the last
        evaluation is incomplete, curves that lack it are shorter by one."""
        names = [row.name for row in self.evaluations[0].rows[1:]]
        curves = {name: [one.accuracy[name] for one in self.evaluations if name in one.accuracy] for name in names}
        judged = [one for one in self.evaluations if isinstance(one, Evaluation)]
        if len(names) > 1 and judged:
            whole = [one for one in judged if len(one.rows) == 1 + len(names)]
            curves[WORST] = [float(one.worst.mean()) if one.count else 0.0 for one in whole]
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
        rows = [
            [str(eps), *(f"{100 * curve[i]:.2f} %" if i < len(curve) else "" for curve in curves.values())]
            for i, eps in enumerate(self.eps)
        ]
        first = self.evaluations[0]
        about = f"{first.options['norm']}, {first.count} samples, clean {100 * first.rows[0].accuracy:.2f} %"
        judged = zip(self.eps, self.evaluations, strict=False)
        doubts = [f"eps {eps}: {doubt}" for eps, one in judged for doubt in one.warnings]
        table = format_table(["eps", *curves], rows)
        # Of clean images: the same for every radius.
        gradients = agreement(first) if isinstance(first, Evaluation) else []
        return "\n".join([table, about, *gradients, *stopped(self.evaluations[-1].rows), *told(doubts)])


def sweep(model: Model | HostModel, data: Dataset, eps: Sequence[float | str], **options: Any) -> Sweep:
    """evaluate() with each radius of `eps`, which rise; `options` are those of evaluate(). With attacks="autoattack" it
    is autoattack() with its options: version (also "custom:apgd-ce,square"), norm, targets, eot, count, ...; of a state
    file each radius has its own, "state.0" and so on.

    What an attack has broken at one radius counts as broken at all larger ones, since what lies in a ball lies in a
    larger one, and is not attacked again (so larger radii take less time; samples are those of the smallest radius).
    An exception that comes while attacks run has as its attribute `partial` the Sweep so far, the last evaluation as
    evaluate() leaves it.
    """
    radii = [number("eps", one) for one in eps]
    if not radii or any(a >= b for a, b in pairwise(radii)):
        raise InvalidArgument(f"eps: got {list(eps)}, want radii that rise")
    if options.get("attacks") in ("", [], ()):
        raise InvalidArgument("attacks: got none, want at least one for a sweep")
    one_radius: Callable[..., AbstractContextManager[Any]] = measured
    if options.get("attacks") in ("autoattack", ["autoattack"], ("autoattack",)):
        one_radius, options = ensembled, options | version_options(options.get("version"))
    state = options.pop("state", None)
    eps = tuple(one if isinstance(one, str) else radius for one, radius in zip(eps, radii, strict=True))
    results: list[Evaluation | AutoAttack] = []
    with ExitStack() as handles:
        smaller = None
        for index, one in enumerate(eps):
            own = options if state is None else options | {"state": f"{os.fsdecode(state)}.{index}"}
            try:
                result, smaller = handles.enter_context(one_radius(smaller, model, data, eps=one, **own))
            except BaseException as error:
                stopped = getattr(error, "partial", None)
                results += [] if stopped is None else [stopped]
                error.partial = Sweep(eps[: len(results)], tuple(results)) if results else None  # type: ignore[attr-defined]
                raise
            results.append(result)
    return Sweep(eps, tuple(results))
