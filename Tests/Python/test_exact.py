"""Model.exact, `--exact` and what a run folder keeps of it. What the setting does is tested in Tests/C/test_exact.c."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import igdm
import numpy as np
import pytest
from conftest import CLASSES, SHAPE, TRAINING, make_arrays
from igdm import __main__ as command_line
from igdm import comparison, runs


def wide_model(seed: int = 0, **options: bool) -> igdm.Model:
    """Wide enough for Winograd's algorithm."""
    return igdm.Model("resnet8", classes=CLASSES, input_shape=SHAPE, width=16, seed=seed, **options)


def test_the_property(tmp_path: Path) -> None:
    model = wide_model()
    assert model.exact is False
    model.exact = True
    assert model.exact is True
    assert ", exact>" in repr(model)
    assert copy.copy(model).exact
    model.save(tmp_path / "model.h5")
    assert not igdm.Model.load(tmp_path / "model.h5").exact
    assert igdm.Model.load(tmp_path / "model.h5", exact=True).exact
    assert wide_model(exact=True).exact
    assert wide_model(exact=True).digest() == wide_model().digest()
    model.close()
    assert "closed" in repr(model)
    with pytest.raises(igdm.InvalidArgument, match=r"close\(\)"):
        model.exact  # noqa: B018


@pytest.mark.parametrize(("value", "error"), [(2, igdm.InvalidArgument), ("yes", TypeError), (None, TypeError)])
def test_wrong_values(value: object, error: type[Exception]) -> None:
    model = wide_model()
    with pytest.raises(error, match="exact: got"):
        model.exact = value
    with pytest.raises(error, match="exact: got"):
        wide_model(exact=value)
    assert not model.exact


def test_predictions_follow() -> None:
    images, _ = make_arrays(8)
    fast, exact = wide_model().predict(images), wide_model(exact=True).predict(images)
    np.testing.assert_allclose(fast, exact, atol=1e-4 * np.abs(exact).max())
    assert np.array_equal(fast, exact) == (igdm.build_info()["cpu"] == "baseline")


def test_a_run_folder_keeps_it(data: igdm.Dataset, tmp_path: Path) -> None:
    student, teacher = wide_model(exact=True), wide_model(seed=1)
    run = igdm.distill(student, teacher, data, run_dir=tmp_path, **TRAINING)
    config = runs.read_config(tmp_path / "config.json")
    assert (config["student"]["exact"], config["teacher"]["exact"]) == (True, False)
    again, guide = (runs.load_recorded(role, config[role]) for role in ("student", "teacher"))
    assert (again.exact, guide.exact) == (True, False)
    igdm.distill(again, guide, data, **run.options)
    assert again.digest() == student.digest()
    description = igdm.report.describe(student, teacher, data, run.options)
    assert description["Student"].endswith(", exact")
    assert "exact" not in description["Teacher"]


def test_a_configuration_from_before_it(data: igdm.Dataset, tmp_path: Path) -> None:
    igdm.distill(wide_model(exact=True), wide_model(seed=1), data, run_dir=tmp_path, **TRAINING)
    student = runs.read_config(tmp_path / "config.json")["student"]
    del student["exact"]
    assert not runs.load_recorded("student", student).exact


def test_reports_judge_it_as_it_was_trained(
    data: igdm.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    igdm.distill(wide_model(exact=True), wide_model(seed=1), data, run_dir=tmp_path / "one", **TRAINING)
    judge = igdm.datasets.from_arrays(*make_arrays(12), classes=CLASSES)
    judged: list[bool] = []
    evaluate = comparison.evaluate

    def watch(model: igdm.Model, *rest: object, **options: object) -> igdm.Evaluation:
        judged.append(model.exact)
        return evaluate(model, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(comparison, "evaluate", watch)
    comparison.write_comparison(
        tmp_path / "page.html", [tmp_path / "one"], attacks="fgsm", radii=[], data=judge, progress=False
    )
    assert judged == [True, False], "the student, then the teacher"


def test_the_best_epoch_is_judged_with_it(
    hdf5_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wide_model(seed=1).save(tmp_path / "teacher.h5")
    judged: list[bool] = []

    def watch(page: Path, title: str, contenders: list[igdm.report.Contender], **options: object) -> None:
        judged.extend(one.model.exact for one in contenders if one.model is not None)

    monkeypatch.setattr(igdm.report, "write", watch)
    monkeypatch.setattr(runs, "best_epoch", lambda rows: 1)
    part = "{0}/images,{0}/labels".format
    assert command_line.main([
        "distill", "--data", f"hdf5:{hdf5_data},{part('train')}", "--validation", f"hdf5:{hdf5_data},{part('test')}",
        "--teacher", f"{tmp_path / 'teacher.h5'}", "--student", "resnet8", "--width", "16", "--steps", "1",
        "--epochs", "2", "--batch-size", "16", "--crop-padding", "0", "--validation-steps", "0", "--exact", "--quiet",
        "--output", f"{tmp_path / 'one'}",
    ]) == 0, capsys.readouterr().err  # fmt: skip
    assert judged == [True, True], "the last epoch and the best"


def test_the_command_line(hdf5_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: object) -> None:
        assert command_line.main([str(one) for one in arguments]) == 0, capsys.readouterr().err

    def recorded(folder: str) -> list[bool]:
        config = json.loads((tmp_path / folder / "config.json").read_text())
        return [config[role]["exact"] for role in ("student", "teacher")]

    wide_model(seed=1).save(tmp_path / "teacher.h5")
    part = "{0}/images,{0}/labels".format
    run(
        "distill", "--data", f"hdf5:{hdf5_data},{part('train')}", "--teacher", tmp_path / "teacher.h5",
        "--student", "resnet8", "--width", 16, "--steps", 1, "--epochs", 1, "--batch-size", 16, "--crop-padding", 0,
        "--exact", "--quiet", "--output", tmp_path / "one",
    )  # fmt: skip
    assert recorded("one") == [True, True]
    config = tmp_path / "one" / "config.json"
    run("distill", "--config", config, "--quiet", "--output", tmp_path / "two")
    assert recorded("two") == [True, True]
    run("distill", "--config", config, "--no-exact", "--quiet", "--output", tmp_path / "three")
    assert recorded("three") == [False, False]
    digests = [igdm.Model.load(tmp_path / folder / "last.h5").digest() for folder in ("one", "two", "three")]
    assert digests[0] == digests[1]
    assert (digests[0] == digests[2]) == (igdm.build_info()["cpu"] == "baseline")

    def agreement(*options: str) -> float:
        capsys.readouterr()
        run(
            "evaluate", tmp_path / "one" / "last.h5", "--data", f"hdf5:{hdf5_data},{part('test')}", "--attacks", "",
            "--teacher", tmp_path / "teacher.h5", "--quiet", "--json", *options,
        )  # fmt: skip
        return json.loads(capsys.readouterr().out)["gradient_distance"]

    fast, exact = agreement(), agreement("--exact")
    assert (fast == exact) == (igdm.build_info()["cpu"] == "baseline")
    assert fast == pytest.approx(exact, rel=1e-4)
