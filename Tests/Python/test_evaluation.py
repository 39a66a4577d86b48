"""evaluate(): the table, its numbers, its printed form."""

from __future__ import annotations

import json
import pickle
from fractions import Fraction
from pathlib import Path
from typing import Any

import igdm
import numpy as np
import pytest
from conftest import make_model


def test_rows_follow_the_attacks(teacher: igdm.Model, data: igdm.Dataset) -> None:
    result = igdm.evaluate(teacher, data, attacks=["fgsm", "pgd-3", "cw-2"], eps=0.25)
    assert [row.name for row in result.rows] == ["clean", "fgsm", "pgd-3", "cw-2"]
    assert result.count == len(data)
    for row in result.rows:
        assert row.accuracy == row.correct / row.count == result.accuracy[row.name]
        assert result.correct[row.name].sum() == row.correct
        assert not np.any(result.correct[row.name] & ~result.correct["clean"])
    assert result.accuracy["pgd-3"] < result.accuracy["clean"]
    right = teacher.predict(data.images).argmax(1) == data.labels
    np.testing.assert_array_equal(result.correct["clean"], right)


def test_strings_and_lists_of_attacks(teacher: igdm.Model, data: igdm.Dataset) -> None:
    assert len(igdm.evaluate(teacher, data, attacks=[]).rows) == 1
    assert len(igdm.evaluate(teacher, data, attacks="").rows) == 1
    assert len(igdm.evaluate(teacher, data, attacks="fgsm,pgd-1").rows) == 3


def test_the_first_samples_only(teacher: igdm.Model, data: igdm.Dataset) -> None:
    whole = igdm.evaluate(teacher, data, attacks=["pgd-2"], eps=0.1)
    part = igdm.evaluate(teacher, data, attacks=["pgd-2"], eps=0.1, count=10, batch_size=3)
    assert part.count == 10
    np.testing.assert_array_equal(part.correct["pgd-2"], whole.correct["pgd-2"][:10])


def test_agreement_with_the_teacher(teacher: igdm.Model, data: igdm.Dataset) -> None:
    same = igdm.evaluate(teacher.copy(), data, attacks=[], teacher=teacher)
    assert same.gradient_cosine == pytest.approx(1, abs=1e-5)
    assert same.gradient_distance == pytest.approx(0, abs=1e-6)
    other = igdm.evaluate(make_model(), data, attacks=[], teacher=teacher)
    assert other.gradient_cosine is not None
    assert -1 < other.gradient_cosine < 0.9
    assert igdm.evaluate(teacher, data, attacks=[]).gradient_cosine is None


def test_a_target_for_each_sample(teacher: igdm.Model, data: igdm.Dataset) -> None:
    targets = (data.labels + 1) % data.classes
    options: dict[str, Any] = {"attacks": "pgd-3,square-20", "eps": 0.3, "keep_samples": True}
    found = igdm.evaluate(teacher, data, target=targets, **options)
    assert found.options["target"] == "labels"
    for attack, samples in found.samples.items():
        answers = teacher.predict(samples.images).argmax(1)
        left = found.correct["clean"] & (answers != targets)
        np.testing.assert_array_equal(found.correct[attack], left)
        assert 0 < left.sum() < found.correct["clean"].sum()
    again = igdm.evaluate(teacher, data, target=targets.astype(np.uint8), batch_size=7, **options)
    assert again.correct["pgd-3"].tobytes() == found.correct["pgd-3"].tobytes()
    for attack, samples in found.samples.items():
        assert again.samples[attack].images.tobytes() == samples.images.tobytes()
    same = igdm.evaluate(teacher, data, target=np.full(len(data), 2), **options)
    fixed = igdm.evaluate(teacher, data, target=2, **options)
    for attack in fixed.samples:
        np.testing.assert_array_equal(same.correct[attack], fixed.correct[attack])
    part = igdm.evaluate(teacher, data, target=targets[:5], count=5, **options)
    np.testing.assert_array_equal(part.correct["pgd-3"], found.correct["pgd-3"][:5])
    curve = igdm.sweep(teacher, data, [0.1, 0.3], attacks="pgd-3", target=targets)
    assert curve.evaluations[0].rows[1].correct >= curve.evaluations[1].rows[1].correct


def test_targets_that_fit_no_samples(teacher: igdm.Model, data: igdm.Dataset) -> None:
    targets = np.zeros(len(data), np.int64)
    with pytest.raises(igdm.ShapeError, match="target: got shape"):
        igdm.evaluate(teacher, data, attacks="fgsm", target=targets[1:])
    with pytest.raises(igdm.ShapeError, match="target: got shape"):
        igdm.evaluate(teacher, data, attacks="fgsm", target=targets, count=4)
    with pytest.raises(TypeError, match="target: got dtype float64"):
        igdm.evaluate(teacher, data, attacks="fgsm", target=targets + 0.5)
    with pytest.raises(igdm.InvalidArgument, match="target: sample 0: got 3"):
        igdm.evaluate(teacher, data, attacks="fgsm", target=targets + data.classes)
    with pytest.raises(igdm.InvalidArgument, match="target: got 'labels', want an array"):
        igdm.evaluate(teacher, data, attacks="fgsm", target="labels")


def test_options_that_change_nothing_are_warned_of(
    teacher: igdm.Model, data: igdm.Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    found = igdm.evaluate(teacher, data, attacks="apgd-ce-2,square-3", kappa=3, targets=2, step=0.01, count=4)
    assert [warning.partition(":")[0] for warning in found.warnings] == ["kappa", "targets", "step"]
    assert "kappa: 3.0 changes nothing, apgd-ce,square have no use for it" in str(found)
    used = igdm.evaluate(teacher, data, attacks="fgsm,cw-2,apgd-t-2", kappa=3, targets=2, step=0.01, count=4)
    assert "changes nothing" not in str(used)
    caplog.clear()
    igdm.attack(teacher, *data.read(0, 2), "fgsm", loss="dlr", kappa=3)
    assert "fgsm: kappa: 3.0 changes nothing, fgsm has no use for it" in caplog.text


def test_printed_and_as_dictionary(teacher: igdm.Model, data: igdm.Dataset) -> None:
    result = igdm.evaluate(teacher, data, attacks=["fgsm"], eps="8/255", teacher=teacher)
    printed = str(result)
    row = result.rows[1]
    assert f"{100 * row.accuracy:.2f} %" in printed
    assert f"{row.correct}/{row.count}" in printed
    assert "eps 8/255 (linf)" in printed
    assert "cosine 1.000" in printed
    stored = json.loads(json.dumps(result.to_dict()))
    assert stored["rows"][1]["accuracy"] == row.accuracy
    assert stored["options"]["eps"] == "8/255"
    assert pickle.loads(pickle.dumps(result)).rows == result.rows


@pytest.mark.parametrize("eps", [np.float32(0.02), np.float64(0.02), Fraction(8, 255), 0.02])
def test_numbers_of_any_kind_are_recorded_as_numbers(
    teacher: igdm.Model, data: igdm.Dataset, tmp_path: Path, eps: Any
) -> None:
    found = igdm.evaluate(
        teacher, data, attacks="mi-fgsm-2", eps=eps, step=eps, count=4, tuning={"momentum_decay": np.float32(0.5)},
        keep_samples=True,
    )  # fmt: skip
    options = json.loads(json.dumps(found.to_dict()))["options"]
    assert (options["eps"], options["step"]) == (float(eps), float(eps))
    assert options["tuning"] == {"momentum_decay": 0.5}
    igdm.save_samples(tmp_path / "samples.h5", found)
    swept = igdm.sweep(teacher, data, [eps, "0.1"], attacks="fgsm", count=4)
    assert json.loads(json.dumps(swept.to_dict()))["eps"] == [float(eps), "0.1"]
    ensemble = igdm.autoattack(teacher, data, version="custom", attacks="apgd-ce-2", eps=eps, count=4)
    assert json.loads(json.dumps(ensemble.to_dict()))["options"]["eps"] == float(eps)


def test_bad_arguments(teacher: igdm.Model, data: igdm.Dataset) -> None:
    with pytest.raises(igdm.InvalidArgument, match="fgsm"):
        igdm.evaluate(teacher, data, attacks=["pgd-20", "nonsense"])
    with pytest.raises(igdm.InvalidArgument, match="count"):
        igdm.evaluate(teacher, data, count=-1)
    with pytest.raises(igdm.ShapeError):
        igdm.evaluate(igdm.Model("resnet8"), data)
    with pytest.raises(igdm.ShapeError):
        igdm.evaluate(teacher, data, teacher=igdm.Model("resnet8"))


class Breaking:
    """A model whose answer becomes wrong at the `at`-th pass."""

    def __init__(self, model: igdm.Model, at: int, error: type[BaseException] | None) -> None:
        self.model, self.at, self.error, self.passes = model, at, error, 0

    def __call__(self, images: np.ndarray) -> np.ndarray:
        self.passes += 1
        logits = self.model.predict(images)
        if self.passes >= self.at:
            if self.error is not None:
                raise self.error("lost the device")
            logits[-1, 1] = np.nan
        return logits


@pytest.mark.parametrize("error", [None, ZeroDivisionError, KeyboardInterrupt])
@pytest.mark.parametrize("attacks", ["fgsm,pgd-3", "fgsm,square-6"])
def test_what_was_found_outlives_a_model_that_breaks_down(
    teacher: igdm.Model, data: igdm.Dataset, attacks: str, error: type[BaseException] | None
) -> None:
    options = {"attacks": attacks, "eps": 0.25, "batch_size": 16, "keep_samples": True}
    whole = igdm.evaluate(teacher, data, **options)
    last = attacks.split(",")[1]
    seen = set()
    for at in range(1, 40):
        broken = Breaking(teacher, at, error)
        host = igdm.HostModel(broken, teacher.input_gradient, classes=data.classes, input_shape=data.image_shape)
        try:
            igdm.evaluate(host, data, **options)
            break
        except (igdm.NotFiniteError, ZeroDivisionError, KeyboardInterrupt) as raised:
            assert isinstance(raised, error or igdm.NotFiniteError)
            assert error is not None or "sample" in str(raised)
            partial = getattr(raised, "partial", None)
        if partial is None:
            assert at <= -(-len(data) // 16)
            continue
        row = partial.rows[-1]
        seen.add((row.name, row.unfinished > 0))
        for name, flags in partial.correct.items():
            assert not np.any(whole.correct[name] & ~flags)
            if name != row.name or not row.unfinished:
                np.testing.assert_array_equal(flags, whole.correct[name])
        assert set(partial.samples) == {one.name for one in partial.rows[1:]}
        for name, found in partial.samples.items():
            broken_ones = ~partial.correct[name]
            np.testing.assert_array_equal(found.success, broken_ones)
            np.testing.assert_array_equal(found.images[broken_ones], whole.samples[name].images[broken_ones])
            assert (found.quantised is None) == (name == row.name)
        assert ("was stopped" in str(partial)) == (row.unfinished > 0)
        assert json.loads(json.dumps(partial.to_dict()))["rows"][-1]["unfinished"] == row.unfinished
    assert {("fgsm", True), (last, True)} <= seen


def test_averaged_gradients_and_tuning(teacher: igdm.Model, data: igdm.Dataset) -> None:
    """eot asks a model for so many gradients, whatever the attack; of one that is not random their mean is the same."""
    asked = 0

    def gradient(images: np.ndarray, cotangent: np.ndarray) -> np.ndarray:
        nonlocal asked
        asked += len(images)
        return teacher.input_gradient(images, cotangent)

    host = igdm.HostModel(teacher.predict, gradient, classes=data.classes, input_shape=data.image_shape)
    # So little that no sample is broken: with eot an attack goes on after a success, and evaluates it once more.
    options = {"eps": 1e-4, "count": 12, "attacks": "pgd-3,apgd-ce-3"}
    counts = []
    for eot in (1, 4):
        asked = 0
        result = igdm.evaluate(host, data, eot=eot, **options)
        counts.append(asked)
        assert result.options["eot"] == eot
    assert counts[1] == 4 * counts[0] > 0
    with pytest.raises(igdm.InvalidArgument, match="eot: got -1"):
        igdm.evaluate(teacher, data, eot=-1, **options)

    kept: dict[str, Any] = {"eps": 0.2, "keep_samples": True, "attacks": "pgd-4"}
    images, labels = data.read()
    for own in ({"loss": "margin"}, {"loss": "margin", "kappa": 0.01}, {"loss": "dlr", "random_start": False}):
        result = igdm.evaluate(teacher, data, **own, **kept)
        alone = igdm.attack(teacher, images, labels, "pgd", steps=4, eps=0.2, **own)
        right = result.correct["clean"]
        np.testing.assert_array_equal(result.samples["pgd-4"].images[right], alone.images[right])
        assert own.items() <= result.options.items()
    several = igdm.Model("small_cnn", classes=5, input_shape=data.image_shape, seed=3)
    own_data = igdm.datasets.from_arrays(images, several.predict(images).argmax(1), classes=5)
    few, many = (
        igdm.evaluate(several, own_data, attacks="apgd-t-2", eps=1e-4, targets=targets, keep_samples=True)
        for targets in (1, 3)
    )
    assert many.samples["apgd-t-2"].forwards.sum() > 2 * few.samples["apgd-t-2"].forwards.sum()
    with pytest.raises(igdm.InvalidArgument, match="kl"):
        igdm.evaluate(teacher, data, loss="kl", random_start=False, **kept)
    with pytest.raises(igdm.InvalidArgument, match="step: got -3"):
        igdm.evaluate(teacher, data, attacks="apgd-ce-3", step=-3)

    kept = {"eps": 0.2, "keep_samples": True, "attacks": "mi-fgsm-4"}
    images, labels = data.read()
    for decay in (0.0, 1.0):
        result = igdm.evaluate(teacher, data, tuning={"momentum_decay": decay}, **kept)
        alone = igdm.attack(teacher, images, labels, "mi-fgsm", steps=4, eps=0.2, tuning={"momentum_decay": decay})
        right = result.correct["clean"]
        np.testing.assert_array_equal(result.samples["mi-fgsm-4"].images[right], alone.images[right])
        assert result.options["tuning"] == {"momentum_decay": decay}
    with pytest.raises(igdm.InvalidArgument, match="momentum_decay"):
        igdm.evaluate(teacher, data, tuning={"momentum_decay": -1}, **kept)
    with pytest.raises(igdm.InvalidArgument, match="tuning: got 'speed'"):
        igdm.evaluate(teacher, data, tuning={"speed": 1}, **kept)


def test_callbacks(teacher: igdm.Model, data: igdm.Dataset) -> None:
    stages: list[str] = []
    igdm.evaluate(teacher, data, attacks=["fgsm"], batch_size=16, callback=lambda event: stages.append(event.stage))
    assert list(dict.fromkeys(stages))[:2] == ["clean", "fgsm"]
    with pytest.raises(igdm.Cancelled):
        igdm.evaluate(teacher, data, callback=lambda event: event.stage == "pgd-20")
    with pytest.raises(ZeroDivisionError):
        igdm.evaluate(teacher, data, callback=lambda _: 1 / 0)
