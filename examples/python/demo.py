"""The main job on real images: distil a small robust student from a robust teacher, with and without IGDM.

    make demo        or, with the library built and igdm importable:    python examples/python/demo.py

Trains the same student twice from the same seed, by ARD and by ARD with IGDM, on Fashion-MNIST; measures both and the
teacher under attack; prints the comparison; leaves in the output folder last.h5 (with IGDM), base.h5 (without),
metrics.csv, config.json (repeat with `python -m igdm distill --config`), results.json and report.html. With several
seeds the table has mean and standard deviation, and files and report are those of the first seed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import igdm
from igdm import report, runs
from igdm.evaluation import Evaluation, format_table
from igdm.options import TrainingOptions

# The budget. Every number can be changed on the command line.
TRAIN_COUNT = 10_000  # of the 60,000 training images
VALIDATION_COUNT = 1_000  # the last training images, for the curves; never trained on
EVAL_COUNT = 1_000  # of the 10,000 test images, for the table
EPOCHS = 5
SEEDS = [0]

# The student.
ARCHITECTURE = "resnet8"
WIDTH = 8

# The method. The mirror x-d is clipped to [0,1]: most pixels of Fashion-MNIST lie on the border of the box.
IGDM = 3.0
MIRROR = "clip"
MIRROR_STATISTICS = False  # and its pass leaves the running statistics alone: see docs/results.md
EPS = 0.1
STEP = 0.03
STEPS = 5
BATCH_SIZE = 128
LEARNING_RATE = 0.2
SCHEDULE = "onecycle"
CROP_PADDING = 2

ATTACKS = ["fgsm", "pgd-20", "cw"]
BASE, WITH_IGDM, TEACHER = "ARD", "ARD + IGDM", "teacher"

CHECKOUT = Path(__file__).resolve().parents[2]


def training_options(alpha: float, seed: int) -> TrainingOptions:
    """How the demo's students are trained; alpha 0 is plain ARD."""
    return TrainingOptions(
        method="ard", igdm=alpha, mirror=MIRROR, mirror_statistics=MIRROR_STATISTICS, eps=EPS, step=STEP, steps=STEPS,
        epochs=EPOCHS, batch_size=BATCH_SIZE, learning_rate=LEARNING_RATE, schedule=SCHEDULE,
        crop_padding=CROP_PADDING, seed=seed,
    )  # fmt: skip


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--teacher", default=CHECKOUT / "examples" / "data" / "fashion_teacher.h5", metavar="FILE")
    parser.add_argument("--output", default=CHECKOUT / "runs" / "demo", type=Path, metavar="FOLDER")
    parser.add_argument("--train-count", type=int, default=TRAIN_COUNT, metavar="N")
    parser.add_argument("--validation-count", type=int, default=VALIDATION_COUNT, metavar="N")
    parser.add_argument("--eval-count", type=int, default=EVAL_COUNT, metavar="N")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, metavar="SEED")
    parser.add_argument("--architecture", default=ARCHITECTURE)
    parser.add_argument("--width", type=int, default=WIDTH)
    parser.add_argument("--igdm", type=float, default=IGDM, help="alpha")
    parser.add_argument("--mirror", default=MIRROR)
    parser.add_argument("--learning-rate", type=float, default=LEARNING_RATE)
    parser.add_argument("--schedule", default=SCHEDULE)
    return parser.parse_args()


def main() -> None:
    given = parse()
    begin = time.monotonic()
    data = igdm.datasets.fashion_mnist()
    if given.validation_count < 1 or given.train_count + given.validation_count > len(data.train):
        sys.exit(f"--train-count and --validation-count: want at least 1 each, at most {len(data.train)} together")
    train, validation = data.train[: given.train_count], data.train[-given.validation_count :]
    test = data.test[: given.eval_count]
    teacher = igdm.Model.load(given.teacher)

    def distil(seed: int, alpha: float, folder: Path | None = None) -> igdm.Run:
        student = igdm.Model(
            given.architecture, classes=train.classes, input_shape=train.image_shape, width=given.width, seed=seed
        )
        options = training_options(alpha, seed)
        options.update(
            mirror=given.mirror, epochs=given.epochs, learning_rate=given.learning_rate, schedule=given.schedule
        )
        return igdm.distill(
            student, teacher, train, validation=validation, run_dir=folder, overwrite=True, progress=True, **options
        )

    def measure(model: igdm.Model) -> Evaluation:
        return igdm.evaluate(
            model, test, attacks=ATTACKS, eps=EPS, progress=True, teacher=None if model is teacher else teacher
        )

    evaluations: dict[str, list[Evaluation]] = {BASE: [], WITH_IGDM: []}
    pairs = []
    for seed in given.seeds:
        heading(f"{BASE}, seed {seed}")
        base = distil(seed, 0.0)
        heading(f"{WITH_IGDM}, seed {seed}")
        ours = distil(seed, given.igdm, given.output if not pairs else None)
        heading(f"attacking the students of seed {seed}")
        evaluations[BASE].append(measure(base.student))
        evaluations[WITH_IGDM].append(measure(ours.student))
        pairs.append((base, ours))
    heading("attacking the teacher")
    evaluations[TEACHER] = [measure(teacher)]

    print(f"\n{comparison(evaluations)}\n")
    print(f"{len(test)} test images, eps {EPS}, {len(given.seeds)} seed(s): {', '.join(map(str, given.seeds))}")

    base, ours = pairs[0]
    base.student.save(given.output / "base.h5")
    runs.write_metrics(
        given.output / "metrics.csv",
        [{"run": name, **row} for name, run in ((BASE, base), (WITH_IGDM, ours)) for row in run.history],
    )
    runs.write_json(
        given.output / "results.json",
        {"seeds": given.seeds, **{name: [one.to_dict() for one in all_] for name, all_ in evaluations.items()}},
    )
    rival = report.Contender(BASE, base.student, base.history, evaluations[BASE][0])
    report.write(
        given.output / "report.html",
        "ARD with and without IGDM on Fashion-MNIST",
        [
            rival,
            report.Contender(WITH_IGDM, ours.student, ours.history, evaluations[WITH_IGDM][0], base=rival),
            report.Contender(TEACHER, evaluation=evaluations[TEACHER][0]),
        ],
        subtitle="Two students with the same initial weights, data and seed, distilled from the same robust teacher.",
        configuration=report.describe(ours.student, teacher, train, ours.options),
        gallery=report.Gallery(test, {"eps": EPS, "steps": 20}, "PGD-20", teacher),
    )
    print(f"report: {given.output / 'report.html'}")
    print(f"time:   {igdm.progress.duration(time.monotonic() - begin)}")


def heading(text: str) -> None:
    print(f"\n== {text}", flush=True)


def comparison(evaluations: dict[str, list[Evaluation]]) -> str:
    """Percentages and cosines of base, +IGDM, their difference seed by seed, and the teacher."""

    def row(title: str, values: dict[str, list[float]], digits: int) -> list[str]:
        differences = [new - old for old, new in zip(values[BASE], values[WITH_IGDM], strict=True)]
        columns = [values[BASE], values[WITH_IGDM], differences, values.get(TEACHER, [])]
        return [title, *(spread(column, digits, signed=column is differences) for column in columns)]

    rows = [
        row(name + ", %", {who: [100 * one.accuracy[name] for one in all_] for who, all_ in evaluations.items()}, 2)
        for name in evaluations[BASE][0].accuracy
    ]
    students = {who: evaluations[who] for who in (BASE, WITH_IGDM)}
    cosines = {who: [one.gradient_cosine or 0.0 for one in all_] for who, all_ in students.items()}
    rows.append(row("gradient cosine", cosines, 3))
    return format_table(["", BASE, WITH_IGDM, "difference", TEACHER], rows)


def spread(values: list[float], digits: int, signed: bool) -> str:
    """Mean, and standard deviation where there are several values."""
    if not values:
        return ""
    mean = f"{statistics.fmean(values):{'+' if signed else ''}.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


if __name__ == "__main__":
    try:
        main()
    except igdm.IgdmError as error:
        sys.exit(f"demo: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
