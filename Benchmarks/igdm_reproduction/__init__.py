"""The paper's claim (arXiv 2312.03286, tables 1 to 4) at a small scale: every base method with and without IGDM."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bindings" / "python"))
