"""Converters that need no PyTorch: safetensors, names and shapes, the RobustBench table, the command."""

from __future__ import annotations

import argparse
import json
import re
import struct
import sys
import zipfile
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import igdm
import numpy as np
import pytest
import safetensors.numpy
from conftest import CHECKOUT, CLASSES, SHAPE, make_arrays, make_model
from igdm import __main__ as command_line
from igdm.convert import command, detection, names
from igdm.convert.assembly import assemble
from igdm.convert.entries import Entry, Source
from igdm.convert.options import Options

KEYS = CHECKOUT / "Tests" / "NetworksTests" / "Fixtures" / "state_dict_keys.txt"
LISTED = {
    "DMWideResNet-28-10": ("dm_wrn_28_10", 10),
    "DMWideResNet-70-16": ("dm_wrn_70_16", 10),
    "DMPreActResNet-18": ("dm_preact_resnet18", 10),
    "WideResNet-34-10 (C10": ("wrn_34_10", 10),
    "WideResNet-34-10 (C100": ("wrn_34_10", 100),
    "WideResNet-34-20": ("wrn_34_20", 10),
    "WideResNet-28-10": ("wrn_28_10", 10),
    "ResNet-18": ("resnet18", 10),
    "ResNet-50": ("resnet50", 10),
    "PreActResNet-18 (C10": ("preact_resnet18", 10),
    "PreActResNet-18 bn_before_fc": ("preact_resnet18", 100),
    "MobileNetV2 kuangliu (C10)": ("mobilenet_v2", 10),
    "MobileNetV2 kuangliu (C100": ("mobilenet_v2", 100),
}


def entries_of(weights: dict[str, np.ndarray]) -> dict[str, Entry]:
    return {
        name: Entry(values.shape, str(values.dtype), lambda values=values: values) for name, values in weights.items()
    }


def weights_of(model: igdm.Model) -> dict[str, np.ndarray]:
    return dict(model.parameters)


# -- safetensors


def test_safetensors_and_back_keep_every_bit(tmp_path: Path) -> None:
    model = igdm.Model("small_cnn", classes=4, input_shape=(3, 20, 12), width=4, mean=[0.5] * 3, std=[0.2] * 3, seed=5)
    model.save(tmp_path / "a.h5")
    igdm.convert.convert(tmp_path / "a.h5", tmp_path / "a.safetensors")
    done = igdm.convert.convert(tmp_path / "a.safetensors", tmp_path / "b.h5", dataset="toy")
    again = igdm.Model.load(tmp_path / "b.h5")
    assert again.digest() == model.digest()  # which covers architecture, image shape and normalisation
    assert dict(again.metadata) == {
        "converter": f"igdm {igdm.__version__}",
        "dataset": "toy",
        "source": "a.safetensors",
        "source_format": "safetensors",
        "source_sha256": done.source_sha256,
    }
    stored = safetensors.numpy.load_file(tmp_path / "a.safetensors")
    assert all(np.array_equal(stored[name], values) for name, values in model.parameters.items())


def test_safetensors_carry_a_layer_graph(tmp_path: Path) -> None:
    model = igdm.Model.from_graph(make_model().graph, seed=2)
    model.save(tmp_path / "a.h5")
    igdm.convert.convert(tmp_path / "a.h5", tmp_path / "a.safetensors")
    igdm.convert.convert(tmp_path / "a.safetensors", tmp_path / "b.h5")
    assert igdm.Model.load(tmp_path / "b.h5").digest() == model.digest()
    with pytest.raises(igdm.InvalidArgument, match="classes: got 3, but the source has a layer graph"):
        igdm.convert.load(tmp_path / "a.safetensors", classes=3)
    other = igdm.Model.from_graph(model.graph, seed=3)
    igdm.convert.load_weights(other, tmp_path / "a.safetensors")
    assert other.digest() == model.digest()


def write_safetensors(path: Path, weights: dict[str, np.ndarray], bfloat16: str = "") -> None:
    """A file of the format, in which one array is bfloat16, a type that numpy has not."""
    header: dict[str, object] = {}
    data = b""
    for name, values in weights.items():
        kind = "BF16" if name == bfloat16 else {"float32": "F32", "float64": "F64", "float16": "F16"}[str(values.dtype)]
        raw = ((values.view(np.uint32) >> 16).astype("<u2") if kind == "BF16" else values).tobytes()
        header[name] = {"dtype": kind, "shape": values.shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
def test_other_floats_are_converted_and_said(tmp_path: Path, dtype: str) -> None:
    weights, name = weights_of(make_model()), "layer1.0.conv1.weight"
    if dtype == "bfloat16":
        wanted = (weights[name].view(np.uint32) & 0xFFFF0000).view(np.float32)
        write_safetensors(tmp_path / "a.safetensors", weights, bfloat16=name)
    else:
        weights[name] = weights[name].astype(dtype) / 3
        wanted = weights[name].astype(np.float32)
        write_safetensors(tmp_path / "a.safetensors", weights)
    done = igdm.convert.convert(tmp_path / "a.safetensors", tmp_path / "a.h5", input_shape=SHAPE)
    np.testing.assert_array_equal(igdm.Model.load(tmp_path / "a.h5").parameters[name], wanted)
    assert done.notes == [f"1 of {len(weights)} arrays were {dtype} and became float32"]


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        (np.zeros(4, np.int32), igdm.FormatError, "bn1.bias: got int32, want float32, float64"),
        (np.zeros(4, bool), igdm.FormatError, "bn1.bias: got bool"),
        (np.zeros(4, complex), igdm.FormatError, "bn1.bias: got complex128"),
        (np.zeros(4, np.longdouble), igdm.FormatError, "bn1.bias: got"),
        (np.array([0, 1e39, 0, 0]), igdm.FormatError, r"bn1.bias: got 1e\+39 at \(1,\).*3.4e38"),
        (np.array([0, 0, np.nan, 0], np.float32), igdm.NotFiniteError, r"bn1.bias: got nan at \(2,\)"),
        (np.array([0, 0, np.inf, 0], np.float16), igdm.NotFiniteError, r"bn1.bias: got inf at \(2,\)"),
        (np.zeros(5, np.float32), igdm.FormatError, r"misshapen: bn1.bias \(5,\) instead of \(4,\)"),
        (np.zeros((1, 4), np.float32), igdm.FormatError, r"misshapen: bn1.bias \(1, 4\)"),
    ],
)
def test_wrong_arrays_are_named(values: np.ndarray, error: type[Exception], message: str) -> None:
    weights = weights_of(make_model()) | {"bn1.bias": values}
    with pytest.raises(error, match=message):
        assemble(Source("x", entries_of(weights)), Options(input_shape=SHAPE), [])


def test_negative_variances_are_named() -> None:
    weights = weights_of(make_model())
    weights["bn1.running_var"] = -weights["bn1.running_var"]
    with pytest.raises(igdm.FormatError, match=r"bn1\.running_var: got the variance -1"):
        assemble(Source("x", entries_of(weights)), Options(input_shape=SHAPE), [])


def test_damaged_safetensors(tmp_path: Path) -> None:
    path, whole = tmp_path / "a.safetensors", safetensors.numpy.save(weights_of(make_model()))
    claim = whole.replace(b'"shape":[4,1,3,3]', b'"shape":[9,9,9,9]')
    assert claim != whole
    huge = struct.pack("<Q", 1 << 40) + whole[8:]
    for damaged in (whole[:9], whole[: len(whole) // 2], whole[:-1], whole + b"x", claim, huge):
        path.write_bytes(damaged)
        with pytest.raises(igdm.FormatError, match=re.escape(str(path))):
            igdm.convert.load(path, input_shape=SHAPE)
    path.write_bytes(safetensors.numpy.save(weights_of(make_model()), {"igdm": '{"classes": "ten"}'}))
    with pytest.raises(igdm.FormatError, match="describes its model"):
        igdm.convert.load(path)


def test_weights_into_a_model(tmp_path: Path) -> None:
    """All of them or none, whatever the model is made of."""
    path, model, other = tmp_path / "a.safetensors", make_model(), make_model(seed=9)
    before = other.digest()
    weights = {f"model.{name}": values for name, values in weights_of(model).items()}
    for change, options, message in (
        ({"model.bn1.bias": np.full(4, np.nan, np.float32)}, {}, r"bn1\.bias: got nan"),
        ({"model.bn1.bias": np.zeros(5, np.float32)}, {}, r"misshapen: bn1\.bias"),
        ({"mu": np.zeros(1, np.float32), "sigma": np.ones(1, np.float32)}, {}, "but the model None"),
        ({}, {"classes": 3}, "classes: the model says it"),
    ):
        path.write_bytes(safetensors.numpy.save(weights | change))
        with pytest.raises(igdm.IgdmError, match=message):
            igdm.convert.load_weights(other, path, **options)
        assert other.digest() == before
    path.write_bytes(safetensors.numpy.save(weights | {"ema": np.zeros(1)}))
    assert igdm.convert.load_weights(other, path, ignore=["ema"]) == []
    assert other.digest() == model.digest()


# -- names and shapes


def listed_models() -> list[tuple[str, dict[str, tuple[int, ...]]]]:
    models: list[tuple[str, dict[str, tuple[int, ...]]]] = []
    for line in KEYS.read_text().splitlines():
        if line.startswith("## "):
            models.append((line[3:], {}))
        elif not line.startswith("#") and line:
            name, shape = line.split(" ", 1)
            parts = ("weight", "bias", "running_mean", "running_var") if name.endswith(".*") else ("",)
            models[-1][1].update({name.removesuffix("*") + part: tuple(json.loads(shape)) for part in parts})
    return models


@pytest.mark.parametrize(
    ("title", "shapes"), listed_models(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_the_fields_files_are_recognised(title: str, shapes: dict[str, tuple[int, ...]]) -> None:
    """Names and shapes of 13 published definitions, found by the architecture that igdm has for them."""
    architecture, classes = next(
        LISTED[start] for start in sorted(LISTED, key=len, reverse=True) if title.startswith(start)
    )
    entries, _ = names.simplify({f"module.{name}": Entry(shape, "float32", list) for name, shape in shapes.items()})
    assert detection.guess(entries) == architecture
    table = detection.Table(architecture, detection.has_final_bn(architecture, entries))
    found = table.options_of(entries)
    assert (found["classes"], found["channels"]) == (classes, 3)
    expected = table.shapes(classes, 3, table.factor or found["width"])
    assert dict(expected) == {name: entry.shape for name, entry in entries.items()}


@pytest.mark.parametrize("size", [5, 14, 15, 37, 64])
@pytest.mark.parametrize("architecture", igdm.architectures())
def test_every_architecture_is_recognised_at_other_sizes(architecture: str, size: int) -> None:
    """Among them widths that MobileNetV2 rounds up; for wide networks the size is K."""
    wide = architecture.endswith("_D_K")
    name = architecture.replace("D_K", f"10_{size // 5}") if wide else architecture
    model = igdm.Model(name, classes=13, input_shape=(6, 64, 64), width=None if wide else size)
    more = {} if model.info.shortcut_input is None else {"shortcut_input": "raw"}
    found = assemble(Source("x", entries_of(weights_of(model))), Options(input_shape=(6, 64, 64), **more), [])
    assert found.parameters.shapes == model.parameters.shapes
    assert (found.info.architecture, found.info.width) == (name, model.info.width)


def test_preactivation_must_be_told() -> None:
    model = igdm.Model("preact_resnet18", width=8, final_bn=True, shortcut_input="raw")
    source = Source("x", entries_of(weights_of(model)))
    with pytest.raises(igdm.InvalidArgument, match='shortcut_input: got none, want "raw" or "activated"'):
        assemble(source, Options(), [])
    found = assemble(source, Options(shortcut_input="raw"), [])
    assert found.digest() == model.digest()
    with pytest.raises(igdm.FormatError, match=r"unexpected: bn\.weight"):
        assemble(source, Options(shortcut_input="raw", final_bn=False, architecture="preact_resnet18"), [])


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "0.", "module.0.", "module.model.", "1."])
def test_true_prefixes_go(prefix: str) -> None:
    model = make_model()
    weights = {prefix + name: values for name, values in weights_of(model).items()}
    weights |= {f"{prefix}bn1.num_batches_tracked": np.array(3), f"{prefix}sub_block1.layer.0.x": np.zeros(1)}
    assert assemble(Source("x", entries_of(weights)), Options(input_shape=SHAPE), []).digest() == model.digest()


def test_prefixes_that_not_all_have_stay() -> None:
    weights = weights_of(make_model())
    weights = {("module." if "bn" in name else "") + name: values for name, values in weights.items()}
    with pytest.raises(igdm.FormatError, match=r"missing: bn1\.weight.*unexpected: module\.bn1\.weight"):
        assemble(Source("x", entries_of(weights)), Options(input_shape=SHAPE, architecture="resnet8"), [])


@pytest.mark.parametrize(("mean", "std", "prefix"), [("mu", "sigma", ""), ("normalize.mean", "normalize.std", "model."),
                                                     ("0.mean", "0.std", "1."), ("mean", "std", "")])  # fmt: skip
def test_normalisation_in_buffers_is_found(mean: str, std: str, prefix: str) -> None:
    model = make_model()
    weights = {prefix + name: values for name, values in weights_of(model).items()}
    weights |= {mean: np.full((1, 1, 1, 1), 0.5, np.float32), std: np.full((1, 1, 1, 1), 0.25, np.float32)}
    source = Source("x", entries_of(weights))
    found = assemble(source, Options(input_shape=SHAPE), [])
    assert (found.info.mean, found.info.std) == ((0.5,), (0.25,))
    with pytest.raises(igdm.InvalidArgument, match="has its own"):
        assemble(source, Options(input_shape=SHAPE, mean=[0.1], std=[0.1]), [])


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ("missing", {}, r"resnet8, the nearest architecture; missing: bn1\.bias"),
        ("missing", {"architecture": "resnet8"}, r"not those of resnet8; missing: bn1\.bias"),
        ("headless", {"architecture": "resnet8"}, r"not those of resnet8; missing: linear\.weight"),
        ("extra", {}, r"resnet8, the nearest architecture; unexpected: extra\.weight"),
        ("extra", {"architecture": "resnet8"}, r"not those of resnet8; unexpected: extra\.weight"),
        ("misshapen", {}, r"misshapen: layer1\.0\.conv1\.weight \(4, 4, 5, 5\) instead of \(4, 4, 3, 3\)"),
        ("stem", {}, r"misshapen: its first or its last layer|missing|misshapen: "),
        ("", {"architecture": "resnet14"}, r"missing: layer1\.1\.conv1\.weight, .* and \d+ more"),
        ("", {"classes": 5}, r"misshapen: linear\.weight \(3, 16\) instead of \(5, 16\)"),
        ("", {"width": 8}, r"misshapen: conv1\.weight \(4, 1, 3, 3\) instead of \(8, 1, 3, 3\)"),
        ("", {"architecture": "resnet9"}, "resnet8, resnet14"),
        ("", {"input_shape": (3, 12, 12)}, r"misshapen: conv1\.weight"),
        ("", {"input_shape": None}, "input_shape: got none; the weights take 1 channels"),
        ("", {"input_shape": (12, 12)}, r"input_shape: got \(12, 12\)"),
        ("", {"shortcut_input": "raw"}, "has no such options"),
        ("none", {}, "it has no weights"),
        ("foreign", {}, "those of none of resnet8"),
    ],
)
def test_what_differs_is_said(change: str, options: dict[str, object], message: str) -> None:
    weights = weights_of(make_model())
    if change == "missing":
        del weights["bn1.bias"]
    elif change == "headless":
        del weights["linear.weight"]
    elif change == "extra":
        weights["extra.weight"] = np.zeros(3, np.float32)
    elif change == "misshapen":
        weights["layer1.0.conv1.weight"] = np.zeros((4, 4, 5, 5), np.float32)
    elif change == "stem":
        weights["conv1.weight"] = np.zeros(3, np.float32)
    elif change in ("none", "foreign"):
        weights = {} if change == "none" else {"encoder.weight": np.zeros(3, np.float32)}
    with pytest.raises(igdm.IgdmError, match=message):
        assemble(Source("x", entries_of(weights)), Options(**{"input_shape": SHAPE, **options}), [])


def test_names_can_be_ignored() -> None:
    model = make_model()
    weights = weights_of(model) | {"ema.decay": np.zeros(1), "scores": np.zeros(2)}
    options = Options(input_shape=SHAPE, ignore=["ema.", "scores"])
    assert assemble(Source("x", entries_of(weights)), options, []).digest() == model.digest()


def test_a_stem_of_a_huge_model_makes_no_huge_model() -> None:
    """The shapes are compared before a model is made: this one would have 300 milliards of parameters."""
    weights = weights_of(igdm.Model("resnet18", width=8))
    weights["conv1.weight"] = np.zeros((10000, 3, 3, 3), np.float32)
    with pytest.raises(igdm.FormatError, match=r"misshapen: bn1\.weight \(8,\) instead of \(10000,\)"):
        assemble(Source("x", entries_of(weights)), Options(), [])


def test_batch_norm_with_another_epsilon() -> None:
    model = make_model()
    images, _ = make_arrays(3)
    weights = weights_of(model)
    for name in weights:
        if name.endswith("running_var"):
            weights[name] = weights[name] - np.float32(1e-3 - 1e-5)  # what the source with epsilon 1e-3 would have
    notes: list[str] = []
    found = assemble(Source("x", entries_of(weights)), Options(input_shape=SHAPE, bn_epsilon=1e-3), notes)
    np.testing.assert_allclose(found.predict(images), model.predict(images), atol=1e-6)
    assert any("0.00099" in note for note in notes)


# -- wrappers


@pytest.mark.parametrize("wrapper", names.WRAPPERS)
def test_wrappers(wrapper: str) -> None:
    state = {"a": 1}
    assert names.unwrap({wrapper: state, "epoch": 3}, None) is state
    assert names.unwrap({"net": {wrapper: state}} if wrapper != "net" else {wrapper: state}, None) is state
    assert names.unwrap({"ema": {"weights": state}}, "ema/weights") is state


@pytest.mark.parametrize(
    ("content", "key", "message"),
    [
        ({"last": {}, "best": {}}, None, "under last and best; say which with key"),
        ({"weights": {}, "optimizer": {}}, None, "the keys weights, optimizer; say with key"),
        ({"last": {}}, "first", 'got "first", but "first" is not there; the file has the keys last'),
        ({"last": 3}, "last", "one object of type int"),
        ([1], None, "one object of type list"),
    ],
)
def test_wrappers_that_do_not_tell(content: object, key: str | None, message: str) -> None:
    with pytest.raises(igdm.FormatError, match=message):
        names.unwrap(content, key)


# -- RobustBench


def test_the_robustbench_table() -> None:
    patterns = igdm.architectures()
    models = igdm.convert.known_models()
    assert len({(one.id, one.dataset, one.threat_model) for one in models}) == len(models) > 100
    for known in models:
        assert known.architecture in patterns or re.sub(r"wrn_\d+_\d+", "wrn_D_K", known.architecture) in patterns
        assert (known.shortcut_input is not None) == (known.architecture == "preact_resnet18")
        assert (known.mean is None) == (known.std is None)
        if known.architecture.startswith("dm_"):
            assert known.mean == {10: (0.4914, 0.4822, 0.4465), 100: (0.5071, 0.4865, 0.4409)}[known.classes]
            assert known.std == {10: (0.2471, 0.2435, 0.2616), 100: (0.2673, 0.2564, 0.2762)}[known.classes]


@pytest.mark.parametrize(
    ("id_", "dataset", "architecture", "normalised"),
    [
        ("Chen2021LTD_WRN34_10", "cifar10", "wrn_34_10", False),
        ("Chen2021LTD_WRN34_10", "cifar100", "wrn_34_10", False),
        ("Chen2021LTD_WRN34_20", None, "wrn_34_20", False),
        ("Wang2023Better_WRN-28-10", "cifar100", "dm_wrn_28_10", True),
        ("Cui2023Decoupled_WRN-28-10", "cifar10", "dm_wrn_28_10", True),
        ("Cui2023Decoupled_WRN-34-10", "cifar100", "wrn_34_10", False),
        ("Addepalli2022Efficient_RN18", "cifar10", "resnet18", False),
        ("Rade2021Helper_R18_extra", None, "dm_preact_resnet18", True),
        ("Rebuffi2021Fixing_R18_ddpm", "cifar10", "dm_preact_resnet18", True),
        ("Gowal2021Improving_R18_ddpm_100m", None, "dm_preact_resnet18", True),
        ("Rice2020Overfitting", "cifar100", "preact_resnet18", True),
        ("Wong2020Fast", "cifar10", "preact_resnet18", True),
        ("Andriushchenko2020Understanding", None, "preact_resnet18", False),
        ("Zhang2019Theoretically", None, "wrn_34_10", False),
        ("Carmon2019Unlabeled", None, "wrn_28_10", False),
        ("Bartoldson2024Adversarial_WRN-94-16", None, "dm_wrn_94_16", True),
    ],
)
def test_robustbench_ids(id_: str, dataset: str | None, architecture: str, normalised: bool) -> None:
    known = igdm.convert.robustbench.lookup(id_, dataset)
    assert (known.architecture, known.mean is not None) == (architecture, normalised)
    assert known.classes == (100 if dataset == "cifar100" else 10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"robustbench": "Nobody2099"}, r'robustbench: got "Nobody2099", want one of .*Wang2023Better_WRN-28-10'),
        ({"robustbench": "Wang2023Better_WRN-28-10"}, "dataset: got none; .* cifar10 Linf, .*cifar100"),
        ({"robustbench": "Chen2021LTD_WRN34_20", "dataset": "cifar100"}, "is there for cifar10 Linf only"),
        ({"robustbench": "Rice2020Overfitting", "dataset": "cifar10"}, "threat_model: got none"),
        ({"robustbench": "Wang2023Better_WRN-28-10", "dataset": "mnist"}, 'dataset: got "mnist", want one of cifar10'),
        ({"robustbench": "Wang2023Better_WRN-28-10", "classes": 10}, "classes: got 10 beside a RobustBench id"),
        ({"threat_model": "L2"}, "without a RobustBench id"),
    ],
)
def test_robustbench_errors(options: dict[str, object], message: str) -> None:
    with pytest.raises(igdm.InvalidArgument, match=message):
        Options(**options).with_known()  # type: ignore[arg-type]


def test_a_robustbench_file(tmp_path: Path) -> None:
    """A file such as that of Wang et al., with the names of its definition in a smaller network."""
    known = igdm.convert.robustbench.lookup("Rade2021Helper_R18_ddpm", "cifar100")
    weights = weights_of(igdm.Model(known.architecture, classes=100, seed=3))
    (tmp_path / "a.safetensors").write_bytes(safetensors.numpy.save({f"module.{k}": v for k, v in weights.items()}))
    igdm.convert.convert(
        tmp_path / "a.safetensors", tmp_path / "a.h5", robustbench="Rade2021Helper_R18_ddpm", dataset="cifar100"
    )
    model = igdm.Model.load(tmp_path / "a.h5")
    assert model.info.mean == pytest.approx((0.5071, 0.4865, 0.4409))
    assert (model.info.architecture, model.info.classes) == ("dm_preact_resnet18", 100)
    assert (model.metadata["source"], model.metadata["dataset"]) == ("Rade2021Helper_R18_ddpm", "cifar100")


# -- golden blocks


def test_logits_of_the_source_become_the_golden_block(tmp_path: Path) -> None:
    model = make_model()
    (tmp_path / "a.safetensors").write_bytes(safetensors.numpy.save(weights_of(model)))
    images, _ = make_arrays(5)
    done = igdm.convert.convert(
        tmp_path / "a.safetensors",
        tmp_path / "a.h5",
        input_shape=SHAPE,
        reference=model.predict,
        reference_inputs=images,
    )
    assert done.worst_difference == 0
    golden = igdm.Model.load(tmp_path / "a.h5", verify=True).golden
    assert golden is not None
    np.testing.assert_array_equal(golden.inputs, images)
    with pytest.raises(igdm.MismatchError):
        igdm.convert.convert(
            tmp_path / "a.safetensors", tmp_path / "b.h5", input_shape=SHAPE, reference=lambda x: model.predict(x) + 1
        )
    assert not (tmp_path / "b.h5").exists()


# -- files and the command

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object) -> tuple[int, str, str]:
        try:
            status = command_line.main(["convert", *map(str, arguments)])
        except SystemExit as end:
            status = int(end.code or 0)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def test_the_command_says_what_it_did(run: Run, tmp_path: Path) -> None:
    model = make_model()
    path = tmp_path / "a.safetensors"
    path.write_bytes(safetensors.numpy.save(weights_of(model)))
    status, out, err = run(path, tmp_path / "a.h5", "--input-shape", "1,12,12", "--mean", 0.5, "--std", 0.25)
    assert (status, err) == (0, "")
    for said in ("resnet8, 3 classes, input 1x12x12", f"{model.info.parameter_count:,}", "mean 0.5; std 0.25", "a.h5"):
        assert said in out
    assert re.search(r"sha256: +[0-9a-f]{64}\n", out)
    status, out, _ = run(tmp_path / "a.h5", tmp_path / "b.safetensors", "--json")
    assert status == 0
    assert json.loads(out)["destination_format"] == "safetensors"
    assert igdm.convert.load(tmp_path / "b.safetensors").digest() == igdm.Model.load(tmp_path / "a.h5").digest()
    assert {path.name for path in tmp_path.iterdir()} == {"a.h5", "a.safetensors", "b.safetensors"}


def test_every_option_has_an_argument() -> None:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    given = parser.parse_args(["a", "b"])
    assert {one.name for one in fields(Options)} <= set(vars(given))


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["{nothing}", "{out}.h5"], 1, "no file"),
        (["{folder}", "{out}.h5"], 1, "is a folder"),
        (["{empty}", "{out}.h5"], 1, "is empty, or no file of PyTorch"),
        (["{text}", "{out}.h5"], 1, "no file of PyTorch"),
        (["{checkpoint}", "{out}.h5"], 2, "is an igdm checkpoint already"),
        (["{checkpoint}", "{checkpoint}"], 2, "is the source itself"),
        (["{checkpoint}", "{out}.tflite"], 2, "want a name that ends in .pt"),
        (["{checkpoint}", "{folder}/no/b.safetensors"], 1, "nothing can be written"),
        (["{checkpoint}", "{folder}", "--to", "safetensors"], 1, "is a folder"),
        (["{checkpoint}", "{out}.safetensors", "--arch", "resnet8"], 2, "which says itself what it is"),
        (["{checkpoint}", "{out}.weights.h5"], 2, "template: got none"),
        (["{checkpoint}", "{out}.safetensors", "--template", "x"], 2, "templates are for"),
        (["{checkpoint}"], 2, "destination: got none"),
        (["{keras}", "{out}.h5"], 1, "is a Keras archive; unzip it"),
        (["{safetensors}", "{out}.h5", "--key", "best"], 2, "is no PyTorch file"),
        (["{safetensors}", "{out}.h5"], 2, "input_shape: got none"),
        (["{safetensors}", "{out}.h5", "--input-shape", "1,x"], 2, "--input-shape"),
        (["{safetensors}", "{out}.h5", "--draft-map", "{out}.json"], 2, "architecture: got none"),
    ],
)
def test_errors_are_one_line(
    run: Run, tmp_path: Path, arguments: list[str], status: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_model().save(tmp_path / "checkpoint.h5")
    (tmp_path / "a.safetensors").write_bytes(safetensors.numpy.save(weights_of(make_model())))
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("weights")
    with zipfile.ZipFile(tmp_path / "a.keras", "w") as archive:
        archive.writestr("model.weights.h5", b"")
    monkeypatch.setattr(igdm.convert.pytorch, "_torch", lambda: None)
    paths = {
        "nothing": tmp_path / "nothing.pt", "folder": tmp_path, "empty": tmp_path / "empty", "text": tmp_path / "text",
        "checkpoint": tmp_path / "checkpoint.h5", "safetensors": tmp_path / "a.safetensors", "out": tmp_path / "out",
        "keras": tmp_path / "a.keras",
    }  # fmt: skip
    before = sorted(tmp_path.iterdir())
    got, out, err = run(*(one.format(**paths) for one in arguments))
    assert (got, out) == (status, "")
    assert message in err
    assert len(err.splitlines()) == 1
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("module", ["torch", "safetensors", "h5py"])
def test_a_library_that_is_missing_is_named(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    path = tmp_path / "a"
    path.write_bytes({"torch": b"\x80\x02", "safetensors": b"12345678{", "h5py": b"\x89HDF\r\n\x1a\n"}[module])
    if module == "h5py":  # which checkpoints do not need
        make_model().save(path)
        assert igdm.convert.load(path).digest() == make_model().digest()
        with pytest.raises(igdm.LibraryError, match="pip install h5py"):
            igdm.convert.load(path, weight_map={})
    else:
        with pytest.raises(ImportError, match=f"{module}: needed for this file .* pip install {module}"):
            igdm.convert.load(path)


def test_classes_are_those_of_the_last_layer() -> None:
    assert (
        assemble(Source("x", entries_of(weights_of(make_model()))), Options(input_shape=SHAPE), []).info.classes
        == CLASSES
    )
