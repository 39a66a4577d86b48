"""Packages that only some of the functions need."""

from __future__ import annotations

import importlib
from types import ModuleType

from .errors import LibraryError


def required(module: str, package: str | None = None) -> ModuleType:
    """An optional package; LibraryError says how to get it.

    package  its name for pip where that differs from the module's
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise LibraryError(
            f"{module}: needed for this file and not installed ({error}): pip install {package or module}"
        ) from None
