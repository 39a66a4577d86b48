"""Weight maps (docs/weight-map.md): where another program's HDF5 file has the weights of a model."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import FormatError, NotFoundError

_MOST_BYTES = 4 << 20
_MOST_DEPTH = 64


@dataclass(frozen=True)
class Place:
    """A dataset, and its axes in the order that we want them."""

    path: str
    transpose: tuple[int, ...] | None = None


WeightMap = Mapping[str, Place]
Given = Mapping[str, Any] | str | os.PathLike[str]
"""A map as users give it: the JSON object, or the file that has it."""


def weight_map(given: Given) -> dict[str, Place]:
    """Checks a map. Raises FormatError that names the entry."""
    content = given if isinstance(given, Mapping) else _read(Path(given))
    return {name: _place(name, value) for name, value in content.items()}


def _read(path: Path) -> Mapping[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a name is there twice")
        return found

    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES + 1)
        if len(text) > _MOST_BYTES:
            raise ValueError("it is larger than 4 MiB")
        content = json.loads(text.decode("utf-8"), object_pairs_hook=unique)
    except FileNotFoundError:
        raise NotFoundError(f"map: no file {path}") from None
    except (ValueError, OSError, RecursionError) as error:
        raise FormatError(f"map: {path} is no JSON object of weights: {error}") from None
    if not isinstance(content, dict):
        raise FormatError(f"map: {path} has a JSON {type(content).__name__}, want an object")
    return content


def _place(name: str, value: Any) -> Place:
    if isinstance(value, str):
        value = {"path": value}
    if not isinstance(value, Mapping) or not isinstance(value.get("path"), str) or set(value) - {"path", "transpose"}:
        raise FormatError(
            f'map: {name} is {json.dumps(value)[:100]}, want a path or {{"path": ..., "transpose": [...]}}'
        )
    parts = value["path"].removeprefix("/").split("/")
    if any(part in ("", ".", "..") or "\0" in part for part in parts) or len(parts) > _MOST_DEPTH:
        raise FormatError(
            f"map: {name} has the path {json.dumps(value['path'])[:100]}, want at most {_MOST_DEPTH} names with single "
            "slashes between"
        )
    axes = value.get("transpose")
    if axes is None:
        return Place("/".join(parts))
    plain = isinstance(axes, (list, tuple)) and all(type(axis) is int for axis in axes)
    if not plain or sorted(axes) != list(range(len(axes))):
        raise FormatError(f"map: {name} has transpose {axes}, want each axis from 0 once, such as [3, 2, 0, 1]")
    return Place("/".join(parts), tuple(axes))


def to_json(places: WeightMap) -> dict[str, Any]:
    """The map as its file has it."""
    return {
        name: place.path if place.transpose is None else {"path": place.path, "transpose": list(place.transpose)}
        for name, place in places.items()
    }
