"""Models as layer graphs, and weights of foreign HDF5 files by a map."""

from __future__ import annotations

import json
import re
import subprocess
from collections import OrderedDict
from pathlib import Path

import h5py
import igdm
import numpy as np
import pytest
from conftest import CHECKOUT
from numpy.typing import DTypeLike

LAYERS = [
    {"name": "c", "type": "conv", "inputs": ["input"], "channels": 6, "kernel": [3, 2], "padding": 1, "bias": True},
    {"name": "n", "type": "batch_norm", "inputs": ["c"], "epsilon": 1e-3},
    {"name": "a", "type": "silu", "inputs": ["n"]},
    {"name": "p", "type": "max_pool", "inputs": ["a"], "window": 2, "stride": 2},
    {"name": "f", "type": "flatten", "inputs": ["p"]},
    {"name": "fc", "type": "linear", "inputs": ["f"], "outputs": 4},
]
GRAPH = {"format": "igdm-graph", "version": 1, "input": [2, 6, 5], "layers": LAYERS, "output": "fc"}


def images(model: igdm.Model, count: int = 3) -> np.ndarray:
    return np.random.default_rng(1).random((count, *model.info.input_shape), dtype=np.float32)


@pytest.mark.parametrize("name", ["resnet8", "mobilenet_v2", "wrn_10_2", "small_cnn"])
def test_any_model_comes_back_from_its_graph(name: str) -> None:
    model = igdm.Model(name, classes=4, input_shape=(2, 16, 16), seed=3, mean=(0.4914, 0.1), std=(0.2, 1 / 3))
    for graph in (model.graph, json.dumps(model.graph)):
        other = igdm.Model.from_graph(graph, seed=3)
        assert other.parameters.shapes == model.parameters.shapes
        assert other.graph == model.graph
        assert (other.info.mean, other.info.std) == (model.info.mean, model.info.std)
        assert (other.predict(images(model)) == model.predict(images(model))).all()


def test_a_graph_may_come_from_numpy_and_be_any_mapping() -> None:
    graph = OrderedDict(GRAPH, input=np.array([2, 6, 5]))
    model = igdm.Model.from_graph(graph, mean=[0.5, 0.25], std=[0.25, 0.5], exact=True)
    assert model.exact and model.info.mean == (0.5, 0.25) and model.info.classes == 4
    assert model.graph["mean"] == [0.5, 0.25]
    assert "graph" in repr(model)


def test_checkpoints_carry_the_graph(tmp_path: Path) -> None:
    model = igdm.Model.from_graph(GRAPH, seed=1)
    model.save(tmp_path / "g.h5")
    loaded = igdm.Model.load(tmp_path / "g.h5")
    assert loaded.graph == model.graph and loaded.digest() == model.digest()
    with h5py.File(tmp_path / "g.h5") as file:
        assert file.attrs["format_version"] == 2
        assert json.loads(bytes(file["graph"][()])) == model.graph


def test_the_digest_knows_the_graph() -> None:
    other = json.loads(json.dumps(GRAPH))
    other["layers"][2]["type"] = "relu"
    assert igdm.Model.from_graph(GRAPH).digest() != igdm.Model.from_graph(other).digest()


def test_a_student_from_a_graph_learns() -> None:
    student = igdm.Model.from_graph(GRAPH, seed=1)
    teacher = igdm.Model("small_cnn", classes=4, input_shape=(2, 6, 5), width=8)
    trainer = igdm.Trainer(student, teacher, igdm=1.0, epochs=2, steps_per_epoch=2, steps=2)
    before = student.digest()
    report = trainer.step(images(student, 8), np.arange(8) % 4)
    assert np.isfinite(report.loss) and student.digest() != before


@pytest.mark.parametrize(
    ("graph", "error", "message"),
    [
        (GRAPH | {"layers": []}, igdm.InvalidArgument, "layers: got 0 layers"),
        (GRAPH | {"input": [2, 6, float("nan")]}, igdm.InvalidArgument, "graph: "),
        (GRAPH | {"std": [1, 1]}, igdm.InvalidArgument, "json: std"),
        ("{", igdm.InvalidArgument, "json: got no JSON"),
        ("{}\0", igdm.InvalidArgument, "zero character"),
        (3, TypeError, "graph: got int"),
        (GRAPH | {"input": {1}}, TypeError, "got a set"),
    ],
)
def test_what_is_no_graph_is_refused(graph: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        igdm.Model.from_graph(graph)


def test_normalisation_must_have_one_length() -> None:
    with pytest.raises(igdm.ShapeError, match="std: got 3 numbers, want 2"):
        igdm.Model.from_graph(GRAPH, mean=[0, 0], std=[1, 1, 1])
    with pytest.raises(igdm.InvalidArgument, match="normalisation_count"):
        igdm.Model.from_graph(GRAPH, mean=[0], std=[1])


AXES = {4: (3, 2, 0, 1), 2: (1, 0), 1: None}


def write_foreign(path: Path, model: igdm.Model, dtype: DTypeLike) -> dict[str, object]:
    """The weights with channels last, as Keras has them; gives the map back to ours."""
    weights: dict[str, object] = {}
    with h5py.File(path, "w") as file:
        for name, values in model.parameters.items():
            place = f"net/{name.replace('.', '/')}"
            axes = AXES[values.ndim]
            if axes is None:
                file[place] = values.astype(dtype)
                weights[name] = place
            else:
                file[place] = values.transpose(np.argsort(axes)).astype(dtype)
                weights[name] = {"path": f"/{place}", "transpose": list(axes)}
    return weights


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">f8", "<f2", ">f2"])
def test_maps_turn_axes_and_convert(tmp_path: Path, dtype: str) -> None:
    source = igdm.Model.from_graph(GRAPH, seed=1)
    weights = write_foreign(tmp_path / "k.h5", source, dtype)
    for given in (weights, json.dumps(weights)):
        model = igdm.Model.from_graph(GRAPH, seed=2)
        model.load_mapped(tmp_path / "k.h5", given)
        for name, values in source.parameters.items():
            assert (model.parameters[name] == values.astype(dtype).astype(np.float32)).all(), name


def test_every_order_of_four_axes(tmp_path: Path) -> None:
    """As numpy.transpose takes them: not its inverse."""
    model = igdm.Model.from_graph(GRAPH)
    values = model.parameters["c.weight"]
    with h5py.File(tmp_path / "k.h5", "w") as file:
        for name, own in model.parameters.items():
            file[name] = own
        weights: dict[str, object] = {name: name for name in model.parameters}
        axes = (2, 0, 3, 1)
        del file["c.weight"]
        file["c.weight"] = turned = values.transpose(np.argsort(axes))
        weights["c.weight"] = {"path": "c.weight", "transpose": axes}
    model.load_mapped(tmp_path / "k.h5", weights)
    assert (model.parameters["c.weight"] == turned.transpose(axes)).all()
    assert (turned.transpose(axes) == values).all()


def test_a_map_that_does_not_fit_changes_nothing(tmp_path: Path) -> None:
    model = igdm.Model.from_graph(GRAPH, seed=1)
    weights = write_foreign(tmp_path / "k.h5", igdm.Model.from_graph(GRAPH, seed=2), "f4")
    before = model.digest()
    with pytest.raises(igdm.InvalidArgument, match=r'map: got 1 missing: "fc\.bias"'):
        model.load_mapped(tmp_path / "k.h5", {name: at for name, at in weights.items() if name != "fc.bias"})
    with pytest.raises(igdm.FormatError, match=r'"n.bias" from dataset "net/fc/bias": got shape \(4\), want \(6\)'):
        model.load_mapped(tmp_path / "k.h5", weights | {"n.bias": "net/fc/bias"})
    with pytest.raises(igdm.NotFoundError, match="no dataset"):
        model.load_mapped(tmp_path / "k.h5", weights | {"n.bias": "net/nowhere"})
    assert model.digest() == before


def block_of(document: str, language: str) -> str:
    (block,) = re.findall(rf"```{language}\n(.*?)```", (CHECKOUT / "docs" / document).read_text(), re.DOTALL)
    return block


def test_examples_of_graphs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("network.json").write_text(block_of("graph-format.md", "json"))
    exec(compile(block_of("graph-format.md", "python"), "graph-format.md", "exec"), {})
    assert igdm.describe("network.h5").model.classes == 10


def test_examples_of_weight_maps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "conv1.weight" in json.loads(block_of("weight-map.md", "json"))
    fixture = CHECKOUT / "Tests/Python/fixtures/small_cnn.weights.h5"
    Path("small_cnn.weights.h5").symlink_to(fixture)
    places = igdm.convert.draft_weight_map(fixture, "small_cnn", classes=3, channels=2, width=4)
    Path("map.json").write_text(json.dumps(places))
    names: dict[str, igdm.Model] = {}
    exec(compile(block_of("weight-map.md", "python"), "weight-map.md", "exec"), names)
    Path("program.c").write_text(block_of("weight-map.md", "c"))
    stage = CHECKOUT / "build/stage/lib"
    flags = ["-Wall", "-Wextra", "-Werror", f"-I{CHECKOUT}/include", f"-L{stage}", f"-Wl,-rpath,{stage}"]
    subprocess.run(["cc", *flags, "program.c", "-o", "program", "-ligdm"], check=True)
    subprocess.run(["./program"], check=True)
    assert igdm.Model.load("small_cnn.h5").digest() == names["model"].digest()
