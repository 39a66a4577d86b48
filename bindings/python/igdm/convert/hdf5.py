"""HDF5 files of other programs, read with h5py: as they are, or through a weight map.

Only what lies in the file itself is read. Links are followed neither out of the file nor within it, and what a dataset
claims must be there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..errors import FormatError, IgdmError, NotFoundError
from . import files
from .entries import Entry, Source, joined
from .weight_map import Place, WeightMap

# deflate, the best packer that every HDF5 has, gains a factor of 1032 at most.
_MOST_GAIN = 1100
# What may be unpacked, each filter once: gzip twice makes a gigabyte out of a kilobyte, and others are plug-ins, which
# are not loaded for a file.
_FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32"}
_MOST_CHUNK = 1 << 24


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The file as h5py has it. Errors of h5py become ours."""
    h5py = files.required("h5py")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except IgdmError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError) as error:  # what h5py makes of HDF5's errors
        raise FormatError(f"source: {path} is damaged or no HDF5 file: {_first_line(error)}") from None


@contextmanager
def undamaged(path: Path) -> Iterator[None]:
    """For looking around in a file: names and types that h5py cannot make Python's of are damage, too."""
    try:
        yield
    except (TypeError, AttributeError) as error:
        raise FormatError(f"source: {path} is damaged: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def child(group: Any, name: str) -> Any:
    """A member of a group, or None where there is none of that name. Links other than hard ones are errors."""
    h5py = files.required("h5py")
    link = group.get(name, getlink=True)
    if link is None:
        return None
    if not isinstance(link, h5py.HardLink):
        raise FormatError(
            f"{group.name.rstrip('/')}/{name}: got a soft or external link, want a dataset of the file itself"
        )
    return group[name]


def member(group: Any, path: str) -> Any:
    """The dataset or group at a path of names with slashes between."""
    h5py = files.required("h5py")
    found, gone = group, group.name.rstrip("/")
    for name in path.split("/"):
        inside = child(found, name) if isinstance(found, h5py.Group) else None
        if inside is None:
            near = f"; {gone or 'the root'} has {joined(found, 10)}" if isinstance(found, h5py.Group) else ""
            raise NotFoundError(f"{group.name.rstrip('/')}/{path}: not there{near}")
        found, gone = inside, f"{gone}/{name}"
    return found


def dataset(group: Any, path: str) -> Any:
    """The dataset at a path."""
    found = member(group, path)
    if not isinstance(found, files.required("h5py").Dataset):
        raise FormatError(f"{found.name}: got a {type(found).__name__.lower()}, want a dataset")
    return found


def entry(found: Any, place: Place | None = None) -> Entry:
    """The array of a dataset, its axes turned as the map says."""
    name, turn = found.name, place.transpose if place else None
    if found.is_virtual or found.external:
        raise FormatError(f"{name}: its values lie in other files (virtual or external storage), want them in this one")
    stored = found.id.get_storage_size()
    claimed = found.id.get_type().get_size() * (0 if found.shape is None else math.prod(found.shape))
    if claimed > stored * (_MOST_GAIN if found.chunks else 1):
        raise FormatError(f"{name}: its shape {found.shape} claims {claimed} bytes, of which the file has {stored}")
    _check_chunks(found, claimed)
    shape = tuple(int(axis) for axis in found.shape or ())
    if turn is not None:
        if sorted(turn) != list(range(len(shape))):
            raise FormatError(f"{name}: transpose {list(turn)} does not name each axis of its shape {shape} once")
        shape = tuple(shape[axis] for axis in turn)

    def read() -> NDArray[Any]:
        try:
            values: NDArray[Any] = found[()]
        except OSError as error:  # a filter that is not installed, a damaged chunk
            raise FormatError(f"{name}: cannot be read: {_first_line(error)}") from None
        return values if turn is None else values.transpose(turn)

    return Entry(shape, _type_name(found), read)


def _check_chunks(found: Any, claimed: int) -> None:
    creation = found.id.get_create_plist()
    filters = [creation.get_filter(index) for index in range(creation.get_nfilters())]
    allowed = dict(_FILTERS)
    for number, _, _, title in filters:
        if allowed.pop(number, None) is None:
            label = title.decode("utf-8", "replace")
            raise FormatError(
                f"{found.name}: is stored through the filter {label!r} (number {number}), want "
                "gzip, shuffle and fletcher32, each at most once; write it again without compression or with gzip"
            )
    # A chunk is unpacked as a whole, whatever part of it the dataset is.
    if found.chunks and math.prod(found.chunks) * found.id.get_type().get_size() > max(claimed, _MOST_CHUNK):
        raise FormatError(f"{found.name}: its chunks of shape {found.chunks} are too large for its shape {found.shape}")


# By the bytes, the bits of the exponent and those of the mantissa.
_FLOATS = {(4, 8, 23): "float32", (8, 11, 52): "float64", (2, 5, 10): "float16", (2, 8, 7): "bfloat16"}


def _type_name(found: Any) -> str:
    """What the elements are. HDF5 describes floats bit by bit; h5py gives those that numpy has not as larger ones."""
    kind = found.id.get_type()
    if isinstance(kind, files.required("h5py").h5t.TypeFloatID):
        _, _, exponent, _, mantissa = kind.get_fields()
        odd = f"a float of {8 * kind.get_size()} bits, {exponent} of them for the exponent"
        return _FLOATS.get((kind.get_size(), exponent, mantissa), odd)
    numpy_type = found.dtype.newbyteorder("=")
    return str(numpy_type) if numpy_type.kind in "biuc" else f"type {numpy_type}"[:60]


@contextmanager
def reading(path: Path, weight_map: WeightMap | None = None) -> Iterator[Source]:
    """The datasets that the map names, under its names; without a map those of the group ``weights``."""
    with opened(path) as file:
        with undamaged(path):
            entries = _entries(path, file, weight_map)
        yield Source("hdf5", entries, loose_axes=weight_map is not None)


def _entries(path: Path, file: Any, weight_map: WeightMap | None) -> dict[str, Entry]:
    if weight_map is not None:
        return {name: entry(dataset(file, place.path), place) for name, place in weight_map.items()}
    group = child(file, "weights")
    if not isinstance(group, files.required("h5py").Group):
        raise FormatError(
            f"source: {path} has no group weights, but {joined(file, 10)}; give a weight map that says where its "
            "weights are"
        )
    return {name: entry(dataset(group, name)) for name in group}
