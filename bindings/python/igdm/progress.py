"""How far a long call has come: bars on a terminal, one line per stage or epoch elsewhere.

Bars are tqdm's where it is installed, plain ones otherwise. Everything goes to stderr, so that results on stdout stay
clean. `progress=None` (the default of all functions) shows bars on a terminal and nothing elsewhere, True always shows
something, False never does.
"""

from __future__ import annotations

import shutil
import sys
import time
from dataclasses import dataclass
from typing import Any, Protocol

try:
    from tqdm import tqdm
except ImportError:
    tqdm = None


@dataclass(frozen=True)
class Progress:
    """An event of attack(), evaluate(), autoattack() and evaluate_corruptions()."""

    stage: str
    """What is being done: "clean", "pgd-20", ..."""
    done: int
    """Samples finished."""
    total: int
    seconds: float
    """Since the stage began."""
    eta: float | None = None
    """Seconds expected until the stage ends; None = cannot be told yet."""
    accuracy: float | None = None
    """Of all samples, the part that AutoAttack has not broken so far; None = not counted."""


class _Bar(Protocol):
    def show(self, done: int, note: str) -> None: ...

    def close(self) -> None: ...


class _TqdmBar:
    def __init__(self, title: str, total: int) -> None:
        shape = "{desc} {percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt}{postfix}"
        self._bar: Any = tqdm(
            total=total, desc=title, file=sys.stderr, leave=False, bar_format=shape, dynamic_ncols=True
        )

    def show(self, done: int, note: str) -> None:
        self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        self._bar.close()


class _PlainBar:
    _INTERVAL = 0.1  # seconds between two drawings

    def __init__(self, title: str, total: int) -> None:
        self._title, self._total = title, max(total, 1)
        self._drawn = 0.0

    def show(self, done: int, note: str) -> None:
        now = time.monotonic()
        if now - self._drawn < self._INTERVAL and done < self._total:
            return
        self._drawn = now
        columns = shutil.get_terminal_size().columns
        right = f"| {done}/{self._total}, {note}" if note else f"| {done}/{self._total}"
        left = f"{self._title} {100 * done // self._total:3d}% |"
        room = max(columns - len(left) - len(right) - 1, 4)
        full = room * done // self._total
        line = left + "█" * full + "·" * (room - full) + right
        sys.stderr.write("\r" + line[: columns - 1] + "\x1b[K")
        sys.stderr.flush()

    def close(self) -> None:
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()


class Display:
    """What one call shows; used as a context manager so that a bar never stays behind an exception."""

    def __init__(self, progress: bool | None) -> None:
        terminal = sys.stderr is not None and sys.stderr.isatty()
        self._bars = terminal and progress is not False
        self._lines = (terminal or progress is True) and progress is not False and sys.stderr is not None
        self._bar: _Bar | None = None
        self._title = ""

    def update(self, title: str, done: int, total: int, note: str = "") -> None:
        """Moves the bar; a new title begins a new one."""
        if not self._bars:
            return
        if self._bar is None or title != self._title:
            self.end_bar()
            self._bar = _TqdmBar(title, total) if tqdm is not None else _PlainBar(title, total)
            self._title = title
        self._bar.show(done, note)

    def line(self, text: str) -> None:
        """A line that stays, such as the result of an epoch."""
        if self._lines:
            self.end_bar()
            print(text, file=sys.stderr, flush=True)

    def end_bar(self) -> None:
        """Takes the bar off the screen."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __enter__(self) -> Display:
        return self

    def __exit__(self, *_: object) -> None:
        self.end_bar()


def duration(seconds: float) -> str:
    """ "8 s", "1:05 min", "2:03:00 h"."""
    whole = max(round(seconds), 0)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d} h"
