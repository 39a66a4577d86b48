"""Chooses the demo's alpha: trains the demo's student with each alpha of a grid and several seeds, and measures on
images that are neither trained on nor tested on (the training images before the demo's own validation set).

    PYTHONPATH=bindings/python python3 examples/python/choose_alpha.py

The table goes to docs/results.md. The test images are not looked at.
"""

from __future__ import annotations

import argparse
import statistics

import demo
import igdm

GRID = [0.0, 1.0, 3.0, 10.0]
SEEDS = [0, 1]
COUNT = 1_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--grid", type=float, nargs="+", default=GRID, metavar="ALPHA")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, metavar="SEED")
    parser.add_argument("--epochs", type=int, default=demo.EPOCHS)
    parser.add_argument("--train-count", type=int, default=demo.TRAIN_COUNT)
    parser.add_argument("--learning-rate", type=float, default=demo.LEARNING_RATE)
    parser.add_argument("--width", type=int, default=demo.WIDTH)
    given = parser.parse_args()

    data = igdm.datasets.fashion_mnist()
    end = len(data.train) - demo.VALIDATION_COUNT
    held_out = data.train[end - COUNT : end]
    teacher = igdm.Model.load(demo.CHECKOUT / "examples" / "data" / "fashion_teacher.h5")
    print("alpha  clean  pgd-20  cw     (mean over seeds, %)")
    for alpha in given.grid:
        rows = []
        for seed in given.seeds:
            student = igdm.Model(
                demo.ARCHITECTURE, classes=10, input_shape=data.train.image_shape, width=given.width, seed=seed
            )
            options = demo.training_options(alpha, seed)
            options.update(epochs=given.epochs, learning_rate=given.learning_rate)
            igdm.distill(student, teacher, data.train[: given.train_count], progress=False, **options)
            rows.append(igdm.evaluate(student, held_out, attacks=["pgd-20", "cw"], eps=demo.EPS, progress=False))
        means = [100 * statistics.fmean(row.accuracy[name] for row in rows) for name in ("clean", "pgd-20", "cw")]
        print(f"{alpha:5g}  " + "  ".join(f"{mean:5.2f}" for mean in means), flush=True)


if __name__ == "__main__":
    main()
