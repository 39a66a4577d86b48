"""Data streamed from HDF5: the same bits as loaded data, and errors that name file and rows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import h5py
import igdm
import numpy as np
import pytest
from conftest import CLASSES, SHAPE, TRAINING, make_arrays, make_model
from igdm import __main__ as command_line

COUNT = 301  # a last block of the check sum that is not full
LAYOUTS: dict[str, dict[str, Any]] = {
    "contiguous": {},
    "a chunk an image": {"chunks": (1, *SHAPE)},
    "chunks with gzip": {"chunks": (7, *SHAPE), "compression": "gzip", "shuffle": True, "fletcher32": True},
    "parts of images": {"chunks": (4, 1, 5, 12)},
}


def write(path: Path, kind: str = "uint8", **layout: Any) -> Path:
    images, labels = make_arrays(COUNT)
    pixels = np.rint(images * 255).astype(np.uint8) if kind == "uint8" else images.astype(kind)
    with h5py.File(path, "w") as file:
        file.create_dataset("images", data=pixels, **layout)
        file["labels"] = labels
    return path


def both(path: Path) -> tuple[igdm.Dataset, igdm.Dataset]:
    return tuple(igdm.datasets.hdf5(path, classes=CLASSES, stream=stream) for stream in (False, True))  # type: ignore[return-value]


@pytest.mark.parametrize("kind", ["uint8", "<f4", ">f4"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_streamed_images_are_the_loaded_ones(tmp_path: Path, kind: str, layout: str) -> None:
    loaded, streamed = both(write(tmp_path / "data.h5", kind, **LAYOUTS[layout]))
    np.testing.assert_array_equal(streamed.images, loaded.images)
    np.testing.assert_array_equal(streamed.labels, loaded.labels)
    np.testing.assert_array_equal(streamed[37:260][100:].read(3, 9)[0], loaded.read(140, 9)[0])


@pytest.mark.parametrize("kind", ["uint8", "float32"])
def test_training_and_attacks_are_the_same_bits(tmp_path: Path, teacher: igdm.Model, kind: str) -> None:
    path = write(tmp_path / "data.h5", kind, **LAYOUTS["chunks with gzip"])
    options = dict(TRAINING, igdm=1.0, mirror="clip", crop_padding=2, flip=True, cutmix=0.5, average="swa", swa_start=1)
    digests, rows = [], []
    for data in both(path):
        student = make_model()
        run = igdm.distill(student, teacher, data[:250], validation=data[250:], **options)
        assert run.average is not None
        digests.append((student.digest(), run.average.digest()))
        result = igdm.evaluate(student, data[5:50], attacks="pgd-3,square-20", eps=0.1, keep_samples=True)
        rows.append((result.accuracy, result.samples["square-20"].images.tobytes()))
        robust = igdm.autoattack(student, data[:20], version="custom", attacks="apgd-ce", eps=0.1)
        rows[-1] += (robust.samples.images.tobytes(),)
    assert digests[0] == digests[1]
    assert rows[0] == rows[1]


@pytest.mark.parametrize("first", [False, True], ids=["loaded first", "streamed first"])
def test_a_run_goes_on_with_the_other_kind(tmp_path: Path, first: bool) -> None:
    path = write(tmp_path / "data.h5")
    data = dict(zip((False, True), both(path), strict=True))

    def stop(event: igdm.FitEvent) -> bool:
        return event.kind == "step" and event.epoch == 1 and event.batch == 5

    whole = make_model()
    igdm.distill(whole, None, data[False], **dict(TRAINING, method="pgd-at"))
    half = make_model()
    trainer = igdm.Trainer(half, None, **dict(TRAINING, method="pgd-at"))
    with pytest.raises(igdm.Cancelled):
        trainer.fit(data[first], callback=stop)
    trainer.save(tmp_path / "half.h5")
    again = igdm.Trainer(make_model(5), None, **dict(TRAINING, method="pgd-at"))
    again.resume(tmp_path / "half.h5")
    again.fit(data[not first])
    again.save(tmp_path / "whole.h5")
    assert igdm.Model.load(tmp_path / "whole.h5").digest() == whole.digest()


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "data.h5")
    arguments = ["--student", "resnet8", "--width", "4", "--method", "pgd-at", "--steps", "1", "--epochs", "1"]
    for kind in ("hdf5", "hdf5-stream"):
        job = ["distill", "--data", f"{kind}:{path}", *arguments, "--quiet", "--output", str(tmp_path / kind)]
        assert command_line.main(job) == 0, capsys.readouterr().err
    config = str(tmp_path / "hdf5-stream" / "config.json")
    assert command_line.main(["distill", "--config", config, "--output", str(tmp_path / "again"), "--quiet"]) == 0
    folders = ("hdf5", "hdf5-stream", "again")
    assert len({igdm.Model.load(tmp_path / folder / "last.h5").digest() for folder in folders}) == 1
    assert igdm.runs.read_config(tmp_path / "again" / "config.json")["train"]["stream"] is True


@pytest.mark.parametrize("way", ["truncated", "written to"])
def test_a_file_that_breaks_in_the_middle(tmp_path: Path, way: str) -> None:
    path = write(tmp_path / "data.h5")
    data = igdm.datasets.hdf5(path, classes=CLASSES, stream=True)
    student, seen = make_model(), []

    def breaks(event: igdm.FitEvent) -> None:
        if event.kind != "step":
            return
        seen.append(event.batch)
        if len(seen) == 3 and way == "truncated":
            os.truncate(path, path.stat().st_size - 2000)
        elif len(seen) == 3:
            with open(path, "r+b") as file:
                file.seek(path.stat().st_size // 2)
                file.write(b"\0")

    options = dict(TRAINING, method="pgd-at")
    with pytest.raises(igdm.InputOutputError, match=r"images: was written to .* at rows \d+ \.\.\. \d+") as caught:
        igdm.distill(student, None, data, run_dir=tmp_path / "run", callback=breaks, **options)
    assert str(path) in str(caught.value)
    trainer = igdm.Trainer(make_model(), None, **options)
    trainer.resume(tmp_path / "run" / "last.h5")
    # The batch after the damage had been read before, during the third step.
    assert trainer.position.steps == len(seen) == (4 if igdm.get_threads() > 1 else 3)

    # With the file as it was, the run goes on and ends as if nothing had been.
    os.replace(write(tmp_path / "copy.h5"), path)
    whole, resumed = make_model(), make_model()
    igdm.distill(whole, None, igdm.datasets.hdf5(path, classes=CLASSES), **options)
    healed = igdm.datasets.hdf5(path, classes=CLASSES, stream=True)
    igdm.distill(resumed, None, healed, run_dir=tmp_path / "run", resume=True, **options)
    assert resumed.digest() == whole.digest()


def test_a_damaged_chunk_is_named_by_its_place(tmp_path: Path) -> None:
    path = write(tmp_path / "data.h5", chunks=(8, *SHAPE), compression="gzip", fletcher32=True)
    with h5py.File(path) as file:
        where = file["images"].id.get_chunk_info(3).byte_offset
    with open(path, "r+b") as raw:
        raw.seek(where)
        raw.write(b"\xff" * 40)
    data = igdm.datasets.hdf5(path, classes=CLASSES, stream=True)
    data.read(0, 24)
    data.read(32, 8)
    with pytest.raises(igdm.FormatError, match=r"data\.h5.*images.*chunk at \(24, 0, 0, 0\) cannot be decompressed"):
        data.read(27, 1)
    student = make_model()
    before = student.digest()
    with pytest.raises(igdm.FormatError, match=r"chunk at \(24, 0, 0, 0\)"):  # before the first step
        igdm.distill(student, None, data, **dict(TRAINING, method="pgd-at"))
    assert student.digest() == before


def test_values_are_checked_when_they_are_read(tmp_path: Path) -> None:
    images, labels = make_arrays(20)
    for value, kind in ((1.5, igdm.InvalidArgument), (np.nan, igdm.NotFiniteError)):
        images[13, 0, 0, 2] = value
        with h5py.File(tmp_path / "data.h5", "w") as file:
            file["images"], file["labels"] = images, labels
        data = igdm.datasets.hdf5(tmp_path / "data.h5", stream=True)
        data.read(0, 13)
        with pytest.raises(kind, match=r"value 2 of sample 13"):
            data.read(10, 5)
        with pytest.raises(kind, match="sample 13"):
            igdm.evaluate(make_model(), data, attacks="")
        data.close()


def test_what_cannot_be_streamed(tmp_path: Path) -> None:
    path = tmp_path / "data.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("images", (1200, 3, 100, 100), "u1", chunks=(1200, 3, 100, 100), fillvalue=1)[...] = 1
        file["labels"] = np.zeros(1200, int)
        file["flat"] = np.zeros((1200, 3), np.uint8)
    with pytest.raises(igdm.FormatError, match="chunks of 36000000 bytes"):
        igdm.datasets.hdf5(path, stream=True)
    assert len(igdm.datasets.hdf5(path)) == 1200
    with pytest.raises(igdm.FormatError, match="flat"):
        igdm.datasets.hdf5(path, images="flat", stream=True)
    with pytest.raises(igdm.NotFoundError):
        igdm.datasets.hdf5(tmp_path / "none.h5", stream=True)
