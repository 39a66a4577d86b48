"""report.html: what was trained, how well it resists, how it got there, and what the attacks look like.

One file that opens in any browser: no scripts, and nothing loaded from elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from ._arrays import Floats
from ._chart import Series, line_chart
from ._library import ask
from ._png import data_url
from ._structures import number
from ._style import STYLE
from .attacks import attack
from .datasets import Dataset
from .evaluation import Evaluation
from .models import Model
from .sweep import WORST, Sweep

GALLERY_SIZE = 10


@dataclass(frozen=True)
class Contender:
    """A model in a report. What is left out does not appear: a teacher has no history, say."""

    name: str
    model: Model | None = None
    """Shown in the gallery."""
    history: Sequence[Mapping[str, Any]] = ()
    """Rows of Run.history, for the curves."""
    evaluation: Evaluation | None = None
    """For the table."""
    sweep: Sweep | None = None
    """For the curves of accuracy over the radius."""


@dataclass(frozen=True)
class Gallery:
    """Where the gallery's images come from and how they are attacked."""

    data: Dataset
    attack: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of igdm.attack()."""
    attack_name: str = "PGD"


def write(
    path: str | os.PathLike[str],
    title: str,
    contenders: Sequence[Contender],
    *,
    configuration: Mapping[str, str],
    gallery: Gallery | None = None,
    subtitle: str = "",
) -> None:
    """Writes the report. With two contenders that were trained, the table has their difference, second minus first.

    configuration  shown at the top, name and value
    """
    sections = [
        f"<header><h1>{escape(title)}</h1>"
        + (f'<p class="soft">{escape(subtitle)}</p>' if subtitle else "")
        + "</header>",
        _configuration(configuration),
        _results(contenders),
        _radii(contenders),
        _curves(contenders),
        _gallery(contenders, gallery) if gallery is not None else "",
        f"<footer>igdm {escape(ask('igdm_build_info'))}</footer>",
    ]
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body><main>\n"
        + "\n".join(section for section in sections if section)
        + "\n</main></body></html>\n"
    )
    Path(path).write_text(page, encoding="utf-8")


OPTIMISERS = {"sgd": "SGD", "adamw": "AdamW"}


def describe(student: Model, teacher: Model | None, train: Dataset, options: Mapping[str, Any]) -> dict[str, str]:
    """The configuration of a training in words, for write()."""

    def model(one: Model) -> str:
        parts = f"{one.info.architecture}, width {one.info.width}, {one.info.parameter_count:,} parameters"
        return parts + ", exact" * one.exact

    step = options["step"] or "eps/4"
    optimiser = OPTIMISERS[options["optimiser"]]
    return {
        "Student": model(student),
        "Teacher": "none" if teacher is None else model(teacher),
        "Training data": f"{len(train):,} images of {train.source['kind']}",
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


def _results(contenders: Sequence[Contender]) -> str:
    judged = [(colour, one, one.evaluation) for colour, one in enumerate(contenders) if one.evaluation is not None]
    if not judged:
        return ""
    pair = [evaluation for _, one, evaluation in judged if one.history]
    compared = len(pair) == 2
    head = "".join(f'<th scope="col" class="own c{colour % 4}">{escape(one.name)}</th>' for colour, one, _ in judged)
    rows = []
    for name in judged[0][2].accuracy:
        cells = "".join(_accuracy_cell(e.accuracy.get(name), colour) for colour, _, e in judged)
        difference = ""
        if compared:
            difference = _difference_cell(100 * (pair[1].accuracy[name] - pair[0].accuracy[name]), 2)
        rows.append(f'<tr><th scope="row">{escape(_attack_title(name))}</th>{cells}{difference}</tr>')
    for title, attribute, better in (
        ("gradient cosine", "gradient_cosine", 1),
        ("gradient distance", "gradient_distance", -1),
    ):
        values = [getattr(evaluation, attribute) for _, _, evaluation in judged]
        if all(value is None for value in values):
            continue
        cells = "".join(f"<td>{'' if value is None else f'{value:.3f}'}</td>" for value in values)
        difference = ""
        if compared:
            old, new = (getattr(evaluation, attribute) for evaluation in pair)
            difference = _difference_cell(new - old, 3, better)
        rows.append(f'<tr><th scope="row">{title}</th>{cells}{difference}</tr>')
    first = judged[0][2]
    last_column = '<th scope="col">difference</th>' if compared else ""
    return (
        f"<h2>Accuracy under attack</h2>{_finding(judged, pair) if compared else ''}"
        f'<div class="card scroll"><table><thead><tr><th scope="col"></th>{head}{last_column}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
        f'<p class="note">{first.count:,} test images, ε {first.options["eps"]} ({first.options["norm"]}). '
        "Differences in percentage points. Gradient cosine and distance compare the input gradient of the "
        "cross-entropy with the teacher's.</p>"
    )


def _finding(judged: Sequence[tuple[int, Contender, Evaluation]], pair: Sequence[Evaluation]) -> str:
    """One sentence with the strongest attack's numbers."""
    attacks = [name for name in pair[0].accuracy if name != "clean"]
    if not attacks:
        return ""
    hardest = min(attacks, key=lambda name: pair[0].accuracy[name])
    old, new = (100 * evaluation.accuracy[hardest] for evaluation in pair)
    names = [one.name for _, one, _ in judged if one.history]
    return (
        f'<p class="card finding">Under {escape(_attack_title(hardest))}, {escape(names[0])} keeps '
        f"<b>{old:.2f} %</b> of the test images and {escape(names[1])} <b>{new:.2f} %</b>: {new - old:+.2f} points.</p>"
    )


def _accuracy_cell(value: float | None, colour: int) -> str:
    if value is None:
        return "<td></td>"
    percent = f"{100 * value:.2f}"
    return f'<td class="c{colour % 4}">{percent} %<span class="bar"><i style="width:{percent}%"></i></span></td>'


def _difference_cell(value: float, digits: int, better: int = 1) -> str:
    shown = f"{value:+.{digits}f}"
    direction = "" if float(shown) == 0 else "up" if value * better > 0 else "down"
    return f'<td class="{direction}">{shown}</td>'


def _attack_title(name: str) -> str:
    titles = {"clean": "clean", "fgsm": "FGSM", "cw": "C&W"}
    return titles.get(name, name.upper().replace("CW", "C&W"))


def _curves(contenders: Sequence[Contender]) -> str:
    trained = [(colour % 4, one) for colour, one in enumerate(contenders) if one.history]
    with_igdm = [(colour, one) for colour, one in trained if any(row["igdm_weight"] for row in one.history)]

    def lines(column: str, word: str = "", among: Any = trained, dashed: bool = False) -> list[Series]:
        series = [
            Series(one.name + word, colour, [row[column] for row in one.history], dashed) for colour, one in among
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
            ("Loss of the method", lines("base_loss"), False),
            ("Loss of IGDM, before its weight", lines("igdm_loss", among=with_igdm), False),
        )
        if series
    ]
    return f'<h2>Training</h2><div class="charts">{"".join(charts)}</div>' if charts else ""


def _radii(contenders: Sequence[Contender]) -> str:
    """For each contender with a sweep the accuracy over the radius, a line for each attack."""
    charts = []
    for one in contenders:
        if one.sweep is None:
            continue
        places = [(number("eps", eps), str(eps)) for eps in one.sweep.eps]
        clean = [evaluation.rows[0].accuracy for evaluation in one.sweep.evaluations]
        series = [Series("clean", 2, clean, dashed=True)]
        for colour, (name, curve) in enumerate(one.sweep.curves.items()):
            series.append(Series(name, colour % 4, curve, dashed=name == WORST))
        charts.append(line_chart(one.name, series, percent=True, positions=places, axis="ε"))
    if not charts:
        return ""
    norm = next(one.sweep for one in contenders if one.sweep is not None).evaluations[0].options["norm"]
    return f'<h2>Accuracy over the radius ({escape(str(norm))})</h2><div class="charts">{"".join(charts)}</div>'


def _gallery(contenders: Sequence[Contender], gallery: Gallery) -> str:
    shown = [(colour, one, one.model) for colour, one in enumerate(contenders) if one.model is not None]
    if not shown:
        return ""
    data = gallery.data
    chosen = _first_of_each_class(data)
    images = np.stack([data.read(index, 1)[0][0] for index in chosen])
    labels = data.labels[chosen]
    attacked = [attack(model, images, labels, progress=False, **gallery.attack).images for _, _, model in shown]
    largest = max(float(np.abs(result - images).max()) for result in attacked) or 1.0
    cards = []
    for i, label in enumerate(labels):
        blocks = [
            f'<div class="block">{_image(images[i], "clean image")}<div class="says">'
            f'<b>{escape(data.class_names[label])}</b><span class="kind truth">true class</span></div></div>'
        ]
        for (colour, one, model), result in zip(shown, attacked, strict=True):
            change = 0.5 + (result[i] - images[i]) / (2 * largest)
            logits = model.predict(np.stack([images[i], result[i]]))
            blocks.append(
                f'<div class="block c{colour % 4}">{_image(result[i], "attacked image")}'
                f'{_image(change, "perturbation")}<div class="says"><b>{escape(one.name)}</b>'
                f"{_verdict('clean', logits[0], int(label), data)}{_verdict('attacked', logits[1], int(label), data)}"
                "</div></div>"
            )
        cards.append(f'<div class="card sample">{"".join(blocks)}</div>')
    return (
        f'<h2>What the attacks look like</h2><p class="note">For each class the first image of the data: clean, '
        f"attacked with {escape(gallery.attack_name)} against each model, and the change, amplified so that grey is "
        f"none and black and white are the largest ({largest:.3g}). Predictions with their probability: "
        f'<span class="right">✓&nbsp;right</span>, <span class="wrong">✗&nbsp;wrong</span>.</p>'
        f'<div class="samples" style="--contenders:{len(shown)}">{"".join(cards)}</div>'
    )


def _first_of_each_class(data: Dataset) -> list[int]:
    """Indices of the first image of each of the first ten classes: no choosing by result."""
    _, first = np.unique(data.labels, return_index=True)
    return [int(index) for index in first[:GALLERY_SIZE]]


def _image(image: Floats, description: str) -> str:
    return f'<img src="{data_url(image)}" alt="{description}" title="{description}">'


def _verdict(state: str, logits: Floats, label: int, data: Dataset) -> str:
    exponentials = np.exp(logits - logits.max())
    predicted = int(logits.argmax())
    percent = 100 * exponentials[predicted] / exponentials.sum()
    kind, sign = ("right", "✓") if predicted == label else ("wrong", "✗")
    return (
        f'<span class="kind">{state}</span><span class="{kind}">{sign} {escape(data.class_names[predicted])}, '
        f"{percent:.0f}&nbsp;%</span>"
    )
