"""examples/python/demo.py on a sliver of Fashion-MNIST."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import igdm
from conftest import CHECKOUT


def test_the_demo_leaves_what_it_promises(
    python: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    teacher = igdm.Model("small_cnn", classes=10, input_shape=(1, 28, 28), width=2, seed=1)
    teacher.save(tmp_path / "teacher.h5")
    output = tmp_path / "demo"
    result = python(
        str(CHECKOUT / "examples" / "python" / "demo.py"), "--teacher", str(tmp_path / "teacher.h5"),
        "--output", str(output), "--train-count", "256", "--validation-count", "32", "--eval-count", "32",
        "--epochs", "2", "--width", "2", "--seeds", "3", "4",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    for row in ("clean, %", "fgsm, %", "pgd-20, %", "cw, %", "gradient cosine"):
        assert row in result.stdout
    assert "±" in result.stdout
    names = {path.name for path in output.iterdir()}
    assert names >= {"last.h5", "base.h5", "metrics.csv", "config.json", "results.json", "report.html"}
    with open(output / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["run"], row["epoch"]) for row in rows] == [
        ("ARD", "1"), ("ARD", "2"), ("ARD + IGDM", "1"), ("ARD + IGDM", "2"),
    ]  # fmt: skip
    assert float(rows[1]["igdm_loss"]) == 0 < float(rows[3]["igdm_loss"])
    config = json.loads((output / "config.json").read_text())
    assert (config["options"]["seed"], config["options"]["igdm"] > 0) == (3, True)
    results = json.loads((output / "results.json").read_text())
    assert [len(results[name]) for name in ("ARD", "ARD + IGDM", "teacher")] == [2, 2, 1]
    students = [igdm.Model.load(output / name) for name in ("last.h5", "base.h5")]
    assert students[0].digest() != students[1].digest()


def test_a_missing_teacher_is_one_line(python: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    demo = str(CHECKOUT / "examples" / "python" / "demo.py")
    result = python(demo, "--teacher", str(tmp_path / "nothing.h5"), "--output", str(tmp_path / "demo"))
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert "nothing.h5" in result.stderr
