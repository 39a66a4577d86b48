"""Trains the teacher that ships as examples/data/fashion_teacher.h5: `make teacher`.

PGD adversarial training (Madry et al. 2018) of a ResNet-8 with 32 base channels on Fashion-MNIST. The last 5 000
training images are kept for validation; the first test images are looked at once, at the end.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import igdm

ARCHITECTURE = "resnet8"
WIDTH = 32
VALIDATION_COUNT = 5_000
TEST_COUNT = 1_000
EPSILON = 0.1
OPTIONS = dict(
    method="pgd-at", eps=EPSILON, step=0.03, steps=5, epochs=5, batch_size=128, seed=1,
    schedule="onecycle", learning_rate=0.2, weight_decay=5e-4, crop_padding=2, flip=True,
    validation_count=2_000, validation_steps=10,
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("examples/data/fashion_teacher.h5"))
    parser.add_argument("--train-count", type=int, help="train on the first so many images only")
    parser.add_argument("--epochs", type=int, default=OPTIONS["epochs"])
    arguments = parser.parse_args()

    data = igdm.datasets.fashion_mnist()
    validation = data.train[-VALIDATION_COUNT:]
    train = data.train[: arguments.train_count or len(data.train) - VALIDATION_COUNT]
    teacher = igdm.Model(ARCHITECTURE, classes=10, input_shape=(1, 28, 28), width=WIDTH, seed=1)
    options = dict(OPTIONS, epochs=arguments.epochs)
    igdm.distill(teacher, None, train, validation=validation, run_dir="runs/teacher", overwrite=True, **options)
    teacher.save(arguments.output)
    print(igdm.evaluate(teacher, data.test[:TEST_COUNT], attacks=["fgsm", "pgd-20", "cw"], eps=EPSILON))
    print(f"Saved {arguments.output}")


if __name__ == "__main__":
    main()
