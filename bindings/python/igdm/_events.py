"""The rows of a run as curves for TensorBoard, where the package tensorboard is installed."""

from __future__ import annotations

import importlib.util
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Events:
    """Writes events.out.tfevents.* in a folder; without tensorboard it does nothing."""

    def __init__(self, folder: Path) -> None:
        self._writer: Any = None
        if importlib.util.find_spec("tensorboard") is None:
            return
        from tensorboard.summary.writer.record_writer import RecordWriter

        # What an earlier process has written may end in the middle, or have epochs that will come again.
        for stale in folder.glob("events.out.tfevents.*"):
            stale.unlink()
        path = folder / f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}"
        self._writer = RecordWriter(path.open("wb"))
        self._write(file_version="brain.Event:2")

    def add(self, row: Mapping[str, Any]) -> None:
        """A row of metrics.csv: each of its numbers under its own name, the epoch as step."""
        values = [
            {"tag": name, "simple_value": value} for name, value in row.items() if name != "epoch" and value is not None
        ]
        self._write(step=row["epoch"], summary={"value": values})

    def close(self) -> None:
        """To be called at the end."""
        if self._writer is not None:
            self._writer.close()

    def _write(self, **fields: Any) -> None:
        if self._writer is None:
            return
        from tensorboard.compat.proto.event_pb2 import Event

        self._writer.write(Event(wall_time=time.time(), **fields).SerializeToString())
        self._writer.flush()
