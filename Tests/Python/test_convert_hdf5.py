"""Converters of HDF5 files: plain ones, weight maps, Keras. fixtures/make_keras_files.py has made Keras's files."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import igdm
import numpy as np
import pytest
from conftest import CHECKOUT, SHAPE, make_model
from igdm import __main__ as command_line
from igdm.convert.weight_map import weight_map

FIXTURES = CHECKOUT / "Tests" / "Python" / "fixtures"
KERAS = dict(architecture="small_cnn", input_shape=(2, 12, 12))


def weights_of(model: igdm.Model) -> dict[str, np.ndarray]:
    return dict(model.parameters)


def load(path: Path, **options: Any) -> igdm.Model:
    return igdm.convert.load(path, **{"input_shape": SHAPE, **options})


# -- files of h5py without a map


@pytest.mark.parametrize("dtype", [">f4", "<f8", ">f8", "<f2"])
def test_plain_weights(tmp_path: Path, dtype: str) -> None:
    model, path = make_model(), tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        for name, values in weights_of(model).items():
            file[f"weights/{name}"] = values.astype(dtype)
    done = igdm.convert.convert(path, tmp_path / "b.h5", input_shape=SHAPE)
    found = igdm.Model.load(tmp_path / "b.h5")
    for name, values in weights_of(model).items():
        np.testing.assert_array_equal(found.parameters[name], values.astype(dtype).astype(np.float32))
    kind = {"4": None, "8": "float64", "2": "float16"}[dtype[-1]]
    assert done.notes == ([f"47 of 47 arrays were {kind} and became float32"] if kind else [])
    assert done.source_format == "hdf5"


def test_compressed_chunks(tmp_path: Path) -> None:
    model = make_model()
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, values in weights_of(model).items():
            file.create_dataset(f"weights/{name}", data=values, chunks=values.shape, compression="gzip", shuffle=True)
    assert load(tmp_path / "a.h5").digest() == model.digest()


Change = Callable[[h5py.File, Path], None]


def replace(make: Callable[[h5py.Group, Path], None]) -> Change:
    """Replaces the dataset conv1.weight."""

    def change(file: h5py.File, folder: Path) -> None:
        del file["weights/conv1.weight"]
        make(file["weights"], folder)

    return change


def external(group: h5py.Group, folder: Path) -> None:
    (folder / "raw").write_bytes(bytes(4 * 36))
    group.create_dataset("conv1.weight", (4, 1, 3, 3), "f4", external=[(str(folder / "raw"), 0, 4 * 36)])


def virtual(group: h5py.Group, folder: Path) -> None:
    with h5py.File(folder / "other.h5", "w") as other:
        other["x"] = np.zeros((4, 1, 3, 3), np.float32)
    layout = h5py.VirtualLayout((4, 1, 3, 3), "f4")
    layout[...] = h5py.VirtualSource(folder / "other.h5", "x", (4, 1, 3, 3))
    group.create_virtual_dataset("conv1.weight", layout)


def link(target: object) -> Callable[[h5py.Group, Path], None]:
    def make(group: h5py.Group, folder: Path) -> None:
        group["conv1.weight"] = target

    return make


def claim(**options: Any) -> Callable[[h5py.Group, Path], None]:
    def make(group: h5py.Group, folder: Path) -> None:
        group.create_dataset("conv1.weight", (50_000, 50_000), "f4", **options)

    return make


def cycle(file: h5py.File, folder: Path) -> None:
    file["weights/inner"] = file["weights"]


BAD = {
    "external": (replace(external), "/weights/conv1.weight: its values lie in other files"),
    "virtual": (replace(virtual), "/weights/conv1.weight: its values lie in other files"),
    "external link": (replace(link(h5py.ExternalLink("../../etc/passwd", "/x"))), "soft or external link"),
    "soft link": (replace(link(h5py.SoftLink("/weights/bn1.weight"))), "soft or external link"),
    "dangling": (replace(link(h5py.SoftLink("/nothing"))), "soft or external link"),
    "10 GB never written": (replace(claim()), "claims 10000000000 bytes, of which the file has 0"),
    "10 GB of chunks": (replace(claim(chunks=(100, 100), compression="gzip")), "claims 10000000000 bytes"),
    "cycle": (cycle, "/weights/inner: got a group, want a dataset"),
    "integers": (replace(lambda group, _: group.create_dataset("conv1.weight", data=np.zeros((4, 1, 3, 3), int))),
                 "conv1.weight: got int64"),
    "strings": (replace(lambda group, _: group.create_dataset("conv1.weight", data=[b"a"])), "conv1.weight"),
    "compound": (replace(lambda group, _: group.create_dataset("conv1.weight", (4, 1, 3, 3), [("a", "f4")], data=None)),
                 "conv1.weight"),
    "no values": (replace(lambda group, _: group.create_dataset("conv1.weight", dtype="f4", shape=None)),
                  r"misshapen: conv1.weight \(\), want 4 axes"),
    "half": (replace(lambda group, _: None), "missing: conv1.weight"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_bad_plain_files(tmp_path: Path, kind: str) -> None:
    change, message = BAD[kind]
    path = tmp_path / "inner" / "a.h5"
    path.parent.mkdir()
    with h5py.File(path, "w") as file:
        for name, values in weights_of(make_model()).items():
            file[f"weights/{name}"] = values
        change(file, tmp_path)
    with pytest.raises(igdm.FormatError, match=message):
        load(path, architecture="resnet8")


def test_truncated_and_foreign(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        for name, values in weights_of(make_model()).items():
            file[f"weights/{name}"] = values
    whole = path.read_bytes()
    for length in (8, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(igdm.FormatError, match=r"a\.h5"):
            load(path)
    with h5py.File(path, "w") as file:
        file["model/w"] = np.zeros(3, np.float32)
    with pytest.raises(igdm.FormatError, match="has no group weights, but model; give a weight map"):
        load(path)
    make_model().save(path)
    half = path.read_bytes()
    path.write_bytes(half[: len(half) // 2])
    with pytest.raises(igdm.FormatError, match=r"a\.h5"):
        load(path)


# -- weight maps


def matlab_file(model: igdm.Model, path: Path) -> dict[str, Any]:
    """The axes reversed, vectors as matrices of one row, a block of 512 bytes in front, float64; and its map."""
    places: dict[str, Any] = {}
    with h5py.File(path, "w", userblock_size=512) as file:
        for index, (name, values) in enumerate(weights_of(model).items()):
            turned = values.transpose() if values.ndim > 1 else values[None]
            file[f"net/layer{index}"] = turned.astype(np.float64)
            places[name] = f"/net/layer{index}"
            if values.ndim > 1:
                places[name] = {"path": f"net/layer{index}", "transpose": list(reversed(range(values.ndim)))}
    return places


def test_a_map_reads_another_programs_file(tmp_path: Path) -> None:
    model = make_model()
    places = matlab_file(model, tmp_path / "a.mat")
    assert load(tmp_path / "a.mat", weight_map=places).digest() == model.digest()
    (tmp_path / "map.json").write_text(json.dumps(places))
    assert load(tmp_path / "a.mat", weight_map=tmp_path / "map.json").digest() == model.digest()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conv1.weight": "net/nothing"}, r"/net/nothing: not there; /net has layer0, layer1, .* and 37 more"),
        ({"conv1.weight": "net"}, "/net: got a group, want a dataset"),
        ({"conv1.weight": "net/layer0/x"}, "/net/layer0/x: not there"),
        ({"conv1.weight": {"path": "net/layer0", "transpose": [1, 0]}}, r"transpose \[1, 0\] does not name each axis"),
        ({"conv1.weight": {"path": "net/layer0", "transpose": [3, 2, 1]}}, r"conv1.weight has transpose \[3, 2, 1\]"),
        ({"conv1.weight": {"path": "net/layer0", "transpose": ["3", 2, 1, 0]}}, "conv1.weight has transpose"),
        ({"conv1.weight": {"path": "net/layer0", "transpose": [True, 0]}}, "conv1.weight has transpose"),
        ({"conv1.weight": {"path": "net/layer0", "turn": []}}, "conv1.weight is .*want a path or"),
        ({"conv1.weight": 3}, "conv1.weight is 3, want a path or"),
        ({"conv1.weight": "../net/layer0"}, 'conv1.weight has the path "../net/layer0"'),
        ({"conv1.weight": "net//layer0"}, "conv1.weight has the path"),
        (
            {"conv1.weight": {"path": "net/layer0"}},
            r"misshapen: conv1\.weight \(3, 3, 1, 4\) instead of",
        ),
        ({"conv9.weight": "net/layer0"}, r"unexpected: conv9\.weight"),
    ],
)
def test_wrong_maps(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    places = matlab_file(make_model(), tmp_path / "a.mat") | change
    with pytest.raises(igdm.IgdmError, match=message):
        load(tmp_path / "a.mat", weight_map=places, architecture="resnet8")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "has a JSON list"),
        ('{"a": "x", "a": "y"}', "twice"),
        ("{", "is no JSON object"),
        ("[" * 100_000, "is no JSON object"),
        (" " * ((4 << 20) + 1), "larger than 4 MiB"),
        ("\xff", "is no JSON object"),
    ],
)
def test_files_that_are_no_maps(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "map.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(igdm.FormatError, match=message):
        weight_map(tmp_path / "map.json")
    with pytest.raises(igdm.NotFoundError, match="no file"):
        weight_map(tmp_path / "nothing.json")


# -- Keras


def keras_logits(name: str) -> tuple[np.ndarray, np.ndarray]:
    content = np.load(FIXTURES / "keras_logits.npz")
    return content["images"], content[name]


def check_logits(model: igdm.Model, name: str) -> None:
    images, wanted = keras_logits(name)
    np.testing.assert_allclose(model.predict(images), wanted, atol=1e-4 * np.abs(wanted).max())


def test_keras_layers_with_our_names_need_no_map(tmp_path: Path) -> None:
    done = igdm.convert.convert(FIXTURES / "small_cnn.weights.h5", tmp_path / "a.h5", bn_epsilon=1e-3, **KERAS)
    check_logits(igdm.Model.load(tmp_path / "a.h5"), "small_cnn.weights")
    assert done.source_format == "keras"


def test_a_draft_of_a_map_pairs_layers_by_order() -> None:
    path = FIXTURES / "resnet8.weights.h5"
    places = igdm.convert.draft_weight_map(path, "resnet8", classes=3, channels=2, width=4)
    model = igdm.convert.load(path, architecture="resnet8", input_shape=(2, 12, 12), weight_map=places, bn_epsilon=1e-3)
    check_logits(model, "resnet8.weights")


def test_older_keras_files_tell_their_epsilon() -> None:
    path = FIXTURES / "small_cnn_legacy.h5"
    places = igdm.convert.draft_weight_map(path, "small_cnn", classes=3, channels=2, width=4)
    check_logits(igdm.convert.load(path, weight_map=places, **KERAS), "small_cnn_legacy")


def contents(path: Path) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, one: found.update({name: one[()]}) if isinstance(one, h5py.Dataset) else None)
    return found


@pytest.mark.parametrize("name", ["small_cnn.weights", "small_cnn_legacy", "resnet8.weights"])
def test_and_back_to_keras(tmp_path: Path, name: str) -> None:
    """Into a copy of the file, or to the places of the map alone; what was read comes out."""
    path, architecture = FIXTURES / f"{name}.h5", name.partition("_")[0].partition(".")[0]
    options: dict[str, Any] = {} if name == "small_cnn_legacy" else {"bn_epsilon": 1e-3}
    if name != "small_cnn.weights":
        architecture = "small_cnn" if name == "small_cnn_legacy" else "resnet8"
        options["weight_map"] = igdm.convert.draft_weight_map(path, architecture, classes=3, channels=2, width=4)
    architecture = "small_cnn" if architecture == "small" else architecture
    igdm.convert.convert(path, tmp_path / "a.h5", architecture=architecture, input_shape=(2, 12, 12), **options)
    template = tmp_path / "template.h5"
    shutil.copy(path, template)
    with h5py.File(template, "r+") as file:
        file.visititems(lambda _, one: one.write_direct(np.full(one.shape, 9, "f4")) if hasattr(one, "shape") else None)
    igdm.convert.convert(tmp_path / "a.h5", tmp_path / "b.h5", to="keras", template=template, **options)
    wanted = contents(path)
    files = [tmp_path / "b.h5"]
    if "weight_map" in options and "bn_epsilon" in options:
        igdm.convert.convert(tmp_path / "a.h5", tmp_path / "c.weights.h5", **options)
        files.append(tmp_path / "c.weights.h5")
    for file in files:
        found = contents(file)
        assert found.keys() == wanted.keys()
        for place, values in wanted.items():
            np.testing.assert_allclose(found[place], values, rtol=2e-7, err_msg=place)


def test_depthwise_kernels_of_keras(tmp_path: Path) -> None:
    """A file with the layout that Keras writes: (height, width, channels, 1) for each depthwise layer."""
    model = igdm.Model("mobilenet_v2", classes=3, input_shape=(3, 32, 32), width=4, seed=2)
    with h5py.File(tmp_path / "a.weights.h5", "w") as file:
        counts: dict[str, int] = {}
        for owner in dict.fromkeys(name.rpartition(".")[0] for name in model.parameters):
            values = {role: model.parameters[name] for role in ("weight", "bias", "running_mean", "running_var")
                      if (name := f"{owner}.{role}") in model.parameters}  # fmt: skip
            weight = values["weight"]
            depthwise = weight.ndim == 4 and weight.shape[1] == 1 and weight.shape[0] > 1
            kind = "dense" if weight.ndim == 2 else "depthwise_conv2d" if depthwise else "conv2d"
            kind = "batch_normalization" if weight.ndim == 1 else kind
            if weight.ndim == 4:
                values["weight"] = weight.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))
            elif weight.ndim == 2:
                values["weight"] = weight.T
            group = f"layers/{kind}_{counts[kind]}" if kind in counts else f"layers/{kind}"
            counts[kind] = counts.get(kind, 0) + 1
            for index, one in enumerate(values.values()):
                file[f"{group}/vars/{index}"] = one
            file[f"{group}/vars"].attrs["name"] = owner.replace(".", "_")
    options = dict(architecture="mobilenet_v2", bn_epsilon=1e-5)
    assert igdm.convert.load(tmp_path / "a.weights.h5", **options).digest() == model.digest()
    places = igdm.convert.draft_weight_map(tmp_path / "a.weights.h5", "mobilenet_v2", classes=3, width=4)
    assert igdm.convert.load(tmp_path / "a.weights.h5", weight_map=places, **options).digest() == model.digest()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("small_cnn.weights", {"bn_epsilon": 1e-3, "architecture": None}, "architecture: got none"),
        ("small_cnn.weights", {}, "bn_epsilon: got none; .*Keras's default is 1e-3"),
        (
            "small_cnn.weights",
            {"bn_epsilon": 1e-3, "architecture": "resnet8"},
            r"missing: layer1_0_conv1\.weight, .*; unexpected: bn2\.bias",
        ),
        (
            "resnet8.weights",
            {"bn_epsilon": 1e-3},
            r"missing: conv1\.weight, .*; unexpected: batch_normalization.*; give a weight map",
        ),
        ("small_cnn.weights", {"bn_epsilon": -1}, "bn_epsilon: bn1.running_var would have the variance"),
    ],
)
def test_keras_errors(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(igdm.IgdmError, match=message):
        igdm.convert.load(FIXTURES / f"{name}.h5", **(KERAS | options))


def test_a_bias_that_the_architecture_has_not_is_not_dropped(tmp_path: Path) -> None:
    shutil.copy(FIXTURES / "small_cnn.weights.h5", tmp_path / "a.weights.h5")
    with h5py.File(tmp_path / "a.weights.h5", "r+") as file:
        file["layers/conv2d_1/vars/1"] = np.ones(8, np.float32)
    with pytest.raises(igdm.FormatError, match=r"unexpected: conv2\.bias"):
        igdm.convert.load(tmp_path / "a.weights.h5", bn_epsilon=1e-3, **KERAS)
    with pytest.raises(igdm.FormatError, match="has no layer like conv2"):
        igdm.convert.draft_weight_map(tmp_path / "a.weights.h5", "small_cnn", classes=3, channels=2, width=4)


def test_a_draft_that_does_not_fit() -> None:
    with pytest.raises(igdm.FormatError, match=r"has no layer like layer1\.0\.conv1"):
        igdm.convert.draft_weight_map(FIXTURES / "small_cnn.weights.h5", "resnet8", classes=3, channels=2, width=4)


def test_deep_and_cyclic_groups_of_keras(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.weights.h5", "w") as file:
        group = file.create_group("layers/a")
        group["loop"] = group
    with pytest.raises(igdm.FormatError, match="nested more than 8 deep"):
        igdm.convert.load(tmp_path / "a.weights.h5", bn_epsilon=1e-3, **KERAS)


def test_the_command_drafts_a_map(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draft, out = tmp_path / "map.json", tmp_path / "a.h5"
    path = str(FIXTURES / "resnet8.weights.h5")
    shape = ["--arch", "resnet8", "--input-shape", "2,12,12"]
    arguments = ["convert", path, *shape, "--classes", "3", "--width", "4", "--draft-map", str(draft)]
    assert command_line.main(arguments) == 0
    assert "read it before you use it" in capsys.readouterr().out
    assert command_line.main(["convert", path, str(out), *shape, "--map", str(draft), "--bn-epsilon", "1e-3"]) == 0
    check_logits(igdm.Model.load(out), "resnet8.weights")
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".tmp")]
