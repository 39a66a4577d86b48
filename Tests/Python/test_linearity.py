"""How far models are from linear."""

from __future__ import annotations

import igdm
import numpy as np
import pytest

LINEAR = {
    "format": "igdm-graph", "version": 1, "input": [2, 4, 4],
    "layers": [
        {"name": "flat", "type": "flatten", "inputs": ["input"]},
        {"name": "out", "type": "linear", "inputs": ["flat"], "outputs": 3},
    ],
    "output": "out",
}  # fmt: skip


@pytest.fixture
def data() -> igdm.Dataset:
    images = np.random.default_rng(0).random((150, 2, 4, 4), dtype=np.float32)
    return igdm.datasets.from_arrays(images, np.zeros(150, np.int64), classes=3)


def test_a_linear_model_is_linear(data: igdm.Dataset) -> None:
    assert igdm.local_linearity(igdm.Model.from_graph(LINEAR), data, eps="64/255") < 1e-6


def test_others_are_the_less_the_further_one_looks(data: igdm.Dataset) -> None:
    model = igdm.Model("small_cnn", classes=3, input_shape=(2, 4, 4), seed=1)
    near, far = (igdm.local_linearity(model, data, eps=eps, count=140) for eps in (0.01, 0.3))
    assert 0 < near < far < 1
    assert igdm.local_linearity(model, data, eps=0.3, count=140) == far
    assert igdm.local_linearity(model, data, eps=0.3, count=140, seed=1) != far


def test_it_is_the_formula(data: igdm.Dataset) -> None:
    """One image, whose logits' slopes are taken by differences."""
    model = igdm.Model("small_cnn", classes=3, input_shape=(2, 4, 4), seed=1)
    x = data.read()[0][:1].astype(np.float64)
    change = np.clip(x + np.random.default_rng(5).uniform(-0.2, 0.2, x.shape), 0, 1) - x
    step = 1e-3
    ahead, behind = (model.predict((x + sign * step * change).astype(np.float32))[0] for sign in (1, -1))
    moved = model.predict((x + change).astype(np.float32))[0]
    rest = moved - model.predict(x.astype(np.float32))[0] - (ahead - behind) / (2 * step)
    wanted = np.linalg.norm(rest) / np.linalg.norm(moved)
    assert igdm.local_linearity(model, data, eps=0.2, count=1, seed=5) == pytest.approx(wanted, abs=5e-4)


@pytest.mark.parametrize(("name", "value"), [("eps", 0), ("eps", float("nan")), ("count", 0), ("seed", -1)])
def test_wrong_values_are_named(name: str, value: float, data: igdm.Dataset) -> None:
    with pytest.raises(igdm.InvalidArgument, match=f"{name}: got"):
        igdm.local_linearity(igdm.Model.from_graph(LINEAR), data, **{"eps": 0.1, name: value})
