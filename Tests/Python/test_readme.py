"""Every code block of the READMEs runs, and that of the package's docstring. Where a block would train for minutes, the
budget is cut by replacing the words listed here; a replacement that no longer matches is an error, so that the test
follows the text."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import igdm
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


def blocks(language: str, file: str = "README.md") -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (CHECKOUT / file).read_text(), re.DOTALL)


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


def examples() -> dict[str, str]:
    """The whole job in Python, wherever it is told."""
    assert igdm.__doc__ is not None
    docstring = re.search(r"The whole job::\n\n(.*?)\n\n\S", igdm.__doc__, re.DOTALL)
    assert docstring is not None
    return {
        "README": blocks("python")[0],
        "binding's README": blocks("python", "bindings/python/README.md")[0],
        "docstring": textwrap.dedent(docstring[1]),
    }


@pytest.mark.parametrize("place", ["README", "binding's README", "docstring"])
def test_python(folder: Path, place: str) -> None:
    block = examples()[place]
    assert ('mirror="clip"' in block) == ("mirror_statistics=False" in block), "docs/results.md says why"
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
