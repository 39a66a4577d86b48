"""What is measured of igdm alone: threads, batch sizes, cost of a call, time to load."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from . import programs
from .disturbance import TOLERATED, Watch
from .measure import Measurement, Settings, alternate, prepare, repetitions, trial
from .processes import OURS, Process, WorkerError
from .works import FORWARD, GRADIENT, LOAD, TRAINING, Work

MODEL, LARGE_MODEL = "resnet18", "wrn_28_10"
BATCHES = (1, 8, 32, 128, 256)


@dataclass
class Finding:
    """A row of the second table: seconds, and what they mean."""

    title: str
    seconds: float | None = None
    runs: list[float] = field(default_factory=list)
    value: str = ""
    """The quantity of interest as text."""
    wanted: str = ""
    kept: bool | None = None
    """Whether it is what was wanted; None where nothing was."""
    details: dict[str, float] = field(default_factory=dict)
    others: float = 0.0
    """Part of the processors that other programs took meanwhile."""
    failure: str | None = None

    @property
    def disturbed(self) -> bool:
        """The numbers say nothing about speed."""
        return self.others > TOLERATED


@dataclass(frozen=True)
class Probe:
    """Something to measure; `models` are the checkpoints that it needs."""

    title: str
    models: tuple[str, ...]
    measure: Callable[[Probe, Mapping[str, str], Settings], Finding]
    work: Work | None = None

    def run(self, checkpoints: Mapping[str, str], settings: Settings) -> Finding:
        watch = Watch([])
        try:
            found = self.measure(self, checkpoints, settings)
            found.others = watch.share()
            return found
        except (WorkerError, programs.ProgramError) as error:
            return Finding(self.title, failure=str(error))


def two_threads(probe: Probe, checkpoints: Mapping[str, str], settings: Settings) -> Finding:
    """The same work with one thread and with two, in turns."""
    if settings.threads < 2:
        raise WorkerError("this process has one processor only")
    found = Measurement(probe.work)
    with Process(OURS, 2) as two, Process(OURS, 1) as one:
        for process in (two, one):
            prepare(process, probe.work, checkpoints)
            trial(process, settings)
        alternate(two, one, settings, found)
    speed_up = found.ratio
    details = {"one_thread_s": found.peer_s, "speed_up": speed_up}
    return Finding(probe.title, found.ours_s, found.ours, f"{speed_up:.2f} x", ">= 1.8 x", speed_up >= 1.8, details)


def batch_sizes(probe: Probe, checkpoints: Mapping[str, str], settings: Settings) -> Finding:
    """Time per sample of a forward pass at each batch size. Flat: from 8 on none is over 1.15 of the least."""
    samples = {}
    for batch in BATCHES:
        with Process(OURS, settings.threads) as process:
            prepare(process, replace(probe.work, batch=batch), checkpoints)
            once = trial(process, settings)
            runs = [process.ask("run") for _ in range(repetitions(once * 4, settings, probe.work))]
        samples[batch] = statistics.median(runs) / batch
    flat = [samples[batch] for batch in BATCHES if batch >= 8]
    spread = max(flat) / min(flat)
    return Finding(
        probe.title, samples[8], [], ", ".join(f"{batch}: {1e3 * time:.3g}" for batch, time in samples.items()) + " ms",
        "flat from 8 on", spread <= 1.15, {f"batch_{batch}_s": time for batch, time in samples.items()},
    )  # fmt: skip


def call_cost(probe: Probe, _: Mapping[str, str], settings: Settings) -> Finding:
    return _judged(probe.title, programs.call_cost(settings.threads), 20e-6, "20 us")


def library_load(probe: Probe, _: Mapping[str, str], settings: Settings) -> Finding:
    return _judged(probe.title, [programs.library_load() for _ in range(max(21, settings.runs))], 50e-3, "50 ms")


def checkpoint_load(probe: Probe, checkpoints: Mapping[str, str], settings: Settings) -> Finding:
    with Process(OURS, settings.threads) as process:
        prepare(process, probe.work, checkpoints)
        process.ask("run")
        runs = [process.ask("run") for _ in range(max(5, settings.runs))]
    return Finding(probe.title, statistics.median(runs), runs)


def _judged(title: str, runs: list[float], limit: float, written: str) -> Finding:
    seconds = statistics.median(runs)
    return Finding(title, seconds, runs, "", f"<= {written}", seconds <= limit, {"limit_s": limit})


PROBES = [
    Probe("gradient, batch 64: 1 thread -> 2", (MODEL,), two_threads, Work(GRADIENT, MODEL, 64)),
    Probe("training pass, batch 64: 1 thread -> 2", (MODEL,), two_threads, Work(TRAINING, MODEL, 64)),
    Probe("forward, time per sample by batch size", (MODEL,), batch_sizes, Work(FORWARD, MODEL, 8)),
    Probe("C call: predict on a tiny model", (), call_cost),
    Probe("library: load in a fresh process", (), library_load),
    Probe(f"{LARGE_MODEL}: load of the checkpoint", (LARGE_MODEL,), checkpoint_load, Work(LOAD, LARGE_MODEL)),
]
