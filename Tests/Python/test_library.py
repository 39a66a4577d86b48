"""Finding the library, its version check, threads and log."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Callable
from pathlib import Path

import igdm
import pytest
from conftest import TRAINING, make_model

Python = Callable[..., "subprocess.CompletedProcess[str]"]


def test_build_info_names_what_is_running() -> None:
    info = igdm.build_info()
    assert info["version"] == igdm.__version__
    assert info["cpu"] in ("avx512", "avx2", "baseline")
    assert Path(info["library"]).exists()
    assert info["library"] == igdm.library_path()


def test_a_missing_library_is_named(python: Python) -> None:
    result = python("-c", "import igdm; igdm.get_threads()", IGDM_LIBRARY="/nowhere/libigdm.so")
    assert result.returncode == 1
    assert "LibraryError" in result.stderr
    assert "/nowhere/libigdm.so" in result.stderr


def test_another_version_is_refused_with_its_path(python: Python, tmp_path: Path) -> None:
    source, library = tmp_path / "old.c", tmp_path / "libigdm-old.so"
    source.write_text("int igdm_version_number(void) { return 99; }\n")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    result = python("-c", "import igdm; igdm.get_threads()", IGDM_LIBRARY=str(library))
    assert result.returncode == 1
    assert f"{library} has version number 99, but this Python package needs 100" in result.stderr


def test_a_foreign_library_is_refused(python: Python, tmp_path: Path) -> None:
    source, library = tmp_path / "other.c", tmp_path / "other.so"
    source.write_text("int answer(void) { return 42; }\n")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    result = python("-m", "igdm", "info", IGDM_LIBRARY=str(library))
    assert result.returncode == 1
    assert result.stderr.startswith("igdm: error: libigdm: ")
    assert len(result.stderr.splitlines()) == 1


def test_threads() -> None:
    before = igdm.get_threads()
    try:
        igdm.set_threads(3)
        assert igdm.get_threads() == 3
        for wrong in (0, 257, -1):
            with pytest.raises(igdm.InvalidArgument, match="threads"):
                igdm.set_threads(wrong)
        with pytest.raises(igdm.InvalidArgument, match="64 bits"):
            igdm.set_threads(2**64 + 1)
        with pytest.raises(TypeError, match="integer"):
            igdm.set_threads(1.5)  # type: ignore[arg-type]
        assert igdm.get_threads() == 3
    finally:
        igdm.set_threads(before)


def test_messages_of_the_library_go_to_logging(
    data: igdm.Dataset, teacher: igdm.Model, caplog: pytest.LogCaptureFixture
) -> None:
    options = dict(TRAINING, igdm=1.0, mirror="paper", eps=0.3, step=0.1)  # leaves the box often enough for a warning
    with caplog.at_level(logging.INFO, logger="igdm"):
        igdm.distill(make_model(), teacher, data, progress=False, **options)
    warnings = [record for record in caplog.records if record.name == "igdm" and record.levelno == logging.WARNING]
    assert any("mirror" in record.getMessage() for record in warnings)


def test_names() -> None:
    assert "resnet8" in igdm.architectures()
    assert set(igdm.attacks.names()) >= {"fgsm", "pgd", "cw"}
    assert set(igdm.methods()) >= {"pgd-at", "ard", "rslad", "adaad"}


def test_errors_are_also_those_of_python() -> None:
    assert issubclass(igdm.InvalidArgument, ValueError)
    assert issubclass(igdm.NotFoundError, FileNotFoundError)
    assert issubclass(igdm.NotFoundError, KeyError)
    assert issubclass(igdm.InputOutputError, OSError)
    assert issubclass(igdm.OutOfMemory, MemoryError)
    assert str(igdm.NotFoundError("a message")) == "a message"
    unknown = igdm.errors.from_status(-99, "from a newer library")
    assert type(unknown) is igdm.IgdmError
    assert unknown.code == -99
