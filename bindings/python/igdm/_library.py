"""Finds and loads libigdm, declares its functions, and turns its statuses into exceptions."""

from __future__ import annotations

import ctypes
import functools
import logging
import os
import weakref
from ctypes import POINTER, c_char_p, c_double, c_float, c_int32, c_int64, c_size_t, c_uint8, c_uint64, c_void_p
from pathlib import Path
from typing import Any, NoReturn

from . import _structures as structures
from .errors import InvalidArgument, LibraryError, from_status

VERSION_NUMBER = 100  # IGDM_VERSION_NUMBER of the header that this package mirrors
FILE_NAME = "libigdm.so.1"

_S = structures
_OUT_COUNT = POINTER(c_size_t)

# Functions that return a status; call() raises where it is not 0.
STATUS_FUNCTIONS: dict[str, list[Any]] = {
    "igdm_set_threads": [c_int64],
    "igdm_set_log_callback": [_S.LogCallback, c_void_p],
    "igdm_model_options_init": [POINTER(_S.ModelOptions)],
    "igdm_model_create": [c_char_p, POINTER(_S.ModelOptions), POINTER(_S.Model)],
    "igdm_model_create_from_graph": [c_char_p, POINTER(_S.ModelOptions), POINTER(_S.Model)],
    "igdm_model_get_graph": [_S.Model, POINTER(c_char_p)],
    "igdm_model_load": [c_char_p, POINTER(_S.Model)],
    "igdm_load_options_init": [POINTER(_S.LoadOptions)],
    "igdm_model_load_with_options": [c_char_p, POINTER(_S.LoadOptions), POINTER(_S.Model)],
    "igdm_model_load_weights": [_S.Model, c_char_p],
    "igdm_model_load_mapped": [_S.Model, c_char_p, c_char_p],
    "igdm_model_save": [_S.Model, c_char_p],
    "igdm_model_copy": [_S.Model, POINTER(_S.Model)],
    "igdm_model_get_info": [_S.Model, POINTER(_S.ModelInfo)],
    "igdm_model_get_normalisation": [_S.Model, POINTER(c_float), POINTER(c_float)],
    "igdm_model_set_exact": [_S.Model, c_int32],
    "igdm_model_get_exact": [_S.Model, POINTER(c_int32)],
    "igdm_model_set_allow_not_finite": [_S.Model, c_int32],
    "igdm_model_get_allow_not_finite": [_S.Model, POINTER(c_int32)],
    "igdm_model_predict": [_S.Model, POINTER(c_float), c_size_t, POINTER(c_float)],
    "igdm_model_input_gradient": [
        _S.Model, POINTER(c_float), POINTER(c_float), c_size_t, POINTER(c_float), POINTER(c_float),
    ],
    "igdm_model_parameter_count": [_S.Model, _OUT_COUNT],
    "igdm_model_parameter_info": [
        _S.Model, c_size_t, POINTER(c_char_p), POINTER(c_int64), POINTER(c_int64), POINTER(c_int32),
    ],
    "igdm_model_get_parameter": [_S.Model, c_char_p, POINTER(c_float), c_size_t],
    "igdm_model_set_parameter": [_S.Model, c_char_p, POINTER(c_float), c_size_t],
    "igdm_model_get_parameter_strided": [
        _S.Model, c_char_p, POINTER(c_float), c_size_t, POINTER(c_int64), c_int64,
    ],
    "igdm_model_set_parameter_strided": [
        _S.Model, c_char_p, POINTER(c_float), c_size_t, POINTER(c_int64), c_int64,
    ],
    "igdm_model_parameter_data": [_S.Model, c_char_p, POINTER(POINTER(c_float))],
    "igdm_checkpoint_open": [c_char_p, POINTER(_S.Checkpoint)],
    "igdm_checkpoint_get_graph": [_S.Checkpoint, POINTER(c_char_p)],
    "igdm_checkpoint_get_info": [_S.Checkpoint, POINTER(_S.CheckpointInfo)],
    "igdm_checkpoint_get_normalisation": [_S.Checkpoint, POINTER(c_float), POINTER(c_float)],
    "igdm_checkpoint_parameter_info": [
        _S.Checkpoint, c_size_t, POINTER(c_char_p), POINTER(c_int64), POINTER(c_int64), POINTER(c_int32),
    ],
    "igdm_checkpoint_metadata_entry": [_S.Checkpoint, c_size_t, POINTER(c_char_p), POINTER(c_char_p)],
    "igdm_model_set_metadata": [_S.Model, c_char_p, c_char_p],
    "igdm_model_get_metadata": [_S.Model, c_char_p, POINTER(c_char_p)],
    "igdm_model_metadata_count": [_S.Model, _OUT_COUNT],
    "igdm_model_metadata_entry": [_S.Model, c_size_t, POINTER(c_char_p), POINTER(c_char_p)],
    "igdm_model_set_golden": [_S.Model, POINTER(c_float), c_size_t, POINTER(c_float), c_char_p],
    "igdm_model_golden_info": [_S.Model, _OUT_COUNT, POINTER(c_char_p)],
    "igdm_model_get_golden": [_S.Model, POINTER(c_float), POINTER(c_float), c_size_t],
    "igdm_model_verify": [_S.Model, c_double, POINTER(c_double), _OUT_COUNT],
    "igdm_dataset_from_floats": [
        POINTER(c_float), POINTER(c_int64), c_size_t, c_int64, c_int64, c_int64, c_int64, POINTER(_S.Dataset),
    ],
    "igdm_dataset_from_bytes": [
        POINTER(c_uint8), POINTER(c_int64), c_size_t, c_int64, c_int64, c_int64, c_int64, POINTER(_S.Dataset),
    ],
    "igdm_dataset_open_idx": [c_char_p, c_char_p, c_int64, POINTER(_S.Dataset)],
    "igdm_dataset_open_cifar": [c_char_p, c_int64, c_char_p, POINTER(_S.Dataset)],
    "igdm_dataset_open_hdf5": [c_char_p, c_char_p, c_char_p, c_int64, POINTER(_S.Dataset)],
    "igdm_dataset_stream_hdf5": [c_char_p, c_char_p, c_char_p, c_int64, POINTER(_S.Dataset)],
    "igdm_dataset_subset": [_S.Dataset, c_size_t, c_size_t, POINTER(_S.Dataset)],
    "igdm_dataset_select": [_S.Dataset, POINTER(c_int64), c_size_t, POINTER(_S.Dataset)],
    "igdm_dataset_hold_out": [_S.Dataset, c_size_t, POINTER(_S.Dataset), POINTER(_S.Dataset)],
    "igdm_dataset_with_soft_labels": [_S.Dataset, POINTER(c_float), POINTER(_S.Dataset)],
    "igdm_dataset_read_soft_labels": [_S.Dataset, c_size_t, c_size_t, POINTER(c_float)],
    "igdm_dataset_get_info": [_S.Dataset, POINTER(_S.DatasetInfo)],
    "igdm_dataset_read": [_S.Dataset, c_size_t, c_size_t, POINTER(c_float), POINTER(c_int64)],
    "igdm_attack_options_init": [POINTER(_S.AttackOptions)],
    "igdm_attack": [
        _S.Model, POINTER(c_float), POINTER(c_int64), c_size_t, POINTER(_S.AttackOptions), POINTER(c_float),
        POINTER(c_uint8),
    ],
    "igdm_attack_report_init": [POINTER(_S.AttackReport)],
    "igdm_attack_with_report": [
        _S.Model, POINTER(c_float), POINTER(c_int64), c_size_t, POINTER(_S.AttackOptions), POINTER(c_float),
        POINTER(_S.AttackReport),
    ],
    "igdm_attack_tuning_init": [POINTER(_S.AttackTuning)],
    "igdm_search_tuning_init": [POINTER(_S.SearchTuning)],
    "igdm_host_model_init": [POINTER(_S.HostModel)],
    "igdm_attack_host_model": [
        POINTER(_S.HostModel), POINTER(c_float), POINTER(c_int64), c_size_t, POINTER(_S.AttackOptions),
        POINTER(c_float), POINTER(_S.AttackReport),
    ],
    "igdm_corrupt": [
        POINTER(c_float), c_size_t, c_int64, c_int64, c_int64, c_char_p, c_int64, c_uint64, POINTER(c_int64),
        POINTER(c_float),
    ],
    "igdm_evaluate_options_init": [POINTER(_S.EvaluateOptions)],
    "igdm_evaluate": [
        _S.Model, _S.Dataset, _S.Model, POINTER(_S.EvaluateOptions), POINTER(_S.Evaluation),
    ],
    "igdm_evaluate_host_model": [
        POINTER(_S.HostModel), _S.Dataset, POINTER(_S.EvaluateOptions), POINTER(_S.Evaluation),
    ],
    "igdm_evaluation_row_count": [_S.Evaluation, _OUT_COUNT],
    "igdm_evaluation_get_row": [_S.Evaluation, c_size_t, POINTER(_S.EvaluationRow)],
    "igdm_evaluation_get_correct": [_S.Evaluation, c_size_t, POINTER(c_uint8), c_size_t],
    "igdm_evaluation_get_samples": [
        _S.Evaluation, c_size_t, POINTER(c_float), c_size_t, POINTER(_S.AttackReport),
    ],
    "igdm_evaluation_get_gradient_agreement": [_S.Evaluation, POINTER(c_double), POINTER(c_double)],
    "igdm_autoattack_options_init": [POINTER(_S.AutoAttackOptions)],
    "igdm_autoattack": [_S.Model, _S.Dataset, POINTER(_S.AutoAttackOptions), POINTER(_S.Evaluation)],
    "igdm_autoattack_host_model": [
        POINTER(_S.HostModel), _S.Dataset, POINTER(_S.AutoAttackOptions), POINTER(_S.Evaluation),
    ],
    "igdm_evaluation_warning_count": [_S.Evaluation, _OUT_COUNT],
    "igdm_evaluation_get_warning": [_S.Evaluation, c_size_t, POINTER(c_char_p)],
    "igdm_evaluation_get_report": [_S.Evaluation, POINTER(c_float), c_size_t, POINTER(_S.AttackReport)],
    "igdm_trainer_options_init": [POINTER(_S.TrainerOptions)],
    "igdm_trainer_details_init": [POINTER(_S.TrainerDetails)],
    "igdm_trainer_create": [_S.Model, _S.Model, POINTER(_S.TrainerOptions), POINTER(_S.Trainer)],
    "igdm_batch_init": [POINTER(_S.Batch)],
    "igdm_trainer_step": [_S.Trainer, POINTER(_S.Batch), POINTER(_S.StepReport)],
    "igdm_trainer_get_gradient": [_S.Trainer, c_char_p, POINTER(c_float), c_size_t],
    "igdm_trainer_get_adversarial": [_S.Trainer, POINTER(c_float), c_size_t],
    "igdm_trainer_average": [_S.Trainer, _S.Dataset, POINTER(_S.Model)],
    "igdm_trainer_save": [_S.Trainer, c_char_p],
    "igdm_trainer_resume": [_S.Trainer, c_char_p],
    "igdm_trainer_get_position": [_S.Trainer, POINTER(_S.TrainerPosition)],
    "igdm_trainer_fit": [_S.Trainer, _S.Dataset, _S.Dataset, _S.FitCallback, c_void_p],
}  # fmt: skip

# The others: result and arguments.
OTHER_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "igdm_version_number": (c_int32, []),
    "igdm_version_string": (c_char_p, []),
    "igdm_build_info": (c_char_p, []),
    "igdm_last_error": (c_char_p, []),
    "igdm_status_name": (c_char_p, [c_int32]),
    "igdm_get_threads": (c_int64, []),
    "igdm_architectures": (c_char_p, []),
    "igdm_attacks": (c_char_p, []),
    "igdm_methods": (c_char_p, []),
    "igdm_model_release": (None, [_S.Model]),
    "igdm_checkpoint_release": (None, [_S.Checkpoint]),
    "igdm_dataset_release": (None, [_S.Dataset]),
    "igdm_evaluation_release": (None, [_S.Evaluation]),
    "igdm_trainer_release": (None, [_S.Trainer]),
}


@functools.cache
def load() -> ctypes.CDLL:
    """The library, loaded at the first call that needs it. Raises LibraryError."""
    library = _open()
    path = _path_of(library)
    if path is None:
        raise LibraryError("libigdm: the library found has no igdm_version_number; set IGDM_LIBRARY to the right file")
    found = library.igdm_version_number()
    if found != VERSION_NUMBER:
        raise LibraryError(
            f"libigdm: {path} has version number {found}, but this Python package needs {VERSION_NUMBER}; install the "
            "two from the same release, or set IGDM_LIBRARY to the right file"
        )
    for name, arguments in STATUS_FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = c_int32, arguments
    for name, (result, arguments) in OTHER_FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    library.igdm_set_log_callback(_log, None)
    return library


_RENAMED = {"epsilon": "eps", "target_labels": "target", "base_width": "width"}


def in_python(message: str) -> str:
    """A message of the library, which begins with an argument's name, with the name that it has in Python."""
    argument, separator, rest = message.removeprefix("options.").partition(":")
    return _RENAMED.get(argument, argument) + separator + rest


def call(name: str, *arguments: Any) -> None:
    """Calls a function that returns a status; a failure becomes an exception with the library's message."""
    library = load()
    status = getattr(library, name)(*arguments)
    if status != 0:
        raise from_status(status, in_python(library.igdm_last_error().decode(errors="replace")))


def ask(name: str, *arguments: Any) -> Any:
    """Calls a function that returns a value; strings come as str."""
    result = getattr(load(), name)(*arguments)
    return result.decode() if isinstance(result, bytes) else result


def loaded_path() -> str:
    """The file that the library was loaded from."""
    return _path_of(load()) or FILE_NAME


def file_path(name: str, path: str | os.PathLike[str]) -> bytes:
    """A path argument as the C library takes it."""
    encoded = os.fsencode(path)
    if b"\0" in encoded:
        raise InvalidArgument(f"{name}: got {path!r}, want a path without a zero character")
    return encoded


def _open() -> ctypes.CDLL:
    chosen = os.environ.get("IGDM_LIBRARY")
    if chosen:
        try:
            return ctypes.CDLL(os.path.abspath(chosen))
        except OSError as error:
            raise LibraryError(f"libigdm: IGDM_LIBRARY is {chosen!r}, which does not load: {error}") from None
    package = Path(__file__).resolve().parent
    candidates = [package / FILE_NAME]  # a wheel
    checkout = package.parents[2]
    if (checkout / "include" / "igdm.h").exists():
        candidates.append(checkout / "build" / "lib" / FILE_NAME)
    for candidate in candidates:
        if candidate.exists():
            try:
                return ctypes.CDLL(str(candidate))
            except OSError as error:
                raise LibraryError(f"libigdm: {candidate} does not load: {error}") from None
    try:
        return ctypes.CDLL(FILE_NAME)
    except OSError as error:
        looked = ", ".join(str(candidate) for candidate in candidates)
        raise LibraryError(
            f"libigdm: no library at {looked}, and the system's loader says: {error}. Build it with `make lib`, "
            "install it with `make install`, or set IGDM_LIBRARY to its path"
        ) from None


class _DynamicInfo(ctypes.Structure):
    _fields_ = [("file", c_char_p), ("base", c_void_p), ("symbol", c_char_p), ("address", c_void_p)]


def _path_of(library: ctypes.CDLL) -> str | None:
    """Where the dynamic loader found the library: its own search leaves no other trace."""
    try:
        address = ctypes.cast(library.igdm_version_number, c_void_p)
    except AttributeError:
        return None
    info = _DynamicInfo()
    ctypes.CDLL(None).dladdr(address, ctypes.byref(info))
    return os.fsdecode(info.file) if info.file else None


def _forward_log(level: int, message: bytes, _user: object) -> None:
    logging.getLogger("igdm").log(logging.WARNING if level >= 2 else logging.INFO, "%s", message.decode())


_log = structures.LogCallback(_forward_log)  # kept alive here as long as the process


class _Owner:
    """What keeps a handle of the library alive: its Python object, and arrays that are views of its memory."""

    def __init__(self, pointer: Any, release: str) -> None:
        self.pointer = pointer
        self.finalizer = weakref.finalize(self, getattr(load(), release), pointer)
        self.finalizer.atexit = False  # the process takes its memory along; a daemon thread may still be computing


class Handle:
    """Owns one handle of the library: released by close(), at the end of a `with` block, or by garbage collection."""

    def __init__(self, pointer: Any, release: str) -> None:
        self._owner: _Owner | None = _Owner(pointer, release)

    @property
    def _handle(self) -> Any:
        owner = self._owner
        if owner is None:
            raise InvalidArgument(f"{type(self).__name__}: used after close()")
        return owner.pointer

    @property
    def closed(self) -> bool:
        """Whether close() has been called."""
        return self._owner is None

    def close(self) -> None:
        """Releases the memory now, or with the last view of it. Objects made from this one stay usable; a second call
        does nothing."""
        self._owner = None

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"igdm.{type(self).__name__} cannot be pickled: it is a handle of the C library. {self._instead}"
        )

    _instead = ""
