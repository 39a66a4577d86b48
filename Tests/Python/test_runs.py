"""Run folders: complete, repeatable, kept when a run is interrupted."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import h5py
import igdm
import numpy as np
import pytest
from conftest import TRAINING, make_arrays, make_model
from igdm import runs

OPTIONS = dict(TRAINING, igdm=2.0, mirror="clip", eps="13/255")
MTARD = dict(OPTIONS, method="mtard")


@pytest.fixture
def saved_teacher(teacher: igdm.Model, tmp_path: Path) -> igdm.Model:
    teacher.save(tmp_path / "teacher file.h5")
    return igdm.Model.load(tmp_path / "teacher file.h5")


def test_the_folder_holds_the_run(saved_teacher: igdm.Model, hdf5_data: Path, tmp_path: Path) -> None:
    data = igdm.datasets.hdf5(hdf5_data, "train/images", "train/labels")
    folder, student = tmp_path / "runs" / "one", make_model()
    run = igdm.distill(student, saved_teacher, data[:32], validation=data[32:], run_dir=folder, **OPTIONS)
    assert run.folder == folder
    names = {path.name for path in folder.iterdir() if "tfevents" not in path.name}
    assert names == {"config.json", "initial.h5", "metrics.csv", "last.h5", "best.h5", "report.html"}
    assert igdm.Model.load(folder / "last.h5").digest() == student.digest()
    assert igdm.Model.load(folder / "initial.h5").digest() == make_model().digest()
    with open(folder / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [{name: float(value) for name, value in row.items()} for row in rows] == run.history
    config = json.loads((folder / "config.json").read_text())
    assert config["options"] == run.options
    assert config["options"]["eps"] == "13/255"
    assert config["igdm"] == igdm.__version__
    assert config["student"]["architecture"] == "resnet8"


def test_a_run_repeats_from_its_configuration(saved_teacher: igdm.Model, hdf5_data: Path, tmp_path: Path) -> None:
    data = igdm.datasets.hdf5(hdf5_data, "train/images", "train/labels")[5:40]
    student = make_model()
    student.parameters["conv1.weight"] = student.parameters["conv1.weight"] * 2  # no seed gives this student
    igdm.distill(student, saved_teacher, data, run_dir=tmp_path / "one", **OPTIONS)
    config = runs.read_config(tmp_path / "one" / "config.json")
    again = runs.load_recorded("student", config["student"])
    teacher = runs.load_recorded("teacher", config["teacher"])
    igdm.distill(again, teacher, igdm.datasets.open_source(config["train"]), **config["options"])
    assert again.digest() == student.digest()


def data_files(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("data-*.h5")}


def repeated(folder: Path) -> igdm.Model:
    """The student of a run that is done again from its config.json."""
    config = runs.read_config(folder / "config.json")
    student = runs.load_recorded("student", config["student"])
    teacher = runs.load_recorded("teacher", config["teacher"])
    data = {role: igdm.datasets.open_source(config[role]) for role in ("train", "validation") if config[role]}
    options = dict(config["options"], patience=config["patience"], progress=False)
    igdm.distill(student, teacher, run_dir=folder.parent / "again", overwrite=True, **data, **options)
    return student


@pytest.mark.parametrize("kind", ["floats", "multiples of 1/255", "bytes", "soft", "separate"])
def test_a_run_on_arrays_repeats(teacher: igdm.Model, tmp_path: Path, kind: str) -> None:
    images, labels = make_arrays(48)
    if kind in ("bytes", "multiples of 1/255"):
        images = np.rint(images * 255).astype(np.uint8)
    if kind == "multiples of 1/255":  # which stay floats, with their check sum
        images = images.astype(np.float32) / np.float32(255)
    everything = igdm.datasets.from_arrays(images, labels, 3, class_names=["a", "b", "c"])
    if kind == "soft":
        everything = everything.with_soft_labels(np.eye(3, dtype=np.float32)[labels] * 0.7 + 0.1)
    train, validation = everything.hold_out(0.25)
    if kind == "separate":
        validation = igdm.datasets.from_arrays(images[:8], labels[:8], 3)
    student, folder = make_model(), tmp_path / "one"
    options = dict(OPTIONS, method="akd")
    run = igdm.distill(student, teacher, train[2:], validation=validation, run_dir=folder, **options)
    assert len(data_files(folder)) == (2 if kind == "separate" else 1)
    with h5py.File(runs.read_config(folder / "config.json")["train"]["path"]) as file:
        assert file["images"].shape == (48, *everything.image_shape)
        assert file["images"].dtype == (np.uint8 if kind == "bytes" else np.float32)
    assert repeated(folder).digest() == student.digest()
    again = runs.read_metrics(tmp_path / "again" / "metrics.csv")
    for row, wanted in zip(again, run.history, strict=True):
        for name in set(wanted) - {"images_per_second", "seconds"}:
            assert row[name] == wanted[name]


def test_a_run_replaces_the_one_that_has_its_data(teacher: igdm.Model, data: igdm.Dataset, tmp_path: Path) -> None:
    student = make_model()
    igdm.distill(student, teacher, data[4:], run_dir=tmp_path / "again", **OPTIONS)
    # From the folder that goes: repeated() writes into it.
    assert repeated(tmp_path / "again").digest() == student.digest()
    assert repeated(tmp_path / "again").digest() == student.digest()


def test_arrays_are_left_out_where_asked(teacher: igdm.Model, data: igdm.Dataset, tmp_path: Path) -> None:
    igdm.distill(make_model(), teacher, data, run_dir=tmp_path / "one", keep_data=False, **OPTIONS)
    assert not data_files(tmp_path / "one")
    with pytest.raises(igdm.InvalidArgument, match="not on disk"):
        repeated(tmp_path / "one")


def test_arrays_without_h5py(
    teacher: igdm.Model, data: igdm.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, "h5py", None)
    igdm.distill(make_model(), teacher, data, run_dir=tmp_path / "one", **OPTIONS)
    assert not data_files(tmp_path / "one")
    assert "cannot repeat the run without its data" in caplog.text


@pytest.mark.parametrize("copy", [False, True])
@pytest.mark.parametrize("lost", [False, True])
def test_a_run_on_arrays_goes_on(teacher: igdm.Model, tmp_path: Path, copy: bool, lost: bool) -> None:
    """After and before its first checkpoint, with the arrays or with the run's own copy of them."""
    images, labels = make_arrays(40)
    images = np.rint(images * 255).astype(np.float32) / np.float32(255)
    data = igdm.datasets.from_arrays(images, labels, 3)
    whole, student = make_model(), make_model()
    igdm.distill(whole, teacher, data[2:], **OPTIONS)
    with pytest.raises(igdm.Cancelled):
        stop = lambda event: event.epoch == 2  # noqa: E731
        igdm.distill(make_model(), teacher, data[2:], run_dir=tmp_path / "run", callback=stop, **OPTIONS)
    if lost:
        (tmp_path / "run" / "last.h5").unlink()
        (tmp_path / "run" / "metrics.csv").unlink()
        other = igdm.datasets.from_arrays(1 - images, labels, 3)
        for wrong in (data[:38], data, other[2:]):
            with pytest.raises(igdm.InvalidArgument, match="train"):
                igdm.distill(make_model(), teacher, wrong, run_dir=tmp_path / "run", resume=True, **OPTIONS)
    if copy:
        (name,) = data_files(tmp_path / "run")
        data = igdm.datasets.hdf5(tmp_path / "run" / name)
    igdm.distill(student, teacher, data[2:], run_dir=tmp_path / "run", resume=True, **OPTIONS)
    assert student.digest() == whole.digest()


def test_files_of_the_user_are_left_alone(teacher: igdm.Model, data: igdm.Dataset, tmp_path: Path) -> None:
    """Those that look like a run's, and those that a run reads, by whatever path and option."""
    folder = tmp_path / "run"
    folder.mkdir()
    (tmp_path / "link").symlink_to(folder)
    (folder / "train.h5").write_text("precious")
    igdm.distill(make_model(), teacher, data, run_dir=folder, **OPTIONS)
    (name,) = data_files(folder)
    content = (folder / name).read_bytes()
    for path in (folder, tmp_path / "link", tmp_path / "link" / ".." / "run"):
        for keep in (True, False):
            own = igdm.datasets.hdf5(path / name)
            igdm.distill(
                make_model(), teacher, own, run_dir=path, overwrite=True, keep_data=keep, **dict(OPTIONS, epochs=1)
            )
            assert (folder / name).read_bytes() == content
    assert (folder / "train.h5").read_text() == "precious"
    igdm.distill(make_model(), teacher, data[:40].select(range(7)), run_dir=folder, overwrite=True, **OPTIONS)
    assert data_files(folder) == {name}  # a part of the same
    other = igdm.datasets.from_arrays(*make_arrays(20, seed=4), 3)
    igdm.distill(make_model(), teacher, other, run_dir=folder, overwrite=True, **OPTIONS)
    assert len(data_files(folder) - {name}) == len(data_files(folder)) == 1


def test_a_run_of_an_earlier_version_goes_on(teacher: igdm.Model, data: igdm.Dataset, tmp_path: Path) -> None:
    """Whose files know nothing of `second_loss`."""
    whole, student = make_model(), make_model()
    igdm.distill(whole, teacher, data, **OPTIONS)
    with pytest.raises(igdm.Cancelled):
        stop = lambda event: event.epoch == 2  # noqa: E731
        igdm.distill(make_model(), teacher, data, run_dir=tmp_path / "run", callback=stop, **OPTIONS)
    rows = runs.read_metrics(tmp_path / "run" / "metrics.csv")
    for row in rows:
        del row["second_loss"]
    runs.write_metrics(tmp_path / "run" / "metrics.csv", rows)
    igdm.distill(student, teacher, data, run_dir=tmp_path / "run", resume=True, **OPTIONS)
    assert student.digest() == whole.digest()
    assert [row["second_loss"] for row in runs.read_metrics(tmp_path / "run" / "metrics.csv")] == [None, 0]


def test_both_teachers_of_a_run_are_kept(teacher: igdm.Model, data: igdm.Dataset, tmp_path: Path) -> None:
    clean, student = make_model(seed=3), make_model()
    options = dict(OPTIONS, method="mtard")
    igdm.distill(student, [clean, teacher], data, run_dir=tmp_path / "one", **options)
    config = runs.read_config(tmp_path / "one" / "config.json")
    pair = [runs.load_recorded(role, config[role]) for role in ("clean_teacher", "teacher")]
    assert [one.digest() for one in pair] == [clean.digest(), teacher.digest()]
    again = make_model()
    igdm.distill(again, pair, data, **config["options"])
    assert again.digest() == student.digest()
    # Folders of earlier versions know of one teacher.
    written = json.loads((tmp_path / "one" / "config.json").read_text())
    del written["clean_teacher"]
    (tmp_path / "one" / "config.json").write_text(json.dumps(written))
    assert runs.read_config(tmp_path / "one" / "config.json")["clean_teacher"] is None


def test_a_teacher_without_file_is_kept_in_the_folder(teacher: igdm.Model, data: igdm.Dataset, tmp_path: Path) -> None:
    igdm.distill(make_model(), teacher, data, run_dir=tmp_path / "one", **OPTIONS)
    assert igdm.Model.load(tmp_path / "one" / "teacher.h5").digest() == teacher.digest()
    config = runs.read_config(tmp_path / "one" / "config.json")
    assert config["validation"] is None


def test_a_changed_teacher_is_noticed(saved_teacher: igdm.Model, data: igdm.Dataset, tmp_path: Path) -> None:
    igdm.distill(make_model(), saved_teacher, data, run_dir=tmp_path / "one", **OPTIONS)
    make_model(seed=8).save(tmp_path / "teacher file.h5")
    config = runs.read_config(tmp_path / "one" / "config.json")
    with pytest.raises(igdm.FormatError, match=r"teacher: .*weights differ"):
        runs.load_recorded("teacher", config["teacher"])


def test_a_teacher_changed_in_memory_is_kept_in_the_folder(
    saved_teacher: igdm.Model, data: igdm.Dataset, tmp_path: Path
) -> None:
    saved_teacher.parameters["conv1.weight"] = saved_teacher.parameters["conv1.weight"] * 2
    igdm.distill(make_model(), saved_teacher, data, run_dir=tmp_path / "one", **OPTIONS)
    config = runs.read_config(tmp_path / "one" / "config.json")
    assert runs.load_recorded("teacher", config["teacher"]).digest() == saved_teacher.digest()


def test_a_run_is_not_overwritten_by_accident(teacher: igdm.Model, data: igdm.Dataset, tmp_path: Path) -> None:
    igdm.distill(make_model(), teacher, data, run_dir=tmp_path, **OPTIONS)
    before = (tmp_path / "last.h5").read_bytes()
    student = make_model(seed=1)
    with pytest.raises(igdm.InvalidArgument, match="overwrite=True"):
        igdm.distill(student, teacher, data, run_dir=tmp_path, **OPTIONS)
    assert (tmp_path / "last.h5").read_bytes() == before
    assert student.digest() == make_model(seed=1).digest()
    igdm.distill(student, teacher, data, run_dir=tmp_path, overwrite=True, **OPTIONS)
    assert igdm.Model.load(tmp_path / "last.h5").digest() == student.digest()


def test_overwriting_leaves_nothing_of_the_old_run(
    saved_teacher: igdm.Model, data: igdm.Dataset, tmp_path: Path
) -> None:
    folder = tmp_path / "one"
    igdm.distill(make_model(), [make_model(seed=3), make_model(seed=5)], data, run_dir=folder, **MTARD)
    old = ["evaluation.json", "evaluation-best.json", "report.html", "events.out.tfevents.1.host"]
    for name in [*old, "notes.txt"]:
        (folder / name).write_text("old")
    igdm.distill(make_model(), saved_teacher, data, run_dir=folder, overwrite=True, **OPTIONS)
    names = {path.name for path in folder.iterdir() if path.name == old[-1] or "tfevents" not in path.name}
    names -= data_files(folder)
    assert names == {"config.json", "initial.h5", "metrics.csv", "last.h5", "report.html", "notes.txt"}
    assert (folder / "report.html").read_text().startswith("<!doctype html>")


def test_a_folder_without_run_loses_nothing(saved_teacher: igdm.Model, data: igdm.Dataset, tmp_path: Path) -> None:
    (tmp_path / "evaluation.json").write_text("mine")
    igdm.distill(make_model(), saved_teacher, data, run_dir=tmp_path, **OPTIONS)
    assert (tmp_path / "evaluation.json").read_text() == "mine"


def test_the_folder_has_a_report(saved_teacher: igdm.Model, data: igdm.Dataset, tmp_path: Path) -> None:
    """Of distill() as of the command line: curves, and with a validation images."""
    for validation, has_images in ((None, False), (data[:12], True)):
        igdm.distill(
            make_model(), saved_teacher, data, validation=validation, run_dir=tmp_path, overwrite=True, **OPTIONS
        )
        page = (tmp_path / "report.html").read_text()
        assert "Loss of the method" in page and "resnet8 on arrays" in page
        assert ("What the attacks look like" in page) == has_images


def test_a_report_that_fails_does_not_lose_the_training(
    saved_teacher: igdm.Model, data: igdm.Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "report.html").mkdir()
    run = igdm.distill(make_model(), saved_teacher, data, run_dir=tmp_path, **OPTIONS)
    assert len(run.history) == OPTIONS["epochs"] and "report.html: not written" in caplog.text


def test_a_finished_run_keeps_its_page(saved_teacher: igdm.Model, data: igdm.Dataset, tmp_path: Path) -> None:
    """It may be one with evaluations, or a comparison."""
    options = {**OPTIONS, "validation": data[:12]}
    igdm.distill(make_model(), saved_teacher, data, run_dir=tmp_path, **options)
    (tmp_path / "report.html").write_text("with a table")
    (tmp_path / "best.h5").unlink()
    igdm.distill(make_model(), saved_teacher, data, run_dir=tmp_path, resume=True, **options)
    assert (tmp_path / "report.html").read_text() == "with a table"
    (tmp_path / "report.html").unlink()
    igdm.distill(make_model(), saved_teacher, data, run_dir=tmp_path, resume=True, **options)
    assert "Loss of the method" in (tmp_path / "report.html").read_text()


def test_teachers_of_the_folder_itself_outlive_overwriting(data: igdm.Dataset, tmp_path: Path) -> None:
    """Even where the two change places, or one of them is the old student."""
    models = [make_model(seed=3), make_model(seed=5)]
    digests = [one.digest() for one in models]
    igdm.distill(make_model(), models, data, run_dir=tmp_path, **MTARD)

    def recorded() -> list[str]:
        config = runs.read_config(tmp_path / "config.json")
        return [runs.load_recorded(role, config[role]).digest() for role in ("clean_teacher", "teacher")]

    def replace(clean: str, robust: str) -> list[str]:
        pair = [igdm.Model.load(tmp_path / name) for name in (clean, robust)]
        igdm.distill(make_model(), pair, data, run_dir=tmp_path, overwrite=True, **MTARD)
        return recorded()

    assert recorded() == digests
    assert replace("clean_teacher.h5", "teacher.h5") == digests
    assert replace("teacher.h5", "clean_teacher.h5") == digests[::-1]
    student = igdm.Model.load(tmp_path / "last.h5").digest()
    assert replace("last.h5", "clean_teacher.h5") == [student, digests[1]]


def test_a_run_goes_on_however_eps_is_written(teacher: igdm.Model, data: igdm.Dataset, tmp_path: Path) -> None:
    options = dict(OPTIONS, epochs=1, step="2/255")
    igdm.distill(make_model(), teacher, data, run_dir=tmp_path, **options)
    changed = dict(options, eps=13 / 255, step=2 / 255)
    igdm.distill(make_model(), teacher, data, run_dir=tmp_path, resume=True, **changed)
    with pytest.raises(igdm.InvalidArgument, match="eps: the run has 13/255, now it is 12/255"):
        igdm.distill(make_model(), teacher, data, run_dir=tmp_path, resume=True, **dict(options, eps="12/255"))


def test_an_interrupted_run_keeps_its_student(teacher: igdm.Model, data: igdm.Dataset, tmp_path: Path) -> None:
    def interrupt(event: igdm.FitEvent) -> None:
        if event.epoch == 2:
            raise KeyboardInterrupt

    student = make_model()
    with pytest.raises(KeyboardInterrupt):
        igdm.distill(student, teacher, data, run_dir=tmp_path, callback=interrupt, **OPTIONS)
    assert igdm.Model.load(tmp_path / "last.h5").digest() == student.digest() != make_model().digest()
    assert len((tmp_path / "metrics.csv").read_text().splitlines()) == 2


def test_wrong_options_make_no_folder(teacher: igdm.Model, data: igdm.Dataset, tmp_path: Path) -> None:
    with pytest.raises(igdm.InvalidArgument):
        igdm.distill(make_model(), teacher, data, run_dir=tmp_path / "one", method="art")
    assert not (tmp_path / "one").exists()


@pytest.mark.parametrize("text", ["not JSON", "[]", "{}", '{"student": 1, "teacher": null, "train": {}}'])
def test_other_files_are_no_configuration(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(igdm.FormatError, match=r"config\.json"):
        runs.read_config(tmp_path / "config.json")


def test_a_missing_configuration(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing"):
        runs.read_config(tmp_path / "nothing.json")


def test_metrics_leave_out_what_was_not_measured(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"epoch": 1, "validation_clean": None}, {"epoch": 2, "validation_clean": 0.5}]
    runs.write_metrics(tmp_path / "metrics.csv", rows)
    assert (tmp_path / "metrics.csv").read_text().splitlines() == ["epoch,validation_clean", "1,", "2,0.5"]
