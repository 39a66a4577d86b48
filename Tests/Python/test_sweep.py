"""sweep(), samples of an evaluation as HDF5, and both on the command line."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import NoReturn

import h5py
import igdm
import numpy as np
import pytest
from conftest import CLASSES, SHAPE, make_arrays
from igdm import report
from igdm.ensemble import ensembled
from igdm.evaluation import measured
from igdm.samples import COLUMNS

EPS = ["0.05", 0.1, "0.3"]


@pytest.fixture(scope="module")
def swept(teacher: igdm.Model) -> igdm.Sweep:
    data = igdm.datasets.from_arrays(*make_arrays(40), classes=CLASSES)
    return igdm.sweep(teacher, data, EPS, attacks="fgsm,pgd-4", norm="linf")


def test_each_radius_is_an_evaluation(teacher: igdm.Model, swept: igdm.Sweep) -> None:
    data = igdm.datasets.from_arrays(*make_arrays(40), classes=CLASSES)
    alone = igdm.evaluate(teacher, data, attacks="fgsm,pgd-4", eps=0.1)
    first, second = swept.evaluations[0].correct, swept.evaluations[1].correct
    for name, flags in alone.correct.items():
        np.testing.assert_array_equal(second[name], flags & first[name])
    curves = swept.curves
    assert list(curves) == ["fgsm", "pgd-4", "all attacks"]
    assert curves["pgd-4"][1] == swept.evaluations[1].accuracy["pgd-4"]
    worst = curves["all attacks"]
    assert worst == sorted(worst, reverse=True) and worst[-1] < worst[0]
    assert all(w <= min(f, p) for w, f, p in zip(worst, curves["fgsm"], curves["pgd-4"], strict=True))
    printed = str(swept)
    assert all(str(eps) in printed for eps in EPS) and f"{100 * worst[-1]:.2f} %" in printed
    assert json.loads(json.dumps(swept.to_dict()))["eps"] == EPS


@pytest.mark.parametrize("target", [None, "least-likely"])
def test_what_a_smaller_radius_has_broken_is_not_attacked_again(
    teacher: igdm.Model, data: igdm.Dataset, target: str | None
) -> None:
    options = {"attacks": "pgd-3,square-20", "keep_samples": True, "target": target, "restarts": 2}
    swept = igdm.sweep(teacher, data, [0.1, 0.2, 0.3, 0.5], **options)  # type: ignore[arg-type]
    carried = 0
    for i, (eps, here) in enumerate(zip(swept.eps, swept.evaluations, strict=True)):
        alone = igdm.evaluate(teacher, data, eps=eps, **options)  # type: ignore[arg-type]
        assert here.options == alone.options
        before = swept.evaluations[i - 1] if i else None
        for row in here.rows[1:]:
            found, other = here.samples[row.name], alone.samples[row.name]
            kept = np.zeros(len(data), bool) if before is None else ~before.correct[row.name]
            np.testing.assert_array_equal(here.correct[row.name], alone.correct[row.name] & ~kept)
            for column in ("images", *COLUMNS):
                values = getattr(found, column)
                np.testing.assert_array_equal(values[~kept], getattr(other, column)[~kept])
                if before is not None:
                    np.testing.assert_array_equal(values[kept], getattr(before.samples[row.name], column)[kept])
            assert (found.linf <= float(eps)).all()
            survivors = here.correct["clean"] & ~found.quantised
            assert row.quantised == survivors.sum()
            carried += int((kept & here.correct["clean"] & alone.correct[row.name]).sum())
    accuracies = [one.accuracy["square-20"] for one in swept.evaluations]
    assert accuracies == sorted(accuracies, reverse=True) and accuracies[-1] < accuracies[0]


def test_a_teachers_gradients_are_in_the_table_once(teacher: igdm.Model, data: igdm.Dataset) -> None:
    """They are compared on clean images: the same for every radius."""
    options = dict(attacks="fgsm", count=6, teacher=teacher)
    swept = igdm.sweep(teacher, data, [0.1, 0.2], **options)  # type: ignore[arg-type]
    line = str(igdm.evaluate(teacher, data, eps=0.2, **options)).splitlines()[-1]  # type: ignore[arg-type]
    assert line.startswith("input gradients against the teacher's: cosine 1.000")
    assert str(swept).count("input gradients") == 1 and line in str(swept).splitlines()


def test_autoattack_over_radii(teacher: igdm.Model, data: igdm.Dataset, tmp_path: Path) -> None:
    """What the smaller radius has broken keeps its attack and image; the others are as under an AutoAttack alone."""
    options = {"version": "custom:apgd-ce-3,square-20", "seed": 2}
    state = tmp_path / "state"
    swept = igdm.sweep(teacher, data, [0.1, 0.3, "0.5"], attacks="autoattack", state=state, **options)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["state.0", "state.1", "state.2"]
    assert list(swept.curves) == ["apgd-ce-3", "square-20"]
    kept = np.zeros(len(data), bool)
    before: igdm.AutoAttack | None = None
    for eps, here in zip(swept.eps, swept.evaluations, strict=True):
        alone = igdm.autoattack(teacher, data, version="custom", attacks="apgd-ce-3,square-20", eps=eps, seed=2)
        assert isinstance(here, igdm.AutoAttack) and here.options["eps"] == alone.options["eps"]
        fresh = ~kept
        np.testing.assert_array_equal(here.samples.images[fresh], alone.samples.images[fresh])
        np.testing.assert_array_equal(here.samples.forwards[fresh], alone.samples.forwards[fresh])
        np.testing.assert_array_equal(here.correct["square-20"], alone.correct["square-20"] & fresh)
        if before is not None:
            np.testing.assert_array_equal(here.samples.images[kept], before.samples.images[kept])
            assert [here.broken_by[i] for i in np.flatnonzero(kept)] == [
                before.broken_by[i] for i in np.flatnonzero(kept)
            ]
        assert (here.samples.linf <= float(eps)).all()
        before, kept = here, here.correct["clean"] & ~here.correct["square-20"]
    assert swept.curves["square-20"] == sorted(swept.curves["square-20"], reverse=True)
    assert swept.curves["square-20"][-1] < swept.curves["square-20"][0]
    assert json.loads(json.dumps(swept.to_dict()))["curves"] == swept.curves and "square" in str(swept)
    # The files are complete: nothing is attacked any more, and another smaller radius is another run.
    again = igdm.sweep(teacher, data, [0.1, 0.3, "0.5"], attacks="autoattack", state=state, **options)
    assert again.curves == swept.curves
    with pytest.raises(igdm.InvalidArgument, match="smaller: the file has"):
        igdm.autoattack(
            teacher, data, version="custom", attacks="apgd-ce-3,square-20", eps=0.5, seed=2, state=f"{state}.2"
        )


def test_smaller_results_are_of_the_same_images() -> None:
    """Of as many samples, all right clean, but of another size: nothing may be read or written beyond them."""

    def made(shape: tuple[int, int, int]) -> tuple[igdm.HostModel, igdm.Dataset]:
        random = np.random.default_rng(0)
        weights = random.normal(size=(2, int(np.prod(shape)))).astype(np.float32)
        images = random.random((2, *shape), dtype=np.float32)
        model = igdm.HostModel(
            lambda x: x.reshape(len(x), -1) @ weights.T,
            lambda x, cotangent: (cotangent @ weights).reshape(x.shape),
            classes=2, input_shape=shape,
        )  # fmt: skip
        labels = (images.reshape(2, -1) @ weights.T).argmax(1)
        return model, igdm.datasets.from_arrays(images, labels, classes=2)

    large, small = made((3, 64, 64)), made((1, 2, 2))
    kept = {"attacks": "fgsm", "keep_samples": True, "eps": 0.1}
    ensemble = {"version": "custom", "attacks": "square-3", "eps": 0.1}
    for run, options in ((measured, kept), (ensembled, ensemble)):
        for one, other in ((large, small), (small, large)):
            with (
                run(None, *one, **options) as (_, handle),
                pytest.raises(igdm.InvalidArgument, match="smaller: got one of"),
                run(handle, *other, **options),
            ):
                pass


def test_larger_radii_take_only_what_is_left(teacher: igdm.Model, data: igdm.Dataset) -> None:
    def attacked(event: igdm.Progress) -> None:
        if event.stage == "pgd-3":
            totals.append(event.total)

    totals: list[int] = []
    swept = igdm.sweep(teacher, data, [0.2, 0.3], attacks="pgd-3", callback=attacked, batch_size=len(data))
    first = swept.evaluations[0].rows
    assert totals == [first[0].correct, first[1].correct] and totals[1] < totals[0]


def test_a_sweep_that_is_stopped_has_the_radii_before(teacher: igdm.Model, data: igdm.Dataset) -> None:
    def stop_at(number: int) -> igdm.Sweep | None:
        seen = 0

        def stop(event: igdm.Progress) -> bool:
            nonlocal seen
            seen += event.stage == "clean" and event.done == event.total
            return seen == number

        with pytest.raises(igdm.Cancelled) as caught:
            igdm.sweep(teacher, data, [0.1, 0.2, 0.3], attacks="fgsm", callback=stop)
        return caught.value.partial  # type: ignore[attr-defined]

    def stop_during(radius: int, attack: str) -> igdm.Sweep:
        seen = 0

        def stop(event: igdm.Progress) -> bool:
            nonlocal seen
            seen += event.stage == "clean" and event.done == event.total
            return seen == radius and event.stage == attack

        with pytest.raises(igdm.Cancelled) as caught:
            igdm.sweep(teacher, data, [0.1, 0.2, 0.3], attacks="fgsm,pgd-3", callback=stop, batch_size=16)
        return caught.value.partial  # type: ignore[attr-defined]

    first = stop_during(1, "pgd-3")
    assert first.eps == (0.1,) and first.evaluations[0].rows[-1].unfinished > 0
    assert "pgd-3 was stopped" in str(first)
    second = stop_during(2, "fgsm")
    assert second.eps == (0.1, 0.2) and second.evaluations[1].rows[-1].unfinished > 0
    assert {name: len(curve) for name, curve in second.curves.items()} == {"fgsm": 2, "pgd-3": 1, "all attacks": 1}
    assert json.loads(json.dumps(second.to_dict()))["curves"]["pgd-3"] == second.curves["pgd-3"]
    assert "fgsm was stopped" in str(second)
    assert stop_at(1) is None
    partial = stop_at(3)
    assert partial is not None and partial.eps == (0.1, 0.2) and len(partial.curves["fgsm"]) == 2


def test_radii_that_do_not_rise(teacher: igdm.Model, data: igdm.Dataset) -> None:
    for eps in ([], [0.1, 0.1], ["8/255", "4/255"]):
        with pytest.raises(igdm.InvalidArgument, match="eps: got"):
            igdm.sweep(teacher, data, eps)
    with pytest.raises(igdm.InvalidArgument, match="attacks"):
        igdm.sweep(teacher, data, [0.1], attacks="")


def test_the_report_has_the_curves(swept: igdm.Sweep, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    report.write(page, "a", [report.Contender("the model", sweep=swept)], configuration={})
    text = page.read_text()
    assert "Accuracy over the radius" in text and text.count("<polyline") == 3
    clean = 100 * swept.evaluations[0].rows[0].accuracy
    assert f", ε 0: {clean:.4g} %" in text
    worst = 100 * swept.curves["all attacks"][2]
    assert f"all attacks, ε 0.3: {worst:.4g} %" in text


def test_samples_as_a_file(teacher: igdm.Model, data: igdm.Dataset, tmp_path: Path) -> None:
    path = tmp_path / "samples.h5"
    result = igdm.evaluate(teacher, data, attacks="pgd-3,square-20", eps=0.3, keep_samples=True)
    igdm.save_samples(path, result)
    with h5py.File(path) as file:
        assert json.loads(file.attrs["options"])["attacks"] == "pgd-3,square-20"
        for row in result.rows[1:]:
            group = file[row.name]
            found = group["x_adv"][()]
            assert found.shape == (len(data), *SHAPE)
            right = teacher.predict(found).argmax(1) == data.labels
            np.testing.assert_array_equal(group["success"][()], ~right)
            np.testing.assert_array_equal(file["correct"][row.name][()], right & result.correct["clean"])
            distance = np.abs(found.astype(np.float64) - data.images).reshape(len(data), -1).max(1)
            np.testing.assert_allclose(group["linf"][()], distance, rtol=1e-12)
            survivors = (group["quantised"][()] == 1) & result.correct["clean"]
            assert row.quantised == (result.correct["clean"] & ~survivors).sum()
            assert (group["forwards"][()][result.correct["clean"]] > 0).all()
    assert "as bytes" in str(result)
    ensemble = igdm.autoattack(teacher, data, version="custom", attacks="apgd-ce-3,square-5", eps=0.3, count=6)
    igdm.save_samples(path, ensemble)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["autoattack/x_adv"][()], ensemble.samples.images)
        assert ensemble.rows[-1].quantised is not None
    with pytest.raises(igdm.InvalidArgument, match="keep_samples"):
        igdm.save_samples(path, igdm.evaluate(teacher, data, attacks="fgsm", count=2))
    with pytest.raises(igdm.InputOutputError, match="path: nothing can be written in"):
        igdm.save_samples(tmp_path / "nowhere" / "samples.h5", result)
    swept = igdm.sweep(teacher, data, [0.1], attacks="fgsm", count=2)
    with pytest.raises(TypeError, match=r"result: got Sweep, want igdm\.Evaluation or igdm\.AutoAttack"):
        igdm.save_samples(path, swept)  # type: ignore[arg-type]


@pytest.mark.parametrize("error", [TypeError, OSError, KeyboardInterrupt])
def test_samples_are_written_whole_or_not_at_all(
    teacher: igdm.Model, data: igdm.Dataset, tmp_path: Path, error: type[BaseException]
) -> None:
    class Unwritable(dict[str, object]):
        def items(self) -> NoReturn:
            raise error

    result = igdm.evaluate(teacher, data, attacks="fgsm", count=2, keep_samples=True)
    path = tmp_path / "samples.h5"
    igdm.save_samples(path, result)
    before = path.read_bytes()
    with pytest.raises(error):
        igdm.save_samples(path, dataclasses.replace(result, correct=Unwritable(result.correct)))
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["samples.h5"]


def test_a_host_model_is_evaluated_as_ours(teacher: igdm.Model, data: igdm.Dataset) -> None:
    host = igdm.HostModel(teacher.predict, teacher.input_gradient, classes=CLASSES, input_shape=SHAPE)
    options = {"attacks": "pgd-3,fab-t-3", "eps": 0.2, "count": 12, "keep_samples": True}
    ours, theirs = igdm.evaluate(teacher, data, **options), igdm.evaluate(host, data, **options)
    for name in ("pgd-3", "fab-t-3"):
        np.testing.assert_array_equal(ours.samples[name].images, theirs.samples[name].images)
    with pytest.raises(igdm.InvalidArgument, match="teacher"):
        igdm.evaluate(host, data, teacher=teacher)
    with pytest.raises(igdm.InvalidArgument, match="square"):
        igdm.evaluate(igdm.HostModel(teacher.predict, classes=CLASSES, input_shape=SHAPE), data, attacks="pgd-3")


def test_command_line(teacher: igdm.Model, hdf5_data: Path, tmp_path: Path, python: object) -> None:
    model = tmp_path / "model.h5"
    teacher.save(model)
    common = ["-m", "igdm", "evaluate", str(model), "--data", f"hdf5:{hdf5_data},test/images,test/labels", "--quiet"]
    few = ["--attacks", "fgsm,pgd-2", "--count", "8"]

    def run(*arguments: str) -> str:
        done = python(*common, *few, *arguments)  # type: ignore[operator]
        assert done.returncode == 0, done.stderr
        return str(done.stdout)

    page, samples = tmp_path / "report.html", tmp_path / "samples.h5"
    facts = json.loads(run("--eps", "0.1,0.2", "--report", str(page), "--json"))
    assert facts["eps"] == ["0.1", "0.2"] and len(facts["curves"]["pgd-2"]) == 2
    assert "Accuracy over the radius" in page.read_text()
    run("--eps", "0.2", "--target", "random", "--samples", str(samples))
    with h5py.File(samples) as file:
        assert json.loads(file.attrs["options"])["target"] == "random"
    ensemble = ["--attacks", "autoattack", "--version", "custom:apgd-ce-3,square-20", "--report", str(page)]
    for eps, curves in (("0.3", False), ("0.1,0.3", True)):
        json.loads(run(*ensemble, "--eps", eps, "--json"))
        text = page.read_text()
        assert ("Accuracy over the radius" in text) == curves
        for wanted in ("AutoAttack: after each attack", ">APGD-CE-3<", "What the attacks look like"):
            assert wanted in text
    bad = python(*common, *few, "--eps", "0.1,0.2", "--samples", str(samples))  # type: ignore[operator]
    assert bad.returncode == 2 and "samples" in bad.stderr
