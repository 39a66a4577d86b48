"""PyTorch files from and to checkpoints: logits of every architecture, bytes that stay, files that are refused."""

from __future__ import annotations

import argparse
import io
import os
import pickle
import re
import shutil
import subprocess
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import igdm
import numpy as np
import ours
import pytest
import torch
from cases import LIVE_MODELS, MODELS, ModelCase, ModelSpec, uniform
from conftest import Parity
from reference.compute import build
from report import LOGITS

SHAPE = (3, 12, 12)
SPEC = ModelSpec("resnet8", SHAPE, classes=3, width=4)


def options_of(spec: ModelSpec) -> dict[str, Any]:
    """What no state dict tells."""
    options: dict[str, Any] = {"input_shape": spec.shape, "mean": spec.mean, "std": spec.std}
    if spec.architecture.startswith("preact"):
        options["shortcut_input"] = spec.shortcut_input or "activated"
    return options


def state_dict() -> dict[str, torch.Tensor]:
    return dict(build(SPEC, torch.float32).state_dict())


@pytest.mark.parametrize("exact", [False], indirect=True)
@pytest.mark.parametrize("case", MODELS + LIVE_MODELS, ids=lambda case: case.id)
def test_every_architecture(case: ModelCase, parity: Parity, tmp_path: Path) -> None:
    """The architecture is told from the names; PyTorch's own loader takes back what was written, strictly."""
    network = build(case.model, torch.float32)
    torch.save({"epoch": 3, "state_dict": OrderedDict(("module." + k, v) for k, v in network.state_dict().items())},
               tmp_path / "source.pt")  # fmt: skip
    done = igdm.convert.convert(tmp_path / "source.pt", tmp_path / "a.h5", **options_of(case.model))
    assert done.architecture == case.model.architecture
    model = igdm.Model.load(tmp_path / "a.h5")
    assert model.digest() == ours.model(case.model).digest()
    parity.check(case, LOGITS, {"logits": model.predict(case.images)})

    igdm.convert.convert(tmp_path / "a.h5", tmp_path / "b.pt")
    again = build(case.model, torch.float32)
    for parameter in again.parameters():
        parameter.data.zero_()
    again.load_state_dict(torch.load(tmp_path / "b.pt", weights_only=True))
    assert all(torch.equal(again.state_dict()[name], value) for name, value in network.state_dict().items())

    igdm.convert.convert(tmp_path / "b.pt", tmp_path / "b.h5", **options_of(case.model))
    with h5py.File(tmp_path / "a.h5") as first, h5py.File(tmp_path / "b.h5") as second:
        assert list(first["weights"]) == list(second["weights"])
        for name, data in first["weights"].items():
            assert data[()].tobytes() == second["weights"][name][()].tobytes()


# -- modules


class Normalised(torch.nn.Module):
    """A network behind its normalisation, by buffers or by constants."""

    def __init__(self, buffers: bool) -> None:
        super().__init__()
        self.model = build(SPEC, torch.float32)
        mean, std = torch.tensor([0.4, 0.5, 0.6]).view(1, 3, 1, 1), torch.tensor([0.2, 0.25, 0.3]).view(1, 3, 1, 1)
        if buffers:
            self.register_buffer("mu", mean)
            self.register_buffer("sigma", std)
        else:
            self.mu, self.sigma = mean, std

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.model((images - self.mu) / self.sigma)


SCALE: dict[str, Any] = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3]}


@pytest.mark.parametrize("way", ["plain", "buffers", "constants", "outside"])
def test_a_module_is_compared_and_becomes_the_golden_block(way: str, tmp_path: Path) -> None:
    module = build(SPEC, torch.float32) if way in ("plain", "outside") else Normalised(way == "buffers")
    module.train()
    options = SCALE | {"module_normalises": way == "constants"} if way in ("constants", "outside") else {}
    images = uniform("modules", (5, *SHAPE))
    model, done = igdm.convert.from_torch_module(
        module, tmp_path / "a.h5", inputs=images, input_shape=SHAPE, dataset="toy", source="a test", **options
    )
    assert module.training
    assert done.worst_difference is not None
    assert done.worst_difference < 1e-5
    assert (model.info.mean is None) == (way == "plain")
    found = igdm.Model.load(tmp_path / "a.h5", verify=True)
    assert (found.metadata["source"], found.metadata["dataset"]) == ("a test", "toy")
    assert found.golden is not None
    inputs = torch.from_numpy(images)
    if way == "outside":
        inputs = (inputs - torch.tensor(SCALE["mean"]).view(1, 3, 1, 1)) / torch.tensor(SCALE["std"]).view(1, 3, 1, 1)
    np.testing.assert_allclose(found.golden.logits, module.eval()(inputs).detach().numpy(), atol=1e-6)


def test_a_module_that_computes_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(igdm.MismatchError):  # its normalisation is not in the state dict
        igdm.convert.from_torch_module(Normalised(buffers=False), tmp_path / "a.h5", input_shape=SHAPE)
    assert not (tmp_path / "a.h5").exists()
    with pytest.raises(TypeError, match=r"want torch\.nn\.Module"):
        igdm.convert.from_torch_module({}, input_shape=SHAPE)


# -- files


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_floats_are_converted_and_said(dtype: torch.dtype, tmp_path: Path) -> None:
    state = {name: value.to(dtype) if value.is_floating_point() else value for name, value in state_dict().items()}
    torch.save(state, tmp_path / "a.pt")
    done = igdm.convert.convert(tmp_path / "a.pt", tmp_path / "a.h5", input_shape=SHAPE)
    for name, value in igdm.Model.load(tmp_path / "a.h5").parameters.items():
        np.testing.assert_array_equal(value, state[name].to(torch.float32).numpy())
    assert done.notes == [f"47 of 47 arrays were {str(dtype)[6:]} and became float32"]


@pytest.mark.parametrize("wrapper", ["state_dict", "model_state_dict", "model", "net", "last", "best"])
def test_wrappers_and_both_file_forms(wrapper: str, tmp_path: Path) -> None:
    wanted = ours.model(SPEC).digest()
    for zipped in (True, False):
        torch.save({wrapper: state_dict(), "epoch": 3}, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
        assert igdm.convert.load(tmp_path / "a.pt", input_shape=SHAPE).digest() == wanted
    torch.save({wrapper: {}, "other": {"weights": state_dict()}}, tmp_path / "a.pt")
    assert igdm.convert.load(tmp_path / "a.pt", input_shape=SHAPE, key="other/weights").digest() == wanted


def test_transposed_views_keep_their_values(tmp_path: Path) -> None:
    state = state_dict()
    state["linear.weight"] = state["linear.weight"].t().contiguous().t()
    state["conv1.weight"] = state["conv1.weight"].to(memory_format=torch.channels_last)
    torch.save(state, tmp_path / "a.pt")
    assert igdm.convert.load(tmp_path / "a.pt", input_shape=SHAPE).digest() == ours.model(SPEC).digest()


class Command:
    """Would write a file where it is unpickled by a loader that runs code."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("form", ["torch", "pickle", "module", "namespace"])
def test_code_in_files_is_not_run(form: str, tmp_path: Path) -> None:
    path, trace = tmp_path / "a.pt", tmp_path / "trace"
    content: object = {"a": Command(trace)}
    if form == "module":
        content = build(SPEC, torch.float32)
    elif form == "namespace":
        content = {"state_dict": state_dict(), "args": argparse.Namespace(epochs=3)}
    if form == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path)
    with pytest.raises(igdm.FormatError, match=r"a\.pt .*code in files is never run"):
        igdm.convert.load(path, input_shape=SHAPE)
    assert not trace.exists()


def test_an_unsafe_pytorch_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(state_dict(), tmp_path / "a.pt")
    monkeypatch.setattr(torch, "__version__", "2.5.1+cpu")
    with pytest.raises(igdm.LibraryError, match=r"got version 2\.5\.1\+cpu, want 2\.6"):
        igdm.convert.load(tmp_path / "a.pt", input_shape=SHAPE)


def changed(**values: object) -> dict[str, Any]:
    return state_dict() | {name.replace("__", "."): value for name, value in values.items()}


BAD: dict[str, tuple[Callable[[], Any], str]] = {
    "sparse": (lambda: changed(bn1__bias=torch.zeros(4).to_sparse()), "bn1.bias: got a sparse, quantized or meta"),
    "integers": (lambda: changed(bn1__bias=torch.zeros(4, dtype=torch.int32)), "bn1.bias: got int32, want float32"),
    "complex": (lambda: changed(bn1__bias=torch.zeros(4, dtype=torch.complex64)), "bn1.bias: got complex64"),
    "float8": (lambda: changed(bn1__bias=torch.zeros(4).to(torch.float8_e4m3fn)), "bn1.bias: got float8_e4m3fn"),
    "too large": (lambda: changed(bn1__bias=torch.full((4,), 1e39, dtype=torch.float64)), r"bn1.bias: got 1e\+39"),
    "nan": (lambda: changed(bn1__bias=torch.full((4,), torch.nan)), "bn1.bias: got nan"),
    "missing": (lambda: {k: v for k, v in state_dict().items() if k != "bn1.bias"}, "missing: bn1.bias"),
    "extra": (lambda: changed(extra=torch.zeros(1)), "unexpected: extra"),
    "shape": (lambda: changed(bn1__bias=torch.zeros(5)), r"misshapen: bn1.bias \(5,\) instead of \(4,\)"),
    "number": (lambda: changed(epoch=3), "epoch: got int, want a tensor"),
    "10 GB view": (lambda: changed(bn1__bias=torch.zeros(1).expand(2_500_000_000)), "bn1.bias: .* claims more data"),
    "keys": (lambda: {1: torch.zeros(1)}, "got the key 1, want names"),
    "list": (lambda: [torch.zeros(1)], "one object of type list"),
    "other wrapper": (lambda: {"weights": state_dict(), "optimizer": {}}, "say with key"),
    "empty": (dict, "it has no weights"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_contents(kind: str, tmp_path: Path) -> None:
    make, message = BAD[kind]
    torch.save(make(), tmp_path / "a.pt")
    with pytest.raises(igdm.IgdmError, match=message):
        igdm.convert.load(tmp_path / "a.pt", input_shape=SHAPE)


@pytest.mark.parametrize("zipped", [True, False])
def test_truncated_files(zipped: bool, tmp_path: Path) -> None:
    torch.save(state_dict(), tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    whole = (tmp_path / "a.pt").read_bytes()
    for length in (0, 3, 100, len(whole) // 3, len(whole) // 2, len(whole) - 10):
        (tmp_path / "a.pt").write_bytes(whole[:length])
        with pytest.raises(igdm.FormatError, match=r"a\.pt"):
            igdm.convert.load(tmp_path / "a.pt", input_shape=SHAPE)


def test_archives_that_unpack_to_more(tmp_path: Path) -> None:
    stored = io.BytesIO()
    torch.save(state_dict(), stored)
    with zipfile.ZipFile(stored) as source, zipfile.ZipFile(tmp_path / "a.pt", "w", zipfile.ZIP_DEFLATED) as target:
        for member in source.infolist():
            target.writestr(member.filename, source.read(member))
        target.writestr("archive/data/999", bytes(50_000_000))
    with pytest.raises(igdm.FormatError, match="is compressed"):
        igdm.convert.load(tmp_path / "a.pt", input_shape=SHAPE)


@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [
        ((-4,), (1,), 0), ((4,), (-1,), 0), ((1 << 62, 4), (0, 0), 0), ((1 << 31,) * 3, (0,) * 3, 0),
        ((10**30,), (1,), 0), ((1 << 40,), (0,), 0), ((4,), (1 << 62,), 0), ((4,), (1,), 1 << 60), ((4,), (1,), -4),
        ((1,) * 70, (1,) * 70, 0), ((0,), (1,), 0), ((), (), 0),
    ],
)  # fmt: skip
def test_tensors_that_lie_about_themselves(size: Any, stride: Any, offset: int, tmp_path: Path) -> None:
    """A hand-made pickle for a storage of four floats."""

    class Tensor:
        def __reduce__(self) -> tuple[Any, ...]:
            return torch._utils._rebuild_tensor_v2, ("here", offset, size, stride, False, OrderedDict())

    class Pickler(pickle.Pickler):
        def persistent_id(self, one: object) -> object:
            return ("storage", torch.FloatStorage, "0", "cpu", 4) if one == "here" else None

    content = io.BytesIO()
    Pickler(content, 2).dump({"bn1.bias": Tensor()})
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("a/data.pkl", content.getvalue())
        archive.writestr("a/version", "3\n")
        archive.writestr("a/data/0", bytes(16))
    with pytest.raises(igdm.FormatError, match=r"a\.pt is damaged|claims more data|missing: conv1\.weight"):
        igdm.convert.load(tmp_path / "a.pt", input_shape=SHAPE, architecture="resnet8")


def test_odd_names_make_no_long_messages(tmp_path: Path) -> None:
    nested: Any = (1,)
    for _ in range(16):
        nested = (nested, nested)
    for key in ("x" * 1_000_000, nested):
        torch.save({key: torch.zeros(4)}, tmp_path / "a.pt")
        with pytest.raises(igdm.FormatError) as caught:
            igdm.convert.load(tmp_path / "a.pt", input_shape=SHAPE, architecture="resnet8")
        assert len(str(caught.value)) < 1000


CLAIM = """
import resource, sys
import igdm, torch
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    igdm.convert.load(sys.argv[1], architecture="resnet8", input_shape=(3, 12, 12))
except igdm.IgdmError as error:
    print(type(error).__name__, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000)
"""


@pytest.mark.parametrize("zipped", [True, False])
def test_10_gb_claims_stay_claims(zipped: bool, tmp_path: Path) -> None:
    """A storage that the pickle says has 2.5 milliards of floats, in a file of 30 kB."""
    path = tmp_path / "a.pt"
    torch.save(changed(bn1__bias=torch.zeros(123456)[:4]), path, _use_new_zipfile_serialization=zipped)
    number, claim = b"J" + (123456).to_bytes(4, "little"), b"\x8a\x05" + (2_500_000_000).to_bytes(5, "little")
    if zipped:
        content = path.read_bytes()
        with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(path, "w") as target:
            for member in source.infolist():
                target.writestr(member.filename, source.read(member).replace(number, claim))
    else:
        content = path.read_bytes()
        assert number in content
        path.write_bytes(content.replace(number, claim))
    run = subprocess.run([sys.executable, "-c", CLAIM, str(path)], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "FormatError True\n"), run.stderr


# -- the documents

CHECKOUT = Path(__file__).resolve().parents[2]
KERAS_FILES = CHECKOUT / "Tests" / "Python" / "fixtures"


def test_the_format_needs_no_igdm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The block of docs/checkpoint-format.md: h5py and PyTorch alone, both ways."""
    monkeypatch.chdir(tmp_path)
    wanted = ours.model(SPEC)
    wanted.save("student.h5")
    net = build(ModelSpec("resnet8", SHAPE, classes=3, width=4, seed=1), torch.float32)
    (block,) = re.findall(r"```python\n(.*?)```", (CHECKOUT / "docs/checkpoint-format.md").read_text(), re.DOTALL)
    exec(compile(block, "checkpoint-format.md", "exec"), {"net": net})
    found = ours.model(ModelSpec("resnet8", SHAPE, classes=3, width=4, seed=2))
    found.load_weights("weights.h5")
    assert found.digest() == wanted.digest()


def test_the_blocks_of_the_document_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each in a folder with the files that it speaks of; `net` and `keras_model` are the user's."""
    net = build(ModelSpec("resnet18", (3, 32, 32)), torch.float32)
    torch.save(net.state_dict(), tmp_path / "teacher.pt")
    robust = ModelSpec("dm_preact_resnet18", (3, 32, 32), classes=100)
    torch.save(build(robust, torch.float32).state_dict(), tmp_path / "Rade2021Helper_R18_ddpm.pt")
    ours.model(ModelSpec("resnet18", (3, 32, 32), seed=1)).save(tmp_path / "student.h5")
    for name in ("small_cnn.weights.h5", "resnet8.weights.h5"):
        shutil.copy(KERAS_FILES / name, tmp_path)
    logits = np.load(KERAS_FILES / "keras_logits.npz")
    small = igdm.convert.load(
        KERAS_FILES / "small_cnn.weights.h5", architecture="small_cnn", input_shape=(2, 12, 12), bn_epsilon=1e-3
    )
    np.testing.assert_allclose(small.predict(logits["images"]), logits["small_cnn.weights"], atol=1e-5)

    class KerasModel:
        def predict(self, images: np.ndarray) -> np.ndarray:
            return small.predict(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))

    monkeypatch.chdir(tmp_path)
    text = (CHECKOUT / "docs" / "converting.md").read_text()
    blocks = re.findall(r"```(sh|python)\n(.*?)```", text, re.DOTALL)
    assert [language for language, _ in blocks].count("sh") >= 4
    names = {"net": net, "keras_model": KerasModel()}
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT / "bindings" / "python")}
    for language, block in blocks:
        if language == "python":
            exec(compile(block, "converting.md", "exec"), dict(names))
            continue
        script = block.replace("python3 ", f"{sys.executable} ")
        run = subprocess.run(["sh", "-ec", script], capture_output=True, text=True, env=environment, check=False)
        assert run.returncode == 0, block + run.stderr
        for line in re.findall(r"convert (\S+) (\w\S+)", block):
            assert (tmp_path / line[1]).exists()
    assert igdm.Model.load("teacher.h5").info.architecture == "resnet18"
