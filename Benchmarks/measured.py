"""Tables in Markdown, and their places in documents: between marks that carry their names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(f"| {' | '.join(row)} |" for row in rows)]


def write(document: Path, name: str, lines: Sequence[str]) -> None:
    """Puts `lines` between the marks of `name`."""
    text = document.read_text(encoding="utf-8")
    begin, end = f"<!-- measured: {name} -->", "<!-- end -->"
    block = "\n".join([begin, *lines, end])
    text, found = re.subn(rf"{re.escape(begin)}\n.*?{re.escape(end)}", lambda _: block, text, flags=re.DOTALL)
    if found != 1:
        raise SystemExit(f"{document.name}: got {found} blocks from {begin} to {end}, want 1")
    document.write_text(text, encoding="utf-8")
