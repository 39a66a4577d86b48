"""The driver's end of a worker process."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build" / "bench"
"""Where checkpoints, compiled programs and the workers' logs lie."""

OURS = "ours"


class WorkerError(Exception):
    """The worker could not do what it was asked; `kind` is the name of the exception there, "" where it died."""

    def __init__(self, message: str, kind: str = "") -> None:
        super().__init__(message)
        self.kind = kind


class Process:
    """A worker for one side and configuration; a context manager that ends it."""

    def __init__(self, config: str, threads: int) -> None:
        """config  OURS, or one of PyTorch's"""
        self.config, self.threads = config, threads
        FOLDER.mkdir(parents=True, exist_ok=True)
        self._log = FOLDER / f"{config}.log"
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT / "Benchmarks"), str(ROOT / "bindings" / "python")]),
            "OMP_NUM_THREADS": str(threads),
            "TORCHINDUCTOR_CACHE_DIR": str(FOLDER / "inductor"),
        }
        side = "ours" if config == OURS else "peer"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "igdm_bench.worker", side, config],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=environment,
                start_new_session=True,  # so that the compilers it starts can be ended with it
            )  # fmt: skip
        self._received = b""

    @property
    def id(self) -> int:
        return self._process.pid

    def ask(self, do: str, seconds: float | None = None, **arguments: Any) -> Any:
        """Sends a request and waits for its result, at most `seconds`. Raises WorkerError."""
        try:
            self._process.stdin.write(json.dumps({"do": do, "with": arguments}).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._died() from None
        reply = json.loads(self._line(None if seconds is None else time.monotonic() + seconds))
        if "error" in reply:
            raise WorkerError(reply["error"].splitlines()[0][:300], reply["kind"])
        return reply["result"]

    def stop(self) -> None:
        """Ends the process and what it has started. A second call does nothing."""
        if self._process.returncode is not None and self._process.stdin.closed:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _line(self, deadline: float | None) -> bytes:
        output = self._process.stdout.fileno()
        while b"\n" not in self._received:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not select.select([output], [], [], left)[0]:
                raise WorkerError("out of time")
            part = os.read(output, 65536)
            if not part:
                raise self._died()
            self._received += part
        line, self._received = self._received.split(b"\n", 1)
        return line

    def _died(self) -> WorkerError:
        status = self._process.wait()
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return WorkerError(f"the process ended with status {status}" + (f": {lines[-1]}" if lines else ""))
