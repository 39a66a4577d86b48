"""PyTorch files (.pt, .pth): a state dict, alone or in one of the wrappers of training scripts.

Files are read with ``torch.load(weights_only=True)`` only: one that needs other Python objects to be made is refused,
and none of its code runs.
"""

from __future__ import annotations

import re
import reprlib
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FormatError, LibraryError, OutOfMemory
from ..models import Model
from . import files
from .entries import Entry, Source, widened
from .names import unwrap


@contextmanager
def reading(path: Path, key: str | None = None) -> Iterator[Source]:
    """The tensors of a file. `key` names the wrapper, with slashes where they are nested."""
    torch = _torch()
    _check_archive(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the pickle protocol, before the error
            content = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError as error:
        raise OutOfMemory(f"source: {path}: {error}") from None
    except Exception as error:  # PyTorch's readers raise whatever their innermost layer does
        raise FormatError(f"source: {path} {_reason(error)}") from None
    yield Source("pytorch", of_state_dict(unwrap(content, key), path.stat().st_size))


def of_state_dict(state: Mapping[str, Any], most_bytes: int | None = None) -> dict[str, Entry]:
    """The tensors of a state dict. Together they may claim `most_bytes`."""
    torch = files.required("torch")
    entries, claimed = {}, 0
    for name, tensor in state.items():
        if not isinstance(name, str):
            raise FormatError(f"state dict: got the key {reprlib.repr(name)}, want names")
        if not isinstance(tensor, torch.Tensor):
            raise FormatError(f"{name}: got {type(tensor).__name__}, want a tensor")
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
            raise FormatError(f"{name}: got a sparse, quantized or meta tensor, want a plain one")
        # A view may repeat one number of a tiny file ten milliards of times.
        claimed += tensor.numel() * tensor.element_size()
        if most_bytes is not None and claimed > most_bytes:
            raise FormatError(f"{name}: its shape {tuple(tensor.shape)} claims more data than the file can hold")
        entries[name] = Entry(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."), _reader(tensor))
    return entries


def _reader(tensor: Any) -> Any:
    def read() -> NDArray[Any]:
        plain = tensor.detach().cpu()
        if str(plain.dtype) == "torch.bfloat16":
            return widened(plain.contiguous().view(files.required("torch").int16).numpy().view(np.uint16))
        values: NDArray[Any] = plain.numpy()
        return values

    return read


def _torch() -> Any:
    torch = files.required("torch")
    release = tuple(int(part) for part in re.findall(r"\d+", torch.__version__)[:2])
    if release < (2, 6):
        # CVE-2025-32434: some files run code in spite of weights_only.
        raise LibraryError(f"torch: got version {torch.__version__}, want 2.6 or newer to read files of others safely")
    return torch


def _check_archive(path: Path) -> None:
    """PyTorch stores tensors without compression, so an archive that unpacks to more than itself is none of its."""
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise FormatError(f"source: {path} is a damaged archive: {error}") from None
    if any(member.filename == "model.weights.h5" for member in members):
        raise FormatError(f"source: {path} is a Keras archive; unzip it and convert its model.weights.h5")
    packed = [member.filename for member in members if member.compress_type != zipfile.ZIP_STORED]
    if packed or sum(member.file_size for member in members) > path.stat().st_size:
        what = f"{packed[0]} is compressed" if packed else "its members claim more data than the file has"
        raise FormatError(f"source: {path} is no archive that PyTorch wrote: {what}")


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    if found := re.search(r"GLOBAL ([\w.]+)|Unsupported class ([\w.]+)", text):
        objects = f"needs the Python object {found[1] or found[2]}"
    elif "Weights only load failed" in text:
        objects = "is damaged or needs Python objects other than tensors"
    else:
        first = text.split(". ")[0][:200]
        return f"is damaged or no file of PyTorch: {first or type(error).__name__}"
    return (
        f"{objects}, and code in files is never run; load it in PyTorch where you trust it and save "
        "model.state_dict() alone"
    )


def write(model: Model, path: Path) -> None:
    """The weights as a state dict, for ``load_state_dict(torch.load(path))``."""
    torch = files.required("torch")
    state = {name: torch.from_numpy(values) for name, values in model.parameters.items()}
    with files.replacing(path) as temporary, temporary.open("wb") as file:
        torch.save(state, file)
