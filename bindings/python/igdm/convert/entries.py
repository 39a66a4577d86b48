"""What a source file holds: arrays by name, not read yet, and the rule by which they become float32."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._arrays import Floats
from ..errors import FormatError, NotFiniteError

CONVERTED = {"float64", "float16", "bfloat16"}
"""Types that become float32, which the summary says. Every other type but float32 is refused."""
_LONGEST = 120


@dataclass(frozen=True)
class Entry:
    """One array of a source."""

    shape: tuple[int, ...]
    dtype: str
    """The type in the file, as numpy or PyTorch name it, without its byte order."""
    read: Callable[[], NDArray[Any]]
    """Its values, in either byte order; those of bfloat16 as float32, which loses nothing."""


@dataclass(frozen=True)
class Source:
    """The arrays of a file under the names that a state dict has, and what else the file says about the model."""

    format: str
    entries: Mapping[str, Entry]
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of igdm.Model that the file itself gives."""
    loose_axes: bool = False
    """Whether axes of length 1, which hold no order, may be missing or there in addition: a MATLAB bias is (1, n)."""


def single_precision(name: str, entry: Entry, allow_not_finite: bool = False) -> Floats:
    """The array as float32, C-contiguous, each value rounded to the nearest.

    Raises FormatError for types that are not converted and, unless they are allowed, for float64 values that float32
    does not reach, which become infinities, and NotFiniteError for NaN and infinities.
    """
    if entry.dtype != "float32" and entry.dtype not in CONVERTED:
        raise FormatError(f"{name}: got {entry.dtype}, want float32, float64, float16 or bfloat16")
    values = entry.read()
    if values.shape != entry.shape:
        raise FormatError(f"{name}: the file announces shape {entry.shape} and holds {values.shape}")
    with np.errstate(over="ignore"):
        result = np.ascontiguousarray(values, dtype=np.float32)
    finite = np.isfinite(result)
    if not allow_not_finite and not finite.all():
        first = tuple(int(axis) for axis in np.argwhere(~finite)[0])
        value = values[first]
        if np.isfinite(value):
            raise FormatError(f"{name}: got {value:g} at {first}, want values within float32's range, up to 3.4e38")
        raise NotFiniteError(f"{name}: got {value} at {first}, want finite values")
    return result.reshape(entry.shape)  # ascontiguousarray gives a scalar one axis


def widened(raw: NDArray[np.uint16]) -> Floats:
    """bfloat16 bit patterns, native byte order, as float32: bfloat16 is its upper half."""
    return (raw.astype(np.uint32) << 16).view(np.float32)


def joined(names: Iterable[str], most: int = 5) -> str:
    """Some names for a message: the first few, none of them long, and how many more there are."""
    listed = [name if len(name) <= _LONGEST else f"{name[:_LONGEST]}..." for name in names]
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")
