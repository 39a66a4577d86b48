"""Common corruptions beside the libraries that the published images were made with."""

from __future__ import annotations

import ctypes
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import igdm
import numpy as np
import pytest
from igdm._library import call
from PIL import Image
from scipy import ndimage

SIZES = [(3, 32, 32), (3, 17, 33), (3, 24, 40), (3, 5, 9), (3, 6, 3), (3, 1, 1), (1, 28, 28), (1, 13, 7)]
"""Whole blocks, parts of blocks, fewer columns than colours are stretched over; grey ones."""


def make_bytes(count: int, shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """Waves with some grain; every fifth image is noise in black and white."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[1], : shape[2]]
    images = random.normal(size=(count, *shape)) * 8 + 128
    for image in images:
        for _ in range(5):
            wave = np.sin(random.normal() * 0.25 * y + random.normal() * 0.25 * x + random.uniform(0, 6.3))
            image += 50 * random.normal(size=(shape[0], 1, 1)) * wave
    images[::5] = 255 * random.integers(0, 2, size=images[::5].shape)
    return np.clip(images, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("name", igdm.corruptions.NAMES)
def test_corrupt_gives_what_the_attack_of_that_name_looks_at(name: str) -> None:
    """On a model that takes only clean images for what they are, every corrupted image is a success."""
    images = make_bytes(6, (3, 9, 12)) / np.float32(255)
    clean = {image.tobytes() for image in images}

    def forward(batch: np.ndarray) -> np.ndarray:
        changed = np.array([image.tobytes() not in clean for image in batch], np.float32)
        return np.stack([1 - changed, changed], axis=1)

    host = igdm.HostModel(forward, None, classes=2, input_shape=(3, 9, 12))
    places = np.array([7, 0, 3, 1000, 2, 5])
    for severity in (1, 5):
        found = igdm.attack(host, images, np.zeros(6, np.int64), name, steps=severity, seed=3, indices=places)
        alone = igdm.corrupt(images, name, severity, seed=3, indices=places)
        np.testing.assert_array_equal(alone, found.images)
        np.testing.assert_array_equal(alone[::-1], igdm.corrupt(images[::-1].copy(), name, severity, seed=3,
                                                                indices=places[::-1].copy()))  # fmt: skip
    assert name == "defocus_blur" or np.any(igdm.corrupt(images, name, 5) != images)


BAD = [
    (dict(severity=0), igdm.InvalidArgument, "severity: got 0, want 1 ... 5"),
    (dict(severity=6), igdm.InvalidArgument, "severity: got 6, want 1 ... 5"),
    (dict(severity=2.5), TypeError, "severity: got float, want an integer"),
    (dict(name="mist"), igdm.InvalidArgument, 'name: got "mist", want one of gaussian_noise'),
    (dict(name="pgd"), igdm.InvalidArgument, 'name: got "pgd"'),
    (dict(name=3), TypeError, "name: got int"),
    (dict(name="fog\0x"), igdm.InvalidArgument, "name: got 'fog\\x00x'"),
    (dict(seed=-1), igdm.InvalidArgument, "seed: got -1"),
    (dict(seed=2**64), igdm.InvalidArgument, "seed: got 18446744073709551616"),
    (dict(indices=[0]), igdm.ShapeError, "indices: got shape (1,), want (2,)"),
    (dict(indices=[0, -1]), igdm.InvalidArgument, "indices[1]: got -1, want at least 0"),
    (dict(images=np.zeros((3, 4, 4), np.float32)), igdm.ShapeError, "want (N, C, H, W); add the batch axis"),
    (dict(images=igdm.datasets.from_arrays(np.zeros((2, 1, 2, 2), np.uint8), [0, 1])), TypeError, "got a Dataset"),
    (dict(images=np.zeros((2, 3, 4, 4))), TypeError, "images: got dtype float64, want float32"),
    (dict(images=np.full((2, 3, 4, 4), 1.5, np.float32)), igdm.InvalidArgument, "images: sample 0, value 0: got 1.5"),
    (dict(images=np.full((2, 3, 4, 4), np.nan, np.float32)), igdm.NotFiniteError, "images: sample 0, value 0"),
    (dict(images=np.zeros((2, 0, 4, 4), np.float32)), igdm.InvalidArgument, "channels: got 0"),
]


@pytest.mark.parametrize(("given", "kind", "message"), BAD)
def test_bad_arguments_of_corrupt(given: dict, kind: type[Exception], message: str) -> None:
    good = dict(images=np.zeros((2, 3, 4, 4), np.float32), name="fog")
    with pytest.raises(kind, match=re.escape(message)):
        igdm.corrupt(**good | given)


def test_no_images_are_no_error() -> None:
    assert igdm.corrupt(np.zeros((0, 3, 4, 4), np.float32), "fog").shape == (0, 3, 4, 4)


def test_accuracy_under_corruptions_is_of_all_images(teacher: igdm.Model, data: igdm.Dataset) -> None:
    told: list[igdm.Progress] = []
    names = ["contrast", "fog", "gaussian_noise"]
    # Labels that the model gives in the fog, which are not all those that it gives without.
    images = data.read(0, 40)[0]
    labels = np.argmax(teacher.predict(igdm.corrupt(images, "fog", 5, seed=4)), axis=1)
    data = igdm.datasets.from_arrays(images, labels, classes=data.classes)
    result = igdm.evaluate_corruptions(
        teacher, data, names=names, severities=(2, 5), count=40, batch_size=16, seed=4, callback=told.append
    )
    clean = np.argmax(teacher.predict(images), axis=1) == labels
    assert not clean.all(), "an image that is misclassified clean is what this test is about"
    for name in names:
        for place, severity in enumerate((2, 5)):
            spoilt = igdm.corrupt(images, name, severity, seed=4)
            right = np.argmax(teacher.predict(spoilt), axis=1) == labels
            assert result.accuracy[name][place] == np.mean(right)
    assert result.accuracy["fog"][1] == 1
    assert result.clean == np.mean(clean) and result.count == 40
    assert result.mean == np.mean([*result.accuracy.values()])
    stages = ["clean", *(f"{name}-{severity}" for name in names for severity in (2, 5))]
    assert [(one.stage, one.done, one.total) for one in told] == [(s, n, 40) for s in stages for n in (16, 32, 40)]
    lines = str(result).splitlines()
    assert lines[0].split() == ["severity", "2", "5", "mean"] and lines[-2].startswith("mean")
    assert f"{100 * result.mean:.2f} %" in lines[-2]
    typed = igdm.evaluate_corruptions(teacher, data, names=np.array(names), severities=np.array([2, 5]), count=0,
                                      seed=np.int64(4))  # fmt: skip
    assert json.loads(json.dumps(typed.to_dict()))["accuracy"] == {k: list(v) for k, v in result.accuracy.items()}
    # Whatever the batches; and a function of the host is as good as a model of the library.
    host = igdm.HostModel(teacher.predict, None, classes=data.classes, input_shape=data.image_shape)
    other = igdm.evaluate_corruptions(host, data, names=names, severities=(2, 5), count=40, batch_size=7, seed=4)
    assert other.accuracy == result.accuracy


def test_bad_arguments_of_evaluate_corruptions(teacher: igdm.Model, data: igdm.Dataset) -> None:
    shape, classes = data.image_shape, data.classes
    broken = igdm.HostModel(lambda x: np.full((len(x), classes), np.nan), None, classes=classes, input_shape=shape)
    seven = data.read(7, 1)[0]
    large = igdm.HostModel(  # beyond float32 for one image
        lambda x: np.repeat(np.where((x == seven).all(axis=(1, 2, 3)), 1e300, 0.0)[:, None], classes, axis=1), None,
        classes=classes, input_shape=list(shape),  # type: ignore[arg-type]
    )  # fmt: skip
    narrow = igdm.HostModel(lambda x: np.zeros((len(x), 2)), None, classes=2, input_shape=shape)
    other = igdm.HostModel(lambda x: np.zeros((len(x), classes)), None, classes=classes, input_shape=(1, 2, 2))
    for model, options, kind, message in (
        (teacher, dict(names=["mist"]), igdm.InvalidArgument, "names: got 'mist'"),
        (teacher, dict(names="fog"), TypeError, "names: got 'fog', want a list"),
        (teacher, dict(names=[3]), TypeError, "names: got int"),
        (teacher, dict(names=["fog", "snow", "fog"]), igdm.InvalidArgument, "names: got 'fog' twice"),
        (teacher, dict(severities=3), TypeError, "severities: got 3, want a list"),
        (teacher, dict(severities=[]), igdm.InvalidArgument, "severities: got none"),
        (teacher, dict(severities=[1, 7]), igdm.InvalidArgument, "severities: got 7"),
        (teacher, dict(severities=[1, 1]), igdm.InvalidArgument, "severities: got 1 twice"),
        (teacher, dict(severities=[True]), TypeError, "severities: got True"),
        (teacher, dict(seed=-1), igdm.InvalidArgument, "seed: got -1"),
        (teacher, dict(count=-1), igdm.InvalidArgument, "count: got -1, want 0 (all) ... 48"),
        (teacher, dict(count=49), igdm.InvalidArgument, "count: got 49, want 0 (all) ... 48"),
        (teacher, dict(batch_size=0), igdm.InvalidArgument, "batch_size: got 0"),
        (teacher, dict(callback=lambda _: True), igdm.Cancelled, "the callback asked to stop"),
        (broken, {}, igdm.NotFiniteError, "forward: sample 0"),
        (large, dict(batch_size=5), igdm.NotFiniteError, "forward: sample 7"),
        (narrow, {}, igdm.ShapeError, "in 2 classes, the dataset has"),
        (other, {}, igdm.ShapeError, "model: takes images (1, 2, 2)"),
        ("teacher", {}, TypeError, "model: got str"),
    ):
        with pytest.raises(kind, match=re.escape(message)):
            igdm.evaluate_corruptions(model, data, **options)


@pytest.mark.parametrize("attacks", ["corruptions", "fgsm, corruptions", ["fgsm", "corruptions"]])
def test_lists_say_where_all_corruptions_are(teacher: igdm.Model, data: igdm.Dataset, attacks: Any) -> None:
    with pytest.raises(igdm.InvalidArgument, match=r"want single ones, such as fog-3; .*evaluate_corruptions\(\)"):
        igdm.evaluate(teacher, data, attacks=attacks)


def test_what_was_measured_before_an_exception_is_kept(teacher: igdm.Model, data: igdm.Dataset) -> None:
    def stop(progress: igdm.Progress) -> None:
        if progress.stage == "snow-3":
            raise RuntimeError("enough")

    options = dict(names=["fog", "frost", "snow"], severities=(2, 3), count=12)
    with pytest.raises(RuntimeError, match="enough") as stopped:
        igdm.evaluate_corruptions(teacher, data, callback=stop, **options)  # type: ignore[arg-type]
    whole = igdm.evaluate_corruptions(teacher, data, **options)  # type: ignore[arg-type]
    found = stopped.value.partial  # type: ignore[attr-defined]
    assert list(found.accuracy) == ["fog", "frost"] and found.clean == whole.clean
    assert all(found.accuracy[name] == whole.accuracy[name] for name in found.accuracy)
    assert "frost" in str(found)


def test_corrupted_in_place_and_on_any_number_of_threads() -> None:
    images = make_bytes(3, (3, 11, 17)) / np.float32(255)
    before = igdm.get_threads()
    try:
        for name in igdm.corruptions.NAMES:
            wanted = igdm.corrupt(images, name, 4, seed=9)
            for threads in (1, 3):
                igdm.set_threads(threads)
                np.testing.assert_array_equal(igdm.corrupt(images, name, 4, seed=9), wanted)
            own = images.copy()
            shape = own.shape
            place = own.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
            call("igdm_corrupt", place, shape[0], *shape[1:], name.encode(), 4, 9, None, place)
            np.testing.assert_array_equal(own, wanted)
    finally:
        igdm.set_threads(before)


def test_names_are_those_of_the_attacks() -> None:
    assert set(igdm.corruptions.NAMES) == {name for name in igdm.attacks.names() if "_" in name} | {
        "snow", "frost", "fog", "brightness", "contrast", "pixelate",
    }  # fmt: skip


def test_almost_black_images_can_be_brightened() -> None:
    images = np.zeros((1, 3, 2, 2), np.float32)
    images[:, 0] = 1e-40
    for severity, more in enumerate([0.05, 0.1, 0.15, 0.2, 0.3], 1):
        brighter = igdm.corrupt(images, "brightness", severity)
        np.testing.assert_allclose(brighter[:, 0], more, rtol=1e-4)
        assert not brighter[:, 1:].any()


def test_images_that_do_not_fit_the_memory(python: Callable[..., Any]) -> None:
    """An error, where arrays would end the process."""
    code = """
import resource, numpy as np, igdm
images = np.zeros((1, 3, 700, 700), np.float32)
igdm.corrupt(images[:, :, :20, :20].copy(), "fog")
used = int(open("/proc/self/statm").read().split()[0]) * 4096
told = set()
for room in range(4, 200, 12):
    resource.setrlimit(resource.RLIMIT_AS, (used + (room << 20), -1))
    for name in ("jpeg_compression", "frost", "elastic_transform"):
        try:
            igdm.corrupt(images, name)
            told.add("done")
        except (igdm.OutOfMemory, MemoryError):
            told.add("refused")
print(*sorted(told))
"""
    done = python("-c", code, OPENBLAS_NUM_THREADS="1")
    assert (done.returncode, done.stdout.split()) == (0, ["done", "refused"]), done.stderr


def test_benchmark_has_robustbenchs_third_threat(
    teacher: igdm.Model, data: igdm.Dataset, hdf5_data: Path, tmp_path: Path, python: Callable[..., Any]
) -> None:
    path = tmp_path / "record.json"
    clean, robust = igdm.benchmark(teacher, data, threat="corruptions", n=8, to=path, record={"footnote": "mine"})
    result = igdm.evaluate_corruptions(teacher, data, count=8)
    assert list(result.accuracy) == list(igdm.corruptions.NAMES) and result.severities == (1, 2, 3, 4, 5)
    assert (clean, robust) == (result.clean, result.mean)
    record = json.loads(path.read_text())
    assert list(record) == list(igdm.ensemble.RECORD)
    assert record["corruptions_acc"] == f"{100 * robust:.2f}" and record["clean_acc"] == f"{100 * clean:.2f}"
    assert record["autoattack_acc"] is None and record["eps"] is None
    assert record["footnote"] == "mine; made by igdm, seed 0, 8 samples"
    for options, message in (
        (dict(eps="8/255"), "eps: got '8/255', want none with corruptions"),
        (dict(names=["fog"]), "names: got ['fog'], want none"),
        (dict(version="plus"), "version: got 'plus', want none"),
    ):
        with pytest.raises(igdm.InvalidArgument, match=re.escape(message)):
            igdm.benchmark(teacher, data, threat="corruptions", n=1, to=path, **options)  # type: ignore[arg-type]
    with pytest.raises(igdm.InvalidArgument, match="record: got a field 'corruptions_acc'"):
        igdm.benchmark(teacher, data, threat="corruptions", n=1, record={"corruptions_acc": "99"})
    checkpoint = tmp_path / "model.h5"
    teacher.save(checkpoint)
    common = ["-m", "igdm", "evaluate", str(checkpoint), "--data", f"hdf5:{hdf5_data},test/images,test/labels"]
    done = python(*common, "--attacks", "corruptions", "--count", "4", "--json", "--quiet")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["accuracy"]) == 15
    common[3] = "nowhere.h5"  # the options come first
    refused = python(*common, "--attacks", "corruptions", "--eps", "0.1")
    assert refused.returncode == 2 and "eps: got '0.1', want none with --attacks corruptions" in refused.stderr


def through_pillow(image: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0)).save(file, "JPEG", quality=quality)
    decoded = np.array(Image.open(file))
    return decoded[np.newaxis] if len(image) == 1 else decoded.transpose(2, 0, 1)


@pytest.mark.parametrize("shape", SIZES)
def test_jpeg_is_pillows(shape: tuple[int, int, int]) -> None:
    """Every byte, with libjpeg-turbo, which Pillow comes with."""
    images = make_bytes(40, shape)
    floats = images / np.float32(255)
    for severity, quality in enumerate([80, 65, 58, 50, 40], 1):
        ours = igdm.corrupt(floats, "jpeg_compression", severity)
        wanted = np.stack([through_pillow(image, quality) for image in images])
        np.testing.assert_array_equal(ours, wanted / np.float32(255))
    # Values between bytes are rounded first.
    between = np.clip(floats + np.float32(0.4 / 255), 0, 1)
    np.testing.assert_array_equal(igdm.corrupt(between, "jpeg_compression", 5), ours)


def philox(seed: int, index: int, number: int, count: int) -> np.ndarray:
    """The first uniform numbers of a sample's corruption: Philox 4x32-10 (Salmon et al. 2011), four words a counter.
    Beside the counter stand the stream, 8, below the attack's number, and the sample."""
    word = np.uint64(0xFFFFFFFF)
    counters = np.arange(-(-count // 4), dtype=np.uint64)
    head = (8 | number << 24) & 0xFFFFFFFF
    c = [counters, *(np.full_like(counters, value) for value in (head, index, 0))]
    k = np.array([seed & 0xFFFFFFFF, seed >> 32], np.uint64)
    for _ in range(10):
        a, b = np.uint64(0xD2511F53) * c[0], np.uint64(0xCD9E8D57) * c[2]
        shift = np.uint64(32)
        c = [(b >> shift) ^ c[1] ^ k[0], b & word, (a >> shift) ^ c[3] ^ k[1], a & word]
        k = (k + np.array([0x9E3779B9, 0xBB67AE85], np.uint64)) & word
    return (np.stack(c, axis=1).reshape(-1)[:count] >> np.uint64(8)).astype(np.float64) * 2.0**-24


def stretched(image: np.ndarray, severity: int, draws: np.ndarray) -> np.ndarray:
    """elastic_transform with scipy, in double precision."""
    _, height, width = image.shape
    side = min(height, width)
    strength, sigma, jump = [
        (0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03),
    ][severity - 1]  # fmt: skip
    corners = np.array([width // 2, height // 2]) + side * 10 / 32 * np.array([[1, 1], [1, -1], [-1, -1]])
    moved = corners + jump * side * (2 * draws[:6].reshape(3, 2) - 1)
    affine = np.linalg.solve(np.hstack([moved, np.ones((3, 1))]), corners)
    y, x = np.mgrid[:height, :width]
    points = np.stack([x, y, np.ones_like(x)], axis=-1) @ affine
    image = np.stack(
        [ndimage.map_coordinates(c, [points[..., 1], points[..., 0]], order=1, mode="mirror") for c in image]
    )
    if strength == 0:
        return image
    dx, dy = (
        strength * side * ndimage.gaussian_filter(noise, sigma * side, mode="reflect", truncate=3)
        for noise in 2 * draws[6:].reshape(2, height, width) - 1
    )
    return np.stack([ndimage.map_coordinates(c, [y + dy, x + dx], order=1, mode="reflect") for c in image])


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (3, 17, 33), (2, 5, 9)])
def test_elastic_transform_is_scipys(shape: tuple[int, int, int]) -> None:
    """The same random numbers through map_coordinates and gaussian_filter."""
    floats = make_bytes(10, shape) / np.float32(255)
    for severity in range(1, 6):
        ours = igdm.corrupt(floats, "elastic_transform", severity, seed=7)
        for index, image in enumerate(floats):
            draws = philox(7, index, 44, 6 + 2 * shape[1] * shape[2])
            wanted = stretched(image.astype(np.float64), severity, draws)
            np.testing.assert_allclose(ours[index], wanted, atol=1e-6)
            assert np.abs(ours[index] - image).max() > 0.01


@pytest.mark.parametrize("side", [28, 32, 40, 62])
def test_zoom_blur_is_scipys(side: int) -> None:
    """At 32 and 62 the last factor decides between two sizes: it is numpy's sum, and not 1.25."""
    floats = make_bytes(4, (3, side, side)) / np.float32(255)
    for severity, end in enumerate([1.06, 1.11, 1.16, 1.21, 1.26], 1):
        factors = np.arange(1, end, 0.01)
        ours = igdm.corrupt(floats, "zoom_blur", severity)
        for found, image in zip(ours, floats.astype(np.float64), strict=True):
            total = image.copy()
            for factor in factors:
                part = int(np.ceil(side / factor))
                top = (side - part) // 2
                middle = image[:, top : top + part, top : top + part]
                large = np.stack([ndimage.zoom(channel, factor, order=1) for channel in middle])
                top = (large.shape[1] - side) // 2
                total += large[:, top : top + side, top : top + side]
            np.testing.assert_allclose(found, np.clip(total / (len(factors) + 1), 0, 1), atol=1e-6)


def snowed(image: np.ndarray, severity: int, draws: np.ndarray) -> np.ndarray:
    """snow with scipy, in double precision and without rounding the flakes to bytes."""
    channels, height, width = image.shape
    mean, deviation, zoom, threshold, radius, sigma, kept = [
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95), (0.1, 0.2, 1, 0.5, 10, 4, 0.9), (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85), (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ][severity - 1]  # fmt: skip
    # Box and Muller: two normal numbers of two uniform ones.
    length, turn = np.sqrt(-2 * np.log(1 - draws[:-1:2])), 2 * np.pi * draws[1:-1:2]
    normal = np.stack([length * np.cos(turn), length * np.sin(turn)], axis=1).reshape(-1)[: height * width]
    flakes = mean + deviation * normal.reshape(height, width)
    parts = [int(np.ceil(size / zoom)) for size in (height, width)]
    top, left = ((size - part) // 2 for size, part in zip((height, width), parts, strict=True))
    flakes = ndimage.zoom(flakes[top : top + parts[0], left : left + parts[1]], zoom, order=1)
    top, left = ((size - wanted) // 2 for size, wanted in zip(flakes.shape, (height, width), strict=True))
    flakes = flakes[top : top + height, left : left + width]
    flakes = np.clip(np.where(flakes < threshold, 0, flakes), 0, 1)
    angle = np.deg2rad(-135 + 90 * draws[-1])
    kernel = np.zeros((4 * radius + 1, 4 * radius + 1))
    for i in range(2 * radius + 1):
        y, x = (int(np.ceil(i * part - 0.5)) for part in (np.sin(angle), np.cos(angle)))
        kernel[2 * radius + y, 2 * radius + x] += np.exp(-(i**2) / (2 * sigma**2))
    flakes = ndimage.correlate(flakes, kernel / kernel.sum(), mode="nearest")
    weights = np.array([0.299, 0.587, 0.114] if channels == 3 else np.full(channels, 1 / channels))
    pale = np.maximum(image, 1.5 * np.tensordot(weights, image, 1) + 0.5)
    return np.clip(kept * image + (1 - kept) * pale + flakes + np.rot90(flakes, 2), 0, 1)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (3, 17, 33), (2, 5, 9)])
def test_snow_is_scipys(shape: tuple[int, int, int]) -> None:
    """The same random numbers through zoom and correlate."""
    floats = make_bytes(10, shape) / np.float32(255)
    for severity in range(1, 6):
        ours = igdm.corrupt(floats, "snow", severity, seed=7)
        for index, image in enumerate(floats):
            draws = philox(7, index, 45, (shape[1] * shape[2] + 1) // 2 * 2 + 1)
            np.testing.assert_allclose(ours[index], snowed(image.astype(np.float64), severity, draws), atol=1e-6)


def test_frost_looks_like_the_photographs() -> None:
    """Over black images: mean colour, contrast, and how alike neighbours are, as measured on the photographs: mean of
    five, two of which are the same."""
    thickness = 0.45
    panes = igdm.corrupt(np.zeros((400, 3, 32, 32), np.float32), "frost", 5) / thickness
    np.testing.assert_allclose(panes.mean((0, 2, 3)), [0.572, 0.656, 0.702], atol=0.03)
    grey = panes.mean(1)
    # Each pane's kind by the whole image: the differences of neighbours know nothing of the mean.
    steps = {lag: ((grey[:, :, lag:] - grey[:, :, :-lag]) ** 2).mean() for lag in (1, 2, 8, 16)}
    measured = [
        (0.070, {1: 0.68, 2: 0.65, 8: 0.49, 16: 0.35}), (0.086, {1: 0.59, 2: 0.51, 8: 0.41, 16: 0.34}),
        (0.086, {1: 0.59, 2: 0.51, 8: 0.41, 16: 0.34}), (0.115, {1: 0.48, 2: 0.42, 8: 0.34, 16: 0.27}),
        (0.169, {1: 0.58, 2: 0.47, 8: 0.34, 16: 0.28}),
    ]  # fmt: skip
    for lag, found in steps.items():
        wanted = np.mean([2 * deviation**2 * (1 - alike[lag]) for deviation, alike in measured])
        assert abs(found / wanted - 1) < 0.12, (lag, found, wanted)


def test_frost_darkens_and_covers() -> None:
    """kept · x + thickness · pane, the same pane whatever the image."""
    random = np.random.default_rng(3)
    images = random.random((6, 1, 9, 14), dtype=np.float32) * np.float32(0.5)
    for severity, (kept, thickness) in enumerate([(1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)], 1):
        pane = igdm.corrupt(np.zeros_like(images), "frost", severity, seed=2)
        assert 0 < pane.max() <= np.float32(thickness)
        np.testing.assert_allclose(igdm.corrupt(images, "frost", severity, seed=2), kept * images + pane, atol=1e-6)
