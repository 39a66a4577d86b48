"""The file of results: a line of JSON for each training that was measured, in the order in which they were."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


class Records:
    """Results by key. The file may travel between machines, in version control; only one process writes to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._results = {line["key"]: line["result"] for line in map(json.loads, self._lines())}

    def find(self, key: str) -> dict[str, float] | None:
        return self._results.get(key)

    def add(self, key: str, result: dict[str, float], **more: Any) -> None:
        """Writes the line at once and whole: whoever is killed here leaves the file with it or without it."""
        line = json.dumps({"key": key, **more, "result": result}, ensure_ascii=False)
        temporary = self.path.with_name(f".{self.path.name}.tmp")
        with open(temporary, "w", encoding="utf-8") as file:
            file.writelines(f"{one}\n" for one in [*self._lines(), line])
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self.path)
        self._results[key] = result

    def _lines(self) -> list[str]:
        return self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
