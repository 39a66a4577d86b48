"""Writes fixtures/reference.npz: what the PyTorch reference computes for every committed case.

    python Tests/Parity/make_fixtures.py

Needs PyTorch, which the environment of `make parity` has. References are computed in float64 from float32 weights and
inputs, and stored as float32, so that tests against them measure igdm's rounding only. The file follows from cases.py
and the reference alone; `pytest Tests/Parity --live` checks that the committed one is current.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from cases import COMMITTED, FIXTURES, Arrays, References


def main() -> None:
    references = References(live=True)
    arrays: Arrays = {}
    for case in COMMITTED:
        results = references.of(case)
        if not references.is_smooth(case):
            sys.exit(f"{case.id}: too near a kink {results['clearance']}: give the case another seed in cases.py")
        arrays |= {f"{references.key(case)}/{name}": values for name, values in results.items()}
    path = FIXTURES / "reference.npz"
    FIXTURES.mkdir(exist_ok=True)
    np.savez_compressed(path, **arrays)
    print(f"{path}: {len(COMMITTED)} cases, {len(arrays)} arrays, {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
