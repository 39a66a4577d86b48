"""Every code block of the README runs. Where a block would train for minutes, the budget is cut by replacing the
words listed here; a replacement that no longer matches is an error, so that the test follows the text."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
BINDING = CHECKOUT / "bindings" / "python"
STAGE = CHECKOUT / "build" / "stage"

PYTHON_BUDGET = {
    "data.train, validation=data.test": "data.train[:256], validation=data.test[:64]",
    "evaluate(student, data.test": "evaluate(student, data.test[:64]",
    "epochs=5": "epochs=1",
}
C_BUDGET = {"igdm_trainer_create(student": "igdm_dataset_subset(train, 0, 256, &train) || igdm_trainer_create(student"}
SHELL_BUDGET = {
    "--epochs 5": "--epochs 1 --train-count 256",
    "last.h5 --data": "last.h5 --count 64 --data",
    "--count 200": "--count 3",
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (CHECKOUT / "README.md").read_text(), re.DOTALL)


def cut(text: str, budget: dict[str, str]) -> str:
    for words, replacement in budget.items():
        assert text.count(words) == 1, f"the README no longer says {words!r} once"
        text = text.replace(words, replacement)
    return text


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that looks like the checkout's top, where new files may appear."""
    for name in ("examples", "bindings", "build"):
        (tmp_path / name).symlink_to(CHECKOUT / name)
    return tmp_path


def run(command: list[str], folder: Path, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=folder, env=dict(os.environ, **environment), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_python(folder: Path) -> None:
    (block,) = blocks("python")
    (folder / "block.py").write_text(cut(block, PYTHON_BUDGET))
    printed = run([sys.executable, "block.py"], folder, PYTHONPATH=str(BINDING))
    assert "pgd-20" in printed
    assert (folder / "student.h5").stat().st_size > 10_000


def test_c(folder: Path) -> None:
    (block,) = blocks("c")
    (folder / "program.c").write_text(cut(block, C_BUDGET))
    environment = {"PKG_CONFIG_PATH": str(STAGE / "lib" / "pkgconfig"), "LD_LIBRARY_PATH": str(STAGE / "lib")}
    compiler = next(block for block in blocks("sh") if "pkg-config" in block).splitlines()[1]
    command = re.search(r"sh -c '(.*)'$", compiler)
    assert command is not None
    run(["sh", "-c", command[1]], folder, **environment)
    run(["./program"], folder, **environment)
    assert (folder / "student.h5").stat().st_size > 10_000


def test_shell(folder: Path) -> None:
    block = next(block for block in blocks("sh") if "-m igdm" in block)
    script = cut(block, SHELL_BUDGET).replace("python3 ", f"{sys.executable} ")
    printed = run(["sh", "-ec", script], folder)
    assert (folder / "runs" / "mine" / "last.h5").exists()
    assert "resnet8" in printed
