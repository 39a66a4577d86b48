"""The small C programs beside this package, compiled when they are needed."""

from __future__ import annotations

import functools
import json
import os
import subprocess
from pathlib import Path
from typing import Any

from .processes import FOLDER, ROOT

SOURCES = Path(__file__).resolve().parents[1]


class ProgramError(Exception):
    """A program could not be compiled or run."""


def peak(threads: int) -> dict[str, Any]:
    """The machine's rate of fused multiply-adds: instruction set, GFLOP/s of one thread and of `threads`."""
    return json.loads(_run(_compiled("peak", "-ffp-contract=fast", "-pthread"), str(threads)))


def call_cost(threads: int) -> list[float]:
    """Seconds of igdm_model_predict for one image on a tiny model: the mean of many calls, several times."""
    library = library_path()
    flags = [f"-I{ROOT / 'include'}", str(library), f"-Wl,-rpath,{library.parent}"]
    return json.loads(_run(_compiled("calls", *flags), str(threads)))


def library_load() -> float:
    """Seconds from dlopen to the return of a first call, in a process of its own."""
    return float(_run(_compiled("load", "-ldl"), str(library_path())))


def library_path() -> Path:
    """The library that the Python package would load here."""
    chosen = os.environ.get("IGDM_LIBRARY")
    return Path(chosen).resolve() if chosen else ROOT / "build" / "lib" / "libigdm.so.1"


@functools.cache
def _compiled(name: str, *flags: str) -> Path:
    program = FOLDER / name
    FOLDER.mkdir(parents=True, exist_ok=True)
    compiler = os.environ.get("CC", "cc")
    _run(compiler, "-std=gnu11", "-O2", "-Wall", "-Wextra", SOURCES / f"{name}.c", "-o", program, *flags)
    return program


def _run(*command: str | Path) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        raise ProgramError(f"{command[0]}: {error.strerror}") from None
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        raise ProgramError(f"{command[0]} ended with status {done.returncode}" + (f": {said[-1]}" if said else ""))
    return done.stdout
