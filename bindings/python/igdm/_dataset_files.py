"""Data sets that come as pickles, MATLAB files or folders of images: their pixels and labels as arrays."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ._arrays import Labels
from ._optional import required
from .errors import FormatError, InputOutputError, InvalidArgument, NotFoundError

IMAGE_ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".webp")


class Samples(NamedTuple):
    """Images (N, C, H, W) of bytes, labels (N), and the names of the classes."""

    images: np.ndarray[Any, np.dtype[np.uint8]]
    labels: Labels
    class_names: Sequence[str]


def cifar_batches(folder: Path, classes: int, split: str) -> Samples:
    """CIFAR's Python version (Krizhevsky 2009): the folder cifar-10-batches-py or cifar-100-python."""
    if classes == 10:
        names = [f"data_batch_{i}" for i in range(1, 6)] if split == "train" else ["test_batch"]
        labels_key, meta, names_key = b"labels", "batches.meta", b"label_names"
    else:
        names, labels_key, meta, names_key = [split], b"fine_labels", "meta", b"fine_label_names"
    parts = [_cifar_batch(folder / name, labels_key) for name in names]
    described = _unpickle(folder / meta).get(names_key)
    if not isinstance(described, list) or len(described) != classes:
        raise FormatError(f"{folder / meta}: want {names_key.decode()}, a list of {classes} names")
    return Samples(
        np.concatenate([images for images, _ in parts]),
        np.concatenate([labels for _, labels in parts]),
        [name.decode("ascii", "replace") for name in described],
    )


def _cifar_batch(path: Path, labels_key: bytes) -> tuple[np.ndarray[Any, np.dtype[np.uint8]], Labels]:
    batch = _unpickle(path)
    data, labels = batch.get(b"data"), batch.get(labels_key)
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != 3072:
        raise FormatError(f"{path}: want data, a uint8 array (N, 3072)")
    if not isinstance(labels, list) or len(labels) != len(data) or not all(type(label) is int for label in labels):
        raise FormatError(f"{path}: want {labels_key.decode()}, a list of {len(data)} integers")
    return data.reshape(-1, 3, 32, 32), np.array(labels, np.int64)


class _ArraysOnly(pickle.Unpickler):
    """Reads arrays and plain values. A pickle can name any function to be called: others than those that make arrays
    are refused."""

    def find_class(self, module: str, name: str) -> Any:
        # Old and new names of numpy's modules, and what its arrays ask for from protocol 5 on.
        maker = {"multiarray._reconstruct": 2, "numeric._frombuffer": 5}.get(f"{module.rpartition('.')[2]}.{name}")
        if module.startswith(("numpy.core.", "numpy._core.")) and maker:
            return np.empty(0).__reduce_ex__(maker)[0]
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")):
            return pickle.Unpickler.find_class(self, module, name)
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no data set needs")


def _unpickle(path: Path) -> dict[Any, Any]:
    try:
        with path.open("rb") as file:
            content = _ArraysOnly(file, encoding="bytes").load()
    except FileNotFoundError:
        raise NotFoundError(f"folder: no file {path}") from None
    except OSError as error:
        raise InputOutputError(f"folder: {path} cannot be read: {error.strerror}") from None
    except Exception as error:  # a damaged pickle can fail in any way
        raise FormatError(f"{path}: no pickle of a data set: {error}") from None
    if not isinstance(content, dict):
        raise FormatError(f"{path}: holds {type(content).__name__}, want a dictionary")
    return content


def svhn_part(folder: Path, split: str) -> Samples:
    """SVHN's cropped digits (Netzer et al. 2011): SPLIT_32x32.mat, where label 10 stands for the digit 0."""
    path = folder / f"{split}_32x32.mat"
    if not path.is_file():
        raise NotFoundError(f"folder: no file {path}")
    try:
        content = required("scipy.io", "scipy").loadmat(path, variable_names=["X", "y"])
    except (OSError, ValueError, TypeError, NotImplementedError) as error:
        raise FormatError(f"{path}: no MATLAB file that can be read: {error}") from None
    pixels, digits = content.get("X"), content.get("y")
    if pixels is None or pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[:3] != (32, 32, 3):
        raise FormatError(f"{path}: want X, a uint8 array (32, 32, 3, N)")
    if digits is None or digits.size != pixels.shape[3] or not np.isin(digits, range(1, 11)).all():
        raise FormatError(f"{path}: want y, {pixels.shape[3]} labels in 1 .. 10")
    images = np.ascontiguousarray(pixels.transpose(3, 2, 0, 1))
    return Samples(images, digits.ravel().astype(np.int64) % 10, [str(digit) for digit in range(10)])


def tiny_imagenet_part(folder: Path, split: str) -> Samples:
    """Tiny-ImageNet's train or val: 200 classes of 64x64 pixels in the order of their WordNet ids."""
    ids = sorted(_lines(folder / "wnids.txt"))
    words = dict(line.split("\t", 1) for line in _lines(folder / "words.txt") if "\t" in line)
    number = {word: index for index, word in enumerate(ids)}
    if split == "train":
        files = [(path, number[word]) for word in ids for path in image_paths(folder / "train" / word / "images")]
    else:
        files = []
        for line in _lines(folder / "val" / "val_annotations.txt"):
            name, word = (*line.split("\t"), "")[:2]
            if word not in number:
                raise FormatError(f"{folder}/val/val_annotations.txt: {line!r}, want a file and one of the ids")
            files.append((folder / "val" / "images" / Path(name).name, number[word]))
    class_names = [words.get(word, word).split(",")[0] for word in ids]
    return Samples(read_images([path for path, _ in files]), np.array([label for _, label in files]), class_names)


def folder_of_classes(folder: Path, size: tuple[int, int] | None) -> Samples:
    """A folder of images for each class, in the order of their names."""
    names = sorted(entry.name for entry in os.scandir(_existing(folder)) if entry.is_dir())
    if len(names) < 2:
        raise FormatError(f"{folder}: got {len(names)} folders, want one for each of at least two classes")
    files = [image_paths(folder / name) for name in names]
    labels = np.repeat(np.arange(len(names)), [len(paths) for paths in files])
    return Samples(read_images([path for paths in files for path in paths], size), labels, names)


def image_paths(folder: Path) -> list[Path]:
    """The images in a folder, in the order of their names."""
    return sorted(path for path in _existing(folder).iterdir() if path.suffix.lower() in IMAGE_ENDINGS)


def read_images(paths: Sequence[Path], size: tuple[int, int] | None = None) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Images (N, 3, H, W) through Pillow: of `size` (height, width) where given, else all as large as the first."""
    if not paths:
        raise FormatError(f"folder: got no images, want files that end in one of {', '.join(IMAGE_ENDINGS)}")
    pillow = required("PIL.Image", "pillow")

    def read(path: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
        try:
            with pillow.open(path) as image:
                colours = image.convert("RGB")
        except FileNotFoundError:
            raise NotFoundError(f"folder: no file {path}") from None
        except Exception as error:  # whatever a decoder says to a damaged file
            raise FormatError(f"{path}: no image that Pillow can read: {error}") from None
        return np.asarray(colours if size is None else colours.resize(size[::-1], pillow.Resampling.BOX))

    first = read(paths[0])
    images = np.empty((len(paths), 3, *first.shape[:2]), np.uint8)

    def place(item: tuple[int, Path]) -> None:
        pixels = read(item[1])
        if pixels.shape != first.shape:
            (height, width), (h, w) = pixels.shape[:2], first.shape[:2]
            raise FormatError(f"{item[1]}: {height}x{width} pixels, want {h}x{w} as {paths[0].name}; or give a size")
        images[item[0]] = pixels.transpose(2, 0, 1)

    with ThreadPoolExecutor() as threads:
        for _ in threads.map(place, enumerate(paths)):
            pass
    return images


def checked_size(size: Iterable[int] | None) -> tuple[int, int] | None:
    """(height, width), or None."""
    if size is None:
        return None
    numbers = tuple(size)
    if len(numbers) != 2 or not all(type(number) is int and 1 <= number <= 16384 for number in numbers):
        raise InvalidArgument(f"size: got {numbers}, want height and width, each 1 .. 16384")
    return numbers[0], numbers[1]


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        raise NotFoundError(f"folder: no folder {folder}")
    return folder


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8").splitlines()
    except FileNotFoundError:
        raise NotFoundError(f"folder: no file {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputOutputError(f"folder: {path} cannot be read: {error}") from None
