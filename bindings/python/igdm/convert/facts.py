"""What a model is, beside its weights, as JSON: for formats that have room for a text."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import FormatError
from ..models import Model
from .detection import split_name

_Test = Callable[[Any], bool]


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 < value < 1 << 31


def _is_numbers(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(type(one) in (int, float) for one in value))


_KINDS: dict[str, _Test] = {
    "architecture": lambda value: isinstance(value, str),
    "classes": _is_count,
    "input_shape": lambda value: isinstance(value, list) and len(value) == 3 and all(map(_is_count, value)),
    "width": _is_count,
    "mean": _is_numbers,
    "std": _is_numbers,
    "shortcut_input": lambda value: value in (None, "raw", "activated"),
    "final_bn": lambda value: isinstance(value, bool),
}
_GRAPH = "graph"


def facts_of(model: Model) -> dict[str, Any]:
    """The arguments that make such a model, or its layer graph where it is not of an architecture."""
    info = model.info
    if info.architecture == _GRAPH:
        return {_GRAPH: model.graph}
    facts: dict[str, Any] = {name: getattr(info, name) for name in _KINDS}
    if info.shortcut_input is None:
        del facts["final_bn"]
    if split_name(info.architecture)[1] is not None:
        del facts["width"]  # it is in the name
    return facts


def read_facts(text: str, path: Path) -> dict[str, Any]:
    """The arguments that facts_of gave."""
    try:
        facts = json.loads(text)
        if isinstance(facts, dict) and set(facts) == {_GRAPH} and isinstance(facts[_GRAPH], dict):
            return facts
        good = isinstance(facts, dict) and all(_KINDS[name](facts[name]) for name in facts)
    except (ValueError, KeyError, RecursionError):
        good = False
    if not good:
        raise FormatError(f"source: {path} describes its model in a way that this version does not know: {text[:100]}")
    return {name: value for name, value in facts.items() if value is not None}
