"""From the names of a file to those of an architecture: wrappers, prefixes, what is ignored, the strict comparison."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import FormatError
from .entries import Entry, joined

# Under which keys training scripts put the state dict.
WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "last", "best")
# What DataParallel, attribute wrappers and nn.Sequential put before every name. "1." is the network behind a
# normalising layer "0.".
PREFIXES = ("module.", "model.", "0.", "1.")
# Buffers in which a file has its own normalisation.
NORMALISATIONS = (("mu", "sigma"), ("mean", "std"), ("normalize.mean", "normalize.std"), ("0.mean", "0.std"))


def unwrap(content: Any, key: str | None) -> Mapping[str, Any]:
    """The state dict in what a file holds: the mapping under `key`, else under the only wrapper there is."""
    if key is not None:
        for part in key.split("/"):
            if not isinstance(content, Mapping) or part not in content:
                raise FormatError(f'key: got "{key}", but "{part}" is not there; the file has {_described(content)}')
            content = content[part]
        if not isinstance(content, Mapping):
            raise FormatError(f'key: "{key}" is {_described(content)}, want a dictionary of tensors')
        return content
    while isinstance(content, Mapping):
        found = [name for name in WRAPPERS if isinstance(content.get(name), Mapping)]
        if not found:
            if any(isinstance(value, Mapping) for value in content.values()):
                raise FormatError(f"the file has {_described(content)}; say with key which of them has the weights")
            return content
        if len(found) > 1:
            raise FormatError(f"the file has weights under {' and '.join(found)}; say which with key")
        content = content[found[0]]
    raise FormatError(f"the file holds {_described(content)}, want a dictionary of tensors")


def _described(content: Any) -> str:
    if isinstance(content, Mapping):
        return "the keys " + joined([str(name) for name in content], 10) if content else "no keys"
    return f"one object of type {type(content).__name__}"


def simplify(entries: Mapping[str, Entry]) -> tuple[dict[str, Entry], tuple[Entry, Entry] | None]:
    """The entries without prefixes that all share and without what no computation uses; and mean and std, where they
    are buffers beside the weights."""
    kept = {name: entry for name, entry in entries.items() if not name.endswith("num_batches_tracked")}
    normalisation = None
    changed = True
    while changed and kept:
        changed = False
        for mean, std in NORMALISATIONS:
            if normalisation is None and mean in kept and std in kept:
                normalisation = kept.pop(mean), kept.pop(std)
                changed = True
        for prefix in PREFIXES:
            if kept and all(name.startswith(prefix) and len(name) > len(prefix) for name in kept):
                kept = {name[len(prefix) :]: entry for name, entry in kept.items()}
                changed = True
    # Some WideResNets own a group that their forward pass leaves out (TRADES and its descendants).
    return {name: entry for name, entry in kept.items() if not name.startswith("sub_block1.")}, normalisation


def compare(entries: Mapping[str, Entry], wanted: Mapping[str, tuple[int, ...]], of: str, shapes: bool = True) -> None:
    """Raises FormatError that lists what is missing, unexpected and, where shapes count, misshapen."""
    problems = []
    if missing := [name for name in wanted if name not in entries]:
        problems.append(f"missing: {joined(missing)}")
    if unexpected := [name for name in entries if name not in wanted]:
        problems.append(f"unexpected: {joined(unexpected)}")
    misshapen = [
        f"{name} {entries[name].shape} instead of {shape}"
        for name, shape in wanted.items()
        if shapes and name in entries and entries[name].shape != shape
    ]
    if misshapen:
        problems.append(f"misshapen: {joined(misshapen)}")
    if problems:
        raise FormatError(f"the weights are not those of {of}; {'; '.join(problems)}")
