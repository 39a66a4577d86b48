"""Trainings survive: killed at any moment, interrupted, out of space. What goes on ends as if nothing had been."""

from __future__ import annotations

import csv
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import igdm
import numpy as np
import pytest
from conftest import TRAINING, make_arrays, make_model, process_environment
from igdm import __main__ as command_line
from igdm import runs

KILLS = {"mtard": 30, "iad": 20, "saad": 20}
MEASURED = ("images_per_second", "seconds")
STATE = ("position", "optimiser", "average", "method")

# Everything that has a state: an optimiser with a moment, an average, MTARD's weights, crops, CutMix.
OPTIONS = [
    "--igdm", "2", "--mirror", "clip", "--eps", "13/255", "--steps", "2", "--epochs", "6",
    "--batch-size", "16", "--crop-padding", "1", "--cutmix", "0.5", "--average", "ema", "--validation-steps", "2",
    "--learning-rate", "0.02", "--quiet",
]  # fmt: skip

# IAD's introspection begins, and SAAD's weights and clean images count, within the training.
METHODS = {
    "mtard": [],
    "iad": ["--introspection-start", "3"],
    "saad": ["--clean-weight", "0.5", "--entropy-order", "2"],
}


@pytest.fixture
def job(teacher: igdm.Model, hdf5_data: Path, tmp_path: Path) -> list[str]:
    """The arguments of a small training, without --output."""
    return arguments("mtard", teacher, hdf5_data, tmp_path)


def arguments(method: str, teacher: igdm.Model, hdf5_data: Path, tmp_path: Path) -> list[str]:
    teacher.save(tmp_path / "teacher.h5")
    make_model(seed=3).save(tmp_path / "clean.h5")
    return [
        "distill", "--data", f"hdf5:{hdf5_data},train/images,train/labels", "--teacher", f"{tmp_path / 'teacher.h5'}",
        "--validation", f"hdf5:{hdf5_data},test/images,test/labels", "--student", "resnet8", "--width", "4",
        "--method", method, *METHODS[method], *OPTIONS,
        *(["--clean-teacher", f"{tmp_path / 'clean.h5'}"] if method == "mtard" else []),
    ]  # fmt: skip


def rows(folder: Path) -> list[dict[str, str]]:
    """metrics.csv without what a clock says."""
    with open(folder / "metrics.csv", newline="") as file:
        return [{name: value for name, value in row.items() if name not in MEASURED} for row in csv.DictReader(file)]


def state(path: Path) -> dict[str, Any]:
    """Every number of a training's checkpoint."""
    import h5py

    found: dict[str, Any] = {}
    with h5py.File(path) as file:
        for part in STATE:
            if part not in file["training"]:  # a method that remembers nothing
                continue
            group = file["training"][part]
            found |= {f"{part}.{name}": value for name, value in group.attrs.items()}
            found |= {f"{part}.{name}": values[()].tobytes() for name, values in group.items()}
        found |= {name: values[()].tobytes() for name, values in file["weights"].items()}
    return found


def require_same(folder: Path, reference: Path) -> None:
    assert rows(folder) == rows(reference)
    assert state(folder / "last.h5") == state(reference / "last.h5")
    for name in ("best.h5", "average.h5"):
        assert igdm.Model.load(folder / name).digest() == igdm.Model.load(reference / name).digest()
    assert not list(folder.glob(".igdm-*")), "leftovers of killed processes"


def written(path: Path) -> int:
    return path.stat().st_ino if path.exists() else 0  # a file that is replaced is another one


def killed(arguments: list[str], after: float, following: Path | None = None) -> bool:
    """Runs a command in a child process, and kills it so many seconds after its start, or after it has written a file;
    whether it was killed."""
    before = written(following) if following is not None else 0
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            status = command_line.main(arguments)
        finally:
            os._exit(status)
    deadline = time.monotonic() + after
    while time.monotonic() < deadline:
        if following is not None and written(following) != before:
            following, deadline = None, time.monotonic() + after
        elif following is not None:
            deadline = time.monotonic() + after
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            assert os.waitstatus_to_exitcode(status) == 0
            return False
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("method", KILLS)
def test_killed_at_random_moments(
    method: str, teacher: igdm.Model, hdf5_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Checkpoints after every batch, so that many of the moments fall into the writing of one."""
    job = arguments(method, teacher, hdf5_data, tmp_path)
    teachers = [make_model(seed=3), teacher] if method == "mtard" else teacher
    reference = tmp_path / "reference"
    began = time.monotonic()
    assert command_line.main([*job, "--output", str(reference)]) == 0
    duration = time.monotonic() - began
    draw = random.Random(1)
    kills, finished, touched = 0, 0, set()
    while kills < KILLS[method]:
        folder = tmp_path / f"run {finished}"
        command = [*job, "--output", str(folder), "--resume", "--checkpoint-minutes", "0"]

        while kills < KILLS[method]:
            # Now and then while it starts; else it must have come on first, however busy the machine is.
            following = folder / "last.h5" if draw.random() < 0.8 else None
            if not killed(command, draw.uniform(0, duration / 4), following):
                break
            kills += 1
            if (folder / "last.h5").exists():
                options = json.loads((folder / "config.json").read_text())["options"]
                with igdm.Trainer(make_model(), teachers, **options) as trainer:
                    trainer.resume(folder / "last.h5")
                    touched.add(trainer.position.steps)
        assert command_line.main(command) == 0
        require_same(folder, reference)
        finished += 1
    assert finished >= 1
    assert len(touched) >= KILLS[method] // 3, "the kills came at different places of the training"
    # Without its arguments: everything is in the folder.
    assert command_line.main(["distill", "--output", str(folder), "--resume", "--quiet"]) == 0
    require_same(folder, reference)
    capsys.readouterr()


def python_in(arguments: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "igdm", *arguments],
        capture_output=True, text=True, timeout=300, env=process_environment(), **options,
    )  # fmt: skip


def test_interrupted_by_the_keyboard(job: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The batch is finished and saved: nothing is done twice."""
    assert command_line.main([*job, "--output", str(tmp_path / "reference")]) == 0
    folder = tmp_path / "run"
    arguments = [*job, "--output", str(folder), "--resume"]
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-m", "igdm", *arguments], stderr=subprocess.PIPE, text=True, env=process_environment()
        )
        known = len(rows(folder)) if (folder / "metrics.csv").exists() else 0
        deadline = time.monotonic() + 100
        while process.poll() is None and time.monotonic() < deadline:
            if (folder / "metrics.csv").exists() and len(rows(folder)) > known:
                break
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=100)
        assert process.returncode == 130
        assert err.splitlines()[-1] == "igdm: interrupted"
        assert "Traceback" not in err
        before = state(folder / "last.h5")["position.steps"]
        assert before >= 3 * len(rows(folder))
    assert command_line.main(arguments) == 0
    require_same(folder, tmp_path / "reference")
    capsys.readouterr()


def test_an_interruption_is_held_until_the_batch_is_recorded(
    teacher: igdm.Model, data: igdm.Dataset, tmp_path: Path
) -> None:
    def interrupt(event: igdm.FitEvent) -> None:
        if (event.epoch, event.batch) == (2, 1):
            signal.raise_signal(signal.SIGINT)
            assert event.kind == "step", "the callback goes on"

    student = make_model()
    with pytest.raises(KeyboardInterrupt):
        igdm.distill(student, teacher, data, run_dir=tmp_path / "run", callback=interrupt, **TRAINING)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with igdm.Trainer(make_model(), teacher, **TRAINING) as trainer:
        trainer.resume(tmp_path / "run" / "last.h5")
        assert (trainer.position.epochs, trainer.position.batches, trainer.position.steps) == (1, 1, 4)
    igdm.distill(make_model(), teacher, data, run_dir=tmp_path / "run", resume=True, **TRAINING)
    whole = make_model()
    igdm.distill(whole, teacher, data, **TRAINING)
    assert igdm.Model.load(tmp_path / "run" / "last.h5").digest() == whole.digest()


def test_a_full_disk(job: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The checkpoint of the training, larger than all other files, no longer fits."""
    assert command_line.main([*job, "--output", str(tmp_path / "reference")]) == 0
    folder = tmp_path / "run"

    def limited(largest: int) -> subprocess.CompletedProcess[str]:
        limit = (largest, largest)
        return python_in(
            [*job, "--output", str(folder), "--resume"],
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit),
        )

    size = (tmp_path / "reference" / "last.h5").stat().st_size
    assert (tmp_path / "reference" / "best.h5").stat().st_size < size - 10_000
    failed = limited(size - 10_000)
    assert (failed.returncode, len(failed.stderr.splitlines())) == (1, 1), failed.stderr
    assert "last.h5" in failed.stderr
    assert "too large" in failed.stderr
    assert not (folder / "last.h5").exists()
    assert limited(size + 10_000).returncode == 0
    require_same(folder, tmp_path / "reference")
    capsys.readouterr()


@pytest.mark.parametrize("size", ["ro", "size=64k"])
def test_a_folder_without_room(job: list[str], tmp_path: Path, size: str) -> None:
    """A disk of its own, seen by this process only: read-only, or too small for anything."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = " ".join(
        [
            f"mount -t tmpfs -o {size} tmpfs '{disk}' &&",
            f"exec '{sys.executable}' -m igdm",
            *(f"'{word}'" for word in [*job, "--output", str(disk / "run")]),
        ]
    )
    users = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    failed = subprocess.run(
        ["unshare", *users, "--mount", "sh", "-c", command],
        capture_output=True, text=True, timeout=100, env=process_environment(),
    )  # fmt: skip
    assert failed.returncode == 1
    (line,) = failed.stderr.splitlines()
    assert line.startswith("igdm: error: ")
    assert ("ead-only" if size == "ro" else "space") in line


def test_a_loss_that_is_not_finite(teacher: igdm.Model, data: igdm.Dataset, tmp_path: Path) -> None:
    """The training stops, says where, and keeps the last good checkpoint."""
    wild = dict(TRAINING, weight_decay=0.5, checkpoint_minutes=100)
    growing = dict(wild, epochs=4, schedule="multistep", milestones=[1], decay=1000.0, learning_rate=1.0)
    with pytest.raises(igdm.NotFiniteError, match=r"step \d+: .*last\.h5 is from step 3"):
        igdm.distill(make_model(), teacher, data, run_dir=tmp_path / "run", **growing)
    kept = igdm.Model.load(tmp_path / "run" / "last.h5")
    assert np.isfinite(kept.predict(data.images)).all()
    with pytest.raises(igdm.NotFiniteError, match="there is no checkpoint yet"):
        igdm.distill(
            make_model(), teacher, data, run_dir=tmp_path / "other",
            **dict(wild, learning_rate=1000.0, weight_decay=1000.0),
        )  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 3}, "options.epochs|epochs: the run has 2, now it is 3"),
        ({"igdm": 1.0, "seed": 5}, r"igdm: the run has 2\.0, now it is 1\.0; .*seed: the run has 0, now it is 5"),
        ({"student": 4}, r"student\.digest"),
        ({"teacher": 9}, r"teacher\.digest"),
        ({"patience": 3}, "patience: the run has None, now it is 3"),
        ({"data": 8}, "train: the training was begun with 48 samples"),
        ({"validation": 8}, "validation: the training was begun with 48 samples"),
        ({"last": b"nonsense"}, "no HDF5 file"),
        ({"last": None}, "other run"),
        ({"metrics": b"epoch,loss\n"}, "does not have the 1 epochs"),
        ({"metrics": b"epoch,loss\n1,much\n"}, "got 'much', want a number"),
        ({"config": b"{}"}, "does not describe a run"),
    ],
    ids=str,
)
def test_what_does_not_belong_is_refused(
    teacher: igdm.Model, data: igdm.Dataset, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    options = dict(TRAINING, igdm=2.0, mirror="clip")
    judged = igdm.datasets.from_arrays(*make_arrays(48, 5))

    def stop(event: igdm.FitEvent) -> bool:
        return (event.epoch, event.batch, event.kind) == (2, 2, "step")

    def run(folder: Path, **changes: Any) -> igdm.Run:
        training = igdm.datasets.from_arrays(*make_arrays(48, changes.pop("data", 0)))
        validation = igdm.datasets.from_arrays(*make_arrays(48, changes.pop("validation", 5)))
        guide = make_model(seed=changes.pop("teacher")) if "teacher" in changes else teacher
        return igdm.distill(
            make_model(seed=changes.pop("student", 0)), guide, training, validation=validation, run_dir=folder,
            **dict(options, **changes),
        )  # fmt: skip

    folder = tmp_path / "run"
    with pytest.raises(igdm.Cancelled):
        run(folder, callback=stop)
    assert len(judged) == 48
    files = {"last": folder / "last.h5", "metrics": folder / "metrics.csv", "config": folder / "config.json"}
    kept = {path.name: path.read_bytes() for path in folder.iterdir()}
    changes = {name: value for name, value in change.items() if name not in files}
    for name, contents in change.items():
        if name not in files:
            continue
        if contents is None:  # of another training
            with igdm.Trainer(make_model(), teacher, **dict(options, momentum=0.5)) as other:
                other.save(files[name])
            message = "momentum: the file has 0.5, this training 0.9"
        else:
            files[name].write_bytes(contents)
    with pytest.raises((igdm.InvalidArgument, igdm.FormatError), match=message):
        run(folder, resume=True, **changes)
    for name, contents in kept.items():
        (folder / name).write_bytes(contents)
    run(folder, resume=True)
    whole = run(tmp_path / "whole")
    assert igdm.Model.load(folder / "last.h5").digest() == whole.student.digest()
    assert rows(folder) == rows(tmp_path / "whole")


def test_another_processor_is_told(job: list[str], tmp_path: Path) -> None:
    """Its rounding is another one: a run goes on, with a warning."""
    arguments = [*job, "--output", str(tmp_path / "run"), "--resume"]
    first = subprocess.run(
        [sys.executable, "-m", "igdm", *arguments], capture_output=True, text=True, timeout=300,
        env=process_environment(IGDM_CPU="baseline"),
    )  # fmt: skip
    assert (first.returncode, first.stderr) == (0, "")
    again = python_in(arguments)
    assert again.returncode == 0
    assert ("written on the CPU path baseline" in again.stderr) == (igdm.build_info()["cpu"] != "baseline")


def test_one_process_at_a_time(teacher: igdm.Model, data: igdm.Dataset, tmp_path: Path) -> None:
    def another(event: igdm.FitEvent) -> None:
        with pytest.raises(igdm.BusyError, match="another process"):
            igdm.distill(make_model(), teacher, data, run_dir=tmp_path, resume=True, **TRAINING)

    igdm.distill(make_model(), teacher, data, run_dir=tmp_path, callback=another, **TRAINING)


def test_the_best_epoch_is_kept(teacher: igdm.Model, data: igdm.Dataset, tmp_path: Path) -> None:
    digests = []
    student = make_model()

    def watch(event: igdm.FitEvent) -> None:
        if event.kind == "epoch":
            digests.append(student.digest())

    validation = igdm.datasets.from_arrays(*make_arrays(40, 5))
    run = igdm.distill(
        student, teacher, data, validation=validation, run_dir=tmp_path, callback=watch,
        **dict(TRAINING, epochs=8, learning_rate=0.2),
    )  # fmt: skip
    scores = [row["validation_robust"] for row in run.history]
    best = scores.index(max(scores))
    assert len(set(scores)) > 1
    assert igdm.Model.load(tmp_path / "best.h5").digest() == digests[best]
    assert igdm.Model.load(tmp_path / "last.h5").digest() == digests[-1]
    # GC and GD of each epoch are those of an evaluation of the student as it was then.
    written = runs.read_metrics(tmp_path / "metrics.csv")
    for row, name in ((written[-1], "last.h5"), (written[best], "best.h5")):
        model = igdm.Model.load(tmp_path / name)
        wanted = igdm.evaluate(model, validation, teacher=teacher, attacks=[], progress=False)
        assert row["gradient_cosine"] == pytest.approx(wanted.gradient_cosine, abs=1e-6)
        assert row["gradient_distance"] == pytest.approx(wanted.gradient_distance, abs=1e-6)
    assert len({row["gradient_cosine"] for row in written}) > 1


@pytest.mark.parametrize("folder", [True, False])
def test_early_stopping(teacher: igdm.Model, data: igdm.Dataset, tmp_path: Path, folder: bool) -> None:
    """A learning rate of 0 brings nothing better after the first epoch."""
    options = dict(TRAINING, epochs=9, learning_rate=0.0, weight_decay=0.0)
    place: dict[str, Any] = {"run_dir": tmp_path} if folder else {}
    validation = igdm.datasets.from_arrays(*make_arrays(40, 5))
    plain = igdm.distill(make_model(), teacher, data, validation=validation, **dict(options, epochs=4))
    robust = [row["validation_robust"] for row in plain.history]
    best = robust.index(max(robust))
    run = igdm.distill(make_model(), teacher, data, validation=validation, patience=2, **place, **options)
    assert len(run.history) == best + 3
    if folder:
        again = igdm.distill(
            make_model(), teacher, data, validation=validation, patience=2, resume=True, **place, **options
        )
        assert again.history == run.history
    with pytest.raises(igdm.InvalidArgument, match="validation"):
        igdm.distill(make_model(), teacher, data, patience=2, **options)


def test_a_validation_split(job: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    split = [word for word in job if "test/images" not in word and word != "--validation"]
    assert command_line.main([*split, "--validation-split", "0.25", "--output", str(folder), "--epochs", "1"]) == 0
    config = runs.read_config(folder / "config.json")
    whole = igdm.datasets.open_source({**config["train"], "parts": []})
    train, validation = (igdm.datasets.open_source(config[name]) for name in ("train", "validation"))
    assert (len(train), len(validation)) == (36, 12)
    counts = [np.bincount(one.labels, minlength=3) for one in (whole, validation)]
    assert np.all(np.abs(counts[0] / 4 - counts[1]) < 1)
    # Repeated from its configuration, and gone on with, by the same command or without its arguments.
    for again in ([*split, "--validation-split", "0.25"], ["distill"]):
        assert command_line.main([*again, "--output", str(folder), "--resume", "--epochs", "1", "--quiet"]) == 0
    repeated = ["distill", "--config", str(folder / "config.json"), "--output", str(tmp_path / "again"), "--quiet"]
    assert command_line.main(repeated) == 0
    require_same(tmp_path / "again", folder)
    # The last samples, whatever their classes, as earlier versions held them out: another run, refused by its data.
    last = [*split, "--validation-split", "0.25", "--no-stratified", "--epochs", "1"]
    assert command_line.main([*last, "--output", str(folder), "--resume"]) == 2
    assert "train: the training was begun with 36 samples" in capsys.readouterr().err
    assert command_line.main([*last, "--output", str(tmp_path / "last")]) == 0
    config = runs.read_config(tmp_path / "last" / "config.json")
    assert (config["train"]["first"], config["train"]["count"]) == (0, 36)
    assert (config["validation"]["first"], config["validation"]["count"]) == (36, 12)
    assert command_line.main([*split, "--validation-split", "48", "--output", str(tmp_path / "no")]) == 2
    assert command_line.main([*job, "--validation-split", "8", "--output", str(tmp_path / "no")]) == 2
    capsys.readouterr()


def test_events_for_tensorboard(teacher: igdm.Model, data: igdm.Dataset, tmp_path: Path) -> None:
    """The rows of metrics.csv, once each, also when a run has gone on."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with pytest.raises(igdm.Cancelled):
        igdm.distill(
            make_model(), teacher, data, validation=data[:8], run_dir=tmp_path,
            callback=lambda event: event.epoch == 2, **TRAINING,
        )  # fmt: skip
    run = igdm.distill(make_model(), teacher, data, validation=data[:8], run_dir=tmp_path, resume=True, **TRAINING)
    curves = EventAccumulator(str(tmp_path)).Reload()
    names = set(run.history[0]) - {"epoch"}
    assert set(curves.Tags()["scalars"]) == names
    for name in names:
        points = [(event.step, event.value) for event in curves.Scalars(name)]
        assert points == [(row["epoch"], pytest.approx(row[name], rel=1e-6)) for row in run.history]


def test_without_tensorboard(
    teacher: igdm.Model, data: igdm.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    igdm.distill(make_model(), teacher, data, run_dir=tmp_path, **TRAINING)
    assert {path.name for path in tmp_path.iterdir() if not path.match("data-*.h5")} == {
        "config.json", "initial.h5", "metrics.csv", "last.h5", "teacher.h5", "report.html",
    }  # fmt: skip
