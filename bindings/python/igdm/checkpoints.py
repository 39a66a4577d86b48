"""What a checkpoint file says of its model, without the time and the memory for its weights."""

from __future__ import annotations

import ctypes
import json
from dataclasses import dataclass
from typing import Any

from . import _structures as structures
from ._library import Handle, call, file_path
from .models import ModelInfo, Parameter, Path_, read_info, read_parameter_table


@dataclass(frozen=True)
class Description:
    """What describe() finds in a checkpoint."""

    format_version: int
    bytes: int
    """Length of the file."""
    model: ModelInfo
    parameters: dict[str, Parameter]
    """By name, in state_dict order."""
    metadata: dict[str, str]
    """``source``, ``source_sha256`` and ``dataset`` say where the weights come from."""
    graph: dict[str, Any]
    """The layer graph, as Model.graph of the loaded model has it."""
    golden_count: int
    """Samples of the golden block; 0 where there is none."""
    golden_source: str
    """What computed its logits; "" where that is not known."""


def describe(path: Path_) -> Description:
    """Reads what a checkpoint says of its model. The weights are all there, with the right names, shapes and type, or
    this raises what Model.load() would; their values are not looked at."""
    opened = structures.Checkpoint()
    call("igdm_checkpoint_open", file_path("path", path), opened)
    with Handle(opened, "igdm_checkpoint_release") as handle:
        info = structures.CheckpointInfo(struct_size=ctypes.sizeof(structures.CheckpointInfo))
        call("igdm_checkpoint_get_info", handle._handle, info)
        return Description(
            format_version=info.format_version,
            bytes=info.file_bytes,
            model=read_info("checkpoint", handle._handle, info),
            parameters=read_parameter_table("checkpoint", handle._handle, info.array_count),
            metadata=_metadata(handle._handle, info.metadata_count),
            graph=_graph(handle._handle),
            golden_count=info.golden_count,
            golden_source=info.golden_source.decode(),
        )


def _graph(handle: object) -> dict[str, Any]:
    text = ctypes.c_char_p()
    call("igdm_checkpoint_get_graph", handle, text)
    found: dict[str, Any] = json.loads(text.value or b"")
    return found


def _metadata(handle: object, count: int) -> dict[str, str]:
    key, value = ctypes.c_char_p(), ctypes.c_char_p()
    entries = {}
    for index in range(count):
        call("igdm_checkpoint_metadata_entry", handle, index, key, value)
        entries[(key.value or b"").decode()] = (value.value or b"").decode()
    return entries
