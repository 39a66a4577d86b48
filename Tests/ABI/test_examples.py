"""The C examples, compiled against the installed tree, do their job on small files."""

from __future__ import annotations

import ctypes
import gzip
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ROOT / "build" / "c-tests"
COUNT, SIDE, CLASSES = 128, 28, 10


class ModelOptions(ctypes.Structure):
    """igdm_model_options of the header, as far as the test sets it."""

    _fields_ = [
        ("struct_size", ctypes.c_uint32),
        ("reserved0", ctypes.c_uint32),
        *((name, ctypes.c_int64) for name in ("classes", "channels", "height", "width", "base_width")),
        ("rest", ctypes.c_uint64 * 8),
    ]


def write_idx(folder: Path, name: str, rng: np.random.Generator) -> list[str]:
    labels = rng.integers(0, CLASSES, COUNT).astype(np.uint8)
    images = rng.integers(0, 128, (COUNT, SIDE, SIDE)).astype(np.uint8)
    images[np.arange(COUNT), labels * 2] = 255  # class k: a bright row 2k
    paths = [folder / f"{name}-images.gz", folder / f"{name}-labels"]
    with gzip.open(paths[0], "wb") as file:
        file.write(struct.pack(">IIII", 0x803, COUNT, SIDE, SIDE) + images.tobytes())
    paths[1].write_bytes(struct.pack(">II", 0x801, COUNT) + labels.tobytes())
    return [str(path) for path in paths]


def write_teacher(path: Path) -> str:
    library = ctypes.CDLL(str(ROOT / "build" / "lib" / "libigdm.so.1"))
    options, model = ModelOptions(), ctypes.c_void_p()
    assert library.igdm_model_options_init(ctypes.byref(options)) == 0
    options.channels, options.height, options.width, options.base_width = 1, SIDE, SIDE, 4
    assert library.igdm_model_create(b"small_cnn", ctypes.byref(options), ctypes.byref(model)) == 0
    assert library.igdm_model_save(model, str(path).encode()) == 0
    return str(path)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    folder = tmp_path_factory.mktemp("examples")
    rng = np.random.default_rng(0)
    return {
        "teacher": [write_teacher(folder / "teacher.h5")],
        "train": write_idx(folder, "train", rng),
        "test": write_idx(folder, "test", rng),
        "student": [str(folder / "student.h5")],
    }


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(PROGRAMS / program), *arguments], capture_output=True, text=True)


def test_distill_and_predict(files: dict[str, list[str]]) -> None:
    result = run("distill", *files["teacher"], *files["train"], *files["test"], *files["student"], "--quick")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["clean", "fgsm", "pgd-5", "gradients", "saved"]
    assert "epoch 1/1" in result.stderr and "#" in result.stderr

    result = run("predict", *files["student"], *files["test"])
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) == 10


def test_distill_names_what_is_missing(files: dict[str, list[str]]) -> None:
    arguments = [*files["train"], *files["test"], *files["student"]]
    result = run("distill", "missing.h5", *arguments)
    assert result.returncode == 1
    assert "IGDM_ERROR_NOT_FOUND" in result.stderr and "missing.h5" in result.stderr
    assert run("distill").returncode == 2


def test_distill_refuses_a_foreign_teacher(files: dict[str, list[str]]) -> None:
    result = run("distill", files["train"][1], *files["train"], *files["test"], *files["student"])
    assert result.returncode == 1
    assert "IGDM_ERROR_FORMAT" in result.stderr
