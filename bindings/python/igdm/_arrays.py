"""Checks on numpy arguments. Nothing large is ever converted or copied behind the caller's back."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import InvalidArgument, ShapeError

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]


def pixels(name: str, value: ArrayLike, allow_bytes: bool = False) -> NDArray[Any]:
    """`value` as an array without copying it: float32 (or uint8 where allowed), C-contiguous and aligned."""
    array = np.asarray(value)
    if array.dtype != np.float32 and not (allow_bytes and array.dtype == np.uint8):
        wanted = "float32 in [0,1] or uint8" if allow_bytes else "float32"
        raise TypeError(f"{name}: got dtype {array.dtype}, want {wanted}; convert it with .astype(np.float32)")
    if not (array.flags.c_contiguous and array.flags.aligned):
        raise InvalidArgument(
            f"{name}: got an array with strides {array.strides}, want a C-contiguous one; "
            "make a copy with np.ascontiguousarray()"
        )
    return array


def images(name: str, value: ArrayLike, shape: tuple[int, int, int]) -> Floats:
    """A batch of images (N, C, H, W) for a model that takes `shape`."""
    array = pixels(name, value)
    if array.ndim != 4 or array.shape[1:] != shape:
        hint = "; add the batch axis with images[None]" if array.shape == shape else ""
        wanted = ", ".join(map(str, shape))
        raise ShapeError(f"{name}: got shape {array.shape}, want (N, {wanted}){hint}")
    return array


def floats(name: str, value: ArrayLike, shape: tuple[int, ...]) -> Floats:
    """A float32 array of exactly that shape."""
    array = pixels(name, value)
    if array.shape != shape:
        raise ShapeError(f"{name}: got shape {array.shape}, want {shape}")
    return array


def labels(name: str, value: ArrayLike, count: int) -> Labels:
    """Labels (N) as int64; any integer type is taken, since labels are few and the conversion loses nothing."""
    array = np.asarray(value)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name}: got dtype {array.dtype}, want integers; convert them with .astype(np.int64)")
    if array.shape != (count,):
        raise ShapeError(f"{name}: got shape {array.shape}, want ({count},), one for each image")
    return np.ascontiguousarray(array, dtype=np.int64)


def is_soft(value: ArrayLike) -> bool:
    """Whether labels are probabilities of classes, (N, classes)."""
    array = np.asarray(value)
    return array.ndim == 2 and array.dtype.kind == "f"


def soft_labels(name: str, value: ArrayLike, count: int, classes: int) -> Floats:
    """Probabilities (N, classes) as float32."""
    array = np.asarray(value)
    if array.dtype.kind != "f":
        raise TypeError(f"{name}: got dtype {array.dtype}, want floating-point probabilities")
    if array.shape != (count, classes):
        raise ShapeError(f"{name}: got shape {array.shape}, want ({count}, {classes}), probabilities of the classes")
    with np.errstate(over="ignore"):  # infinity is refused as such
        rows = np.ascontiguousarray(array, dtype=np.float32)
    return rows


def pointer(array: NDArray[Any]) -> Any:
    """The array's memory as a typed C pointer; keep the array alive while it is used."""
    return array.ctypes.data_as(ctypes.POINTER(np.ctypeslib.as_ctypes_type(array.dtype)))
