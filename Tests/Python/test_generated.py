"""Generated images in the batches of a training: distill(generated=...), its run folder, the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import igdm
import pytest
from conftest import CLASSES, TRAINING, make_arrays, make_model
from igdm import __main__ as command_line
from igdm import runs

OPTIONS: dict[str, Any] = dict(TRAINING, generated_ratio=0.4)


@pytest.fixture
def generated_file(tmp_path: Path) -> Path:
    import h5py

    path = tmp_path / "generated.h5"
    images, labels = make_arrays(30, 9)
    with h5py.File(path, "w") as file:
        file["images"], file["labels"] = images, labels
    return path


def digest(teacher: igdm.Model, data: igdm.Dataset, **changes: Any) -> str:
    student = make_model()
    igdm.distill(student, teacher, data, **changes)
    return student.digest()


def test_generated_images_change_the_training(teacher: igdm.Model, data: igdm.Dataset, generated_file: Path) -> None:
    loaded = igdm.datasets.hdf5(generated_file)
    streamed = igdm.datasets.hdf5(generated_file, stream=True)
    results = [
        digest(teacher, data, **TRAINING),
        digest(teacher, data, generated=loaded, **OPTIONS),
        digest(teacher, data, generated=loaded, **dict(OPTIONS, generated_ratio=0.6)),
        digest(teacher, data, generated=loaded[:20], **OPTIONS),
    ]
    assert len(set(results)) == 4
    assert digest(teacher, data, generated=streamed, **OPTIONS) == results[1]


def test_an_epoch_keeps_its_length(teacher: igdm.Model, data: igdm.Dataset) -> None:
    batches = []
    with igdm.Trainer(make_model(), teacher, generated=data, **dict(OPTIONS, generated_ratio=0.9)) as trainer:
        trainer.fit(data, callback=lambda event: batches.append(event.batches))
        assert trainer.options["generated_ratio"] == 0.9
    assert set(batches) == {len(data) // OPTIONS["batch_size"]}


def test_what_does_not_fit_is_refused(teacher: igdm.Model, data: igdm.Dataset) -> None:
    with pytest.raises(igdm.InvalidArgument, match="generated: got none"):
        igdm.distill(make_model(), teacher, data, **OPTIONS)
    with pytest.raises(igdm.InvalidArgument, match="generated_ratio: got 0"):
        igdm.distill(make_model(), teacher, data, generated=data, **TRAINING)
    with pytest.raises(igdm.InvalidArgument, match=r"generated_ratio: got 1\.0"):
        igdm.distill(make_model(), teacher, data, generated=data, **dict(OPTIONS, generated_ratio=1.0))
    with pytest.raises(TypeError, match="generated"):
        igdm.distill(make_model(), teacher, data, generated=make_arrays(3), **OPTIONS)  # type: ignore[arg-type]
    more = igdm.datasets.from_arrays(*make_arrays(8), classes=CLASSES + 1)
    with pytest.raises(igdm.ShapeError, match="generated"):
        igdm.distill(make_model(), teacher, data, generated=more, **OPTIONS)


def test_a_run_is_repeated_and_gone_on_with(
    teacher: igdm.Model, hdf5_data: Path, generated_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher.save(tmp_path / "teacher.h5")
    command = [
        "distill", "--data", f"hdf5:{hdf5_data},train/images,train/labels", "--teacher", str(tmp_path / "teacher.h5"),
        "--student", "resnet8", "--width", "4", "--quiet", "--eps", "0.05", "--steps", "2", "--batch-size", "16",
        "--crop-padding", "1", "--epochs", "3", "--generated", f"hdf5:{generated_file}", "--generated-ratio", "0.4",
    ]  # fmt: skip
    one = tmp_path / "one"
    assert command_line.main([*command, "--output", str(one)]) == 0
    config = runs.read_config(one / "config.json")
    assert config["generated"] == igdm.datasets.hdf5(generated_file).source
    assert config["options"]["generated_ratio"] == 0.4

    def result(name: str) -> str:
        return igdm.Model.load(tmp_path / name / "last.h5").digest()

    # Repeated from its configuration; without the images; and gone on with after a break.
    repeated = ["distill", "--config", str(one / "config.json"), "--quiet"]
    assert command_line.main([*repeated, "--output", str(tmp_path / "two")]) == 0
    assert result("two") == result("one")
    assert command_line.main([*repeated, "--generated", "none", "--output", str(tmp_path / "three")]) == 0
    assert runs.read_config(tmp_path / "three" / "config.json")["generated"] is None
    assert result("three") != result("one")
    with pytest.raises(igdm.Cancelled):
        broken(tmp_path / "four", config)
    assert command_line.main(["distill", "--output", str(tmp_path / "four"), "--resume", "--quiet"]) == 0
    assert result("four") == result("one")

    # Other images, or none, are another run.
    with pytest.raises(igdm.Cancelled):
        broken(tmp_path / "five", config)
    resumed = ["distill", "--output", str(tmp_path / "five"), "--resume", "--quiet"]
    assert command_line.main([*resumed, "--generated", "none"]) == 2
    assert command_line.main([*resumed, "--generated", f"hdf5:{hdf5_data},test/images,test/labels"]) == 2
    message = capsys.readouterr().err
    assert "generated_ratio: the run has 0.4, now it is 0.0" in message
    assert "generated: the training was begun with 30 samples" in message


def broken(folder: Path, config: dict[str, Any]) -> None:
    """The run of a configuration, cancelled in its second epoch."""
    sources = {name: igdm.datasets.open_source(config[name]) for name in ("train", "generated")}
    teacher = runs.load_recorded("teacher", config["teacher"])
    igdm.distill(
        runs.load_recorded("student", config["student"]), teacher, sources["train"], generated=sources["generated"],
        run_dir=folder, callback=lambda event: (event.epoch, event.batch) == (2, 2), **config["options"],
    )  # fmt: skip


def test_runs_of_earlier_versions_go_on(teacher: igdm.Model, hdf5_data: Path, tmp_path: Path) -> None:
    """Their configuration lacks what is newer, which then was off."""
    data = igdm.datasets.hdf5(hdf5_data, "train/images", "train/labels")
    whole = igdm.distill(make_model(), teacher, data, **TRAINING).student.digest()
    with pytest.raises(igdm.Cancelled):
        igdm.distill(make_model(), teacher, data, run_dir=tmp_path, callback=lambda event: event.epoch == 2, **TRAINING)
    place = tmp_path / "config.json"
    config = json.loads(place.read_text())
    del config["generated"], config["options"]["generated_ratio"]
    place.write_text(json.dumps(config))
    run = igdm.distill(make_model(), teacher, data, run_dir=tmp_path, resume=True, **TRAINING)
    assert run.student.digest() == whole
