"""What models carry besides their weights: metadata and the golden block."""

from __future__ import annotations

from pathlib import Path

import h5py
import igdm
import numpy as np
import pytest
from conftest import CLASSES, SHAPE, make_arrays, make_model


@pytest.fixture
def inputs() -> np.ndarray:
    return make_arrays(5)[0]


def test_metadata_is_a_mapping_that_files_and_copies_keep(model: igdm.Model, tmp_path: Path) -> None:
    assert dict(model.metadata) == {}
    model.metadata.update({"source": "größe.pt", "dataset": "cifar10", "note": ""})
    model.metadata["note"] = "a\nb"
    expected = {"dataset": "cifar10", "note": "a\nb", "source": "größe.pt"}
    assert list(model.metadata.items()) == list(expected.items())
    model.save(tmp_path / "model.h5")
    for other in (model.copy(), igdm.Model.load(tmp_path / "model.h5")):
        assert dict(other.metadata) == expected
        del other.metadata["note"]
        assert "note" not in other.metadata
        assert "note" in model.metadata
    assert "cifar10" in repr(model.metadata)
    with h5py.File(tmp_path / "model.h5") as file:
        assert file["metadata"].attrs["source"].decode() == "größe.pt"


def test_bad_metadata(model: igdm.Model) -> None:
    with pytest.raises(KeyError, match="nothing"):
        model.metadata["nothing"]
    with pytest.raises(KeyError, match="nothing"):
        del model.metadata["nothing"]
    for key in ("", "a/b", "a\nb", "k" * 256):
        with pytest.raises(igdm.InvalidArgument, match="key"):
            model.metadata[key] = "x"
    with pytest.raises(igdm.InvalidArgument, match="60000 bytes"):
        model.metadata["k"] = "x" * 60001
    with pytest.raises(TypeError, match="value"):
        model.metadata["k"] = 5  # type: ignore[assignment]
    assert dict(model.metadata) == {}


def test_golden_block_of_the_model_itself(model: igdm.Model, inputs: np.ndarray, tmp_path: Path) -> None:
    assert model.golden is None
    model.set_golden(inputs)
    golden = model.golden
    assert golden is not None
    np.testing.assert_array_equal(golden.inputs, inputs)
    np.testing.assert_array_equal(golden.logits, model.predict(inputs))
    assert golden.source == ""
    model.save(tmp_path / "model.h5")
    assert igdm.Model.load(tmp_path / "model.h5", verify=True).verify().worst_difference == 0
    assert igdm.Model.load(tmp_path / "model.h5", exact=True, verify=True).verify().worst_difference < 1e-5
    assert model.copy().verify().worst_difference == 0
    model.set_golden(None)
    assert model.golden is None


def test_golden_block_of_a_source(model: igdm.Model, inputs: np.ndarray, tmp_path: Path) -> None:
    logits = model.predict(inputs)
    largest = np.abs(logits).max()
    logits[3, 1] += 0.01 * largest
    model.set_golden(inputs, logits, "PyTorch 2.13")
    model.save(tmp_path / "model.h5")
    with pytest.raises(igdm.MismatchError, match="sample 3, class 1") as caught:
        igdm.Model.load(tmp_path / "model.h5", verify=True)
    assert isinstance(caught.value, ValueError)
    loaded = igdm.Model.load(tmp_path / "model.h5")
    assert loaded.golden is not None
    assert loaded.golden.source == "PyTorch 2.13"
    found = loaded.verify(tolerance=0.02)
    assert found.worst_sample == 3
    assert found.worst_difference == pytest.approx(0.01, rel=0.02)
    with h5py.File(tmp_path / "model.h5") as file:
        assert file["golden"].attrs["source"] == b"PyTorch 2.13"
        np.testing.assert_array_equal(file["golden/inputs"][()], inputs)
        np.testing.assert_array_equal(file["golden/logits"][()], logits)


def test_a_changed_weight_in_the_file_is_found(model: igdm.Model, inputs: np.ndarray, tmp_path: Path) -> None:
    model.set_golden(inputs)
    model.save(tmp_path / "model.h5")
    with h5py.File(tmp_path / "model.h5", "r+") as file:
        file["weights/linear.bias"][2] += 0.5
    with pytest.raises(igdm.MismatchError, match="class 2"):
        igdm.Model.load(tmp_path / "model.h5", verify=True)


def test_a_golden_block_written_by_h5py(model: igdm.Model, inputs: np.ndarray, tmp_path: Path) -> None:
    model.save(tmp_path / "model.h5")
    with h5py.File(tmp_path / "model.h5", "r+") as file:
        file["golden/inputs"], file["golden/logits"] = inputs.astype(">f4"), model.predict(inputs)
    assert igdm.Model.load(tmp_path / "model.h5", verify=True).golden.source == ""


def test_no_golden_block_is_no_verification(
    model: igdm.Model, data: igdm.Dataset, inputs: np.ndarray, tmp_path: Path
) -> None:
    model.save(tmp_path / "model.h5")
    with pytest.raises(igdm.NotFoundError, match="golden block"):
        igdm.Model.load(tmp_path / "model.h5", verify=True)

    def train() -> None:
        igdm.Trainer(model, method="pgd-at", steps=1, steps_per_epoch=1).step(*make_arrays(4))

    name = model.parameters.trainable[0]
    for change in (
        train,
        lambda: model.parameters.__setitem__(name, model.parameters[name]),
        lambda: model.load_weights(tmp_path / "model.h5"),
    ):
        model.set_golden(inputs)
        model.verify()
        change()
        with pytest.raises(igdm.NotFoundError, match="weights have changed"):
            model.verify()


@pytest.mark.parametrize(
    ("inputs", "logits", "error", "message"),
    [
        (np.zeros((2, *SHAPE), np.float32), np.zeros((3, CLASSES), np.float32), igdm.ShapeError, "logits"),
        (np.zeros((2, *SHAPE), np.float32), np.full((2, CLASSES), np.nan, np.float32), igdm.NotFiniteError, "logits"),
        (np.full((2, *SHAPE), 2, np.float32), None, igdm.InvalidArgument, "inputs"),
        (np.zeros((0, *SHAPE), np.float32), None, igdm.ShapeError, "inputs"),
    ],
)
def test_bad_golden_blocks(
    model: igdm.Model, inputs: np.ndarray, logits: np.ndarray | None, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        model.set_golden(inputs, logits)
    with pytest.raises(igdm.InvalidArgument, match="source"):
        model.set_golden(make_arrays(1)[0], None, "x" * 60001)
    assert model.golden is None
    model.set_golden(make_arrays(1)[0])
    for tolerance in (-1, float("nan"), float("inf")):
        with pytest.raises(igdm.InvalidArgument, match="tolerance"):
            model.verify(tolerance)


def test_weights_that_overflow_are_no_mismatch(inputs: np.ndarray, tmp_path: Path) -> None:
    model = make_model()
    model.set_golden(inputs)
    model.save(tmp_path / "model.h5")
    with h5py.File(tmp_path / "model.h5", "r+") as file:
        file["weights/bn1.weight"][...] = 1e30
        file["weights/linear.weight"][...] = 1e30
    with pytest.raises(igdm.NotFiniteError, match="golden block"):
        igdm.Model.load(tmp_path / "model.h5", verify=True)
