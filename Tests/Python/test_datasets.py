"""Datasets from arrays and files."""

from __future__ import annotations

import gzip
import json
import pickle
import struct
from pathlib import Path

import h5py
import igdm
import numpy as np
import pytest
from conftest import CLASSES, SHAPE, make_arrays
from igdm import datasets


def test_arrays_come_back(data: igdm.Dataset, arrays: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = arrays
    assert len(data) == 48
    assert (data.classes, data.image_shape) == (CLASSES, SHAPE)
    np.testing.assert_array_equal(data.images, images)
    np.testing.assert_array_equal(data.labels, labels)
    part, part_labels = data.read(5, 3)
    np.testing.assert_array_equal(part, images[5:8])
    np.testing.assert_array_equal(part_labels, labels[5:8])
    image, label = data[-1]
    np.testing.assert_array_equal(image, images[-1])
    assert label == labels[-1]
    assert len(list(data)) == 48


def test_arrays_are_copied(arrays: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = arrays
    made = datasets.from_arrays(images, labels)
    expected = images.copy()
    images[:] = 0
    np.testing.assert_array_equal(made.images, expected)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int64, np.uint64])
def test_labels_of_any_integer_type(arrays: tuple[np.ndarray, np.ndarray], kind: type) -> None:
    images, labels = arrays
    np.testing.assert_array_equal(datasets.from_arrays(images, labels.astype(kind)).labels, labels)


def test_bytes_are_divided_by_255() -> None:
    images = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    read = datasets.from_arrays(images, [0], classes=2).images
    np.testing.assert_array_equal(read, images.astype(np.float32) / np.float32(255))


def test_slices_share_and_nest(data: igdm.Dataset, arrays: tuple[np.ndarray, np.ndarray]) -> None:
    nested = data[10:40][5:-5]
    data.close()  # the parts keep the images alive
    np.testing.assert_array_equal(nested.images, arrays[0][15:35])
    assert (nested.source["first"], nested.source["count"]) == (15, 20)


def test_selections(data: igdm.Dataset, arrays: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = arrays
    chosen = [47, 3, 3, 0]
    some = data.select(chosen)
    np.testing.assert_array_equal(some.images, images[chosen])
    np.testing.assert_array_equal(some.labels, labels[chosen])
    nested = data[5:30].select(np.array([24, 0, 7], np.int32))[1:].select((1, 0))
    np.testing.assert_array_equal(nested.images, images[[12, 5]])
    for wrong, message in (([48], "samples"), ([-1], "samples"), ([], "count"), ([[1]], "samples"), ([0.5], "samples")):
        with pytest.raises(igdm.InvalidArgument, match=message):
            data.select(wrong)


def test_holding_out(data: igdm.Dataset, arrays: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = arrays
    for size, count in ((0.25, 12), (12, 12), (0.01, 0), (47, 47), (0.98, 47)):
        if count == 0:
            with pytest.raises(igdm.InvalidArgument, match="size: got"):
                data.hold_out(size)
            continue
        others, held = data.hold_out(size)
        assert (len(others), len(held)) == (48 - count, count)
        parts = np.bincount(labels, minlength=3) * count / 48
        assert np.all(np.abs(np.bincount(held.labels, minlength=3) - parts) < 1)
        both = np.concatenate([others.images, held.images])
        assert len(np.unique(both.reshape(48, -1), axis=0)) == 48
        np.testing.assert_array_equal(data.hold_out(size)[1].images, held.images)
    others, held = data.hold_out(10, stratified=False)
    np.testing.assert_array_equal(held.images, images[-10:])
    np.testing.assert_array_equal(others.labels, labels[:-10])
    for wrong in (0, -3, 48, float("nan"), float("inf"), "1e9", "some"):
        with pytest.raises(igdm.InvalidArgument, match="size: got"):
            data.hold_out(wrong)


def test_parts_are_found_again(hdf5_data: Path) -> None:
    for stream in (False, True):
        data = datasets.hdf5(hdf5_data, "train/images", "train/labels", stream=stream)
        others, held = data[3:45].hold_out(0.3)
        for part in (others, held, others[2:9], held.select([4, 0]), others.hold_out(5)[1][1:3]):
            again = datasets.open_source(json.loads(json.dumps(part.source)))
            np.testing.assert_array_equal(again.images, part.images)
            np.testing.assert_array_equal(again.labels, part.labels)
            assert again.source == part.source
            assert part.source["kind"] == "hdf5"


@pytest.mark.parametrize("wrong", [slice(0, 10, 2), slice(5, 5), slice(40, 10), slice(48, 60)])
def test_bad_slices(data: igdm.Dataset, wrong: slice) -> None:
    with pytest.raises(igdm.InvalidArgument, match="slice"):
        data[wrong]


def test_bad_indices(data: igdm.Dataset) -> None:
    with pytest.raises(IndexError):
        data[48]
    with pytest.raises(TypeError):
        data[1.5]  # type: ignore[call-overload]
    for first, count in ((0, 49), (-1, 1), (47, 2), (0, -1)):
        with pytest.raises(igdm.InvalidArgument, match="samples"):
            data.read(first, count)


def test_bad_arrays() -> None:
    images, labels = make_arrays(4)
    with pytest.raises(TypeError, match="uint8"):
        datasets.from_arrays(images.astype(np.float64), labels)
    with pytest.raises(igdm.ShapeError, match=r"images\[:, None\]"):
        datasets.from_arrays(images[:, 0], labels)
    with pytest.raises(igdm.InvalidArgument, match="images: got none, of shape"):
        datasets.from_arrays(images[:0], labels[:0])
    with pytest.raises(igdm.ShapeError, match="one for each image"):
        datasets.from_arrays(images, labels[:3])
    with pytest.raises(TypeError, match="integers"):
        datasets.from_arrays(images, labels.astype(np.float32))
    with pytest.raises(igdm.InvalidArgument, match="label"):
        datasets.from_arrays(images, labels + 1, classes=CLASSES)
    with pytest.raises(igdm.InvalidArgument, match="label"):
        datasets.from_arrays(images, labels - 1, classes=CLASSES)
    with pytest.raises(igdm.InvalidArgument):
        datasets.from_arrays(images + 1, labels)
    with pytest.raises(igdm.NotFiniteError):
        datasets.from_arrays(images * np.float32("nan"), labels)


def test_pickling_is_refused(data: igdm.Dataset) -> None:
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(data)


@pytest.mark.parametrize("compressed", [False, True])
def test_idx_files(tmp_path: Path, compressed: bool) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 9), dtype=np.uint8)
    labels = np.array([0, 3, 1, 2, 3], np.uint8)
    write = gzip.compress if compressed else bytes
    (tmp_path / "images").write_bytes(write(struct.pack(">IIII", 0x803, 5, 7, 9) + pixels.tobytes()))
    (tmp_path / "labels").write_bytes(write(struct.pack(">II", 0x801, 5) + labels.tobytes()))
    data = datasets.idx(tmp_path / "images", tmp_path / "labels", classes=4)
    np.testing.assert_array_equal(data.images, pixels[:, None].astype(np.float32) / np.float32(255))
    np.testing.assert_array_equal(data.labels, labels)
    again = datasets.open_source(data[1:4].source)
    np.testing.assert_array_equal(again.labels, labels[1:4])
    with pytest.raises(igdm.FormatError):
        datasets.idx(tmp_path / "labels", tmp_path / "images")


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_hdf5_files(tmp_path: Path, kind: type) -> None:
    images, labels = make_arrays(6)
    stored = images if kind is np.float32 else (images * 255).astype(np.uint8)
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["a/pictures"], file["a/truth"] = stored, labels.astype(np.int16)
    data = datasets.hdf5(tmp_path / "data.h5", "a/pictures", "a/truth")
    expected = stored if kind is np.float32 else stored.astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(data.images, expected)
    np.testing.assert_array_equal(data.labels, labels)
    assert data.classes == labels.max() + 1
    assert len(datasets.open_source(data.source)) == 6
    with pytest.raises(igdm.NotFoundError, match="images"):
        datasets.hdf5(tmp_path / "data.h5")


@pytest.mark.parametrize("version", ["earliest", "v108", "v110"])
@pytest.mark.parametrize("block", [0, 1024])
def test_hdf5_headers_of_all_forms(tmp_path: Path, version: str, block: int) -> None:
    """Addresses that do not begin at the beginning of the file, headers that go on elsewhere, chunks that may grow."""
    images, labels = make_arrays(30)
    with h5py.File(tmp_path / "data.h5", "w", libver=(version, "v110"), userblock_size=block) as file:
        file.create_dataset("images", data=images, chunks=(4, *SHAPE), maxshape=(None, *SHAPE), compression="gzip")
        file["labels"] = labels
        for name in ("images", "labels"):
            for index in range(40):
                file[name].attrs[f"note {index}"] = "what somebody wrote to a data set that was there already"
    data = datasets.hdf5(tmp_path / "data.h5")
    np.testing.assert_array_equal(data.images, images)
    np.testing.assert_array_equal(data.labels, labels)


@pytest.mark.parametrize(("classes", "label_bytes"), [(10, 1), (100, 2)])
def test_cifar_folders(tmp_path: Path, classes: int, label_bytes: int) -> None:
    """Records of one label (two for CIFAR-100: coarse, fine) and 3072 bytes: red, green, blue planes."""
    files = {10: [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"], 100: ["train.bin", "test.bin"]}
    records = np.random.default_rng(0).integers(0, 10, (4, label_bytes + 3072), dtype=np.uint8)
    for name in files[classes]:
        (tmp_path / name).write_bytes(records.tobytes())
    data = (datasets.cifar10 if classes == 10 else datasets.cifar100)(tmp_path)
    assert (data.train.classes, data.train.image_shape) == (classes, (3, 32, 32))
    assert (len(data.train), len(data.test)) == (4 * (len(files[classes]) - 1), 4)
    np.testing.assert_array_equal(data.test.labels, records[:, label_bytes - 1])
    pixels = records[:, label_bytes:].reshape(4, 3, 32, 32).astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(data.test.images, pixels)
    assert len(datasets.open_source(data.test.source)) == 4


def test_fashion_mnist() -> None:
    data = datasets.fashion_mnist()
    assert (len(data.train), len(data.test)) == (60_000, 10_000)
    assert data.train.image_shape == (1, 28, 28)
    np.testing.assert_array_equal(np.bincount(data.test.labels), [1000] * 10)
    assert data.test.class_names[data.test[0][1]] == "Ankle boot"


def test_missing_files(tmp_path: Path) -> None:
    for use in (
        lambda: datasets.fashion_mnist(tmp_path / "no folder"),
        lambda: datasets.fashion_mnist(tmp_path),
        lambda: datasets.idx(tmp_path / "a", tmp_path / "b"),
        lambda: datasets.hdf5(tmp_path / "a.h5"),
        lambda: datasets.cifar10(tmp_path),
    ):
        with pytest.raises(FileNotFoundError, match=str(tmp_path)):
            use()


def test_a_pair_is_not_a_dataset(model: igdm.Model, data: igdm.Dataset) -> None:
    with pytest.raises(TypeError, match=r"\.train or \.test"):
        igdm.evaluate(model, igdm.TrainTest(data, data))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="from_arrays"):
        igdm.evaluate(model, data.images)  # type: ignore[arg-type]
