"""How much of the processors other programs took while something was measured.

A busy machine does not slow both sides alike: the threads of OpenMP wait for each other at a barrier many times in one
pass, and where one of them is not running all wait; small work has become a hundred times slower beside a single busy
process. That flatters the ratio, and the runs may well agree with each other, so that the times do not show it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

TOLERATED = 0.03
"""A larger part of the processors' time spoils a measurement."""

_TICKS = os.sysconf("SC_CLK_TCK")
_IDLE, _IOWAIT, _GUEST = 3, 4, 8  # fields of a line of /proc/stat; guest time is counted as user time already


class Watch:
    """From its creation to share(): what others used of the processors that this process may use."""

    def __init__(self, processes: Sequence[int]) -> None:
        """processes  ids of those being measured; children of this process that begin and end meanwhile count too"""
        self._processes = processes
        self._began, self._busy, self._used = time.monotonic(), _busy(), self._own_time()

    def share(self) -> float:
        """Between 0 and 1. The clock behind it has ticks of 10 ms, so that it is coarse below a second."""
        wall = (time.monotonic() - self._began) * len(os.sched_getaffinity(0))
        others = (_busy() - self._busy) - (self._own_time() - self._used)
        ticks = 2 * (1 + len(self._processes)) / _TICKS  # what rounding may amount to
        return min(1.0, max(0.0, others - ticks) / wall)

    def _own_time(self) -> float:
        me = os.times()
        return sum(me[:4]) + sum(_used(process) for process in self._processes)


def _busy() -> float:
    """Seconds that the processors of this process have been busy or stolen by the machine's host."""
    names = {f"cpu{index}" for index in os.sched_getaffinity(0)}
    total = 0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name in names:
            total += sum(int(f) for i, f in enumerate(fields) if i < _GUEST and i not in (_IDLE, _IOWAIT))
    return total / _TICKS


def _used(process: int) -> float:
    """Seconds of processor time that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS
