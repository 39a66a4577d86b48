"""Whether a trained student's accuracy depends on exact: the demo's student with a small budget, both ways.

Two trainings that round differently drift apart, as two seeds do. So several seeds are trained, and their mean
difference is compared with its standard error.
"""

from __future__ import annotations

import math
import statistics

import demo
import igdm
from measured import markdown

from . import ROOT

TRAIN_COUNT, EPOCHS, EVAL_COUNT, SEEDS = 3000, 3, 1000, range(10)
ATTACKS = ["fgsm", "pgd-20"]


def table() -> list[str]:
    data = igdm.datasets.fashion_mnist()
    teacher = igdm.Model.load(ROOT / "examples" / "data" / "fashion_teacher.h5")
    train, test = data.train[:TRAIN_COUNT], data.test[:EVAL_COUNT]

    def distil(seed: int, exact: bool) -> igdm.Model:
        student = igdm.Model(
            demo.ARCHITECTURE, classes=train.classes, input_shape=train.image_shape, width=demo.WIDTH, seed=seed,
            exact=exact,
        )  # fmt: skip
        teacher.exact = exact
        options = demo.training_options(demo.IGDM, seed) | {"epochs": EPOCHS}
        return igdm.distill(student, teacher, train, progress=False, **options).student

    def evaluate(student: igdm.Model, exact: bool) -> igdm.Evaluation:
        student.exact = exact
        return igdm.evaluate(student, test, attacks=ATTACKS, eps=demo.EPS, progress=False)

    rows: list[list[str]] = []
    accuracies: dict[bool, list[list[float]]] = {False: [], True: []}
    for seed in SEEDS:
        differing = []
        for trained in accuracies:
            student = distil(seed, trained)
            same, other = evaluate(student, trained), evaluate(student, not trained)
            accuracies[trained].append([100 * value for value in same.accuracy.values()])
            differing.append(sum(int((same.correct[name] != other.correct[name]).sum()) for name in same.correct))
        shown = (" / ".join(f"{value:.1f}" for value in accuracies[trained][-1]) for trained in accuracies)
        rows.append([str(seed), *shown, " + ".join(map(str, differing))])

    winograd, exact = (list(zip(*accuracies[trained], strict=True)) for trained in accuracies)
    rows.append(["mean ± deviation", *(" / ".join(map(spread, columns)) for columns in (winograd, exact)), ""])
    differences = [[b - a for a, b in zip(*pair, strict=True)] for pair in zip(winograd, exact, strict=True)]
    rows.append(["mean difference ± standard error", "", " / ".join(map(difference, differences)), ""])
    names = " / ".join(["clean", *ATTACKS])
    return markdown(
        [
            "seed",
            f"trained with Winograd: {names}, %",
            f"trained exact: {names}, %",
            "judged differently the other way",
        ],
        rows,
    )


def spread(values: list[float]) -> str:
    return f"{statistics.fmean(values):.1f} ± {statistics.stdev(values):.1f}"


def difference(values: list[float]) -> str:
    return f"{statistics.fmean(values):+.1f} ± {statistics.stdev(values) / math.sqrt(len(values)):.1f}"
