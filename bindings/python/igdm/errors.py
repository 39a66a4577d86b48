"""Exceptions, one for each status of the C library.

All derive from :class:`IgdmError` and, where Python has a class for the case, from that one too: a missing file is
caught by ``except FileNotFoundError`` as well as by ``except igdm.NotFoundError``.
"""

from __future__ import annotations


class IgdmError(Exception):
    """Base of all errors of igdm. ``code`` is the status of the C library and ``name`` its constant's name."""

    code: int = 0
    name: str = ""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""  # KeyError, a base of NotFoundError, would print the repr


class InvalidArgument(IgdmError, ValueError):
    """An argument is out of range or not a known name."""

    code, name = -1, "IGDM_ERROR_INVALID_ARGUMENT"


class ShapeError(IgdmError, ValueError):
    """Two things do not fit: model and images, teacher and student, weights and layer."""

    code, name = -2, "IGDM_ERROR_SHAPE"


class NotFoundError(IgdmError, FileNotFoundError, KeyError):
    """A file, dataset or parameter of that name does not exist."""

    code, name = -3, "IGDM_ERROR_NOT_FOUND"


class InputOutputError(IgdmError, OSError):
    """The operating system refused: permission, full disk, ..."""

    code, name = -4, "IGDM_ERROR_IO"


class FormatError(IgdmError, ValueError):
    """A file exists but is not what it should be: truncated, foreign, of the wrong type."""

    code, name = -5, "IGDM_ERROR_FORMAT"


class Cancelled(IgdmError):
    """A callback asked to stop. Training keeps the batches that it finished."""

    code, name = -6, "IGDM_ERROR_CANCELLED"


class BusyError(IgdmError, RuntimeError):
    """A trainer was called from inside its own callback, where that is not possible."""

    code, name = -7, "IGDM_ERROR_BUSY"


class OutOfMemory(IgdmError, MemoryError):
    """The memory asked for is not to be had."""

    code, name = -8, "IGDM_ERROR_OUT_OF_MEMORY"


class NotFiniteError(IgdmError, ArithmeticError):
    """A NaN or an infinity in inputs, weights or loss."""

    code, name = -9, "IGDM_ERROR_NOT_FINITE"


class InternalError(IgdmError, RuntimeError):
    """A bug in the library; please report it with the message."""

    code, name = -10, "IGDM_ERROR_INTERNAL"


class MismatchError(IgdmError, ValueError):
    """A model does not compute what its golden block says."""

    code, name = -11, "IGDM_ERROR_MISMATCH"


class LibraryError(IgdmError, ImportError):  # type: ignore[misc]  # its `name` is that of IgdmError, not a module's
    """The shared library was not found, or is not the version that this package is written for."""


_BY_CODE: dict[int, type[IgdmError]] = {
    kind.code: kind
    for kind in (
        InvalidArgument, ShapeError, NotFoundError, InputOutputError, FormatError, Cancelled, BusyError, OutOfMemory,
        NotFiniteError, InternalError, MismatchError,
    )
}  # fmt: skip


def from_status(status: int, message: str) -> IgdmError:
    """The exception for a status of the C library."""
    error = _BY_CODE.get(status, IgdmError)(message)
    error.code = status
    return error
