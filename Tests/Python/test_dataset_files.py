"""Data sets of pickles, MATLAB files and folders of images, made here in the form of the originals."""

from __future__ import annotations

import pickle
import struct
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import igdm
import numpy as np
import pytest
import scipy.io
from igdm import datasets
from PIL import Image

RANDOM = np.random.default_rng(0)
WORDNET_IDS = ["n02", "n01", "n03"]


def write_cifar(folder: Path, classes: int) -> np.ndarray:
    """CIFAR's Python version; the pixels (4, 3072) of every file."""
    pixels = RANDOM.integers(0, 256, (4, 3072), dtype=np.uint8)
    labels = [3, 1, 0, 2]
    names = [b"name %d" % index for index in range(classes)]
    if classes == 10:
        batch = {b"batch_label": b"one of 5", b"labels": labels, b"data": pixels, b"filenames": [b"a"] * 4}
        contents = {f"data_batch_{i}": batch for i in range(1, 6)} | {"test_batch": batch}
        contents["batches.meta"] = {b"num_cases_per_batch": 4, b"label_names": names, b"num_vis": 3072}
    else:
        batch = {b"fine_labels": labels, b"coarse_labels": [0, 1, 2, 3], b"data": pixels}
        contents = {"train": batch, "test": batch, "meta": {b"fine_label_names": names, b"coarse_label_names": [b"x"]}}
    for name, content in contents.items():
        with (folder / name).open("wb") as file:
            OldPickler(file, protocol=2).dump(content)
    return pixels


class OldPickler(pickle._Pickler):  # type: ignore[name-defined]
    """Writes as Python 2 did, with which the original files were written: strings are bytes."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

    def save_string(self, value: bytes | str) -> None:
        text = value.encode() if isinstance(value, str) else value
        self.write(pickle.BINSTRING + struct.pack("<i", len(text)) + text)
        self.memoize(value)

    def save_global(self, value: object, name: str | None = None) -> None:
        module = value.__module__.replace("numpy._core", "numpy.core")  # type: ignore[attr-defined]
        self.write(pickle.GLOBAL + f"{module}\n{value.__name__}\n".encode())  # type: ignore[attr-defined]
        self.memoize(value)

    dispatch[bytes] = dispatch[str] = save_string
    dispatch[type] = save_global


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_cifar_written_by_newer_programs(tmp_path: Path, protocol: int) -> None:
    pixels = write_cifar(tmp_path, 100)
    batch = {b"fine_labels": [7] * 4, b"data": pixels}
    (tmp_path / "train").write_bytes(pickle.dumps(batch, protocol))
    np.testing.assert_array_equal(datasets.cifar100(tmp_path).train.labels, [7] * 4)


@pytest.mark.parametrize("classes", [10, 100])
def test_cifar_as_pickles(tmp_path: Path, classes: int) -> None:
    pixels = write_cifar(tmp_path, classes)
    data = (datasets.cifar10 if classes == 10 else datasets.cifar100)(tmp_path)
    assert (len(data.train), len(data.test), data.test.classes) == (20 if classes == 10 else 4, 4, classes)
    np.testing.assert_array_equal(data.test.labels, [3, 1, 0, 2])
    np.testing.assert_array_equal(data.test.images, pixels.reshape(4, 3, 32, 32) / np.float32(255))
    assert data.train.class_names[3] == "name 3"
    assert len(datasets.open_source(data.train.source)) == len(data.train)


def test_a_pickle_cannot_call(tmp_path: Path) -> None:
    """Loading one with the standard library would run it."""
    write_cifar(tmp_path, 10)

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[list[str]]]:
            return subprocess.call, ([sys.executable, "-c", f"open({str(tmp_path / 'called')!r}, 'w')"],)

    (tmp_path / "data_batch_2").write_bytes(pickle.dumps({b"data": Evil()}))
    with pytest.raises(igdm.FormatError, match=r"data_batch_2: .*subprocess\.call, which no data set needs"):
        datasets.cifar10(tmp_path)
    assert not (tmp_path / "called").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no pickle of a data set"),
        (pickle.dumps([1]), "holds list, want a dictionary"),
        (pickle.dumps({}), r"want data, a uint8 array \(N, 3072\)"),
        (pickle.dumps({b"data": np.zeros((2, 3072), np.float64)}), r"want data, a uint8 array \(N, 3072\)"),
        (pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [1]}), "want labels, a list of 2 integers"),
        (pickle.dumps({b"data": np.zeros((1, 3072), np.uint8), b"labels": [11]}), r"labels\[.*\]: got 11"),
    ],
)
def test_damaged_pickles(tmp_path: Path, content: bytes, message: str) -> None:
    write_cifar(tmp_path, 10)
    (tmp_path / "test_batch").write_bytes(content)
    with pytest.raises(igdm.IgdmError, match=message):
        datasets.cifar10(tmp_path)


def write_svhn(folder: Path) -> np.ndarray:
    pixels = RANDOM.integers(0, 256, (32, 32, 3, 5), dtype=np.uint8)
    for split in ("train", "test"):
        scipy.io.savemat(folder / f"{split}_32x32.mat", {"X": pixels, "y": np.array([[1], [10], [9], [2], [10]])})
    return pixels


def test_svhn(tmp_path: Path) -> None:
    pixels = write_svhn(tmp_path)
    data = datasets.svhn(tmp_path)
    np.testing.assert_array_equal(data.train.labels, [1, 0, 9, 2, 0])
    np.testing.assert_array_equal(data.train.images[2], pixels[..., 2].transpose(2, 0, 1) / np.float32(255))
    assert (data.test.classes, data.test.class_names[0]) == (10, "0")
    assert len(datasets.open_specification(f"svhn:{tmp_path}").test) == 5  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"X": np.zeros((32, 32, 3, 2), np.uint8)}, "want y, 2 labels"),
        ({"X": np.zeros((32, 32, 3, 2), np.uint8), "y": [[1], [11]]}, r"want y, 2 labels in 1 \.\. 10"),
        ({"X": np.zeros((3, 32, 32, 2), np.uint8), "y": [[1], [1]]}, r"want X, a uint8 array \(32, 32, 3, N\)"),
        (None, "no MATLAB file"),
    ],
)
def test_damaged_svhn(tmp_path: Path, variables: dict[str, object] | None, message: str) -> None:
    path = tmp_path / "train_32x32.mat"
    path.write_bytes(b"no MATLAB here" * 20) if variables is None else scipy.io.savemat(path, variables)
    with pytest.raises(igdm.FormatError, match=message):
        datasets.svhn(tmp_path)


def write_image(path: Path, colour: tuple[int, int, int] | int, size: tuple[int, int] = (64, 64)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L" if isinstance(colour, int) else "RGB", size, colour).save(path)


def write_tiny_imagenet(folder: Path) -> None:
    (folder / "wnids.txt").write_text("\n".join(WORDNET_IDS) + "\n")
    (folder / "words.txt").write_text("n01\tgoldfish, Carassius auratus\nn02\tsalamander\nn99\tother\n")
    for index, word in enumerate(WORDNET_IDS):
        for number in range(2):
            write_image(folder / f"train/{word}/images/{word}_{number}.JPEG", (50 * index, 100, 200 - number))
    write_image(folder / "val/images/val_0.JPEG", 128)  # grey, as some of the originals are
    write_image(folder / "val/images/val_1.JPEG", (1, 2, 3))
    (folder / "val/val_annotations.txt").write_text("val_0.JPEG\tn02\t0\t0\t1\t1\nval_1.JPEG\tn03\t0\t0\t1\t1\n")


def test_tiny_imagenet(tmp_path: Path) -> None:
    write_tiny_imagenet(tmp_path)
    data = datasets.tiny_imagenet(tmp_path)
    assert (len(data.train), data.train.image_shape, data.train.classes) == (6, (3, 64, 64), 3)
    np.testing.assert_array_equal(data.train.labels, [0, 0, 1, 1, 2, 2])
    assert data.train.class_names == ("goldfish", "salamander", "n03")
    # n02 is the first of wnids.txt, and the second in order.
    np.testing.assert_allclose(data.train.images[2, :, 0, 0] * 255, [0, 100, 200], atol=3)
    np.testing.assert_array_equal(data.test.labels, [1, 2])
    np.testing.assert_allclose(data.test.images[0] * 255, 128, atol=2)
    assert len(datasets.open_source(data.test[1:].source)) == 1


def test_tiny_imagenet_of_an_unknown_class(tmp_path: Path) -> None:
    write_tiny_imagenet(tmp_path)
    (tmp_path / "val/val_annotations.txt").write_text("val_0.JPEG\tn07\n")
    with pytest.raises(igdm.FormatError, match="n07"):
        datasets.tiny_imagenet(tmp_path)


def test_folder_of_classes(tmp_path: Path) -> None:
    write_image(tmp_path / "dog/b.png", (255, 0, 0), (8, 6))
    write_image(tmp_path / "cat/a.png", (0, 0, 255), (8, 6))
    (tmp_path / "cat/notes.txt").write_text("not an image")
    data = datasets.image_folder(tmp_path)
    assert (data.image_shape, data.class_names) == ((3, 6, 8), ("cat", "dog"))
    np.testing.assert_array_equal(data.images[:, :, 0, 0], [[0, 0, 1], [1, 0, 0]])
    scaled = datasets.open_specification(f"folder:{tmp_path},3,4")
    assert scaled.image_shape == (3, 3, 4)  # type: ignore[union-attr]
    np.testing.assert_array_equal(datasets.open_source(scaled.source).images, scaled.images)  # type: ignore[union-attr]

    write_image(tmp_path / "cat/c.png", 0, (8, 7))
    with pytest.raises(igdm.FormatError, match=r"c\.png: 7x8 pixels, want 6x8 as a\.png"):
        datasets.image_folder(tmp_path)
    (tmp_path / "cat/c.png").write_bytes(b"\x89PNG broken")
    with pytest.raises(igdm.FormatError, match=r"c\.png: no image"):
        datasets.image_folder(tmp_path)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    for use in (datasets.svhn, datasets.tiny_imagenet, datasets.cifar100):
        with pytest.raises(FileNotFoundError, match=str(tmp_path)):
            use(tmp_path)
    with pytest.raises(igdm.FormatError, match="got 0 folders"):
        datasets.image_folder(tmp_path)
    with pytest.raises(igdm.InvalidArgument, match="size: got"):
        datasets.image_folder(tmp_path, size=(0, 5))
