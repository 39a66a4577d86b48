"""examples/python/cifar100.py: the paper's recipe, unchanged, on a few images in CIFAR-100's format."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import igdm
import numpy as np
import pytest
from conftest import CHECKOUT

Python = Callable[..., subprocess.CompletedProcess[str]]


def write_cifar100(folder: Path, train: int, test: int) -> None:
    """CIFAR-100's binary files: a coarse label, a fine one, 3x32x32 bytes."""
    random = np.random.default_rng(0)
    folder.mkdir()
    for name, count in (("train.bin", train), ("test.bin", test)):
        records = random.integers(0, 256, (count, 2 + 3 * 32 * 32), dtype=np.uint8)
        records[:, 0] %= 20
        records[:, 1] %= 100
        records.tofile(folder / name)


def seconds(text: str) -> int:
    """What "8 s", "1:05 min" and "2:03:00 h" say."""
    number, unit = text.split()
    parts = [int(part) for part in number.split(":")]
    assert len(parts) == {"s": 1, "min": 2, "h": 3}[unit]
    return sum(part * 60**place for place, part in enumerate(reversed(parts)))


def test_the_recipe_runs_and_goes_on(python: Python, tmp_path: Path) -> None:
    write_cifar100(tmp_path / "cifar", 5, 4)
    igdm.Model("small_cnn", classes=100, input_shape=(3, 32, 32), width=4, seed=1).save(tmp_path / "teacher.h5")
    job = [
        str(CHECKOUT / "examples" / "python" / "cifar100.py"), "--data", str(tmp_path / "cifar"), "--teacher",
        str(tmp_path / "teacher.h5"), "--output", str(tmp_path / "run"), "--warm-up", "1",
    ]  # fmt: skip
    result = python(*job, "--estimate")
    assert result.returncode == 0, result.stderr
    assert "resnet18 by adaad+igdm: 200 epochs, 5 images" in result.stdout
    found = re.search(r"a step (\S+) s, 1 steps an epoch, a validation (.*)", result.stdout)
    whole = re.search(r"estimate for the whole training: (.*) \((\S+) days\)", result.stdout)
    assert found and whole, result.stdout
    step, check, total = float(found[1]), seconds(found[2]), seconds(whole[1])
    assert step > 0
    # As far as the printed numbers tell: a step to 0.01 s, a validation to a second.
    assert total == pytest.approx(200 * (step + check), abs=200 * (0.005 + 0.5) + 1)
    assert float(whole[2]) == pytest.approx(total / 86400, abs=0.051)
    assert not (tmp_path / "run").exists()

    for steps in ("2", "1"):
        result = python(*job, "--stop-after", steps)
        assert result.returncode == 0, result.stderr
        assert "the same command goes on" in result.stdout
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    recipe = igdm.recipes.paper("cifar100", "resnet18", "bdm-at", "adaad+igdm")
    assert {name: config["options"][name] for name in recipe} == recipe
    assert config["train"]["kind"] == "cifar100"
    assert igdm.Model.load(tmp_path / "run" / "last.h5").info.architecture == "resnet18"
    rows = igdm.runs.read_metrics(tmp_path / "run" / "metrics.csv")
    assert [row["epoch"] for row in rows] == [1, 2]  # the third ends with its event, which comes next time
    assert rows[1]["igdm_weight"] == 2 * 70 / 200
    assert all(np.isfinite(row["loss"]) and row["validation_robust"] is not None for row in rows)
