"""Files that somebody made to do harm, through the converters: each is an error that says what is wrong, in little
memory and time, and the process goes on."""

from __future__ import annotations

import json
import os
import random
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import igdm
import numpy as np
import pytest
from conftest import CLASSES, SHAPE, make_model, process_environment
from igdm import __main__ as command_line

BIAS = "bn1.bias"
ESCAPE = "\x1b[2J\x1b]0;owned\x07"
Change = Callable[[h5py.File], None]


# -- HDF5


def write_hdf5(path: Path, change: Change, without: str = BIAS, **options: Any) -> None:
    with h5py.File(path, "w", **options) as file:
        for name, values in make_model().parameters.items():
            if name != without:
                file[f"weights/{name}"] = values
        change(file)


def bias(**options: Any) -> Change:
    def change(file: h5py.File) -> None:
        file["weights"].create_dataset(BIAS, **options)

    return change


def packed(chunk: int, filters: list[int], content: bytes, limit: int = h5py.h5s.UNLIMITED) -> Change:
    """Four numbers in one chunk, which is stored as given."""

    def change(file: h5py.File) -> None:
        creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        creation.set_chunk((chunk,))
        for number in filters:
            creation.set_filter(number, h5py.h5z.FLAG_OPTIONAL, (9,) if number == h5py.h5z.FILTER_DEFLATE else ())
        space = h5py.h5s.create_simple((4,), (limit,))
        made = h5py.h5d.create(file["weights"].id, BIAS.encode(), h5py.h5t.IEEE_F32LE, space, creation)
        made.write_direct_chunk((0,), content)

    return change


def zeros(count: int, times: int) -> bytes:
    content = bytes(count)
    for _ in range(times):
        content = zlib.compress(content, 9)
    return content


def rename(name: bytes) -> Change:
    def change(file: h5py.File) -> None:
        file.id.links.create_hard(b"weights/" + name, file.id, b"weights/bn1.weight")

    return change


HDF5: dict[str, tuple[Change, str]] = {
    "gzip twice": (packed(4, [1, 1], zeros(1 << 28, 2)), "filter 'deflate' .* at most once"),
    "a chunk of a gigabyte": (packed(1 << 28, [1], zeros(1 << 24, 1)), r"chunks of shape \(268435456,\) are too large"),
    "a filter nobody has": (packed(4, [31999], bytes(16)), r"filter '' \(number 31999\), want gzip"),
    "lzf": (bias(data=np.zeros(4, np.float32), compression="lzf"), r"filter 'lzf' \(number 32000\), want gzip"),
    "scale and offset": (bias(data=np.zeros(4, np.float32), scaleoffset=2), "filter 'scaleoffset'"),
    "a product beyond 64 bits": (bias(shape=(1 << 32, 1 << 32), dtype="f4", chunks=(1, 1)), "claims 7378697629483820"),
    "no elements": (bias(shape=(0,), dtype="f4"), r"bn1\.bias \(0,\) instead of \(4,\)"),
    "a scalar": (bias(data=np.float32(1)), r"bn1\.bias \(\) instead of \(4,\)"),
    "32 axes": (bias(data=np.zeros((1,) * 32, np.float32)), r"bn1\.bias \(1, 1, 1"),
    "lists": (bias(shape=(4,), dtype=h5py.vlen_dtype(np.float32)), "claims 64 bytes, of which the file has 0"),
    "arrays": (bias(shape=(4,), dtype=np.dtype((np.float32, (1000, 1000)))), "claims 16000000 bytes"),
    "references": (bias(data=np.array([h5py.Reference()] * 4, h5py.ref_dtype)), "got type object, want float32"),
    "a name that is no UTF-8": (rename(b"\xff\xfe"), "damaged|unexpected"),
    "a name that commands": (rename(ESCAPE.encode()), "unexpected: \x1b"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HDF5)
def test_hdf5(tmp_path: Path, kind: str) -> None:
    change, message = HDF5[kind]
    write_hdf5(tmp_path / "a.h5", change, without="" if "name" in kind else BIAS)
    with pytest.raises(igdm.FormatError, match=message):
        igdm.convert.load(tmp_path / "a.h5", architecture="resnet8", input_shape=SHAPE)


def test_chunks_that_are_too_short(tmp_path: Path) -> None:
    """HDF5 takes them for whole ones: the rest of their values would be what lies in memory."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        images = file.create_dataset("images", data=np.zeros((20, *SHAPE), np.uint8), chunks=(4, *SHAPE), compression=4)
        file["labels"] = np.arange(20) % CLASSES
        images.id.write_direct_chunk((8, 0, 0, 0), zlib.compress(bytes(100)))
    message = r"chunk at \(8, 0, 0, 0\) decompresses to 100 bytes instead of the 576"
    with pytest.raises(igdm.FormatError, match=message):
        igdm.datasets.hdf5(path, classes=CLASSES)
    streamed = igdm.datasets.hdf5(path, classes=CLASSES, stream=True)
    for _ in range(2):
        assert not streamed[:8].read()[0].any() and not streamed[12:].read()[0].any()
        with pytest.raises(igdm.FormatError, match=message):
            streamed[7:13].read()
    with pytest.raises(igdm.FormatError, match=message):
        igdm.distill(make_model(), None, streamed, method="pgd-at", epochs=1, eps=0.1, batch_size=4, progress=False)


def test_names_do_not_command_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_hdf5(tmp_path / "a.h5", rename(ESCAPE.encode()), without="")
    assert (
        command_line.main(["convert", str(tmp_path / "a.h5"), str(tmp_path / "b.h5"), "--input-shape", "1,12,12"]) == 1
    )
    error = capsys.readouterr().err
    assert "unexpected: \\x1b[2J" in error
    assert error.rstrip("\n").isprintable()
    model = make_model()
    model.metadata["source"] = ESCAPE
    model.save(tmp_path / "c.h5")
    assert command_line.main(["info", str(tmp_path / "c.h5")]) == 0
    assert "\x1b" not in capsys.readouterr().out


KERAS: dict[str, Callable[[h5py.File], None]] = {
    "a path upwards": lambda file: file.attrs.create("layer_names", [b"..", b"/etc", b"."]),
    "the group itself": lambda file: file.attrs.create("layer_names", [b"."]),
    "names that are numbers": lambda file: file.attrs.create("layer_names", np.zeros(5)),
    "an array as configuration": lambda file: file.attrs.update({"layer_names": [b"a"], "model_config": np.zeros(5)}),
    "a deep configuration": lambda file: file.attrs.update({"layer_names": [b"a"], "model_config": "[" * 60000}),
    "an infinite epsilon": lambda file: file.attrs.update(
        {"layer_names": [], "model_config": '{"class_name":"BatchNormalization","config":{"epsilon":1e999}}'}
    ),
}


@pytest.mark.parametrize("kind", KERAS)
@pytest.mark.parametrize("epsilon", [None, 1e-3])
def test_keras(tmp_path: Path, kind: str, epsilon: float | None) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_group("layers")
        KERAS[kind](file)
    with pytest.raises(igdm.IgdmError):
        igdm.convert.load(tmp_path / "a.h5", architecture="resnet8", input_shape=SHAPE, bn_epsilon=epsilon)


@pytest.mark.parametrize("version", ["earliest", "latest"])
def test_damaged_bytes_of_hdf5(tmp_path: Path, version: str) -> None:
    """Two hundred files with a few bytes changed: weights or an error of ours, nothing else."""
    path, loaded = tmp_path / "a.h5", 0
    write_hdf5(path, lambda file: None, without="", libver=version)
    whole = path.read_bytes()
    for seed in range(200):
        dice, content = random.Random(seed), bytearray(whole)
        for _ in range(dice.choice([1, 2, 8])):
            place = dice.randrange(len(whole) if dice.random() < 0.3 else 12000)
            content[place] = dice.choice([0, 1, 255, content[place] ^ 1 << dice.randrange(8)])
        path.write_bytes(content)
        try:
            igdm.convert.load(path, architecture="resnet8", input_shape=SHAPE)
            loaded += 1
        except igdm.IgdmError as error:
            assert str(error)
    assert loaded < 200


# -- safetensors


def write_safetensors(path: Path, metadata: dict[str, str] | None = None, **changes: Any) -> None:
    """A whole file, but for what `changes` say of the first array's entry."""
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": metadata}
    data = b""
    for name, values in make_model().parameters.items():
        raw = values.tobytes()
        header[name] = {"dtype": "F32", "shape": values.shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    header["conv1.weight"] |= changes
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": [1 << 62, 4]},
        {"shape": [-4, 1, 3, 3]},
        {"shape": [0]},
        {"shape": [1.5]},
        {"data_offsets": [0, 1 << 62]},
        {"data_offsets": [144, 288]},
        {"data_offsets": [-1, 3]},
        {"dtype": "F1024"},
    ],
)
def test_safetensors_that_lie(tmp_path: Path, changes: dict[str, Any]) -> None:
    write_safetensors(tmp_path / "a.safetensors", **changes)
    with pytest.raises(igdm.FormatError, match=r"a\.safetensors is damaged or no safetensors file"):
        igdm.convert.load(tmp_path / "a.safetensors", input_shape=SHAPE)


@pytest.mark.parametrize(
    "header",
    [b'{"a":' + b"[" * 10**5, b'{"a":[1]}', b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', b"{", b"{}"],
)
@pytest.mark.parametrize("length", [None, 1 << 40, 1 << 62, (1 << 64) - 1])
def test_safetensors_with_odd_headers(tmp_path: Path, header: bytes, length: int | None) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header)
    with pytest.raises(igdm.FormatError):
        igdm.convert.load(path, architecture="resnet8", input_shape=SHAPE)


FACTS = {"architecture": "resnet8", "classes": 3, "input_shape": [1, 12, 12], "width": 4}


@pytest.mark.parametrize(
    "change",
    [
        {"architecture": "wrn_999994_64"}, {"architecture": "wrn_28_99999999999999"}, {"architecture": "res\0net8"},
        {"classes": True}, {"classes": 3.0}, {"classes": 10**18}, {"classes": 10**30}, {"classes": None},
        {"width": -1}, {"width": 0}, {"width": 10**30}, {"input_shape": ["a", 1, 2]},
        {"input_shape": [1, 10**9, 10**9]},
        {"input_shape": [1, 12.0, 12]}, {"input_shape": [None, 1, 1]}, {"input_shape": [1, 12]}, {"mean": ["x"]},
        {"mean": [[0.5]], "std": [[0.5]]}, {"mean": [0.5] * 10, "std": [0.5] * 10}, {"std": [1.0]},
        {"mean": [float("nan")], "std": [1]}, {"mean": [0.5], "std": [0]}, {"shortcut_input": "zzz"}, {"unknown": 1},
        {"graph": {}},
    ],
    ids=str,
)  # fmt: skip
def test_safetensors_with_odd_descriptions(tmp_path: Path, change: dict[str, Any]) -> None:
    write_safetensors(tmp_path / "a.safetensors", {"igdm": json.dumps(FACTS | change)})
    with pytest.raises(igdm.IgdmError):
        igdm.convert.load(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"classes":' + "9" * 5000 + "}", "3", '{"graph": {"a": 1}}', '{"graph":[]}']
)
def test_safetensors_with_odd_json(tmp_path: Path, text: str) -> None:
    write_safetensors(tmp_path / "a.safetensors", {"igdm": text})
    with pytest.raises(igdm.IgdmError):
        igdm.convert.load(tmp_path / "a.safetensors")


# -- paths and options


def test_pipes_devices_and_odd_paths(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.pt")
    for path in (tmp_path / "a.pt", Path("/dev/zero")):
        with pytest.raises(igdm.InputOutputError, match="pipe or a device"):
            igdm.convert.load(path)
    for path in (tmp_path, tmp_path / ("a" * 5000), Path("a\0b")):
        with pytest.raises(igdm.InputOutputError, match="source: "):
            igdm.convert.load(path)
    make_model().save(tmp_path / "a.h5")
    for name in ("a\0.safetensors", "a" * 300 + ".safetensors", "none/a.safetensors"):
        with pytest.raises(igdm.IgdmError, match="destination: "):
            igdm.convert.convert(tmp_path / "a.h5", tmp_path / name)
    (tmp_path / "a.onnx").write_bytes(b"\x08\x09")
    with pytest.raises(igdm.FormatError, match="files of ONNX are written only"):
        igdm.convert.load(tmp_path / "a.onnx")


def test_a_symbolic_link_is_kept(tmp_path: Path) -> None:
    make_model().save(tmp_path / "a.h5")
    (tmp_path / "link.safetensors").symlink_to(tmp_path / "real.safetensors")
    igdm.convert.convert(tmp_path / "a.h5", tmp_path / "link.safetensors")
    assert (tmp_path / "link.safetensors").is_symlink()
    assert igdm.convert.load(tmp_path / "real.safetensors").digest() == make_model().digest()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": 10**30}, "misshapen"),
        ({"width": 10**30}, "misshapen"),
        ({"input_shape": (1, 10**30, 1)}, "height: got 1000000000000000000000000000000"),
        ({"mean": [0.5]}, "mean and std"),
        ({"bn_epsilon": float("nan")}, "bn_epsilon: got nan"),
        ({"bn_epsilon": float("inf")}, "bn_epsilon: got inf"),
        ({"ignore": "conv1"}, "ignore: got the text 'conv1'"),
        ({"ignore": ["conv1."]}, r"missing: conv1\.weight"),
        ({"weight_map": {}}, "weight_map: got one, but .* is no HDF5 file"),
        ({"key": "a"}, "is no PyTorch file"),
    ],
)
def test_odd_options(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    make_model().save(tmp_path / "a.h5")
    igdm.convert.convert(tmp_path / "a.h5", tmp_path / "a.safetensors")
    with pytest.raises(igdm.IgdmError, match=message):
        igdm.convert.load(tmp_path / "a.safetensors", **options)


def test_a_map_cannot_lead_anywhere(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["round"] = file
        file["x"] = np.zeros(4, np.float32)
    for path in ("round/" * 100_000 + "x", "a\0b", "../x", "/"):
        with pytest.raises(igdm.FormatError, match=r"map: conv1\.weight has the path .* want at most 64 names"):
            igdm.convert.load(tmp_path / "a.h5", architecture="resnet8", weight_map={"conv1.weight": path})


LOAD_ALL = """
import resource, sys
import h5py, safetensors, igdm
used = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before, errors = used(), 0
for path in sys.argv[1:]:
    try:
        igdm.convert.load(path, architecture="resnet8", input_shape=(1, 12, 12))
    except igdm.IgdmError:
        errors += 1
print(errors == len(sys.argv) - 1, used() - before < 100_000 or used() - before)
"""


def test_memory_stays_bounded(tmp_path: Path) -> None:
    """All of them one after the other, in a process of their own."""
    paths = []
    for index, (kind, (change, _)) in enumerate(HDF5.items()):
        paths.append(str(tmp_path / f"{index}.h5"))
        write_hdf5(Path(paths[-1]), change, without="" if "name" in kind else BIAS)
    paths.append(str(tmp_path / "a.safetensors"))
    write_safetensors(Path(paths[-1]), shape=[50_000, 50_000])
    run = subprocess.run(
        [sys.executable, "-c", LOAD_ALL, *paths], capture_output=True, text=True, env=process_environment(), check=False
    )
    assert (run.returncode, run.stdout) == (0, "True True\n"), run.stderr
