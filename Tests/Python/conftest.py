"""Shared small data and models. The tests use the package of this checkout, whether or not it is installed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
BINDING = CHECKOUT / "bindings" / "python"
sys.path.insert(0, str(BINDING))

import igdm  # noqa: E402

SHAPE = (1, 12, 12)
CLASSES = 3


def make_arrays(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Noise with a bright band whose height is the class: learnt within a few steps."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, count)
    images = random.uniform(0.0, 0.4, (count, *SHAPE)).astype(np.float32)
    for image, label in zip(images, labels, strict=True):
        image[0, 4 * label : 4 * label + 4] += 0.5
    return images, labels


def make_model(seed: int = 0, architecture: str = "resnet8") -> igdm.Model:
    return igdm.Model(architecture, classes=CLASSES, input_shape=SHAPE, width=4, seed=seed)


TRAINING = dict(
    method="ard", eps=0.05, step=0.02, steps=2, epochs=2, batch_size=16, learning_rate=0.05, flip=False, crop_padding=0,
    validation_steps=2,
)  # fmt: skip


@pytest.fixture
def arrays() -> tuple[np.ndarray, np.ndarray]:
    return make_arrays(48)


@pytest.fixture
def data(arrays: tuple[np.ndarray, np.ndarray]) -> igdm.Dataset:
    return igdm.datasets.from_arrays(*arrays, classes=CLASSES)


@pytest.fixture
def model() -> igdm.Model:
    return make_model()


@pytest.fixture(scope="session")
def teacher() -> igdm.Model:
    """A model that has learnt the task."""
    made = make_model(seed=7)
    images, labels = make_arrays(256, seed=1)
    options = dict(TRAINING, method="pgd-at", epochs=6)
    igdm.distill(made, None, igdm.datasets.from_arrays(images, labels, classes=CLASSES), progress=False, **options)
    return made


@pytest.fixture
def hdf5_data(tmp_path: Path) -> Path:
    """The small data as an HDF5 file with a training and a test part."""
    import h5py

    path = tmp_path / "data.h5"
    with h5py.File(path, "w") as file:
        for part, seed in (("train", 0), ("test", 5)):
            images, labels = make_arrays(48, seed)
            file[f"{part}/images"], file[f"{part}/labels"] = images, labels.astype(np.int32)
    return path


@pytest.fixture
def python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs python with arguments in a process of its own, with the package importable."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            env=process_environment(**environment),
        )

    return run


def process_environment(**changes: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(BINDING), **changes}
