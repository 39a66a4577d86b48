"""Tables of the kernels, from the measurements of Tests/KernelsTests/NumericsTests.swift."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from measured import markdown

from .errors import cell

PATHS = ["avx512", "avx2", "baseline"]
EVERY_PATH = "all"  # kernels that are the same on each
ORDER = [
    "Winograd", "Winograd, stride 2", "indirect product", "few input channels", "OpenBLAS", "depthwise", "BatchNorm",
    "LayerNorm", "attention", "SiLU", "GELU", "sigmoid", "tanh", "leaky ReLU", "ReLU6", "hard sigmoid", "hard swish",
    "global average", "cross-entropy", "KL divergence",
]  # fmt: skip


@dataclass
class Total:
    """Over several arrays; squares are parts of the mean square of the array that they belong to."""

    worst: float = 0.0
    squares: float = 0.0
    count: int = 0

    def add(self, worst: float, squares: float, count: int) -> None:
        self.worst, self.squares, self.count = max(self.worst, worst), self.squares + squares, self.count + count

    def __str__(self) -> str:
        return cell(self.worst, (self.squares / self.count) ** 0.5)


Totals = dict[tuple[str, ...], dict[str, Total]]


def read(path: Path) -> Totals:
    """By (place, kernel, what), then by CPU path."""
    totals: Totals = {}
    for line in sorted(path.read_text(encoding="utf-8").splitlines()):  # tests ran side by side, in any order
        kernel, what, cpu, place, *numbers = line.split("\t")
        total = totals.setdefault((place, kernel, what), {}).setdefault(cpu, Total())
        total.add(float(numbers[0]), float(numbers[1]), int(numbers[2]))
    return totals


def grid(path: Path) -> list[str]:
    totals, rows = read(path), []
    found = [key for key in totals if key[0] == "grid"]
    for place, kernel, what in sorted(found, key=lambda key: ORDER.index(key[1])):
        cpus = totals[place, kernel, what]
        rows.append([kernel, what, *(str(cpus.get(cpu, cpus.get(EVERY_PATH, ""))) for cpu in PATHS)])
    return markdown(["kernel", "result", *PATHS], rows)


def layers(path: Path) -> list[str]:
    totals = read(path)
    parts = ["forward", "input gradient", "weight gradient"]
    rows = []
    for place, kernel in dict.fromkeys((place, kernel) for place, kernel, _ in totals if place != "grid"):
        for cpu in PATHS:
            if cpu in totals[place, kernel, parts[0]]:
                rows.append([place, kernel, cpu, *(str(totals[place, kernel, part][cpu]) for part in parts)])
    return markdown(["layer", "kernel", "CPU path", *parts], rows)
