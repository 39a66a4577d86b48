"""Models as ONNX files: checked by onnx, run by onnxruntime, and compared with the library's logits."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import igdm
import numpy as np
import onnx
import onnxruntime
import pytest
from conftest import CHECKOUT
from igdm import __main__ as command_line
from igdm.convert import onnx as exporter
from igdm.convert.onnx_layers import LAYERS

TOLERANCE = 1e-4
"""Of the largest logit."""


def randomised(model: igdm.Model, seed: int = 0) -> igdm.Model:
    """The model with biases, scales and running statistics that no layer can leave out unnoticed."""
    random = np.random.default_rng(seed)
    for name, values in model.parameters.items():
        if name.endswith("running_var"):
            model.parameters[name] = random.uniform(0.5, 1.5, values.shape).astype(np.float32)
        elif values.ndim == 1:
            model.parameters[name] = random.uniform(-0.5, 1.0, values.shape).astype(np.float32)
        elif name.count(".") == 0:  # class tokens and position embeddings begin as zeros
            model.parameters[name] = random.uniform(-1.0, 1.0, values.shape).astype(np.float32)
    return model


def images(model: igdm.Model, count: int) -> np.ndarray:
    return np.random.default_rng(count).random((count, *model.info.input_shape), dtype=np.float32)


def run(file: bytes | Path, batch: np.ndarray, optimised: bool = True) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    content = file if isinstance(file, bytes) else str(file)
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    assert [value.name for value in session.get_inputs()] == ["images"]
    return session.run(["logits"], {"images": batch})[0]


def check(model: igdm.Model) -> onnx.ModelProto:
    """Fails unless ONNX accepts the model and its runtime gives the logits of the library."""
    proto = exporter.model_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    (given,), (wanted,) = proto.graph.input, proto.graph.output
    shapes = [
        [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim] for value in (given, wanted)
    ]
    assert shapes == [["batch", *model.info.input_shape], ["batch", model.info.classes]]
    content = proto.SerializeToString()
    for count in (1, 3):
        batch = images(model, count)
        logits = model.predict(batch)
        difference = np.abs(run(content, batch) - logits).max() / np.abs(logits).max()
        assert difference <= TOLERANCE, f"{count} images: {difference:.1e}"
        assert np.ptp(logits, axis=1).min() > 0, "the logits of an image are all equal, which proves nothing"
    return proto


# -- architectures

NORMALISED = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def variants() -> Iterator[Any]:
    """Each architecture of the library, whatever they are, and its options."""
    for pattern in igdm.architectures():
        name = pattern.replace("_D_K", "_16_1")
        options: list[dict[str, Any]] = [{}]
        if name == "preact_resnet18":
            options = [
                {"shortcut_input": kind, "final_bn": bn} for kind in ("raw", "activated") for bn in (False, True)
            ]
        if "_D_K" not in pattern:
            options = [one | {"width": 4} for one in options]
        for one in options:
            yield pytest.param(name, one, id="-".join([name, *(str(value) for value in one.values())]))


@pytest.mark.parametrize("normalisation", [{}, NORMALISED], ids=["plain", "normalised"])
@pytest.mark.parametrize(("architecture", "options"), list(variants()))
def test_architectures(architecture: str, options: dict[str, Any], normalisation: dict[str, Any]) -> None:
    shape = (3, 64, 48) if architecture.startswith("imagenet") else (3, 32, 27)
    check(randomised(igdm.Model(architecture, classes=7, input_shape=shape, seed=1, **options, **normalisation)))


# -- layers


def graph(*layers: dict[str, Any], shape: tuple[int, int, int] = (4, 9, 7), **more: Any) -> dict[str, Any]:
    """A chain of layers; those that say so have other inputs."""
    chain, before = [], "input"
    for index, layer in enumerate(layers):
        chain.append({"name": f"l{index}", "inputs": [before], **layer})
        before = chain[-1]["name"]
    return {"format": "igdm-graph", "version": 1, "input": shape, "layers": chain, "output": before, **more}


def layer(kind: str, **attributes: Any) -> dict[str, Any]:
    return {"type": kind, **attributes}


HEAD = (layer("flatten"), layer("linear", outputs=3))
QKV = layer("token_linear", outputs=24)


def block(x: str, index: int, width: int, heads: int) -> list[dict[str, Any]]:
    """A block of a vision transformer."""

    def named(part: str, kind: str, *inputs: str, **attributes: Any) -> dict[str, Any]:
        sources = [one if one == x else f"blocks.{index}.{one}" for one in inputs]
        return {"name": f"blocks.{index}.{part}", "type": kind, "inputs": sources, **attributes}

    return [
        named("norm1", "layer_norm", x, epsilon=1e-6),
        named("attn.qkv", "token_linear", "norm1", outputs=3 * width),
        named("attn", "attention", "attn.qkv", heads=heads),
        named("attn.proj", "token_linear", "attn", outputs=width),
        named("sum1", "add", x, "attn.proj"),
        named("norm2", "layer_norm", "sum1", epsilon=1e-6),
        named("mlp.fc1", "token_linear", "norm2", outputs=4 * width),
        named("act", "gelu", "mlp.fc1"),
        named("mlp.fc2", "token_linear", "act", outputs=width),
        named("sum2", "add", "sum1", "mlp.fc2"),
    ]


def vision_transformer(size: int, patch: int, width: int, depth: int, heads: int) -> dict[str, Any]:
    layers = [
        {"name": "patch_embed.proj", **layer("conv", channels=width, kernel=patch, stride=patch, bias=True)},
        {"name": "cls_token", **layer("class_token")},
        {"name": "pos_embed", **layer("position_embedding")},
    ]
    for index in range(depth):
        layers += block(layers[-1]["name"] if index else "pos_embed", index, width, heads)
    layers += [
        {"name": "norm", **layer("layer_norm", epsilon=1e-6)},
        {"name": "token", **layer("select_token", index=0)},
        {"name": "head", **layer("linear", outputs=10)},
    ]
    return graph(*layers, shape=(3, size, size), mean=[0.5] * 3, std=[0.5] * 3)


GRAPHS = {
    "conv": graph(layer("conv", channels=6, kernel=[3, 2], padding=[2, 0, 1, 1], stride=2, groups=2, bias=True), *HEAD),
    "conv-same": graph(layer("conv", channels=5, kernel=3, padding=[0, 0, 1, 1], stride=2), *HEAD),
    "conv-depthwise": graph(layer("conv", channels=8, kernel=3, padding=1, groups=4), *HEAD),
    "conv-dilated": graph(
        layer("conv", channels=6, kernel=[3, 2], padding=[2, 0, 1, 1], stride=[1, 2], dilation=[2, 3]),
        layer("conv", channels=6, kernel=3, padding=2, dilation=2, groups=6), *HEAD,
    ),
    "batch_norm": graph(layer("batch_norm", epsilon=0.1), layer("relu"), *HEAD),
    "activations": graph(layer("silu"), layer("gelu"), layer("relu"), *HEAD),
    "piecewise": graph(
        layer("conv", channels=5, kernel=3, bias=True), layer("leaky_relu", slope=0.3), layer("hard_swish"),
        layer("conv", channels=5, kernel=3, bias=True), layer("hard_sigmoid"), layer("tanh"), layer("sigmoid"),
        layer("conv", channels=5, kernel=1, bias=True), layer("relu6"), *HEAD,
    ),
    "multiply": graph(
        layer("conv", channels=4, kernel=1, bias=True), layer("global_average_pool"), layer("hard_sigmoid"),
        layer("multiply", inputs=["l0", "l2"]), layer("multiply", inputs=["l3", "input"]), *HEAD,
    ),
    "multiply-layouts": graph(
        layer("token_linear", outputs=4), layer("select_token", index=5), layer("linear", outputs=4),
        layer("multiply", inputs=["l0", "l2"]), layer("multiply", inputs=["l3", "input"]),
        layer("multiply", inputs=["l4", "l2"]), layer("global_average_pool"), layer("multiply", inputs=["l6", "l2"]),
    ),
    "concat": graph(
        layer("conv", channels=3, kernel=3, padding=1), layer("concat", inputs=["l0", "input", "l0"]),
        layer("token_linear", outputs=2), layer("concat", inputs=["l1", "l2"]), *HEAD,
        layer("concat", inputs=["l5", "l5"]),
    ),
    "average_pool": graph(layer("average_pool", window=4, stride=3, padding=2), *HEAD),
    "average_pool-oblong": graph(
        layer("average_pool", window=[4, 3], stride=[3, 1], padding=[2, 0, 1, 2], count_padding=False), *HEAD
    ),
    "average_pool-plain": graph(layer("average_pool", window=2, stride=2), *HEAD),
    "max_pool": graph(
        layer("conv", channels=3, kernel=1, bias=True), layer("max_pool", window=3, stride=2, padding=1), *HEAD
    ),
    "max_pool-oblong": graph(layer("max_pool", window=[1, 3], stride=[1, 2], padding=[0, 1, 0, 2]), *HEAD),
    "max_pool-plain": graph(layer("max_pool", window=2, stride=2), *HEAD),
    "global_average_pool": graph(layer("global_average_pool"), layer("linear", outputs=3)),
    # The last layer need not be linear, and a vector may be an image or a token again.
    "conv-last": graph(layer("conv", channels=5, kernel=1, bias=True), layer("global_average_pool")),
    "conv-of-vector": graph(
        *HEAD, layer("conv", channels=6, kernel=1, bias=True), layer("batch_norm"), layer("silu"), layer("flatten")
    ),
    "tokens-of-vector": graph(*HEAD, layer("layer_norm", epsilon=0.1), layer("token_linear", outputs=5, bias=False)),
    "linear-without-bias": graph(layer("global_average_pool"), layer("linear", outputs=3, bias=False)),
    # Tokens and images in turn.
    "token_linear": graph(
        layer("token_linear", outputs=5), layer("conv", channels=4, kernel=3, padding=1), layer("layer_norm"),
        layer("max_pool", window=3), layer("gelu"), *HEAD,
    ),
    "add-layouts": graph(
        layer("token_linear", outputs=4), layer("add", inputs=["l0", "input"]), layer("add", inputs=["input", "l1"]),
        layer("add", inputs=["l2", "l2"]), *HEAD,
    ),
    "attention": graph(QKV, layer("attention", heads=4), layer("global_average_pool"), layer("linear", outputs=3)),
    "attention-one-head": graph(QKV, layer("attention", heads=1), layer("select_token", index=13)),
    "class_token": graph(
        layer("class_token"), layer("position_embedding"), layer("token_linear", outputs=3),
        layer("class_token"), layer("average_pool", window=1), layer("select_token", index=64),
    ),
    "vision-transformer": vision_transformer(size=16, patch=4, width=24, depth=2, heads=3),
}  # fmt: skip


@pytest.mark.parametrize("name", GRAPHS)
def test_layers(name: str) -> None:
    check(randomised(igdm.Model.from_graph(GRAPHS[name], seed=2)))


def test_deit_tiny_at_its_size() -> None:
    model = randomised(
        igdm.Model.from_graph(vision_transformer(size=224, patch=16, width=192, depth=12, heads=3), seed=3)
    )
    assert model.info.parameter_count > 5_000_000
    check(model)


def test_without_the_runtimes_optimisations() -> None:
    """What other runtimes are given is not only right once onnxruntime has rewritten it."""
    model = randomised(igdm.Model.from_graph(GRAPHS["vision-transformer"], seed=2))
    batch = images(model, 2)
    logits = model.predict(batch)
    assert np.abs(run(exporter.model_proto(model).SerializeToString(), batch, optimised=False) - logits).max() < 1e-4


def test_every_layer_type_of_the_library_is_exported_and_run() -> None:
    """Fails for a type that is new in Sources/Networks/GraphFormat/LayerTypes.swift."""
    with pytest.raises(igdm.InvalidArgument, match="want one of") as error:
        igdm.Model.from_graph(graph(layer("unknown")))
    types = str(error.value).split("want one of ")[1].split(", ")
    assert "conv" in types and set(types) == set(LAYERS)
    assert {one["type"] for given in GRAPHS.values() for one in given["layers"]} == set(types)


def test_every_attribute_is_known() -> None:
    """Those of the graph format's table, each with the functions that translate it."""
    text = (CHECKOUT / "docs" / "graph-format.md").read_text()
    for kind, function in LAYERS.items():
        (row,) = re.findall(rf"^\| `{kind}` \|([^|]*)\|", text, re.MULTILINE)
        keywords = [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
        assert re.findall(r"`(\w+)`", row) == keywords, kind


# -- the file


def test_weights_have_the_names_of_the_checkpoint() -> None:
    model = randomised(igdm.Model("mobilenet_v2", classes=5, input_shape=(3, 16, 16), width=4))
    stored = {one.name: onnx.numpy_helper.to_array(one) for one in exporter.model_proto(model).graph.initializer}
    assert set(stored) == set(model.parameters)
    assert all(np.array_equal(stored[name], values) for name, values in model.parameters.items())


def test_the_file_says_what_it_is() -> None:
    model = igdm.Model("resnet8", classes=4, input_shape=(3, 16, 16), width=4, **NORMALISED)
    model.metadata["source"] = "Fräulein Müllers Modell"
    model.metadata["source_sha256"] = "00ff"
    proto = exporter.model_proto(model)
    assert (proto.producer_name, proto.producer_version) == ("igdm", igdm.build_info()["version"])
    assert [(one.domain, one.version) for one in proto.opset_import] == [("", 17)]
    assert {entry.key: entry.value for entry in proto.metadata_props} == {
        "source": "Fräulein Müllers Modell",
        "source_sha256": "00ff",
        "igdm/architecture": "resnet8",
        "igdm/classes": "4",
        "igdm/input_shape": "[3, 16, 16]",
        "igdm/width": "4",
        "igdm/mean": str(list(model.info.mean)),
        "igdm/std": str(list(model.info.std)),
        "igdm/digest": model.digest(),
    }


@pytest.mark.parametrize(
    "names", [["images", "logits", "images_"], ["b", "l1.weight", "l1.weight_"], ["é→", "a b", "'\""]]
)
def test_names_that_are_taken_or_odd(names: list[str]) -> None:
    layers = [
        layer("class_token", name=names[0]), layer("layer_norm", name="l1"), layer("gelu", name=names[1]),
        layer("relu", name=names[2]), *HEAD,
    ]  # fmt: skip
    check(randomised(igdm.Model.from_graph(graph(*layers))))


def test_the_same_model_is_the_same_file(tmp_path: Path) -> None:
    model = randomised(igdm.Model("wrn_10_1", classes=4, input_shape=(3, 16, 16), **NORMALISED))
    for key in ("z", "a", "m"):
        model.metadata[key] = key
    model.save(tmp_path / "model.h5")
    igdm.export_onnx(model, tmp_path / "one.onnx")
    igdm.export_onnx(igdm.Model.load(tmp_path / "model.h5"), str(tmp_path / "two.onnx"))
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "two.onnx").read_bytes()
    batch = images(model, 2)
    assert np.allclose(run(tmp_path / "one.onnx", batch), model.predict(batch), atol=1e-5)


# -- what goes wrong


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Path]:
    """A file that has to be there afterwards, alone in its folder."""
    path = tmp_path / "old.onnx"
    path.write_bytes(b"old")
    yield path
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def fails_to_write(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_disk_that_is_full(old: Path, model: igdm.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "write_bytes", fails_to_write)
    with pytest.raises(igdm.InputOutputError, match="No space left"):
        igdm.export_onnx(model, old)
    monkeypatch.undo()


def test_models_too_large_for_the_format(old: Path, model: igdm.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    assert exporter.LARGEST < 2**31
    monkeypatch.setattr(exporter, "LARGEST", 1000)
    size = sum(values.nbytes for values in model.parameters.values())
    with pytest.raises(igdm.InvalidArgument, match=f"model: got {size} bytes of weights, want at most 1000"):
        igdm.export_onnx(model, old)


def test_without_the_package(old: Path, model: igdm.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(igdm.LibraryError, match="pip install onnx"):
        igdm.export_onnx(model, old)


def test_what_is_no_model(old: Path, model: igdm.Model) -> None:
    with pytest.raises(TypeError, match=r"model: got str, want igdm\.Model"):
        igdm.export_onnx("model.h5", old)  # type: ignore[arg-type]
    model.close()
    with pytest.raises(igdm.InvalidArgument, match="model: used after close"):
        igdm.export_onnx(model, old)


def test_a_layer_without_a_translation(old: Path, model: igdm.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(LAYERS, "relu")
    with pytest.raises(igdm.InternalError, match="relu has no translation"):
        igdm.export_onnx(model, old)


def test_the_package_is_imported_when_needed(python: Callable[..., Any]) -> None:
    done = python("-c", "import igdm, sys; sys.exit('onnx' in sys.modules)")
    assert done.returncode == 0, done.stderr


# -- the command, and the documentation


def test_the_command(tmp_path: Path, model: igdm.Model, capsys: pytest.CaptureFixture[str]) -> None:
    model.save(tmp_path / "student.h5")
    for source, target in (("student.h5", "a.onnx"), ("student.h5", "b.safetensors"), ("b.safetensors", "c.onnx")):
        assert command_line.main(["convert", str(tmp_path / source), str(tmp_path / target)]) == 0
    assert f"{tmp_path / 'c.onnx'} (onnx)" in capsys.readouterr().out
    batch = images(model, 2)
    for name in ("a.onnx", "c.onnx"):
        assert np.allclose(run(tmp_path / name, batch), model.predict(batch), atol=1e-5)
    assert command_line.main(["convert", str(tmp_path / "a.onnx"), str(tmp_path / "d.h5")]) == 1
    assert "files of ONNX are written only" in capsys.readouterr().err


def test_the_examples_of_the_documentation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    igdm.Model("resnet8", width=4).save(tmp_path / "student.h5")
    monkeypatch.chdir(tmp_path)
    text = (CHECKOUT / "docs" / "onnx.md").read_text()
    commands = re.findall(r"^python3 -m igdm (.*)$", text, re.MULTILINE)
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert commands and blocks
    for command in commands:
        assert command_line.main(command.split()) == 0
    names: dict[str, Any] = {}
    for code in blocks:
        exec(compile(code, "onnx.md", "exec"), names)
