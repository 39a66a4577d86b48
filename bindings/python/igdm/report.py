"""report.html: what was trained, how well it resists, how it got there, and what the attacks look like.

One file that opens in any browser: no scripts, and nothing loaded from elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from . import runs
from ._chart import Series, line_chart
from ._contenders import Contender, Gallery, attack_title
from ._library import ask
from ._report_images import attacked_images, input_gradients
from ._report_table import results
from ._structures import number
from ._style import STYLE
from .convert.files import replacing
from .datasets import Dataset
from .errors import InvalidArgument
from .models import Model
from .sweep import WORST, Sweep

__all__ = ["Contender", "Gallery", "contenders_of_run", "describe", "write", "write_run"]


def write(
    path: str | os.PathLike[str],
    title: str,
    contenders: Sequence[Contender],
    *,
    configuration: Mapping[str, str],
    gallery: Gallery | None = None,
    subtitle: str = "",
) -> None:
    """Writes the report: whole, or not at all.

    configuration  shown at the top, name and value
    """
    sections = [
        f"<header><h1>{escape(title)}</h1>"
        + (f'<p class="soft">{escape(subtitle)}</p>' if subtitle else "")
        + "</header>",
        _configuration(configuration),
        results(contenders),
        _radii(contenders),
        _curves(contenders),
        attacked_images(contenders, gallery) if gallery is not None else "",
        input_gradients(contenders, gallery) if gallery is not None else "",
        f"<footer>igdm {escape(ask('igdm_build_info'))}</footer>",
    ]
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body><main>\n"
        + "\n".join(section for section in sections if section)
        + "\n</main></body></html>\n"
    )
    with replacing(Path(path), "path") as temporary:
        temporary.write_text(page, encoding="utf-8")


def contenders_of_run(folder: Path, student: Model, history: Sequence[Mapping[str, Any]]) -> list[Contender]:
    """The student of a run folder, and that of its best epoch where that is another one."""
    contenders = [Contender("student", student, history)]
    best, file = runs.best_epoch(history), folder / "best.h5"
    if best not in (None, history[-1]["epoch"]) and file.exists():
        contenders.append(Contender(f"best, epoch {best}", Model.load(file, exact=student.exact)))
    return contenders


def write_run(
    folder: Path,
    contenders: Sequence[Contender],
    *,
    teacher: Model | None,
    train: Dataset,
    validation: Dataset | None,
    options: Mapping[str, Any],
) -> None:
    """Writes report.html of a run folder. Images are those of the validation, under PGD-20."""
    student = contenders[0].model
    assert student is not None
    gallery = None
    if validation is not None:
        gallery = Gallery(validation, {"eps": options["eps"], "steps": 20}, "PGD-20", teacher)
    write(
        folder / "report.html", f"{student.info.architecture} on {train.source['kind']}", contenders,
        configuration=describe(student, teacher, train, options), gallery=gallery,
    )  # fmt: skip


OPTIMISERS = {"sgd": "SGD", "adamw": "AdamW"}


def describe(
    student: Model, teacher: Model | None, train: Dataset | None, options: Mapping[str, Any]
) -> dict[str, str]:
    """The configuration of a training in words, for write()."""

    def model(one: Model) -> str:
        parts = f"{one.info.architecture}, width {one.info.width}, {one.info.parameter_count:,} parameters"
        return parts + ", exact" * one.exact

    step = options["step"] or "eps/4"
    optimiser = OPTIMISERS[options["optimiser"]]
    return {
        "Student": model(student),
        "Teacher": "none" if teacher is None else model(teacher),
        **({} if train is None else {"Training data": f"{len(train):,} images of {train.source['kind']}"}),
        "Method": str(options["method"]),
        "IGDM": f"α {options['igdm']:g}, mirror {options['mirror']}" if options["igdm"] else "off",
        "Adversary": f"ε {options['eps']}, {options['steps']} steps of {step}",
        "Training": f"{options['epochs']} epochs, batches of {options['batch_size']}",
        "Optimiser": f"{optimiser}, rate {options['learning_rate']:g} {options['schedule']}, decay "
        f"{options['weight_decay']:g}",
        "Seed": str(options["seed"]),
    }


def _configuration(configuration: Mapping[str, str]) -> str:
    cells = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in configuration.items())
    return f'<dl class="card">{cells}</dl>'


def _curves(contenders: Sequence[Contender]) -> str:
    trained = [(index, one) for index, one in enumerate(contenders) if one.history]
    with_igdm = [(index, one) for index, one in trained if any(row["igdm_weight"] for row in one.history)]
    with_second = [(index, one) for index, one in trained if any(row.get("second_loss") for row in one.history)]

    def lines(column: str, word: str = "", among: Any = trained, dashed: bool = False) -> list[Series]:
        series = [
            Series(one.name + word, index, [row.get(column) for row in one.history], dashed) for index, one in among
        ]
        return [one for one in series if one.finite]

    charts = [
        line_chart(title, series, percent)
        for title, series, percent in (
            (
                "Validation accuracy",
                lines("validation_robust", ", attacked") + lines("validation_clean", ", clean", dashed=True),
                True,
            ),
            ("Accuracy on attacked training batches", lines("adversarial_accuracy"), True),
            ("Gradient cosine (GC), validation", lines("gradient_cosine"), False),
            ("Gradient distance (GD), validation", lines("gradient_distance"), False),
            (
                "Loss of the method, and its second term",
                lines("base_loss") + lines("second_loss", ", second term", among=with_second, dashed=True),
                False,
            ),
            ("Loss of IGDM, before its weight", lines("igdm_loss", among=with_igdm), False),
        )
        if series
    ]
    return f'<h2>Training</h2><div class="charts">{"".join(charts)}</div>' if charts else ""


def _radii(contenders: Sequence[Contender]) -> str:
    """Accuracy over the radius, from the clean images on: of one contender all attacks in a chart, of several a chart
    for each attack with a line for each contender."""
    swept = [(index, one, one.sweep) for index, one in enumerate(contenders) if one.sweep is not None]
    if not swept:
        return ""

    def line(name: str, index: int, sweep: Sweep, curve: Sequence[float], dashed: bool = False) -> Series:
        return Series(name, index, [sweep.evaluations[0].rows[0].accuracy, *curve], dashed)

    if len(swept) == 1:
        _, one, sweep = swept[0]
        curves = enumerate(sweep.curves.items())
        charts = {one.name: [line(name, i, sweep, curve, name == WORST) for i, (name, curve) in curves]}
    else:
        attacks = list(dict.fromkeys(name for _, _, sweep in swept for name in sweep.curves))
        charts = {
            attack_title(name) if name != WORST else name: [
                line(one.name, index, sweep, sweep.curves[name]) for index, one, sweep in swept if name in sweep.curves
            ]
            for name in attacks
        }
    first = swept[0][2]
    for _, one, sweep in swept:
        if sweep.eps != first.eps:
            raise InvalidArgument(
                f"contenders: {one.name} was swept over {sweep.eps}, {swept[0][1].name} over {first.eps}; want "
                "the same radii"
            )
    places = [(0.0, "0"), *((number("eps", eps), str(eps)) for eps in first.eps)]
    figures = "".join(
        line_chart(title, series, percent=True, positions=places, axis="ε") for title, series in charts.items()
    )
    norm = escape(str(first.evaluations[0].options["norm"]))
    return f'<h2>Accuracy over the radius ({norm})</h2><div class="charts">{figures}</div>'
