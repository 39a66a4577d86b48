"""Files of the safetensors library. Those written here say in their metadata what the model is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FormatError
from ..models import Model
from . import files
from .entries import Entry, Source, widened
from .facts import facts_of, read_facts

_KEY = "igdm"
_NAMES = {"F32": "float32", "F64": "float64", "F16": "float16", "BF16": "bfloat16"}
_STORED = {"F32": "<f4", "F64": "<f8", "F16": "<f2", "BF16": "<u2"}


@contextmanager
def reading(path: Path) -> Iterator[Source]:
    """The tensors of a file and, where igdm wrote it, what the model is."""
    library = files.required("safetensors")
    try:
        with library.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
        tensors = library.deserialize(path.read_bytes())
    except library.SafetensorError as error:
        raise FormatError(f"source: {path} is damaged or no safetensors file: {error}") from None
    entries = {name: _entry(tensor) for name, tensor in tensors}
    yield Source("safetensors", entries, read_facts(metadata[_KEY], path) if _KEY in metadata else {})


def _entry(tensor: dict[str, Any]) -> Entry:
    kind, shape = tensor["dtype"], tuple(tensor["shape"])

    def read() -> NDArray[Any]:
        values = np.frombuffer(tensor["data"], _STORED[kind]).reshape(shape)
        return widened(values.astype(np.uint16)) if kind == "BF16" else values

    return Entry(shape, _NAMES.get(kind, kind), read)


def write(model: Model, path: Path) -> None:
    """The weights, with ``{"igdm": ...}`` in the metadata as JSON."""
    library = files.required("safetensors.numpy")
    # Other readers of PyTorch's names look for "format".
    metadata = {"format": "pt", _KEY: json.dumps(facts_of(model))}
    with files.replacing(path) as temporary:
        temporary.write_bytes(library.save(dict(model.parameters), metadata))
