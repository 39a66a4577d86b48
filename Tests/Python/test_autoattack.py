"""autoattack(), benchmark() and models of the host."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import igdm
import numpy as np
import pytest
from conftest import CLASSES, SHAPE, make_arrays, make_model, process_environment

EPS = 0.25
SMALL = {"version": "custom", "attacks": ["apgd-ce-8", "apgd-t-5", "fab-t-5", "square-60"], "eps": EPS}


def host_of(model: igdm.Model) -> igdm.HostModel:
    def gradient(images: np.ndarray, cotangent: np.ndarray) -> np.ndarray:
        return model.input_gradient(images, cotangent)

    return igdm.HostModel(model.predict, gradient, classes=CLASSES, input_shape=SHAPE)


@pytest.mark.parametrize("attack", ["apgd-ce", "apgd-dlr", "apgd-t", "fab", "fab-t", "square"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_attacks_of_the_ensemble(teacher: igdm.Model, attack: str, norm: str) -> None:
    images, labels = make_arrays(24)
    labels[3] = (labels[3] + 1) % CLASSES
    eps = EPS if norm == "linf" else 2.0
    result = igdm.attack(teacher, images, labels, attack, norm=norm, eps=eps, steps=60 if attack == "square" else 8)
    moved = result.images.astype(np.float64) - images
    distance = np.abs(moved).max() if norm == "linf" else np.sqrt((moved**2).sum((1, 2, 3))).max()
    assert 0 < distance <= eps
    assert result.images.min() >= 0 and result.images.max() <= 1
    np.testing.assert_array_equal(result.success, teacher.predict(result.images).argmax(1) != labels)
    assert result.success[3] and result.first_success[3] == 0 and not moved[3].any()
    assert not moved[~result.success].any()
    assert (result.forwards >= 1).all() and ((result.backwards == 0).all() == (attack == "square"))


def test_table_samples_and_warnings(teacher: igdm.Model, data: igdm.Dataset) -> None:
    seen: list[igdm.Progress] = []
    result = igdm.autoattack(teacher, data, **SMALL, batch_size=16, progress=False, callback=seen.append)
    assert [row.name for row in result.rows] == ["clean", "apgd-ce-8", "apgd-t-5", "fab-t-5", "square-60"]
    assert result.clean >= result.robust
    images, labels = data.read()
    wrong = teacher.predict(result.samples.images).argmax(1) != labels
    np.testing.assert_array_equal(result.samples.success, wrong)
    np.testing.assert_array_equal(result.correct["square-60"], ~wrong)
    assert [name is None for name in result.broken_by] == (~wrong).tolist()
    assert np.abs(result.samples.images.astype(np.float64) - images).max() <= EPS
    assert any("3 classes" in warning for warning in result.warnings)
    assert "warning: " in str(result) and "apgd-t" in str(result)
    assert json.loads(json.dumps(result.to_dict()))["robust"] == result.robust
    ends = [one for one in seen if one.stage == "autoattack"]
    assert [one.done for one in ends] == sorted(one.done for one in ends)
    assert ends[-1].done == ends[-1].total == 48 and ends[-1].accuracy == result.robust and ends[-1].eta == 0


def test_a_host_model_gives_the_same(teacher: igdm.Model, data: igdm.Dataset) -> None:
    ours = igdm.autoattack(teacher, data, **SMALL, count=12)
    theirs = igdm.autoattack(host_of(teacher), data, **SMALL, count=12)
    np.testing.assert_array_equal(ours.samples.images, theirs.samples.images)
    assert [row.correct for row in ours.rows] == [row.correct for row in theirs.rows]


def test_host_models_that_fail(teacher: igdm.Model) -> None:
    images, labels = make_arrays(5)
    good = host_of(teacher)

    def run(forward: object, gradient: object = good.gradient, attack: str = "apgd-ce") -> None:
        model = igdm.HostModel(forward, gradient, classes=CLASSES, input_shape=SHAPE)  # type: ignore[arg-type]
        igdm.attack(model, images, labels, attack, steps=3)

    def failing(_: np.ndarray) -> np.ndarray:
        raise RuntimeError("no such model")

    with pytest.raises(RuntimeError, match="no such model"):
        run(failing)
    with pytest.raises(igdm.InvalidArgument, match=r'got "apgd-ce", want square, .* or a corruption: the model'):
        run(good.forward, None)
    with pytest.raises(TypeError, match="forward: got int, want a function"):
        igdm.HostModel(5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="gradient: got int, want a function"):
        igdm.HostModel(failing, 5)  # type: ignore[arg-type]
    for shape in ((12, 12), 5, (1, 12, 12, 1)):
        with pytest.raises(igdm.ShapeError, match=r"input_shape: got .*, want"):
            igdm.HostModel(failing, input_shape=shape)  # type: ignore[arg-type]
    with pytest.raises(igdm.InvalidArgument, match="input_shape: got 0"):
        igdm.HostModel(failing, input_shape=(1, 0, 12))
    with pytest.raises(igdm.ShapeError, match=r"forward: returned shape \(5, 2\), want \(5, 3\)"):
        run(lambda images: np.zeros((len(images), 2)))
    with pytest.raises(igdm.NotFiniteError, match="sample 3"):
        run(lambda images: np.where(np.arange(len(images))[:, None] == 3, np.nan, teacher.predict(images)))
    # Where the first sample is misclassified already, Auto-PGD's batch begins with the second.
    labels[0] = (teacher.predict(images)[0].argmax() + 1) % CLASSES
    last = np.flatnonzero(teacher.predict(images).argmax(1) == labels)[-1]

    def infinite_at_the_end(images: np.ndarray, _: np.ndarray) -> np.ndarray:
        return np.where(np.arange(len(images))[:, None, None, None] == len(images) - 1, np.inf, 0 * images)

    for attack, sample in (("pgd", 4), ("apgd-ce", last)):
        with pytest.raises(igdm.NotFiniteError, match=f"gradient under attack: sample {sample}:"):
            run(good.forward, infinite_at_the_end, attack)
    with pytest.raises(igdm.ShapeError, match="gradient: returned shape"):
        run(good.forward, lambda images, cotangent: cotangent)
    with pytest.raises(igdm.InvalidArgument, match="square"):
        run(good.forward, None)
    run(good.forward, None, "square")
    with pytest.raises(TypeError, match=r"igdm.HostModel"):
        igdm.attack(np.zeros(3), images, labels)  # type: ignore[arg-type]


def test_a_host_cannot_write_into_what_it_is_given(teacher: igdm.Model) -> None:
    """A model that normalises in place would move the attack's own images."""
    images, labels = make_arrays(5)
    good, before = host_of(teacher), images.copy()

    def in_place(batch: np.ndarray, cotangent: np.ndarray | None = None) -> np.ndarray:
        if cotangent is None:
            batch -= 0.5
        else:
            cotangent *= 2
        return teacher.predict(batch)

    for forward, gradient in ((in_place, good.gradient), (good.forward, in_place)):
        host = igdm.HostModel(forward, gradient, classes=CLASSES, input_shape=SHAPE)
        with pytest.raises(ValueError, match="read-only"):
            igdm.attack(host, images, labels, "pgd", steps=2)
    np.testing.assert_array_equal(images, before)


KILLED = """
import sys, numpy as np, igdm
sys.path.insert(0, sys.argv[2])
from conftest import make_arrays, make_model, CLASSES
model = igdm.Model.load(sys.argv[3])
data = igdm.datasets.from_arrays(*make_arrays(48), classes=CLASSES)
def callback(progress):
    print(progress.done, flush=True)
igdm.autoattack(model, data, version="custom", attacks=["apgd-ce-8", "apgd-t-5", "fab-t-5", "square-60"], eps=0.25,
                batch_size=8, state=sys.argv[1], state_seconds=0, progress=False, callback=callback)
"""


@pytest.mark.parametrize("lines", [8, 20, 45])
def test_a_killed_run_goes_on_to_the_same_result(
    teacher: igdm.Model, data: igdm.Dataset, tmp_path: Path, lines: int
) -> None:
    state, checkpoint = tmp_path / "state", tmp_path / "model.h5"
    teacher.save(checkpoint)
    here = str(Path(__file__).parent)
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(state), here, str(checkpoint)], stdout=subprocess.PIPE, text=True,
        env=process_environment(),
    )  # fmt: skip
    assert process.stdout is not None
    for _ in range(lines):
        assert process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert process.returncode == -signal.SIGKILL
    assert state.exists()
    whole = igdm.autoattack(teacher, data, **SMALL, batch_size=16)
    resumed = igdm.autoattack(teacher, data, **SMALL, state=state)
    for name in ("images", "success", "first_success", "forwards", "backwards", "linf"):
        np.testing.assert_array_equal(getattr(resumed.samples, name), getattr(whole.samples, name), name)
    again = igdm.autoattack(teacher, data, **SMALL, state=state)
    np.testing.assert_array_equal(again.samples.images, whole.samples.images)
    with pytest.raises(
        igdm.InvalidArgument, match=r"belongs to another run: .*epsilon: the file has 0\.25, this run 0\.2"
    ):
        igdm.autoattack(teacher, data, **{**SMALL, "eps": 0.2}, state=state)
    with pytest.raises(igdm.InvalidArgument, match="model: the file has"):
        igdm.autoattack(make_model(5), data, **SMALL, state=state)


def test_an_exception_in_the_callback_keeps_the_state(teacher: igdm.Model, data: igdm.Dataset, tmp_path: Path) -> None:
    state = tmp_path / "state"

    def callback(progress: igdm.Progress) -> None:
        if progress.stage == "autoattack" and progress.done > 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        igdm.autoattack(teacher, data, **SMALL, batch_size=8, state=state, callback=callback)
    # What was found is there, too.
    partial, whole = caught.value.partial, igdm.autoattack(teacher, data, **SMALL)  # type: ignore[attr-defined]
    assert partial.rows[-1].unfinished > 0 and "that are not through" in str(partial)
    assert partial.robust > whole.robust == whole.rows[-1].accuracy and whole.rows[-1].unfinished == 0
    for name, flags in whole.correct.items():
        assert not np.any(flags & ~partial.correct[name])
    broken = partial.samples.success
    assert broken.any()
    np.testing.assert_array_equal(partial.samples.images[broken], whole.samples.images[broken])
    resumed = igdm.autoattack(teacher, data, **SMALL, state=state)
    assert resumed.rows[-1].correct == igdm.autoattack(teacher, data, **SMALL).rows[-1].correct


STANDARD = ["apgd-ce", "apgd-t", "fab-t", "square"]
PLUS = ["apgd-ce", "apgd-dlr", "fab", "square", "apgd-t", "fab-t"]


@pytest.mark.parametrize(
    ("version", "norm", "eps", "attacks"),
    [("standard", "l1", 8.0, STANDARD), ("plus", "linf", 0.15, PLUS), ("plus", "l2", 1.2, PLUS)],
)
def test_versions_run_to_their_end(
    teacher: igdm.Model, data: igdm.Dataset, version: str, norm: str, eps: float, attacks: list[str]
) -> None:
    result = igdm.autoattack(teacher, data, version=version, norm=norm, eps=eps, count=8, progress=False)
    assert [row.name for row in result.rows] == ["clean", *attacks]
    accuracies = [row.accuracy for row in result.rows]
    assert accuracies == sorted(accuracies, reverse=True)
    assert accuracies[0] > accuracies[-1], "nothing broke"
    images, labels = data.read(0, 8)
    change = (result.samples.images.astype(np.float64) - images).reshape(8, -1)
    lengths = {"linf": np.abs(change).max(1), "l2": np.sqrt((change**2).sum(1)), "l1": np.abs(change).sum(1)}[norm]
    assert lengths.max() <= eps
    np.testing.assert_array_equal(result.samples.success, teacher.predict(result.samples.images).argmax(1) != labels)


def test_fab_without_targets(teacher: igdm.Model, data: igdm.Dataset) -> None:
    options = {"version": "custom", "eps": 0.25, "count": 16, "progress": False}
    result = igdm.autoattack(teacher, data, attacks=["fab-8"], **options)
    assert [row.name for row in result.rows] == ["clean", "fab-8"]
    assert result.robust < result.clean
    aimed = igdm.autoattack(teacher, data, attacks=["fab-t-8"], **options)
    assert np.any(aimed.samples.images != result.samples.images)


def test_batches_are_refilled(teacher: igdm.Model) -> None:
    """What an attack has broken makes room for the next sample: a pass costs the same with one sample as with eight."""
    sizes: list[int] = []
    good = host_of(teacher)

    def forward(images: np.ndarray) -> np.ndarray:
        sizes.append(len(images))
        return teacher.predict(images)

    host = igdm.HostModel(forward, good.gradient, classes=CLASSES, input_shape=SHAPE)
    data = igdm.datasets.from_arrays(*make_arrays(200), classes=CLASSES)
    options = {"version": "custom", "attacks": "square-60", "eps": EPS, "batch_size": 8, "progress": False}
    found = igdm.autoattack(host, data, **options)
    assert len(np.unique(found.samples.forwards)) > 10, "samples that all take as long leave no room"
    assert max(sizes) == 8
    assert np.mean(np.array(sizes) == 8) > 0.8, sizes


def test_benchmark_is_standard_autoattack(teacher: igdm.Model, data: igdm.Dataset, tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    clean, robust = igdm.benchmark(teacher, data, threat="Linf", eps="2/255", n=4, to=path)
    result = igdm.autoattack(teacher, data, eps="2/255", count=4)
    assert (clean, robust) == (result.clean, result.robust)
    record = json.loads(path.read_text())
    assert list(record) == list(igdm.ensemble.RECORD)
    assert record["eps"] == "2/255" and record["footnote"].startswith("Linf, 4 samples")
    assert record["venue"] is None and record["architecture"] == "resnet8"
    assert record["clean_acc"] == f"{100 * clean:.2f}" and record["autoattack_acc"] == f"{100 * robust:.2f}"
    assert record["dataset"] == "arrays"
    known = {"name": "A small network", "venue": "Unpublished", "additional_data": False}
    igdm.benchmark(teacher, data, eps="2/255", n=1, to=path, dataset="bands", record=known)
    record = json.loads(path.read_text())
    assert record["dataset"] == "bands" and {field: record[field] for field in known} == known
    for bad, message in (
        ({"paper": "x"}, "record: got a field 'paper', want some of link, name"),
        ({"clean_acc": "99"}, "record: got a field 'clean_acc'"),
        ({"name": float("nan")}, "record: name: got nan"),
        ({"name": {1}}, "record: name: got {1}"),
        (["name"], "record: got list, want a mapping"),
    ):
        with pytest.raises(igdm.InvalidArgument, match=re.escape(message)):
            igdm.benchmark(teacher, data, n=1, record=bad)
    igdm.benchmark(teacher, data, eps="2/255", n=1, to=path, version=None, record={"footnote": "mine"})
    assert json.loads(path.read_text())["footnote"].startswith("mine; Linf, 1 samples")
    with pytest.raises(igdm.InvalidArgument, match="version: got 'custom' with `to`, want 'standard'"):
        igdm.benchmark(teacher, data, n=1, to=path, version="custom", attacks="square-2")
    with pytest.raises(igdm.InvalidArgument, match="threat"):
        igdm.benchmark(teacher, data, threat="l7")
    with pytest.raises(igdm.InvalidArgument, match="norm: got 'l2', want it as threat"):
        igdm.benchmark(teacher, data, norm="l2")
    with pytest.raises(igdm.InputOutputError, match=r"to: got .*nowhere/x\.json, want a file in a folder"):
        igdm.benchmark(teacher, data, n=1, to=tmp_path / "nowhere" / "x.json")
    with pytest.raises(igdm.InputOutputError, match=r"state: got .*nowhere/state, want a file in a folder"):
        igdm.autoattack(teacher, data, count=1, state=tmp_path / "nowhere" / "state")
    with pytest.raises(igdm.InvalidArgument, match="n: got 0, want at least 1"):
        igdm.benchmark(teacher, data, n=0)


def test_command_line(teacher: igdm.Model, hdf5_data: Path, tmp_path: Path, python: object) -> None:
    path = tmp_path / "model.h5"
    teacher.save(path)
    data = f"hdf5:{hdf5_data},test/images,test/labels"
    common = ["-m", "igdm", "evaluate", str(path), "--data", data, "--eps", "0.25", "--count", "6", "--quiet"]
    done = python(*common, "--attacks", "autoattack", "--version", "custom:apgd-ce-4,square-20", "--json")  # type: ignore[operator]
    if done.returncode == 2:
        pytest.fail(done.stderr)
    facts = json.loads(done.stdout)
    assert [row["name"] for row in facts["rows"]] == ["clean", "apgd-ce-4", "square-20"]
    table = python(*common, "--attacks", "apgd-ce-4,square-20,fgsm")  # type: ignore[operator]
    assert "square-20" in table.stdout, table.stderr
    bad = python(*common, "--attacks", "fgsm", "--version", "plus")  # type: ignore[operator]
    assert bad.returncode == 2 and "version" in bad.stderr
