"""Common corruptions (Hendrycks and Dietterich 2019, arXiv 1903.12261): images with them, and accuracy on such images."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from . import _arrays as arrays
from ._arrays import Floats, pointer
from ._library import call
from ._structures import integer, positive
from .attacks import Watcher
from .datasets import Dataset, require_dataset
from .errors import Cancelled, InvalidArgument, ShapeError
from .evaluation import format_table
from .hosts import HostModel, attacked, host_logits
from .models import Model
from .progress import Display, Progress

NAMES = (
    "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "snow",
    "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression",
)  # fmt: skip
"""In the order of the paper."""

SEVERITIES = (1, 2, 3, 4, 5)


def corrupt(
    images: ArrayLike, name: str, severity: int = 5, *, seed: int = 0, indices: ArrayLike | None = None
) -> Floats:
    """Images with a common corruption, with the constants of CIFAR-10-C: (N, C, H, W) float32 in [0,1].

    images    (N, C, H, W) float32 in [0,1], of any size
    name      one of the fifteen: "fog", "jpeg_compression", ...
    severity  1 ... 5
    seed      of the random ones
    indices   (N) places of the samples in their dataset, which with the seed decide the random numbers; None = 0, 1, ...
    """
    batch = arrays.pixels("images", images)
    if batch.ndim != 4:
        hint = "; add the batch axis with images[None]" if batch.ndim == 3 else ""
        raise ShapeError(f"images: got shape {batch.shape}, want (N, C, H, W){hint}")
    if not isinstance(name, str):
        raise TypeError(f"name: got {type(name).__name__}, want the name of a corruption")
    places = None if indices is None else arrays.labels("indices", indices, len(batch))
    corrupted = np.empty_like(batch)
    call(
        "igdm_corrupt", pointer(batch), len(batch), *batch.shape[1:], name.encode(), integer("severity", severity),
        integer("seed", seed, ctypes.c_uint64), None if places is None else pointer(places), pointer(corrupted),
    )  # fmt: skip
    return corrupted


@dataclass(frozen=True)
class Corruptions:
    """The result of evaluate_corruptions(). ``print(result)`` shows the table."""

    clean: float
    """Accuracy on the images as they are, in [0,1]."""
    accuracy: dict[str, tuple[float, ...]]
    """For each corruption the accuracy at each of the severities, in [0,1]."""
    severities: tuple[int, ...]
    count: int
    """The number of samples."""
    seed: int
    seconds: float

    @property
    def mean(self) -> float:
        """Over all corruptions and severities: RobustBench's accuracy for the threat "corruptions"."""
        return float(np.mean([value for values in self.accuracy.values() for value in values]))

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for json.dump()."""
        return {**asdict(self), "severities": list(self.severities), "mean": self.mean}

    def __str__(self) -> str:
        def cells(name: str, values: Sequence[float]) -> list[str]:
            return [name, *(f"{100 * value:.2f} %" for value in [*values, float(np.mean(values))])]

        rows = [cells(name, values) for name, values in self.accuracy.items()]
        by_severity = np.mean(list(self.accuracy.values()), axis=0)
        table = format_table(["severity", *map(str, self.severities), "mean"], [*rows, cells("mean", by_severity)])
        return f"{table}\nclean {100 * self.clean:.2f} %, {self.count} samples, {self.seconds:.1f} s"


def evaluate_corruptions(
    model: Model | HostModel,
    data: Dataset,
    *,
    names: Sequence[str] = NAMES,
    severities: Sequence[int] = SEVERITIES,
    count: int | None = None,
    batch_size: int = 128,
    seed: int = 0,
    progress: bool | None = None,
    callback: Watcher | None = None,
) -> Corruptions:
    """Measures accuracy on images with each corruption at each severity, as on CIFAR-10-C: of all images, whether or
    not they are classified correctly clean. (evaluate(attacks="fog-3") counts those as misclassified.)

    count       the first so many samples; None = all. They are numbered from 0, in `data` as it is given
    batch_size  changes speed and memory only
    progress    True, False, or None = on a terminal
    callback    called with a Progress after each batch; a true result stops, and Cancelled is raised
    """
    require_dataset("data", data)
    count = len(data) if count is None else min(positive("count", count), len(data))
    positive("batch_size", batch_size)
    for name, values in (("names", names), ("severities", severities)):
        if isinstance(values, str) or not len(values):
            raise InvalidArgument(f"{name}: got {values!r}, want a list")
    for name in names:
        if name not in NAMES:
            raise InvalidArgument(f"names: got {name!r}, want some of {', '.join(NAMES)}")
    predict = _prediction(model, data)
    began = time.monotonic()
    labels = data.labels[:count]
    stages = [("clean", None, 0), *((f"{name}-{s}", name, s) for name in names for s in severities)]
    correct = dict.fromkeys((stage for stage, _, _ in stages), 0)
    with Display(progress) as display:
        for first in range(0, count, batch_size):
            images = data.read(first, min(batch_size, count - first))[0]
            places = np.arange(first, first + len(images))
            for number, (stage, name, severity) in enumerate(stages):
                inputs = images if name is None else corrupt(images, name, severity, seed=seed, indices=places)
                found = np.argmax(predict(inputs), axis=1)
                correct[stage] += int(np.sum(found == labels[first : first + len(images)]))
                done = first * len(stages) + (number + 1) * len(images)
                display.update("corruptions", done, count * len(stages))
                _tell(callback, done, count * len(stages), time.monotonic() - began)
        seconds = time.monotonic() - began
        display.line(f"corruptions: {len(stages) - 1} of {count} samples, {seconds:.1f} s")
    accuracy = {name: tuple(correct[f"{name}-{s}"] / count for s in severities) for name in names}
    return Corruptions(correct["clean"] / count, accuracy, tuple(severities), count, seed, seconds)


def _prediction(model: Model | HostModel, data: Dataset) -> Callable[[Floats], Floats]:
    """The model's logits; after a look at whether it fits the data."""
    with attacked("model", model) as under:
        classes, shape = under.classes, under.input_shape
    if data.image_shape != shape:
        raise ShapeError(f"data: got images of shape {data.image_shape}, want {shape}, which the model takes")
    largest = int(data.labels.max(initial=0))
    if largest >= classes:
        raise InvalidArgument(f"data: got a label {largest}, want 0 ... {classes - 1}: the model has {classes} classes")
    return model.predict if isinstance(model, Model) else partial(host_logits, model)


def _tell(callback: Watcher | None, done: int, total: int, seconds: float) -> None:
    if callback is None:
        return
    rest = seconds / done * (total - done)
    if callback(Progress("corruptions", done, total, seconds, rest)):
        raise Cancelled(f"the callback asked to stop after {done} of {total} images")
