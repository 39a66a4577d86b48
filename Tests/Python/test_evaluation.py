"""evaluate(): the table, its numbers, its printed form."""

from __future__ import annotations

import json
import pickle

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


def test_bad_arguments(teacher: igdm.Model, data: igdm.Dataset) -> None:
    with pytest.raises(igdm.InvalidArgument, match="fgsm"):
        igdm.evaluate(teacher, data, attacks=["pgd-20", "nonsense"])
    with pytest.raises(igdm.InvalidArgument, match="count"):
        igdm.evaluate(teacher, data, count=-1)
    with pytest.raises(igdm.ShapeError):
        igdm.evaluate(igdm.Model("resnet8"), data)
    with pytest.raises(igdm.ShapeError):
        igdm.evaluate(teacher, data, teacher=igdm.Model("resnet8"))


def test_callbacks(teacher: igdm.Model, data: igdm.Dataset) -> None:
    stages: list[str] = []
    igdm.evaluate(teacher, data, attacks=["fgsm"], batch_size=16, callback=lambda event: stages.append(event.stage))
    assert list(dict.fromkeys(stages))[:2] == ["clean", "fgsm"]
    with pytest.raises(igdm.Cancelled):
        igdm.evaluate(teacher, data, callback=lambda event: event.stage == "pgd-20")
    with pytest.raises(ZeroDivisionError):
        igdm.evaluate(teacher, data, callback=lambda _: 1 / 0)
