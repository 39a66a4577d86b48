"""python -m igdm: distill, evaluate, convert, info; its errors and exit statuses."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import igdm
import numpy as np
import pytest
from conftest import make_arrays, process_environment
from igdm import __main__ as command_line

Run = Callable[..., tuple[int, str, str]]

JUDGED = ["evaluate", "{teacher}", "--data", "{test}", "--quiet"]
GIVEN = ["distill", "--output", "{run}", "--data", "{test}", "--teacher", "{teacher}", "--student", "resnet8"]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Calls the command in this process: exit status, stdout, stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        try:
            status = command_line.main([str(one) for one in arguments])
        except SystemExit as end:  # argparse's way to end
            status = int(end.code or 0)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


@pytest.fixture
def job(teacher: igdm.Model, hdf5_data: Path, tmp_path: Path) -> list[object]:
    """The arguments of a small distillation, without --output."""
    teacher.save(tmp_path / "teacher.h5")
    return [
        "distill", "--data", f"hdf5:{hdf5_data},train/images,train/labels", "--teacher", tmp_path / "teacher.h5",
        "--validation", f"hdf5:{hdf5_data},test/images,test/labels", "--student", "resnet8", "--width", 4,
        "--method", "ard", "--igdm", 2, "--mirror", "clip", "--eps", "13/255", "--step", 0.02, "--steps", 2,
        "--epochs", 2, "--batch-size", 16, "--no-flip", "--crop-padding", 0, "--validation-steps", 2,
    ]  # fmt: skip


def test_distill_writes_a_run_folder(run: Run, job: list[object], tmp_path: Path) -> None:
    status, out, err = run(*job, "--output", tmp_path / "run", "--attacks", "fgsm,pgd-2", "--eval-count", 20)
    assert status == 0, err
    names = {path.name for path in (tmp_path / "run").iterdir() if "tfevents" not in path.name}
    assert names - {"evaluation-best.json"} == {
        "config.json", "evaluation.json", "initial.h5", "metrics.csv", "report.html", "last.h5", "best.h5",
    }  # fmt: skip
    with open(tmp_path / "run" / "metrics.csv", newline="") as file:
        robust = [float(row["validation_robust"]) for row in csv.DictReader(file)]
    assert ("evaluation-best.json" in names) == (robust[0] >= robust[1]), "both last and best are judged"
    assert "eps 13/255 (linf), 20 samples" in out
    assert "epoch 2/2" in err
    evaluation = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert [row["name"] for row in evaluation["rows"]] == ["clean", "fgsm", "pgd-2"]
    options = json.loads((tmp_path / "run" / "config.json").read_text())["options"]
    assert (options["method"], options["igdm"], options["flip"]) == ("ard", 2.0, False)


def test_distill_repeats_a_run(run: Run, job: list[object], tmp_path: Path) -> None:
    def student(folder: str) -> str:
        return igdm.Model.load(tmp_path / folder / "last.h5").digest()

    assert run(*job, "--output", tmp_path / "one")[0] == 0
    config = tmp_path / "one" / "config.json"
    assert run("distill", "--config", config, "--output", tmp_path / "two", "--quiet") == (
        0, f"wrote {tmp_path / 'two'}: config.json, metrics.csv, last.h5, best.h5, report.html\n", "",
    )  # fmt: skip
    assert student("two") == student("one")
    assert run("distill", "--config", config, "--output", tmp_path / "three", "--epochs", 1, "--seed", 4)[0] == 0
    assert student("three") != student("one")
    recorded = json.loads((tmp_path / "three" / "config.json").read_text())["options"]
    assert (recorded["epochs"], recorded["seed"], recorded["igdm"]) == (1, 4, 2.0)


def test_distill_with_two_teachers(run: Run, job: list[object], tmp_path: Path) -> None:
    two = [*job, "--method", "mtard", "--clean-teacher", tmp_path / "teacher.h5", "--average", "ema"]
    status, _, err = run(*two, "--output", tmp_path / "one", "--quiet")
    assert status == 0, err
    assert run("distill", "--config", tmp_path / "one" / "config.json", "--output", tmp_path / "two", "--quiet")[0] == 0
    students = [
        igdm.Model.load(tmp_path / folder / name) for folder in ("one", "two") for name in ("last.h5", "average.h5")
    ]
    assert students[0].digest() == students[2].digest() != students[1].digest() == students[3].digest()
    status, _, err = run(*job, "--method", "mtard", "--output", tmp_path / "three", "--quiet")
    assert status == 2
    assert "clean_teacher" in err
    status, _, err = run(*two, "--teacher", "none", "--output", tmp_path / "four", "--quiet")
    assert status == 2
    assert "want the robust one" in err


def test_distill_does_not_overwrite(run: Run, job: list[object], tmp_path: Path) -> None:
    assert run(*job, "--output", tmp_path / "one", "--quiet")[0] == 0
    status, _, err = run(*job, "--output", tmp_path / "one")
    assert status == 2
    assert "has a run already" in err
    assert run(*job, "--output", tmp_path / "one", "--overwrite")[0] == 0


def test_a_changed_student_keeps_the_configuration(run: Run, job: list[object], tmp_path: Path) -> None:
    """What draws its weights, and how exactly it computes."""
    assert run(*job, "--output", tmp_path / "one", "--seed", 4, "--exact", "--quiet")[0] == 0
    config = tmp_path / "one" / "config.json"

    def student(folder: str, *options: object) -> tuple[str, bool, bool]:
        status, _, err = run("distill", "--config", config, "--output", tmp_path / folder, "--quiet", *options)
        assert status == 0, err
        written = json.loads((tmp_path / folder / "config.json").read_text())
        drawn = igdm.Model.load(tmp_path / folder / "initial.h5").digest()
        return drawn, written["student"]["exact"], written["teacher"]["exact"]

    def drawn(architecture: str, width: int, seed: int) -> str:
        return igdm.Model(architecture, classes=3, input_shape=(1, 12, 12), width=width, seed=seed).digest()

    assert student("two", "--width", 5) == (drawn("resnet8", 5, 4), True, True)
    assert student("three", "--student", "small_cnn", "--width", 4) == (drawn("small_cnn", 4, 4), True, True)
    assert student("four", "--width", 5, "--seed", 6, "--no-exact") == (drawn("resnet8", 5, 6), False, False)
    teacher = tmp_path / "teacher.h5"
    digest = igdm.Model.load(teacher).digest()
    assert student("five", "--student", teacher, "--teacher", teacher) == (digest, True, True)


def test_evaluate(run: Run, job: list[object], hdf5_data: Path, tmp_path: Path) -> None:
    model, data = tmp_path / "teacher.h5", f"hdf5:{hdf5_data},test/images,test/labels"
    options = ["--data", data, "--attacks", "fgsm,pgd-2,fog-3", "--eps", "8/255", "--teacher", model, "--quiet"]
    status, out, err = run("evaluate", model, *options)
    assert (status, err) == (0, "")
    assert "pgd-2" in out
    assert "cosine 1.000" in out
    status, out, err = run("evaluate", model, *options, "--json", "--count", 10, "--threads", 2)
    assert (status, err) == (0, "")
    assert [row["count"] for row in json.loads(out)["rows"]] == [10, 10, 10, 10]


def test_a_file_of_targets(run: Run, teacher: igdm.Model, job: list[object], hdf5_data: Path, tmp_path: Path) -> None:
    data = igdm.datasets.hdf5(hdf5_data, "test/images", "test/labels")
    targets = (data.labels + 1) % data.classes
    np.save(tmp_path / "targets.npy", targets)
    source = f"hdf5:{hdf5_data},test/images,test/labels"
    options = ["--data", source, "--attacks", "pgd-3", "--eps", "0.3", "--json", "--quiet"]
    status, out, err = run("evaluate", tmp_path / "teacher.h5", *options, "--target", tmp_path / "targets.npy")
    assert (status, err) == (0, "")
    wanted = igdm.evaluate(teacher, data, attacks="pgd-3", eps="0.3", target=targets)
    assert json.loads(out)["rows"][1]["correct"] == wanted.rows[1].correct
    (tmp_path / "text.npy").write_bytes(b"no array")
    for name, words in (("missing.npy", "missing.npy does not exist"), ("text.npy", "want an array that numpy.save")):
        status, _, err = run("evaluate", tmp_path / "teacher.h5", *options, "--target", tmp_path / name)
        assert status == (1 if name == "missing.npy" else 2)
        assert words in err
        assert "Traceback" not in err


def test_tuning_of_an_evaluation(run: Run, teacher: igdm.Model, job: list[object], hdf5_data: Path) -> None:
    data = igdm.datasets.hdf5(hdf5_data, "test/images", "test/labels")
    tuning = {"momentum_decay": 0.25, "cw_searches": 3, "rho": 0.5}
    command = [
        "evaluate", job[4], "--data", f"hdf5:{hdf5_data},test/images,test/labels", "--attacks", "mi-fgsm-4", "--eps",
        "0.1", "--quiet", "--json", *(f"--tuning={name}={value}" for name, value in tuning.items()),
    ]  # fmt: skip
    status, out, err = run(*command)
    assert (status, err) == (0, "")
    facts = json.loads(out)
    assert facts["options"]["tuning"] == tuning
    wanted = igdm.evaluate(teacher, data, attacks="mi-fgsm-4", eps="0.1", tuning=tuning)
    assert [row["correct"] for row in facts["rows"]] == [row.correct for row in wanted.rows]


@pytest.mark.parametrize(
    "outputs",
    [["--report", "{0}/none/x.html"], ["--samples", "{0}/none/x.h5"], ["--report", "{0}"], ["--samples", "{0}"],
     ["--attacks", "autoattack", "--state", "{0}/none/state"]],
)  # fmt: skip
def test_outputs_are_looked_at_before_the_work(
    run: Run, job: list[object], hdf5_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outputs: list[str]
) -> None:
    def work(*_: object, **__: object) -> None:
        raise AssertionError("the work began")

    monkeypatch.setattr(igdm, "evaluate", work)
    monkeypatch.setattr(igdm, "autoattack", work)
    command = ["evaluate", tmp_path / "teacher.h5", "--data", f"hdf5:{hdf5_data},test/images,test/labels"]
    status, out, err = run(*command, *(one.format(tmp_path) for one in outputs))
    assert (status, out) == (1, "")
    assert f"{outputs[-2][2:]}: got {outputs[-1].format(tmp_path)}, want a file in a folder" in err


@pytest.mark.parametrize(
    ("outputs", "other"),
    [(["--report", "{0}/teacher.h5"], "MODEL"), (["--samples", "{0}/data.h5"], "data"),
     (["--data", "idx:{0}/a,{0}/b", "--report", "{0}/b"], "data"),
     (["--attacks", "autoattack", "--eps", "0.1,0.2", "--state", "{0}/y", "--report", "{0}/y.1"], "report"),
     (["--teacher", "{0}/t.h5", "--report", "{0}/./t.h5"], "teacher"),
     (["--report", "{0}/x", "--samples", "{0}/x"], "report"),
     (["--attacks", "autoattack", "--samples", "{0}/x", "--state", "{0}/x"], "samples")],
)  # fmt: skip
def test_outputs_take_no_other_files_place(
    run: Run, job: list[object], hdf5_data: Path, tmp_path: Path, outputs: list[str], other: str
) -> None:
    (tmp_path / "t.h5").write_bytes((tmp_path / "teacher.h5").read_bytes())
    before = {path: path.read_bytes() for path in tmp_path.glob("*.h5")}
    command = ["evaluate", tmp_path / "teacher.h5", "--data", f"hdf5:{hdf5_data},test/images,test/labels"]
    status, out, err = run(*command, *(one.format(tmp_path) for one in outputs))
    assert (status, out) == (2, "")
    assert f"which is {other} too, want a file of its own" in err
    assert {path: path.read_bytes() for path in tmp_path.glob("*.h5")} == before
    assert not (tmp_path / "x").exists()


def test_h5py_is_looked_for_before_the_work(
    run: Run, job: list[object], hdf5_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    monkeypatch.setattr(igdm, "evaluate", lambda *_, **__: pytest.fail("the work began"))
    command = ["evaluate", tmp_path / "teacher.h5", "--data", f"hdf5:{hdf5_data},test/images,test/labels"]
    status, _, err = run(*command, "--samples", tmp_path / "samples.h5")
    assert status == 1 and "pip install h5py" in err


@pytest.mark.parametrize(("option", "writer"), [("--samples", "save_samples"), ("--report", "report.write")])
def test_the_table_outlives_files_that_cannot_be_written(
    run: Run, job: list[object], hdf5_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    option: str, writer: str,
) -> None:  # fmt: skip
    def full(*_: object, **__: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(f"igdm.{writer}", full)
    command = ["evaluate", tmp_path / "teacher.h5", "--data", f"hdf5:{hdf5_data},test/images,test/labels"]
    status, out, err = run(*command, "--attacks", "fgsm", "--count", 4, "--quiet", option, tmp_path / "file")
    assert (status, err) == (1, "igdm: error: no space left\n")
    assert "fgsm" in out and "4 samples" in out


def test_a_report_in_l0(run: Run, job: list[object], hdf5_data: Path, tmp_path: Path) -> None:
    """The images are attacked by PGD, which has no L0: the page does without."""
    command = ["evaluate", tmp_path / "teacher.h5", "--data", f"hdf5:{hdf5_data},test/images,test/labels", "--quiet"]
    options = ["--attacks", "fmn-5", "--count", 4, "--eps", 10, "--teacher", tmp_path / "teacher.h5"]
    for norm, is_attacked in (("l0", False), ("l1", True)):
        page = tmp_path / f"{norm}.html"
        status, _, err = run(*command, *options, "--norm", norm, "--report", page)
        assert (status, err) == (0, "")
        assert ("What the attacks look like" in page.read_text()) == is_attacked


def test_info_of_a_checkpoint(run: Run, teacher: igdm.Model, job: list[object], tmp_path: Path) -> None:
    status, out, _ = run("info", tmp_path / "teacher.h5")
    assert status == 0
    for name, shape in teacher.parameters.shapes.items():
        assert name in out
        assert "x".join(map(str, shape)) in out
    facts = json.loads(run("info", tmp_path / "teacher.h5", "--json", "--digest")[1])
    assert facts["digest"] == teacher.digest()
    assert facts["parameter count"] == teacher.info.parameter_count
    assert facts["bytes"] == (tmp_path / "teacher.h5").stat().st_size


def test_info_tells_where_a_checkpoint_comes_from(run: Run, teacher: igdm.Model, tmp_path: Path) -> None:
    model, path = teacher.copy(), tmp_path / "model.h5"
    model.metadata.update(source="Some2026Thing", source_sha256="0" * 64, dataset="cifar10", notes="one\ntwo")
    images = make_arrays(3)[0]
    model.set_golden(images, source="PyTorch 2.13")
    model.save(path)
    status, out, _ = run("info", path)
    assert status == 0
    for text in ("Some2026Thing", "0" * 64, "cifar10", "one ...", "PyTorch 2.13", "format version:       1"):
        assert text in out
    assert "digest" not in out
    facts = json.loads(run("info", path, "--json", "--verify")[1])
    assert facts["metadata"] == dict(model.metadata)
    assert (facts["golden samples"], facts["golden source"], facts["format version"]) == (3, "PyTorch 2.13", 1)
    assert facts["worst difference"] == 0
    assert facts["multiply-adds"] == teacher.info.multiply_adds
    wrong = model.predict(images)
    wrong[1] += 1
    model.set_golden(images, wrong)
    model.save(path)
    status, out, err = run("info", path, "--verify")
    assert (status, out) == (1, "")
    assert "sample 1" in err
    model.set_golden(None)
    model.save(path)
    assert run("info", path, "--verify")[0] == 1
    assert run("info", path)[0] == 0


def test_info_of_the_library(run: Run) -> None:
    status, out, _ = run("info")
    assert status == 0
    assert igdm.library_path() in out
    assert "learning_rate" in out
    assert json.loads(run("info", "--json")[1])["training_defaults"] == igdm.default_options()


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["evaluate", "nothing.h5", "--data", "fashion-mnist"], 1, "nothing.h5"),
        (["evaluate", "{data}", "--data", "fashion-mnist"], 1, "data.h5"),
        (["evaluate", "{teacher}", "--data", "mnist"], 2, "want one of fashion-mnist"),
        (["evaluate", "{teacher}", "--data", "hdf5:nothing.h5"], 1, "nothing.h5"),
        (["evaluate", "{teacher}", "--data", "fashion-mnist"], 2, "28"),
        (["evaluate", "{teacher}", "--data", "{test}", "--attacks", "nonsense"], 2, "nonsense"),
        (["evaluate", "{teacher}", "--data", "{test}", "--eps", "much"], 2, "much"),
        (["evaluate", "{teacher}", "--data", "{test}", "--threads", "0"], 2, "threads"),
        (["evaluate", "{teacher}"], 2, "--data"),
        ([*JUDGED, "--tuning", "momentum_decay"], 2, "tuning: got 'momentum_decay', want NAME=VALUE"),
        ([*JUDGED, "--tuning", "momentum_decay=much"], 2, "tuning: got 'momentum_decay=much', want NAME=VALUE"),
        ([*JUDGED, "--tuning", "speed=1"], 2, "tuning: got 'speed', want one of reference_quirks"),
        ([*JUDGED, "--attacks", "autoattack", "--tuning", "rho=0.5"], 2, "tuning: got"),
        (["distill", "--output", "{run}"], 2, "want --data or --config"),
        (["distill", "--output", "{run}", "--data", "{test}"], 2, "want --student"),
        (["distill", "--output", "{run}", "--data", "{test}", "--student", "resnet8"], 2, "teacher"),
        (["distill", "--output", "{run}", "--data", "{test}", "--student", "resnet9"], 2, "resnet8"),
        (["distill", "--output", "{run}", "--config", "nothing.json"], 1, "nothing.json"),
        (["distill", "--output", "{run}", "--resume"], 2, "no run in"),
        (["distill", "--output", "{run}", "--resume", "--overwrite", "--data", "{test}"], 2, "student"),
        (["distill", "--output", "{run}", "--epochs", "many"], 2, "many"),
        ([*GIVEN, "--train-count", "-5"], 2, "train_count: got -5, want at least 1"),
        ([*GIVEN, "--train-count", "0"], 2, "train_count: got 0"),
        ([*GIVEN, "--eval-count", "5"], 2, "eval_count: got 5 without attacks, want --attacks"),
        ([*GIVEN, "--attacks", "fgsm", "--eval-count", "0"], 2, "eval_count: got 0, want at least 1"),
        ([*GIVEN, "--attacks", "fgsm"], 2, "attacks: got no validation data"),
        (["info", "--nonsense"], 2, "--nonsense"),
        (["nonsense"], 2, "nonsense"),
        ([], 2, "distill"),
    ],
)
def test_errors_are_one_line(
    run: Run, job: list[object], hdf5_data: Path, tmp_path: Path, arguments: list[str], status: int, message: str
) -> None:
    names = {
        "teacher": tmp_path / "teacher.h5", "data": hdf5_data, "run": tmp_path / "run",
        "test": f"hdf5:{hdf5_data},test/images,test/labels",
    }  # fmt: skip
    got, out, err = run(*(one.format(**names) for one in arguments))
    assert (got, out) == (status, "")
    assert message in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_help(run: Run) -> None:
    for command in ([], ["distill"], ["evaluate"], ["convert"], ["info"]):
        status, out, _ = run(*command, "--help")
        assert status == 0
        assert out.startswith("usage: igdm")


def test_interrupt_ends_with_130_and_keeps_the_student(job: list[object], tmp_path: Path) -> None:
    output = tmp_path / "run"
    arguments = [*map(str, job), "--epochs", "100000", "--output", str(output)]
    process = subprocess.Popen(
        [sys.executable, "-m", "igdm", *arguments], stderr=subprocess.PIPE, text=True, env=process_environment()
    )
    try:
        deadline = time.monotonic() + 60
        while not (output / "metrics.csv").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert err.splitlines()[-1] == "igdm: interrupted"
    assert "Traceback" not in err
    assert igdm.Model.load(output / "last.h5").info.width == 4


def test_an_interrupted_evaluation_prints_its_table(
    run: Run, teacher: igdm.Model, hdf5_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher.save(tmp_path / "teacher.h5")
    measure = igdm.evaluate

    def interrupted(event: igdm.Progress) -> None:
        if event.stage == "pgd-2":
            raise KeyboardInterrupt

    monkeypatch.setattr(igdm, "evaluate", lambda *given, **options: measure(*given, callback=interrupted, **options))
    command = [
        "evaluate", tmp_path / "teacher.h5", "--data", f"hdf5:{hdf5_data},test/images,test/labels", "--quiet", "--eps",
        "0.1", "--attacks", "fgsm,pgd-2,pgd-3", "--batch-size", 4,
    ]  # fmt: skip
    status, out, err = run(*command)
    assert (status, err) == (130, "igdm: interrupted\n")
    assert "pgd-2 was stopped" in out
    status, out, _ = run(*command, "--json", "--samples", tmp_path / "samples.h5")
    rows = json.loads(out)["rows"]
    assert status == 130 and [row["name"] for row in rows] == ["clean", "fgsm", "pgd-2"]
    assert rows[1]["unfinished"] == 0 < rows[2]["unfinished"]
    assert (tmp_path / "samples.h5").exists()


def test_a_closed_pipe_is_no_error_message(job: list[object], tmp_path: Path) -> None:
    read, write = subprocess.Popen(["true"], stdin=subprocess.PIPE), None
    read.wait()
    write = read.stdin
    process = subprocess.run(
        [sys.executable, "-m", "igdm", "info", str(tmp_path / "teacher.h5")],
        stdout=write, stderr=subprocess.PIPE, text=True, env=process_environment(), timeout=60,
    )  # fmt: skip
    assert process.returncode == 1
    assert process.stderr == ""
