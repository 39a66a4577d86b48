"""Files: what kind one is, its digest, and replacing one as a whole."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .._optional import required as required
from ..errors import FormatError, InputOutputError, InvalidArgument, NotFoundError

WRITTEN = ("checkpoint", "pytorch", "safetensors", "keras", "onnx")
"""Formats that can be written. Other HDF5 files can be read only, ONNX only written."""

_HDF5 = b"\x89HDF\r\n\x1a\n"
_ENDINGS = {".pt": "pytorch", ".pth": "pytorch", ".safetensors": "safetensors", ".weights.h5": "keras",
            ".h5": "checkpoint", ".hdf5": "checkpoint", ".onnx": "onnx"}  # fmt: skip


def container(path: Path) -> str:
    """What the first bytes say: "hdf5", "safetensors" or "pytorch"."""
    try:
        # Of a pipe no second reading gives the same, and a device may have no end.
        if not path.is_dir() and not stat.S_ISREG(path.stat().st_mode):
            raise InputOutputError(f"source: {path} is a pipe or a device, want a file")
        with path.open("rb") as file:
            start = file.read(9)
            for offset in (0, 512, 1024, 2048):  # MATLAB has a block of its own in front
                file.seek(offset)
                if file.read(8) == _HDF5:
                    return "hdf5"
    except FileNotFoundError:
        raise NotFoundError(f"source: no file {path}") from None
    except IsADirectoryError:
        raise InputOutputError(f"source: {path} is a folder, want a file") from None
    except InputOutputError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a zero character in the name
        raise InputOutputError(f"source: {path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if start[8:] == b"{":
        return "safetensors"
    if start.startswith((b"PK", b"\x80")) or path.suffix in (".pt", ".pth"):
        return "pytorch"
    if path.suffix == ".onnx":
        raise FormatError(f"source: {path}: files of ONNX are written only; convert what it was exported from")
    raise FormatError(f"source: {path} is empty, or no file of PyTorch, safetensors or HDF5")


def is_same(one: Path, other: Path) -> bool:
    """Whether both names lead to one file."""
    if "\0" in str(one):
        raise InvalidArgument(f"destination: got {str(one)!r}, want a path without a zero character")
    try:
        return one.exists() and other.exists() and one.samefile(other)
    except OSError as error:
        raise InputOutputError(f"destination: {one} cannot be written: {error.strerror}") from None


def destination_format(path: Path, given: str | None) -> str:
    """The format to write: the one given, else the one that the file's ending stands for."""
    if given is not None:
        if given not in WRITTEN:
            raise InvalidArgument(f'to: got "{given}", want one of {", ".join(WRITTEN)}')
        return given
    for ending, format_ in _ENDINGS.items():
        if path.name.endswith(ending):
            return format_
    raise InvalidArgument(f"destination: got {path}, want a name that ends in {', '.join(_ENDINGS)}; or give a format")


def sha256(path: Path) -> str:
    """The digest of a file's bytes."""
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            sha.update(block)
    return sha.hexdigest()


def require_writable(name: str, path: Path) -> None:
    """Refuses, before long work, a file that could not be written after it."""
    folder = Path(os.path.realpath(path)).parent
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise InputOutputError(f"{name}: got {path}, want a file in a folder that is there and can be written to")


@contextmanager
def replacing(path: Path, name: str = "destination") -> Iterator[Path]:
    """A name in the same folder to write to; at the end of the block that file takes the place of `path`. If the block
    raises, `path` stays as it was. A pipe or a device is given out itself. `name`: of the argument, for errors."""
    if path.is_dir():
        raise InputOutputError(f"{name}: {path} is a folder, want a file")
    path = Path(os.path.realpath(path))  # a symbolic link stays one
    if path.exists() and not path.is_file():  # so does a pipe or a device
        try:
            yield path
        except OSError as error:
            raise InputOutputError(f"{name}: {path} cannot be written: {error.strerror or error}") from None
        return
    try:
        handle, made = tempfile.mkstemp(prefix=".igdm-", suffix=".tmp", dir=path.parent)
    except OSError as error:
        raise InputOutputError(f"{name}: nothing can be written in {path.parent}: {error.strerror}") from None
    os.close(handle)
    temporary = Path(made)
    try:
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)  # mkstemp's files are private
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if isinstance(error, (InputOutputError, NotFoundError)):
            raise
        raise InputOutputError(f"{name}: {path} cannot be written: {error.strerror or error}") from None
    finally:
        temporary.unlink(missing_ok=True)
