"""Probabilities for labels: in datasets, in HDF5, in trainings."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import igdm
import numpy as np
import pytest
from conftest import CLASSES, TRAINING, make_arrays, make_model

OPTIONS: dict[str, Any] = dict(TRAINING, method="pgd-at")


def soften(labels: np.ndarray, share: float = 0.7) -> np.ndarray:
    """The label has `share`, the next class the rest."""
    rows = np.zeros((len(labels), CLASSES))
    rows[np.arange(len(labels)), labels] = share
    rows[np.arange(len(labels)), (labels + 1) % CLASSES] = 1 - share
    return rows


def train(data: igdm.Dataset, teacher: igdm.Model | None = None, **changes: Any) -> np.ndarray:
    """Weights of the first layer afterwards."""
    student = make_model()
    igdm.distill(student, teacher, data, **{**OPTIONS, **changes})
    return np.array(student.parameters["conv1.weight"])


def test_datasets_keep_them(tmp_path: Path) -> None:
    import h5py

    images, labels = make_arrays(30)
    rows = soften(labels)
    with h5py.File(tmp_path / "soft.h5", "w") as file:
        file["images"], file["labels"], file["narrow"] = images, rows, rows.astype(np.float32)
    plain = igdm.datasets.from_arrays(images, labels, classes=CLASSES)
    made = [
        igdm.datasets.from_arrays(images, rows),
        plain.with_soft_labels(rows),
        igdm.datasets.hdf5(tmp_path / "soft.h5"),
        igdm.datasets.hdf5(tmp_path / "soft.h5", labels="narrow", classes=CLASSES, stream=True),
        plain[10:].with_soft_labels(rows[10:]),
        plain.select(np.arange(30)[::-1]).with_soft_labels(rows[::-1]).select(np.arange(30)[::-1]),
    ]
    wanted = rows.astype(np.float32)
    assert not plain.has_soft_labels
    np.testing.assert_array_equal(plain.soft_labels, np.eye(CLASSES)[labels])
    for data in made:
        first = 30 - len(data)
        assert data.has_soft_labels and data.classes == CLASSES
        np.testing.assert_array_equal(data.soft_labels, wanted[first:])
        np.testing.assert_array_equal(data.labels, labels[first:])
        np.testing.assert_array_equal(data.images, images[first:])
        np.testing.assert_array_equal(data[3:9].soft_labels, wanted[first:][3:9])
        others, held = data.hold_out(0.3)
        assert others.has_soft_labels and held.has_soft_labels
        np.testing.assert_array_equal(held.soft_labels.argmax(1), held.labels)
        chosen = np.sort(np.concatenate([others.soft_labels, held.soft_labels]), 0)
        np.testing.assert_array_equal(chosen, np.sort(wanted[first:], 0))


def test_certain_labels_are_labels(teacher: igdm.Model) -> None:
    """But for rounding. And what lies between changes the training, alone, mixed by CutMix, and as generated data."""
    images, labels = make_arrays(48)
    plain = igdm.datasets.from_arrays(images, labels, classes=CLASSES)
    certain, soft = (plain.with_soft_labels(soften(labels, share)) for share in (1.0, 0.7))
    for options in (
        {},
        {"method": "trades"},
        {"method": "akd"},
        {"cutmix": 0.5},
        {"generated": plain[:20], "generated_ratio": 0.5},
    ):
        helper = teacher if options.get("method") == "akd" else None
        np.testing.assert_allclose(train(certain, helper, **options), train(plain, helper, **options), atol=1e-5)
        assert np.abs(train(soft, helper, **options) - train(plain, helper, **options)).max() > 1e-3
    mixed = {"generated": soft[:20], "generated_ratio": 0.5}
    assert np.abs(train(plain, **mixed) - train(plain, **dict(mixed, generated=plain[:20]))).max() > 1e-3
    # Methods without cross-entropy do not look at them.
    for method in ("ard", "rslad", "iad", "adaad", "saad"):
        np.testing.assert_array_equal(train(soft, teacher, method=method), train(plain, teacher, method=method))


def test_who_gives_them_to_a_method_that_never_looks_is_told(
    teacher: igdm.Model, caplog: pytest.LogCaptureFixture
) -> None:
    images, labels = make_arrays(32)
    soft, hard = (igdm.datasets.from_arrays(images, rows, classes=CLASSES) for rows in (soften(labels), labels))

    def told(data: igdm.Dataset, **options: Any) -> list[str]:
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="igdm"):
            train(data, teacher, epochs=1, **options)
        return [record.getMessage() for record in caplog.records if "soft labels" in record.getMessage()]

    assert not told(soft, method="trades") and not told(soft, method="ard", adversarial_weight=0.5)
    assert not told(hard, method="ard")
    for method in ("ard", "rslad", "iad"):
        (message,) = told(soft, method=method)
        assert message.startswith(f"train: has soft labels, which {method} with these options never looks at")
    (message,) = told(hard, method="ard", generated=soft, generated_ratio=0.5)
    assert message.startswith("generated: has soft labels")


def test_a_step_takes_the_cross_entropy() -> None:
    images, labels = make_arrays(16)
    rows = soften(labels)
    with igdm.Trainer(make_model(), None, **OPTIONS, steps_per_epoch=1) as trainer:
        ends = [
            trainer.step(images, truth, adversarial=images, update=False).base_loss
            for truth in (labels, (labels + 1) % CLASSES, rows, rows.astype(np.float16))
        ]
        assert abs(0.7 * ends[0] + 0.3 * ends[1] - ends[2]) < 1e-6
        assert abs(ends[3] - ends[2]) < 1e-3
        with pytest.raises(igdm.ShapeError, match="labels"):
            trainer.step(images, rows[:, :2])
        with pytest.raises(igdm.InvalidArgument, match="soft_labels: sample 2"):
            trainer.step(images, np.where(np.arange(16)[:, None] == 2, rows / 2, rows))


def test_training_with_them_lowers_their_cross_entropy() -> None:
    images, labels = make_arrays(64)
    data = igdm.datasets.from_arrays(images, soften(labels, 0.6))
    student = make_model()
    igdm.distill(student, None, data, **dict(OPTIONS, eps=0.02, epochs=25))
    logits = student.predict(images).astype(np.float64)
    probability = np.exp(logits - logits.max(1, keepdims=True))
    probability /= probability.sum(1, keepdims=True)
    assert np.mean(logits.argmax(1) == labels) > 0.9
    # As sure as they are, and not more.
    assert abs(probability[np.arange(64), labels].mean() - 0.6) < 0.1


def test_what_is_no_probability_is_refused(tmp_path: Path) -> None:
    import h5py

    images, labels = make_arrays(8)
    rows = soften(labels)
    data = igdm.datasets.from_arrays(images, labels, classes=CLASSES)
    for value, error, match in (
        (np.nan, igdm.NotFiniteError, "sample 0, class 1"),
        (-0.25, igdm.InvalidArgument, "take the softmax"),
        (1.5, igdm.InvalidArgument, "got 1.5"),
    ):
        wrong = rows.copy()
        wrong[0, 1] = value
        with pytest.raises(error, match=match):
            data.with_soft_labels(wrong)
    with pytest.raises(igdm.InvalidArgument, match=r"sample 0: got 0\.5.*sum up to 1"):
        data.with_soft_labels(rows / 2)
    with pytest.raises(igdm.ShapeError, match="soft_labels"):
        data.with_soft_labels(rows[:4])
    with pytest.raises(TypeError, match="soft_labels"):
        data.with_soft_labels(labels)
    with pytest.raises(igdm.ShapeError, match="labels"):
        igdm.datasets.from_arrays(images, rows, classes=CLASSES + 1)
    for narrow in (rows[:, :1], rows[:, :0]):
        with pytest.raises(igdm.ShapeError, match=r"labels: got shape \(8, .\), want \(8, 2\)"):
            igdm.datasets.from_arrays(images, narrow)
    with pytest.raises(TypeError, match="classes"):
        igdm.datasets.from_arrays(images, rows, classes="3")  # type: ignore[arg-type]
    with pytest.raises(igdm.InvalidArgument, match="class_names: got 2 names, want 3"):
        igdm.datasets.from_arrays(images, rows, class_names=("a", "b"))
    with h5py.File(tmp_path / "soft.h5", "w") as file:
        file["images"], file["integers"] = images, rows.astype(int)
        file["half"], file["few"], file["one"], file["cube"] = rows / 2, rows[:4], rows[:, :1], rows[None]
        file["none"] = rows[:, :0]
    for name, error in (
        ("integers", igdm.FormatError), ("few", igdm.FormatError), ("one", igdm.FormatError),
        ("cube", igdm.FormatError), ("none", igdm.FormatError), ("half", igdm.InvalidArgument),
    ):  # fmt: skip
        with pytest.raises(error, match=name):
            igdm.datasets.hdf5(tmp_path / "soft.h5", labels=name)
    with h5py.File(tmp_path / "wide.h5", "w") as file:
        file["images"], file["labels"] = images, rows
    with pytest.raises(igdm.FormatError, match=r"got shape \(8, 3\), want \(8, 4\)"):
        igdm.datasets.hdf5(tmp_path / "wide.h5", classes=CLASSES + 1)


def test_other_probabilities_are_other_data(tmp_path: Path) -> None:
    """A training that went on with them would be another one."""
    images, labels = make_arrays(48)
    first, other = (igdm.datasets.from_arrays(images, soften(labels, share)) for share in (0.7, 0.8))
    with pytest.raises(igdm.Cancelled):
        igdm.distill(
            make_model(), None, first, run_dir=tmp_path, callback=lambda event: event.epoch == 2, **OPTIONS
        )  # fmt: skip
    with pytest.raises(igdm.IgdmError, match="train: the training was begun with"):
        igdm.distill(make_model(), None, other, run_dir=tmp_path, resume=True, **OPTIONS)
    assert igdm.distill(make_model(), None, first, run_dir=tmp_path, resume=True, **OPTIONS).history[-1]["epoch"] == 2
    # Of generated images too.
    mixed = dict(OPTIONS, generated_ratio=0.5, run_dir=tmp_path / "mixed")
    with pytest.raises(igdm.Cancelled):
        igdm.distill(make_model(), None, first, generated=first, callback=lambda event: event.epoch == 2, **mixed)
    with pytest.raises(igdm.IgdmError, match="generated: the training was begun with"):
        igdm.distill(make_model(), None, first, generated=other, resume=True, **mixed)
