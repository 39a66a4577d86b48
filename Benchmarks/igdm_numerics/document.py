"""Measures, and writes the results into docs/numerics.md: each between the marks that carry its name.

python Benchmarks/numerics.py KERNELS [SECTION ...]    KERNELS: what Tests/KernelsTests/NumericsTests.swift wrote
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

from . import ROOT, kernels, networks, points, student

DOCUMENT = ROOT / "docs" / "numerics.md"


def main() -> int:
    if len(sys.argv) < 2:
        print(f"usage:\n{__doc__}", file=sys.stderr)
        return 2
    measured = Path(sys.argv[1])
    sections: dict[str, Callable[[], list[str]]] = {
        "kernels": lambda: kernels.grid(measured),
        "layers": lambda: kernels.layers(measured),
        "points": points.table,
        "networks": networks.table,
        "student": student.table,
    }
    for name in sys.argv[2:] or sections:
        lines = sections[name]()
        print(f"\n== {name}\n", *lines, sep="\n", flush=True)
        write(name, lines)
    return 0


def write(name: str, lines: list[str]) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    begin, end = f"<!-- measured: {name} -->", "<!-- end -->"
    table = "\n".join([begin, *lines, end])
    text, found = re.subn(rf"{re.escape(begin)}\n.*?{re.escape(end)}", lambda _: table, text, flags=re.DOTALL)
    if found != 1:
        raise SystemExit(f"{DOCUMENT.name}: got {found} blocks from {begin} to {end}, want 1")
    DOCUMENT.write_text(text, encoding="utf-8")
