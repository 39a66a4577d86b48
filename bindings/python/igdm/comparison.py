"""One report on several run folders: `python -m igdm report RUN [RUN ...]`.

Models and data are found again through each folder's config.json. A run with IGDM is compared with the run of the list
that differs from it by IGDM alone.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from . import report, runs
from ._contenders import Contender, Gallery
from ._structures import number
from .convert.files import require_writable
from .datasets import Dataset, open_source
from .errors import InvalidArgument, NotFoundError
from .evaluation import evaluate
from .models import Model
from .sweep import sweep

ATTACKS = ("fgsm", "pgd-20", "cw")
RADIUS_ATTACK = "pgd-20"
RADII = (0.25, 0.5, 1.0, 1.5, 2.0)
"""Of the curves, as multiples of eps."""
CHECKPOINTS = ("last", "best", "average")
IGDM_OPTIONS = ("igdm", "igdm_ramp", "igdm_term", "igdm_distance", "mirror", "mirror_statistics")
METHOD_TITLES = {"adaad": "AdaAD", "adaiad": "AdaIAD"}


@dataclass(frozen=True)
class _RunFolder:
    path: Path
    config: Mapping[str, Any]
    model: Model
    history: list[runs.Row]

    @property
    def options(self) -> Mapping[str, Any]:
        options: Mapping[str, Any] = self.config["options"]
        return options

    @property
    def name(self) -> str:
        method = self.options["method"]
        return METHOD_TITLES.get(method, method.upper()) + (" + IGDM" if self.options["igdm"] else "")

    def is_base_of(self, other: _RunFolder) -> bool:
        """Whether the other run is this one with IGDM."""

        def facts(run: _RunFolder) -> tuple[object, ...]:
            student = {k: v for k, v in run.config["student"].items() if k != "file"}
            options = {k: v for k, v in run.options.items() if k not in IGDM_OPTIONS}
            options |= {k: number(k, options[k]) for k in ("eps", "step")}  # "8/255" or 8/255
            return student, run.config["train"], run.config["generated"], options

        if self.options["igdm"] or not other.options["igdm"] or facts(self) != facts(other):
            return False
        # PGD-AT and TRADES have a teacher with IGDM only.
        return all(
            self.config[role] is None or _unnamed(self.config[role]) == _unnamed(other.config[role])
            for role in ("teacher", "clean_teacher")
        )


def _unnamed(recorded: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A recorded model without its file's name: the same model may lie elsewhere."""
    return None if recorded is None else {key: value for key, value in recorded.items() if key != "file"}


def write_comparison(
    path: str | os.PathLike[str],
    folders: Sequence[str | os.PathLike[str]],
    *,
    checkpoint: str = "last",
    attacks: Sequence[str] | str | None = None,
    eps: float | str | None = None,
    radii: Sequence[float | str] | None = None,
    count: int = 1000,
    data: Dataset | None = None,
    teacher: Model | None = None,
    progress: bool | None = None,
) -> list[Contender]:
    """Attacks the students of the runs and the teacher, and writes the page; returns what is in it.

    folders     run folders; equal names are told apart by the folders' names
    checkpoint  "last", "best" or "average": which of a run's files
    attacks     for the table, as evaluate() takes them; by default fgsm, pgd-20 and cw
    eps         by default that of the first run
    radii       of the curves; by default 1/4, 1/2, 1, 3/2 and 2 times eps; [] = no curves
    count       images to measure with, the first so many; 0 = all
    data        by default the first run's validation data
    teacher     with whose input gradients those of the students are compared; by default the first run's that has one
    """
    if not folders:
        raise InvalidArgument("folders: got none, want at least one run folder")
    if checkpoint not in CHECKPOINTS:
        raise InvalidArgument(f'checkpoint: got "{checkpoint}", want one of {", ".join(CHECKPOINTS)}')
    require_writable("path", Path(path))
    opened = [_open(Path(folder), checkpoint) for folder in folders]
    first = opened[0]
    judge = data if data is not None else _validation(first)
    guide = teacher if teacher is not None else _teacher(opened)
    radius = eps if eps is not None else first.options["eps"]
    places = _default_radii(number("eps", radius)) if radii is None else radii
    measured: dict[str, Any] = {"count": min(count, len(judge)), "progress": progress}
    table = {"attacks": list(ATTACKS) if attacks is None else attacks, "eps": radius, **measured}

    contenders: list[Contender] = []
    for run, name in zip(opened, _names(opened), strict=True):
        one = Contender(name, run.model, run.history, evaluate(run.model, judge, teacher=guide, **table))
        if places:
            one = replace(one, sweep=sweep(run.model, judge, places, attacks=[RADIUS_ATTACK], **measured))
        contenders.append(one)
    contenders = _with_bases(opened, contenders)
    if guide is not None:
        contenders.append(Contender("teacher", evaluation=evaluate(guide, judge, **table)))
    report.write(
        path, f"{first.model.info.architecture} on {_kind(first.config)}", contenders,
        subtitle=f"{len(opened)} runs, their {checkpoint} checkpoints." if len(opened) > 1 else "",
        configuration=_configuration(opened, guide),
        gallery=Gallery(judge, {"eps": radius, "steps": 20}, "PGD-20", guide),
    )  # fmt: skip
    return contenders


def _open(path: Path, checkpoint: str) -> _RunFolder:
    described = path / "config.json"
    if not described.exists():
        raise NotFoundError(f"report: {path} is no run folder: it has no config.json")
    file = path / f"{checkpoint}.h5"
    if not file.exists():
        raise NotFoundError(f"report: {path} has no {file.name}; choose another checkpoint than {checkpoint}")
    metrics = path / "metrics.csv"
    history = runs.read_metrics(metrics) if metrics.exists() else []
    config = runs.read_config(described)
    return _RunFolder(path, config, Model.load(file, exact=config["student"].get("exact", False)), history)


def _validation(run: _RunFolder) -> Dataset:
    source = run.config["validation"]
    if source is None:
        raise InvalidArgument(f"data: got none, and {run.path} has no validation data; give the data to measure on")
    return open_source(source)


def _teacher(opened: Sequence[_RunFolder]) -> Model | None:
    recorded = next((run.config["teacher"] for run in opened if run.config["teacher"] is not None), None)
    return None if recorded is None else runs.load_recorded("teacher", recorded)


def _names(opened: Sequence[_RunFolder]) -> list[str]:
    often = Counter(run.name for run in opened)
    return [run.name if often[run.name] == 1 else f"{run.name}, {run.path.resolve().name}" for run in opened]


def _with_bases(opened: Sequence[_RunFolder], contenders: Sequence[Contender]) -> list[Contender]:
    def base(run: _RunFolder) -> Contender | None:
        return next((one for other, one in zip(opened, contenders, strict=True) if other.is_base_of(run)), None)

    return [replace(one, base=base(run)) for run, one in zip(opened, contenders, strict=True)]


def _default_radii(eps: float) -> list[float]:
    # Short numbers, for the axis.
    return [float(f"{factor * eps:.3g}") for factor in RADII if 0 < factor * eps <= 1]


def _kind(config: Mapping[str, Any]) -> str:
    return str(config["train"].get("kind", "data"))


def _configuration(opened: Sequence[_RunFolder], guide: Model | None) -> dict[str, str]:
    """What report.describe() says of each run; where they differ, every value once."""
    described: list[dict[str, str]] = []
    for run in opened:
        train = run.config["train"]
        count = train.get("parts", [train])[-1].get("count")
        facts = report.describe(run.model, guide, None, run.options)
        facts["Training data"] = f"{count:,} images of {_kind(run.config)}" if count else _kind(run.config)
        described.append(facts)
    return {name: "; ".join(dict.fromkeys(facts[name] for facts in described)) for name in described[0]}
