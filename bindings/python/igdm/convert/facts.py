"""What a model is, beside its weights, as JSON: for formats that have room for a text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import FormatError
from ..models import Model
from .detection import split_name

_KINDS: dict[str, type | tuple[type, ...]] = {
    "architecture": str, "classes": int, "input_shape": list, "width": int, "mean": (list, type(None)),
    "std": (list, type(None)), "shortcut_input": (str, type(None)), "final_bn": bool,
}  # fmt: skip


def facts_of(model: Model) -> dict[str, Any]:
    """The arguments that make such a model."""
    info = model.info
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
        good = isinstance(facts, dict) and all(isinstance(facts[name], _KINDS[name]) for name in facts)
    except (ValueError, KeyError, RecursionError):
        good = False
    if not good:
        raise FormatError(f"source: {path} describes its model in a way that this version does not know: {text[:100]}")
    return {name: value for name, value in facts.items() if value is not None}
