"""Measures, and writes the results into docs/numerics.md: each between the marks that carry its name.

python Benchmarks/numerics.py KERNELS [SECTION ...]    KERNELS: what Tests/KernelsTests/NumericsTests.swift wrote
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import measured

from . import ROOT, kernels, networks, points, student

DOCUMENT = ROOT / "docs" / "numerics.md"


def main() -> int:
    if len(sys.argv) < 2:
        print(f"usage:\n{__doc__}", file=sys.stderr)
        return 2
    errors = Path(sys.argv[1])
    sections: dict[str, Callable[[], list[str]]] = {
        "kernels": lambda: kernels.grid(errors),
        "layers": lambda: kernels.layers(errors),
        "points": points.table,
        "networks": networks.table,
        "student": student.table,
    }
    for name in sys.argv[2:] or sections:
        lines = sections[name]()
        print(f"\n== {name}\n", *lines, sep="\n", flush=True)
        measured.write(DOCUMENT, name, lines)
    return 0
