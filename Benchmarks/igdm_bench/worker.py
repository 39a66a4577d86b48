"""A process that does the work of one side: requests on standard input, replies on standard output, as lines of JSON.

python -m igdm_bench.worker SIDE CONFIG    SIDE is "ours" or "peer"

Between requests it is blocked reading, so that it leaves the processors to the process that is being measured.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from .equality import FIRST_ITERATE
from .works import Work


class Worker:
    def __init__(self, side: str, config: str) -> None:
        self.side = importlib.import_module(f".{side}", __package__)
        self.config = config
        self.job: Any = None
        self.passes_made: tuple[int, int] | None = None

    def prepare(self, work: dict[str, Any], checkpoints: dict[str, str], threads: int) -> None:
        work["shape"] = tuple(work["shape"])
        self.job = self.side.prepare(Work(**work), checkpoints, self.config, threads)

    def check(self, path: str, theirs: str | None = None) -> None:
        """Saves the results of the work for comparison.

        theirs  the results of igdm, where this side is PyTorch: its attack goes on from an iterate there
        """
        arguments = []
        if theirs is not None:
            with np.load(theirs) as given:
                arguments.append(given[FIRST_ITERATE] if FIRST_ITERATE in given.files else None)
        results = self.job.check(*arguments).items()
        arrays = {name: value.detach().numpy() if hasattr(value, "detach") else value for name, value in results}
        missing = [name for name, value in arrays.items() if np.asarray(value).dtype == object]
        if missing:
            raise ValueError(f"results: {', '.join(missing)} were not computed")
        np.savez(path, **arrays)
        self.job.passes()  # those of the comparison do not count

    def passes(self) -> tuple[int, int]:
        """That PyTorch made in the last run, through model and teacher."""
        return self.passes_made

    def run(self) -> float:
        began = time.perf_counter()
        self.job.run()
        seconds = time.perf_counter() - began
        self.passes_made = self.job.passes()
        return seconds

    def peak_mb(self) -> float:
        """Largest resident memory of this process so far, in 10^6 bytes."""
        status = Path("/proc/self/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6

    def forget_peak(self) -> None:
        """Starts the measure of peak_mb() anew from the memory in use now."""
        Path("/proc/self/clear_refs").write_text("5")

    def facts(self) -> dict[str, Any]:
        return self.side.facts()

    def make_checkpoint(self, **arguments: Any) -> int:
        return self.side.make_checkpoint(**arguments)


def main() -> None:
    # Whatever a library prints must not get between the replies.
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            worker = worker or Worker(*sys.argv[1:])
            reply = {"result": getattr(worker, request["do"])(**request["with"])}
        except Exception as error:
            import traceback

            traceback.print_exc()
            reply = {
                "error": f"{type(error).__name__}: {error}",
                "kind": type(error).__name__,
            }
        print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
    main()
