"""Common corruptions (Hendrycks and Dietterich 2019, arXiv 1903.12261): images with them, accuracy on such images."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from . import _arrays as arrays
from ._arrays import Floats, pointer
from ._library import call
from ._structures import integer, positive, text
from .attacks import Watcher
from .datasets import Dataset, require_dataset
from .errors import Cancelled, InvalidArgument, ShapeError
from .evaluation import format_table
from .hosts import HostModel, attacked, host_logits
from .models import Model
from .progress import Display, Progress, duration

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
    indices   (N) places of the samples in their dataset, which with the seed decide random numbers; None = 0, 1, ...
    """
    if isinstance(images, Dataset):
        raise TypeError("images: got a Dataset, want an array: read()[0] or images of it")
    batch = arrays.pixels("images", images)
    if batch.ndim != 4:
        hint = "; add the batch axis with images[None]" if batch.ndim == 3 else ""
        raise ShapeError(f"images: got shape {batch.shape}, want (N, C, H, W){hint}")
    places = None if indices is None else arrays.labels("indices", indices, len(batch))
    corrupted = np.empty_like(batch)
    call(
        "igdm_corrupt", pointer(batch), len(batch), *batch.shape[1:], text("name", name), integer("severity", severity),
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
        """Over all corruptions and severities."""
        return float(np.mean(list(self.accuracy.values())))

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for json.dump()."""
        return asdict(self) | {"mean": self.mean}

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
    names: Iterable[str] = NAMES,
    severities: Iterable[int] = SEVERITIES,
    count: int | None = None,
    batch_size: int = 128,
    seed: int = 0,
    progress: bool | None = None,
    callback: Watcher | None = None,
) -> Corruptions:
    """Measures accuracy on images with each corruption at each severity: of all images, as on CIFAR-10-C, whether or
    not they are classified correctly clean. (evaluate(attacks="fog-3") counts those that are not as misclassified.)

    names       some of the fifteen
    severities  some of 1 ... 5
    count       the first so many samples; None or 0 = all
    batch_size  changes speed and memory only
    seed        of the random ones. With it a sample's number in `data` as given decides: parts do not keep the
                numbers of the whole here
    progress    True, False, or None = on a terminal
    callback    called with a Progress after each batch of each corruption and severity, whose stage is "fog-3"; a true
                result stops, and Cancelled is raised

    An exception that comes on the way has as its attribute `partial` the Corruptions so far: those that are through
    all severities.
    """
    require_dataset("data", data)
    chosen = tuple(_each("names", names, _name))
    levels = tuple(_each("severities", severities, _severity))
    count = integer("count", 0 if count is None else count)
    if not 0 <= count <= len(data):
        raise InvalidArgument(f"count: got {count}, want 0 (all) ... {len(data)}")
    count = count or len(data)
    size = positive("batch_size", batch_size)
    seed = integer("seed", seed, ctypes.c_uint64)
    predict = _prediction(model, data)
    began = time.monotonic()
    clean, accuracy = 0.0, dict[str, tuple[float, ...]]()

    def result() -> Corruptions:
        return Corruptions(clean, accuracy, levels, count, seed, time.monotonic() - began)

    stages = 1 + len(chosen) * len(levels)
    ended = 0
    with Display(progress) as display:

        def measure(name: str, level: int | None) -> float:
            nonlocal ended
            stage = name if level is None else f"{name}-{level}"
            correct, start = 0, time.monotonic()
            for first in range(0, count, size):
                images, labels = data.read(first, min(size, count - first))
                if level is not None:
                    places = np.arange(first, first + len(images))
                    images = corrupt(images, name, level, seed=seed, indices=places)
                correct += int(np.sum(np.argmax(predict(images, first), axis=1) == labels))
                done, seconds = first + len(images), time.monotonic() - start
                whole = (ended + done / count) / stages
                left = (time.monotonic() - began) / whole * (1 - whole)
                display.update(stage, done, count, f"{ended + 1} of {stages}, {duration(left)} left")
                if callback and callback(Progress(stage, done, count, seconds, seconds / done * (count - done))):
                    raise Cancelled(f"the callback asked to stop after {done} of {count} samples of {stage}")
            ended += 1
            return correct / count

        try:
            clean = measure("clean", None)
            for name in chosen:
                start = time.monotonic()
                accuracy[name] = tuple([measure(name, level) for level in levels])
                display.line(f"{name}: {count} samples, {time.monotonic() - start:.1f} s")
        except BaseException as error:
            if accuracy:
                error.partial = result()  # type: ignore[attr-defined]
            raise
    return result()


def _each(argument: str, values: Iterable[Any], checked: Callable[[Any], Any]) -> list[Any]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"{argument}: got {values!r}, want a list")
    found = [checked(value) for value in values]
    if not found:
        raise InvalidArgument(f"{argument}: got none, want at least one")
    for place, value in enumerate(found):
        if value in found[:place]:
            raise InvalidArgument(f"{argument}: got {value!r} twice, want each once")
    return found


def _name(value: Any) -> str:
    name = text("names", value).decode()
    if name not in NAMES:
        raise InvalidArgument(f"names: got {name!r}, want some of {', '.join(NAMES)}")
    return name


def _severity(value: Any) -> int:
    level = positive("severities", value)
    if level not in SEVERITIES:
        raise InvalidArgument(f"severities: got {level}, want some of 1 ... 5")
    return level


def _prediction(model: Model | HostModel, data: Dataset) -> Callable[[Floats, int], Floats]:
    """Logits of images, of which the first has that number; after a look at whether the model fits the data."""
    with attacked("model", model) as under:
        classes, shape = under.classes, tuple(under.input_shape)
    if (shape, classes) != (data.image_shape, data.classes):
        raise ShapeError(
            f"model: takes images {shape} in {classes} classes, the dataset has {data.image_shape} in {data.classes}"
        )
    if isinstance(model, HostModel):
        return partial(host_logits, model)
    return lambda images, _: model.predict(images)
