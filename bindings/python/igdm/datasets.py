"""Labelled images: from arrays, HDF5, folders of images, and the files of MNIST, CIFAR, SVHN and Tiny-ImageNet.

A Dataset lives in the memory of the C library, 8 bits a value where the source has 8 bits, or is streamed from HDF5.
``len(data)``, ``data[:1000]`` (shares the images), ``data[7]`` (one image and its label) and ``data.read()`` work as on
a sequence; ``data.select(numbers)`` and ``data.hold_out(0.1)`` share the images too, and so does
``data.with_soft_labels(probabilities)``.
"""

from __future__ import annotations

import ctypes
import hashlib
import math
import operator
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _arrays as arrays
from . import _dataset_files as files
from . import _structures as structures
from ._arrays import Floats, Labels, pointer
from ._library import Handle, call, file_path
from ._optional import required
from ._structures import integer, number, text
from .convert.files import replacing
from .errors import InputOutputError, InvalidArgument, NotFoundError, ShapeError

Path_ = str | os.PathLike[str]

FASHION_MNIST_FOLDER = "/usr/share/datasets/fashion-mnist"  # of the Debian package dataset-fashion-mnist
FASHION_MNIST_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
CIFAR10_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip


class Dataset(Handle):
    """Images with labels. Made by the functions of this module."""

    _instead = "Make it again from its files, or pickle the arrays of read() and soft_labels."

    def __init__(
        self,
        handle: Any,
        source: dict[str, Any],
        class_names: Sequence[str] | None = None,
        origin: Dataset | None = None,
    ) -> None:
        super().__init__(handle, "igdm_dataset_release")
        self._origin = origin
        info = structures.DatasetInfo(struct_size=ctypes.sizeof(structures.DatasetInfo))
        call("igdm_dataset_get_info", handle, info)
        self._count: int = info.count
        self.classes: int = info.classes
        """Labels are 0 .. classes-1."""
        self.image_shape: tuple[int, int, int] = (info.channels, info.height, info.width)
        """Channels, height, width."""
        self.has_bytes = bool(info.has_bytes)
        """Whether values are bytes, which stand for byte / 255, and not floats."""
        self.has_soft_labels = bool(info.has_soft_labels)
        """Whether labels are probabilities: see with_soft_labels()."""
        self.class_names: tuple[str, ...] = tuple(map(str, class_names or range(self.classes)))
        if len(self.class_names) != self.classes:
            raise InvalidArgument(
                f"class_names: got {len(self.class_names)} names, want {self.classes}, one for each class"
            )
        self.source = source
        """Where the data came from, as open_source() takes it."""

    @property
    def is_on_disk(self) -> bool:
        """Whether open_source() finds the data again."""
        return self.source["kind"] in ("idx", "hdf5", "folder", *_PARTS)

    @property
    def origin(self) -> Dataset:
        """What this is a part of, or all of it where it is none; shares the images."""
        if self._origin is None:
            whole = structures.Dataset()
            call("igdm_dataset_subset", self._handle, 0, len(self), whole)
            self._origin = Dataset(whole, self.source, self.class_names)
        return self._origin

    def save(self, path: Path_) -> None:
        """Writes an HDF5 file with "images" and "labels", which hdf5(path, classes=data.classes) opens to the same
        bits, bytes as bytes; needs h5py."""
        h5py: Any = required("h5py")
        try:
            with replacing(Path(path), "path") as temporary, h5py.File(temporary, "w") as file:
                kind = "u1" if self.has_bytes else "f4"
                images = file.create_dataset("images", (len(self), *self.image_shape), kind)
                for first, block in self._blocks():
                    images[first : first + len(block)] = block
                file["labels"] = self.soft_labels if self.has_soft_labels else self.labels
        except (OSError, RuntimeError) as error:  # of h5py, which has no kinds of its own
            raise InputOutputError(f"path: {path} cannot be written: {error}") from None

    def digest(self) -> str:
        """SHA-256 of all that save() writes, in hexadecimal."""
        labels = self.soft_labels if self.has_soft_labels else self.labels
        about = f"{len(self)} {self.image_shape} {self.classes} {self.has_bytes} {labels.dtype}"
        found = hashlib.sha256(about.encode())
        for _, block in self._blocks():
            found.update(block.tobytes())
        found.update(labels.tobytes())
        return found.hexdigest()

    def _blocks(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """The images as the library keeps them, some at a time, with the number of the first."""
        for first in range(0, len(self), 1024):
            values = self.read(first, min(1024, len(self) - first))[0]
            yield first, np.rint(values * 255).astype(np.uint8) if self.has_bytes else values

    def close(self) -> None:
        """Releases the memory now, or with the last part of it. Parts stay usable; a second call does nothing."""
        self._origin = None
        super().close()

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: slice) -> Dataset: ...

    @overload
    def __getitem__(self, index: int) -> tuple[Floats, int]: ...

    def __getitem__(self, index: slice | int) -> Dataset | tuple[Floats, int]:
        """A slice gives a Dataset that shares the images, a number one image (C, H, W) and its label."""
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step != 1:
                raise InvalidArgument(f"slice: got step {step}, want 1; select() takes any samples")
            return self._subset(start, stop - start)
        position = operator.index(index)
        if not -len(self) <= position < len(self):
            raise IndexError(f"index: got {position}, want one inside the {len(self)} samples")
        images, labels = self.read(position % len(self), 1)
        return images[0], int(labels[0])

    def select(self, samples: ArrayLike) -> Dataset:
        """The samples with these numbers, in this order; shares the images. A number may come several times."""
        numbers = np.asarray(samples)
        if numbers.ndim != 1 or (numbers.size and not np.issubdtype(numbers.dtype, np.integer)):
            raise InvalidArgument(f"samples: got {numbers.dtype} of shape {numbers.shape}, want a list of integers")
        chosen = np.ascontiguousarray(numbers, np.int64)
        selection = structures.Dataset()
        call("igdm_dataset_select", self._handle, pointer(chosen), chosen.size, selection)
        source = self._part({"samples": chosen.tolist(), "count": len(chosen)})
        return Dataset(selection, source, self.class_names, self.origin)

    def hold_out(self, size: float, *, stratified: bool = True) -> tuple[Dataset, Dataset]:
        """Two parts, to train and to validate with: the others and those held out. Nothing is random.

        size        how many samples to hold out; below 1: that part of them
        stratified  of each class its part, as near as whole samples allow, the last ones of it; False: the last samples
        """
        wanted = number("size", size)
        count = round(wanted * len(self) if wanted < 1 else wanted) if math.isfinite(wanted) else 0
        if not 1 <= count < len(self):
            raise InvalidArgument(
                f"size: got {wanted:g}, want 1 ... {len(self) - 1} of {len(self)} samples, or a part of them below 1"
            )
        if not stratified:
            return self[:-count], self[-count:]
        others, held = structures.Dataset(), structures.Dataset()
        call("igdm_dataset_hold_out", self._handle, count, others, held)
        parts = ((others, "others", len(self) - count), (held, "held out", count))
        first, second = (
            Dataset(
                handle, self._part({"hold_out": count, "take": name, "count": length}), self.class_names, self.origin
            )
            for handle, name, length in parts
        )
        return first, second

    def with_soft_labels(self, soft_labels: ArrayLike) -> Dataset:
        """This data with probabilities for labels, such as a teacher's; shares the images.

        soft_labels  (N, classes) probabilities, at least 0, each row of sum 1 (but for 0.01)

        Training compares with them in the cross-entropy of outer losses: that of "pgd-at", "trades", "akd", and of
        "ard" with adversarial_weight below 1. Everything else takes the most probable class, and so do `labels` and
        read().
        """
        rows = arrays.soft_labels("soft_labels", soft_labels, len(self), self.classes)
        labelled = structures.Dataset()
        call("igdm_dataset_with_soft_labels", self._handle, pointer(rows), labelled)
        # No known kind: what is recorded cannot be opened again without them.
        kind = self.source["kind"].removesuffix(" with soft labels") + " with soft labels"
        return Dataset(labelled, {"kind": kind}, self.class_names)

    @property
    def soft_labels(self) -> Floats:
        """Probabilities of the classes, (N, classes); without soft labels 1 for the label."""
        rows = np.empty((len(self), self.classes), np.float32)
        call("igdm_dataset_read_soft_labels", self._handle, 0, len(self), pointer(rows))
        return rows

    def read(self, first: int = 0, count: int | None = None) -> tuple[Floats, Labels]:
        """Images (count, C, H, W) as float32 in [0,1], and labels (count). `count` None: all from `first` on."""
        first = integer("first", first)
        count = len(self) - first if count is None else integer("count", count)
        if first < 0 or count < 0 or first + count > len(self):
            raise InvalidArgument(f"count: got {count} from {first} on, want a part of the {len(self)} samples")
        images = np.empty((count, *self.image_shape), np.float32)
        labels = np.empty(count, np.int64)
        call("igdm_dataset_read", self._handle, first, count, pointer(images), pointer(labels))
        return images, labels

    @property
    def labels(self) -> Labels:
        """All labels."""
        labels = np.empty(len(self), np.int64)
        call("igdm_dataset_read", self._handle, 0, len(self), None, pointer(labels))
        return labels

    @property
    def images(self) -> Floats:
        """All images as one float32 array: four times the memory of 8-bit data. See read() for a part."""
        return self.read()[0]

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.image_shape))
        state = ", closed" if self.closed else ""
        return f"<igdm.Dataset {self.source['kind']}, {len(self):,} images {shape}, {self.classes} classes{state}>"

    def _subset(self, first: int, count: int) -> Dataset:
        if count < 1:
            raise InvalidArgument(f"slice: got no samples of {len(self)}, want at least one")
        subset = structures.Dataset()
        call("igdm_dataset_subset", self._handle, first, count, subset)
        if "parts" in self.source:
            return Dataset(subset, self._part({"first": first, "count": count}), self.class_names, self.origin)
        source = dict(self.source, first=self.source.get("first", 0) + first, count=count)
        return Dataset(subset, source, self.class_names, self.origin)

    def _part(self, part: dict[str, Any]) -> dict[str, Any]:
        """The source of a part of this dataset."""
        return dict(self.source, parts=[*self.source.get("parts", []), part])


class TrainTest(NamedTuple):
    """The two parts that many datasets come in."""

    train: Dataset
    test: Dataset


def from_arrays(
    images: ArrayLike, labels: ArrayLike, classes: int | None = None, class_names: Sequence[str] | None = None
) -> Dataset:
    """A Dataset of arrays, which are copied.

    images   (N, C, H, W): float32 in [0,1], or uint8 in 0 .. 255; C-contiguous
    labels   (N): integers in 0 .. classes-1; or (N, classes): floating-point probabilities, see with_soft_labels()
    classes  largest label + 1 where left out; of probabilities their number
    """
    pixels = arrays.pixels("images", images, allow_bytes=True)
    if pixels.ndim != 4:
        raise ShapeError(
            f"images: got shape {pixels.shape}, want (N, C, H, W); (N, H, W) becomes it by images[:, None]"
        )
    if not len(pixels):
        raise InvalidArgument(f"images: got none, of shape {pixels.shape}, want at least one")
    if arrays.is_soft(labels):
        width = np.shape(labels)[1] if classes is None else integer("classes", classes)
        rows = arrays.soft_labels("labels", labels, len(pixels), max(width, 2))
        plain = from_arrays(pixels, np.zeros(len(pixels), np.int64), width, class_names)
        return plain.with_soft_labels(rows)
    integers = arrays.labels("labels", labels, len(pixels))
    if classes is None:
        classes = max(int(integers.max(initial=0)) + 1, 2)
    made = structures.Dataset()
    function = "igdm_dataset_from_bytes" if pixels.dtype == np.uint8 else "igdm_dataset_from_floats"
    call(
        function, pointer(pixels), pointer(integers), len(pixels), *pixels.shape[1:], integer("classes", classes), made
    )
    return Dataset(made, {"kind": "arrays"}, class_names)


def idx(images: Path_, labels: Path_, classes: int = 10, class_names: Sequence[str] | None = None) -> Dataset:
    """MNIST's IDX files, plain or gzip-compressed."""
    opened = structures.Dataset()
    call(
        "igdm_dataset_open_idx", file_path("images", images), file_path("labels", labels),
        integer("classes", classes), opened,
    )  # fmt: skip
    source = {"kind": "idx", "images": _absolute(images), "labels": _absolute(labels), "classes": classes}
    return Dataset(opened, source, class_names)


def hdf5(
    path: Path_, images: str = "images", labels: str = "labels", classes: int | None = None, *, stream: bool = False
) -> Dataset:
    """An HDF5 file with images (N, C, H, W), uint8 or float32 in [0,1], and integer labels (N) or soft ones
    (N, classes).

    images, labels  names of the two inside the file, such as "train/images"
    classes         largest label + 1 where left out; of soft labels their number
    stream          leave the images in the file, for data larger than the memory: each batch reads its own. Results are
                    the same bits. Best are chunks of one or a few images, or none; a file that is written to or damaged
                    meanwhile is a FormatError or InputOutputError, which names the rows
    """
    opened = structures.Dataset()
    number = 0 if classes is None else integer("classes", classes)
    call(
        "igdm_dataset_stream_hdf5" if stream else "igdm_dataset_open_hdf5",
        file_path("path", path),
        text("images", images),
        text("labels", labels),
        number,
        opened,
    )
    source = {"kind": "hdf5", "path": _absolute(path), "images": images, "labels": labels, "classes": classes}
    if stream:
        source["stream"] = True
    return Dataset(opened, source)


def fashion_mnist(folder: Path_ | None = None) -> TrainTest:
    """Fashion-MNIST (Xiao, Rasul, Vollgraf 2017), 28x28, 10 classes: 60,000 images to train and 10,000 to test.

    folder  with the four IDX files, plain or .gz; where left out, that of the Debian package dataset-fashion-mnist
    """
    return _both("fashion-mnist", FASHION_MNIST_FOLDER if folder is None else folder)


def _fashion_mnist_part(folder: Path, split: str) -> Dataset:
    if not folder.is_dir():
        raise NotFoundError(
            f"fashion_mnist: no folder {folder}; install the Debian package dataset-fashion-mnist, or give the folder "
            "with the four IDX files"
        )
    prefix = "train" if split == "train" else "t10k"
    images, labels = (
        _plain_or_compressed(folder / f"{prefix}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1")
    )
    return idx(images, labels, class_names=FASHION_MNIST_CLASSES)


def _plain_or_compressed(path: Path) -> Path:
    return path if path.exists() else path.with_name(path.name + ".gz")


def cifar10(folder: Path_) -> TrainTest:
    """CIFAR-10 (Krizhevsky 2009) from its unpacked folder, cifar-10-batches-bin or cifar-10-batches-py."""
    return _both("cifar10", folder)


def cifar100(folder: Path_) -> TrainTest:
    """CIFAR-100 (Krizhevsky 2009), fine labels, from its unpacked folder, cifar-100-binary or cifar-100-python."""
    return _both("cifar100", folder)


def _cifar_part(folder: Path, split: str, classes: int) -> Dataset:
    if (folder / ("batches.meta" if classes == 10 else "meta")).exists():
        return _from_samples(files.cifar_batches(folder, classes, split))
    opened = structures.Dataset()
    call("igdm_dataset_open_cifar", file_path("folder", folder), classes, split.encode(), opened)
    return Dataset(opened, {}, CIFAR10_CLASSES if classes == 10 else None)


def svhn(folder: Path_) -> TrainTest:
    """SVHN (Netzer et al. 2011), 32x32, the digits 0 .. 9, from train_32x32.mat and test_32x32.mat; needs SciPy."""
    return _both("svhn", folder)


def tiny_imagenet(folder: Path_) -> TrainTest:
    """Tiny-ImageNet, 64x64, 200 classes, from the unpacked folder tiny-imagenet-200; needs Pillow.

    Its validation images are the test part: those of its own test part have no labels.
    """
    return _both("tiny-imagenet", folder)


_PARTS: dict[str, Callable[[Path, str], Dataset]] = {
    "fashion-mnist": _fashion_mnist_part,
    "cifar10": lambda folder, split: _cifar_part(folder, split, 10),
    "cifar100": lambda folder, split: _cifar_part(folder, split, 100),
    "svhn": lambda folder, split: _from_samples(files.svhn_part(folder, split)),
    "tiny-imagenet": lambda folder, split: _from_samples(
        files.tiny_imagenet_part(folder, "train" if split == "train" else "val")
    ),
}
"""Data sets in a folder of their own, with a part to train and one to test."""


def _both(kind: str, folder: Path_) -> TrainTest:
    return TrainTest(_part(kind, folder, "train"), _part(kind, folder, "test"))


def _part(kind: str, folder: Path_, split: str) -> Dataset:
    data = _PARTS[kind](Path(os.fsdecode(folder)), split)
    data.source = {"kind": kind, "folder": _absolute(folder), "split": split}
    return data


def _from_samples(samples: files.Samples) -> Dataset:
    return from_arrays(samples.images, samples.labels, len(samples.class_names), samples.class_names)


def image_folder(folder: Path_, size: Sequence[int] | None = None) -> Dataset:
    """A folder with one folder of images for each class, as torchvision's ImageFolder has it; needs Pillow.

    size  (height, width) to which images are scaled; where left out, all have to be equally large
    """
    wanted = files.checked_size(size)
    data = _from_samples(files.folder_of_classes(Path(os.fsdecode(folder)), wanted))
    data.source = {"kind": "folder", "folder": _absolute(folder), "size": wanted}
    return data


SPECIFICATIONS = (
    "fashion-mnist[:FOLDER], cifar10:FOLDER, cifar100:FOLDER, svhn:FOLDER, tiny-imagenet:FOLDER, "
    "idx:IMAGES,LABELS, hdf5:FILE[,IMAGES,LABELS], hdf5-stream:FILE[,IMAGES,LABELS], folder:FOLDER[,HEIGHT,WIDTH]"
)


def open_specification(specification: str) -> TrainTest | Dataset:
    """Data from a word of the command line: see SPECIFICATIONS."""
    kind, _, rest = specification.partition(":")
    parts = rest.split(",") if rest else []
    if kind == "fashion-mnist" and not parts:
        return fashion_mnist()
    if kind in _PARTS and len(parts) == 1:
        return _both(kind, rest)
    if kind == "idx" and len(parts) == 2:
        return idx(parts[0], parts[1])
    if kind in ("hdf5", "hdf5-stream") and len(parts) in (1, 3):
        return hdf5(*parts, stream=kind == "hdf5-stream")
    if kind == "folder" and len(parts) == 1:
        return image_folder(rest)
    if kind == "folder" and len(parts) == 3 and all(part.isdecimal() for part in parts[1:]):
        return image_folder(parts[0], size=[int(part) for part in parts[1:]])
    raise InvalidArgument(f'data: got "{specification}", want one of {SPECIFICATIONS}')


def open_source(source: dict[str, Any]) -> Dataset:
    """The Dataset that Dataset.source describes, so that a recorded run finds its data again."""
    kind = source.get("kind")
    if kind == "idx":
        data = idx(source["images"], source["labels"], source["classes"])
    elif kind == "hdf5":
        data = hdf5(
            source["path"], source["images"], source["labels"], source["classes"], stream=source.get("stream", False)
        )
    elif kind == "folder":
        data = image_folder(source["folder"], source["size"])
    elif kind in _PARTS:
        data = _part(kind, source["folder"], source["split"])
    else:
        raise InvalidArgument(f"data: got a source of kind {kind!r}, which is not on disk; give the data anew")
    if "count" in source:
        data = _slice(data, source)
    for part in source.get("parts", []):
        data = _open_part(data, part)
    return data


def _open_part(data: Dataset, part: dict[str, Any]) -> Dataset:
    if "samples" in part:
        return data.select(part["samples"])
    if "hold_out" in part:
        others, held = data.hold_out(part["hold_out"])
        return held if part["take"] == "held out" else others
    return _slice(data, part)


def _slice(data: Dataset, part: dict[str, Any]) -> Dataset:
    return data[part["first"] : part["first"] + part["count"]]


def require_dataset(name: str, value: object) -> Dataset:
    """`value`, which must be a Dataset."""
    if isinstance(value, TrainTest):
        raise TypeError(f"{name}: got a pair of datasets, want one: .train or .test")
    if not isinstance(value, Dataset):
        raise TypeError(f"{name}: got {type(value).__name__}, want igdm.Dataset; datasets.from_arrays() makes one")
    return value


def _absolute(path: Path_) -> str:
    return str(Path(os.fsdecode(path)).absolute())
