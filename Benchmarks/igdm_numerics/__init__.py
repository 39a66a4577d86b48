"""How exactly igdm computes, measured: the tables of docs/numerics.md."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# The package, the reference networks, and the demo whose student is trained.
sys.path += [str(ROOT / folder) for folder in ("bindings/python", "Tests/Parity", "examples/python")]
