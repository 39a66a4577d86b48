"""The machine: processors, memory, load, and the most that its arithmetic can do."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import Any

BUSY = 0.5
"""A load average above this before the start spoils the numbers."""


def processors() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0))


def load_average() -> float:
    """Over the last minute."""
    return os.getloadavg()[0]


def describe() -> dict[str, Any]:
    return {
        "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "processor": _field("/proc/cpuinfo", "model name") or platform.processor(),
        "processors": processors(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": _field("/etc/os-release", "PRETTY_NAME", "=").strip('"') or platform.system(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_average_before": load_average(),
    }


def _field(path: str, name: str, separator: str = ":") -> str:
    try:
        lines = Path(path).read_text(errors="replace").splitlines()
    except OSError:
        return ""
    for line in lines:
        key, _, value = line.partition(separator)
        if key.strip() == name:
            return value.strip()
    return ""
