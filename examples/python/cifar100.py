"""CIFAR-100 with the paper's settings (arXiv 2312.03286): a ResNet-18 distilled by AdaAD + IGDM from a robust teacher.

    python examples/python/cifar100.py --data cifar-100-binary --teacher teacher.h5

The data are Krizhevsky's binary or Python files; the teacher is a checkpoint, such as RobustBench's
Wang2023Better_WRN-28-10 (BDM-AT) through `python -m igdm convert`. First a warm-up on a copy of the student measures
what a step and a validation cost and says how long the whole training will take (--estimate: then stop). The same
command goes on with a run that was stopped, and `python -m igdm report FOLDER` shows it. --method takes every method
of the recipe, alone or with "+igdm".
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from pathlib import Path

import igdm
from igdm.progress import duration

STUDENT = "resnet18"
VALIDATION_COUNT = 1000  # of the test images, after each epoch: for the curves and best.h5


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, metavar="FOLDER", help="cifar-100-binary or cifar-100-python")
    parser.add_argument("--teacher", metavar="FILE", help="checkpoint; not for pgd-at and trades")
    parser.add_argument("--recipe", default="bdm-at", metavar="NAME", help="whose alpha: bdm-at, ltd or ikl-at")
    parser.add_argument("--method", default="adaad+igdm", metavar="NAME")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("runs/cifar100"), metavar="FOLDER")
    parser.add_argument("--warm-up", type=positive, default=3, metavar="N", help="steps to measure, after one more")
    parser.add_argument("--estimate", action="store_true", help="say how long it would take, and stop")
    parser.add_argument("--stop-after", type=int, metavar="N", help="stop the run after so many steps more")
    return parser.parse_args()


def main() -> None:
    given = parse()
    data = igdm.datasets.cifar100(given.data)
    validation = data.test[:VALIDATION_COUNT]
    teacher = None if given.teacher is None else igdm.Model.load(given.teacher)
    options = igdm.recipes.paper("cifar100", STUDENT, given.recipe, given.method) | {"seed": given.seed}
    student = igdm.Model(STUDENT, classes=100, input_shape=data.train.image_shape, seed=given.seed)
    print(f"{STUDENT} by {given.method}: {options['epochs']} epochs, {len(data.train):,} images", flush=True)

    step, check = measure(student.copy(), teacher, data.train, validation, options, given.warm_up)
    steps = -(-len(data.train) // options["batch_size"])
    whole = options["epochs"] * (steps * step + check)
    print(f"a step {step:.2f} s, {steps} steps an epoch, a validation {duration(check)}", flush=True)
    print(f"estimate for the whole training: {duration(whole)} ({whole / 86400:.1f} days)", flush=True)
    if given.estimate:
        return

    done = 0

    def is_enough(event: igdm.FitEvent) -> bool:
        nonlocal done
        done += event.kind == "step"
        return event.kind == "step" and done == given.stop_after

    try:
        igdm.distill(
            student, teacher, data.train, validation=validation, run_dir=given.output, resume=True, progress=True,
            callback=is_enough, **options,
        )  # fmt: skip
    except igdm.Cancelled:
        print(f"stopped after {done} steps; the same command goes on from {given.output / 'last.h5'}")


def measure(
    student: igdm.Model,
    teacher: igdm.Model | None,
    train: igdm.Dataset,
    validation: igdm.Dataset,
    options: dict[str, object],
    steps: int,
) -> tuple[float, float]:
    """Seconds for a step and for a validation. The first step, which takes memory, does not count."""
    times: list[float] = []

    def watch(event: igdm.FitEvent) -> bool:
        if event.kind == "step":
            times.append(time.monotonic())
        return len(times) > steps

    with igdm.Trainer(student, teacher, **options) as trainer:
        with contextlib.suppress(igdm.Cancelled):
            trainer.fit(train, callback=watch, progress=False)
        attack = f"pgd-{trainer.options['validation_steps']}"
    few = validation[: min(64, len(validation))]
    began = time.monotonic()
    igdm.evaluate(student, few, attacks=attack, eps=options["eps"], teacher=teacher, progress=False)
    check = (time.monotonic() - began) * len(validation) / len(few)
    return (times[-1] - times[0]) / max(len(times) - 1, 1), check


if __name__ == "__main__":
    try:
        main()
    except igdm.IgdmError as error:
        sys.exit(f"cifar100: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
