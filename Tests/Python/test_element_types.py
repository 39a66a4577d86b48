"""The numbers of a weight in a file, by every way into a model: taken, converted or refused, never misread."""

from __future__ import annotations

import itertools
import json
import re
import struct
from collections.abc import Callable
from pathlib import Path

import h5py
import igdm
import numpy as np
import pytest
from conftest import SHAPE, make_model
from igdm import __main__ as command_line

NAME = "layer1.0.conv1.weight"


def bfloat16_type(order: str = "<") -> h5py.h5t.TypeFloatID:
    """HDF5 describes floats bit by bit; numpy has none of this kind."""
    kind = (h5py.h5t.IEEE_F32LE if order == "<" else h5py.h5t.IEEE_F32BE).copy()
    kind.set_fields(15, 7, 8, 0, 7)
    kind.set_size(2)
    kind.set_ebias(127)
    return kind


def upper_half(values: np.ndarray) -> np.ndarray:
    """The bits that bfloat16 keeps of float32."""
    return (np.ascontiguousarray(values, np.float32).view(np.uint32) >> 16).astype("<u2")


def write_dataset(file: h5py.File, place: str, values: np.ndarray, dtype: str, order: str) -> None:
    if dtype == "bfloat16":
        space = h5py.h5s.create_simple(values.shape)
        made = h5py.h5d.create(file.id, place.encode(), bfloat16_type(order), space)
        # The same type in memory: HDF5 copies the bits as they are.
        made.write(h5py.h5s.ALL, h5py.h5s.ALL, upper_half(values).astype(f"{order}u2"), mtype=bfloat16_type(order))
    else:
        file[place] = values.astype(np.dtype(dtype).newbyteorder(order))


Way = Callable[[Path, igdm.Model], None]


def through_map(path: Path, model: igdm.Model) -> None:
    model.load_mapped(path, {name: f"weights/{name}" for name in model.parameters})


def converted(path: Path, model: igdm.Model) -> None:
    igdm.convert.load_weights(model, path)


def converted_map(path: Path, model: igdm.Model) -> None:
    igdm.convert.load_weights(model, path, weight_map={name: f"weights/{name}" for name in model.parameters})


WAYS: dict[str, tuple[Way, set[str]]] = {
    "load_weights": (lambda path, model: model.load_weights(path), set()),
    "load_mapped": (through_map, {"float64", "float16"}),
    "convert": (converted, {"float64", "float16", "bfloat16"}),
    "convert by a map": (converted_map, {"float64", "float16", "bfloat16"}),
}
FLOATS = ["float32", "float64", "float16", "bfloat16"]
REFUSED = ["int8", "int16", "int32", "int64", "uint8", "bool", "complex64", "longdouble", "S4"]


@pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big"])
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("way", WAYS)
def test_floats(tmp_path: Path, way: str, dtype: str, order: str) -> None:
    load, converts = WAYS[way]
    model, weights = make_model(seed=3), dict(make_model().parameters)
    wanted = weights | {NAME: weights[NAME] / 3}
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, values in wanted.items():
            write_dataset(file, f"weights/{name}", values, dtype if name == NAME else "float32", order)
    if dtype != "float32" and dtype not in converts:
        before = model.digest()
        with pytest.raises(igdm.FormatError, match=rf"{re.escape(NAME)}.*got {dtype}, want float32"):
            load(tmp_path / "a.h5", model)
        assert model.digest() == before
        return
    load(tmp_path / "a.h5", model)
    if dtype == "bfloat16":
        wanted[NAME] = (upper_half(wanted[NAME]).astype(np.uint32) << 16).view(np.float32)
    else:
        wanted[NAME] = wanted[NAME].astype(dtype).astype(np.float32)
    for name, values in model.parameters.items():
        assert values.tobytes() == wanted[name].tobytes(), name


@pytest.mark.parametrize("dtype", REFUSED)
@pytest.mark.parametrize("way", WAYS)
def test_what_is_no_weight(tmp_path: Path, way: str, dtype: str) -> None:
    model = make_model(seed=3)
    before = model.digest()
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, values in make_model().parameters.items():
            file[f"weights/{name}"] = np.zeros(values.shape, dtype) if name == NAME else values
    with pytest.raises(igdm.FormatError, match=rf"{re.escape(NAME)}.*got .*want (float32|numbers)"):
        WAYS[way][0](tmp_path / "a.h5", model)
    assert model.digest() == before


@pytest.mark.parametrize("kind", ["I8", "I16", "I32", "I64", "U8", "BOOL", "F8_E4M3", "F8_E5M2", "C64"])
def test_safetensors_that_are_no_weights(tmp_path: Path, kind: str) -> None:
    weights = dict(make_model().parameters)
    header, data = {}, b""
    size = {"I16": 2, "I32": 4, "I64": 8, "C64": 8}.get(kind, 1)
    for name, values in weights.items():
        raw = bytes(size * values.size) if name == NAME else values.tobytes()
        header[name] = {
            "dtype": kind if name == NAME else "F32", "shape": values.shape,
            "data_offsets": [len(data), len(data) + len(raw)],
        }  # fmt: skip
        data += raw
    text = json.dumps(header).encode()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    message = rf"{re.escape(NAME)}: got {kind}, want float32|a\.safetensors is damaged"
    with pytest.raises(igdm.FormatError, match=message):
        igdm.convert.load(tmp_path / "a.safetensors", input_shape=SHAPE)


# -- NaN and infinities


def wild(dtype: str = "float32") -> dict[str, np.ndarray]:
    """Weights with each kind of number that is none; of float64 also one that float32 does not reach."""
    weights = dict(make_model().parameters)
    values = weights[NAME].astype(dtype)
    values.flat[:3] = np.nan, np.inf, -np.inf
    if dtype == "float64":
        values.flat[3] = 1e39
    return weights | {NAME: values}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("way", WAYS)
def test_not_finite_only_where_allowed(tmp_path: Path, way: str, dtype: str) -> None:
    load, converts = WAYS[way]
    if dtype != "float32" and dtype not in converts:
        return
    model, weights = make_model(seed=3), wild(dtype)
    before = model.digest()
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, values in weights.items():
            file[f"weights/{name}"] = values
    with pytest.raises(igdm.NotFiniteError, match=rf"{re.escape(NAME)}.*got nan"):
        load(tmp_path / "a.h5", model)
    assert model.digest() == before
    model.allow_not_finite = True
    if way.startswith("convert"):
        places = {name: f"weights/{name}" for name in weights} if "map" in way else None
        notes = igdm.convert.load_weights(model, tmp_path / "a.h5", weight_map=places, allow_not_finite=True)
        assert any("1 of 47 arrays have NaN or infinities" in note for note in notes), notes
    else:
        load(tmp_path / "a.h5", model)
    with np.errstate(over="ignore"):
        assert model.parameters[NAME].tobytes() == weights[NAME].astype(np.float32).tobytes()
    with pytest.raises(igdm.NotFiniteError):
        model.predict(np.zeros((1, *SHAPE), np.float32))


def test_a_diverged_model_is_converted_where_allowed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """To safetensors and back, each step on its own word; the files are replaced only then."""
    model, names = make_model(), ("a.h5", "a.safetensors", "b.h5")
    model.allow_not_finite = True
    model.parameters[NAME] = wild()[NAME]
    model.save(tmp_path / names[0])
    for source, target in itertools.pairwise(names):
        command = ["convert", str(tmp_path / source), str(tmp_path / target)]
        assert command_line.main(command) == 1
        assert f"{NAME}" in capsys.readouterr().err
        assert not (tmp_path / target).exists()
        assert command_line.main([*command, "--allow-not-finite"]) == 0
    assert "1 of 47 arrays have NaN or infinities" in capsys.readouterr().out
    with pytest.raises(igdm.NotFiniteError, match=re.escape(NAME)):
        igdm.Model.load(tmp_path / "b.h5")
    again = igdm.Model.load(tmp_path / "b.h5", allow_not_finite=True)
    assert again.digest() == model.digest()
    assert not again.allow_not_finite
    assert command_line.main(["info", str(tmp_path / "b.h5"), "--digest"]) == 0
    assert model.digest() in capsys.readouterr().out


def test_negative_variances_stay_errors_beside_nan(tmp_path: Path) -> None:
    weights = dict(make_model().parameters)
    weights["bn1.running_var"] = np.array([np.nan, -1, 1, 1], np.float32)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, values in weights.items():
            file[f"weights/{name}"] = values
    model = make_model(seed=3)
    before = model.digest()
    with pytest.raises(igdm.FormatError, match=r"bn1\.running_var: got the variance -1"):
        igdm.convert.load_weights(model, tmp_path / "a.h5", allow_not_finite=True)
    model.allow_not_finite = True
    with pytest.raises(igdm.FormatError, match=r"bn1\.running_var.*variance of -1"):
        model.load_weights(tmp_path / "a.h5")
    assert model.digest() == before
