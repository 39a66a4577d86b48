"""Models for ONNX runtimes: the layer graph as an ONNX graph, with the normalisation inside."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InternalError, InvalidArgument
from ..models import Model, require_model
from . import files
from .facts import facts_of
from .onnx_graph import INPUT, OUTPUT, Builder, Tensor
from .onnx_layers import LAYERS

OPSET = 17
"""The first with LayerNormalization; runtimes since 2022 know it."""
LARGEST = 2_000_000_000
"""Bytes of weights. A file of Protocol Buffers ends at 2^31 bytes, and the graph needs some of them."""


def export_onnx(model: Model, destination: str | os.PathLike[str]) -> None:
    """Writes a model for ONNX runtimes (docs/onnx.md): "images" (batch, C, H, W) in [0,1] to "logits" (batch, classes).

    destination  the file. It is replaced as a whole or, on an error, left as it was

    Raises InvalidArgument where the weights are too large for a file of ONNX, LibraryError without the package onnx.
    """
    write(require_model("model", model), Path(destination))


def write(model: Model, path: Path) -> None:
    """As export_onnx."""
    content = model_proto(model).SerializeToString(deterministic=True)
    with files.replacing(path) as temporary:
        temporary.write_bytes(content)


def model_proto(model: Model) -> Any:
    """The model as an onnx.ModelProto."""
    size = sum(4 * int(np.prod(shape)) for shape in model.parameters.shapes.values())
    if size > LARGEST:
        raise InvalidArgument(
            f"model: got {size} bytes of weights, want at most {LARGEST}, as one file of ONNX has room for"
        )
    helper = files.required("onnx").helper
    builder, shape = Builder(model.parameters), model.info.input_shape
    _add_layers(builder, model)
    float32 = files.required("onnx").TensorProto.FLOAT
    graph = helper.make_graph(
        builder.nodes,
        model.info.architecture,
        [helper.make_tensor_value_info(INPUT, float32, ["batch", *shape])],
        [helper.make_tensor_value_info(OUTPUT, float32, ["batch", model.info.classes])],
        builder.initializers,
    )
    opsets = [helper.make_opsetid("", OPSET)]
    from .. import __version__

    proto = helper.make_model(
        graph, opset_imports=opsets, ir_version=helper.find_min_ir_version_for(opsets), producer_name="igdm",
        producer_version=__version__, doc_string=f"{model.info.architecture}: images in [0,1] to logits",
    )  # fmt: skip
    helper.set_model_props(proto, _properties(model))
    return proto


def _add_layers(builder: Builder, model: Model) -> None:
    description = model.graph
    tensors = {"input": Tensor(model.info.input_shape, {"image": _normalised(builder, model)})}
    for layer in description["layers"]:
        name, kind = layer.pop("name"), layer.pop("type")
        if kind not in LAYERS:
            raise InternalError(f'layer "{name}": {kind} has no translation to ONNX')
        inputs = [tensors[one] for one in layer.pop("inputs")]
        tensors[name] = LAYERS[kind](builder, name, *inputs, **layer)
    builder.finish(tensors[description["output"]])


def _normalised(builder: Builder, model: Model) -> str:
    if model.info.mean is None or model.info.std is None:
        return INPUT
    mean, std = (
        builder.constant(f"{INPUT}/{name}", np.reshape(values, (1, -1, 1, 1)))
        for name, values in (("mean", model.info.mean), ("std", model.info.std))
    )
    centred = builder.node(f"{INPUT}/centred", "Sub", [INPUT, mean])
    return str(builder.node(f"{INPUT}/normalised", "Div", [centred, std]))


def _properties(model: Model) -> dict[str, str]:
    """What the model says of itself, and under igdm/ what it is. The first have no slash in their keys."""
    facts = {name: value for name, value in facts_of(model).items() if value is not None} | {"digest": model.digest()}
    ours = {f"igdm/{name}": value if isinstance(value, str) else json.dumps(value) for name, value in facts.items()}
    return dict(model.metadata) | ours
