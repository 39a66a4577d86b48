"""What a model carries besides what it computes: where it comes from, and what its source computes."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass

from . import _structures as structures
from ._arrays import Floats
from ._library import Handle, call


@dataclass(frozen=True)
class Golden:
    """Images with the logits that the source of a model's weights computes for them."""

    inputs: Floats
    """(N, C, H, W) in [0,1]."""
    logits: Floats
    """(N, classes)."""
    source: str
    """What computed them."""


@dataclass(frozen=True)
class Verification:
    """How far a model's logits are from its golden block's."""

    worst_difference: float
    """The largest, relative to the largest magnitude among the golden logits."""
    worst_sample: int
    """The sample that has it."""


class Metadata(MutableMapping[str, str]):
    """The metadata of a model: texts by key. Keys with a meaning of their own: ``source`` (an id, a file name, an
    address), ``source_sha256`` (of that file) and ``dataset`` (what the model was trained on)."""

    def __init__(self, model: Handle) -> None:
        self._model = model

    def __getitem__(self, key: str) -> str:
        value = ctypes.c_char_p()
        call("igdm_model_get_metadata", self._model._handle, structures.text("key", key), value)
        return (value.value or b"").decode()

    def __setitem__(self, key: str, value: str) -> None:
        call(
            "igdm_model_set_metadata",
            self._model._handle,
            structures.text("key", key),
            structures.text("value", value),
        )

    def __delitem__(self, key: str) -> None:
        self[key]  # which says so where there is none
        call("igdm_model_set_metadata", self._model._handle, structures.text("key", key), None)

    def __iter__(self) -> Iterator[str]:
        key = ctypes.c_char_p()
        keys = []
        for index in range(len(self)):
            call("igdm_model_metadata_entry", self._model._handle, index, key, None)
            keys.append((key.value or b"").decode())
        return iter(keys)

    def __len__(self) -> int:
        count = ctypes.c_size_t()
        call("igdm_model_metadata_count", self._model._handle, count)
        return count.value

    def __repr__(self) -> str:
        return f"<igdm.Metadata {dict(self)!r}>"
