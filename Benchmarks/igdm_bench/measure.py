"""Times two processes in turns, after PyTorch's best configuration has been found by a short trial."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from .disturbance import TOLERATED, Watch
from .equality import Unequal, compare, compare_passes
from .processes import FOLDER, OURS, Process, WorkerError
from .works import AUTOATTACK, Work

CONFIGS = ("nchw", "channels_last", "compiled")

Report = Callable[[str], None]


@dataclass(frozen=True)
class Settings:
    """How to measure."""

    threads: int
    configs: tuple[str, ...]
    """Of PyTorch; none: only our side is measured."""
    runs: int = 5
    """Counted runs of each side, at least."""
    seconds: float = 12.0
    """Quick work is repeated, 25 times at most, until so much time has gone by."""
    trial_seconds: float = 2.0
    compile_seconds: float = 150.0
    """Time that torch.compile may take over one work, comparison and first run included."""


@dataclass
class Measurement:
    """What was found out about one piece of work; None where it was not measured."""

    work: Work
    ours: list[float] = field(default_factory=list)
    """Seconds of each counted run."""
    peer: list[float] = field(default_factory=list)
    config: str | None = None
    """PyTorch's best configuration."""
    trials: dict[str, float | str] = field(default_factory=dict)
    """Seconds that each configuration needed in the trial, or why it has none."""
    errors: dict[str, float] = field(default_factory=dict)
    """Largest differences between the sides' results."""
    ours_mb: float | None = None
    peer_mb: float | None = None
    others: float = 0.0
    """Part of the processors that other programs took during the counted runs or a trial, whichever is more."""
    failure: str | None = None
    unavailable: bool = False
    """The failure is that the library does not know the model."""

    @property
    def disturbed(self) -> bool:
        """The numbers say nothing about speed."""
        return self.others > TOLERATED

    @property
    def ours_s(self) -> float | None:
        return statistics.median(self.ours) if self.ours else None

    @property
    def peer_s(self) -> float | None:
        return statistics.median(self.peer) if self.peer else None

    @property
    def ratio(self) -> float | None:
        """Median over the pairs of neighbouring runs: the machine's speed changes from minute to minute, and what is
        done in one minute is slowed alike."""
        if not self.ours or not self.peer:
            return None
        return statistics.median(peer / ours for ours, peer in zip(self.ours, self.peer, strict=True))


def measure(work: Work, checkpoints: Mapping[str, str], settings: Settings, report: Report) -> Measurement:
    """Everything about one piece of work; what goes wrong is in the result."""
    found = Measurement(work)
    try:
        with ExitStack() as processes:
            if settings.configs:
                with Process(OURS, settings.threads) as checked:  # its memory is not the work's
                    prepare(checked, work, checkpoints)
                    checked.ask("check", path=str(FOLDER / "ours.npz"))
            ours = processes.enter_context(Process(OURS, settings.threads))
            prepare(ours, work, checkpoints)
            report(f"igdm: {trial(ours, settings):.3g} s")
            peer = best_peer(work, checkpoints, settings, found, processes, report)
            alternate(ours, peer, settings, found)
            found.ours_mb = ours.ask("peak_mb")
    except (WorkerError, Unequal) as error:
        found.failure = str(error)
    return found


def prepare(
    process: Process,
    work: Work,
    checkpoints: Mapping[str, str],
    seconds: float | None = None,
) -> None:
    paths = {model: checkpoints[model] for model in work.models}
    process.ask(
        "prepare",
        seconds,
        work=dataclasses.asdict(work),
        checkpoints=paths,
        threads=process.threads,
    )


def trial(process: Process, settings: Settings) -> float:
    """The fastest of a few runs."""
    times: list[float] = []
    while not times or (sum(times) < settings.trial_seconds and len(times) < 5):
        times.append(process.ask("run"))
    return min(times)


def best_peer(
    work: Work,
    checkpoints: Mapping[str, str],
    settings: Settings,
    found: Measurement,
    processes: ExitStack,
    report: Report,
) -> Process | None:
    """A warm process with PyTorch in its fastest configuration, which `processes` will end.

    Raises WorkerError where none works, and Unequal where one computes something else.
    """
    best: Process | None = None
    for config in settings.configs:
        candidate = processes.enter_context(Process(config, settings.threads))
        try:
            seconds = try_peer(candidate, work, checkpoints, settings, found)
        except WorkerError as error:
            candidate.stop()
            found.trials[config] = str(error)
            report(f"PyTorch {config}: {error}")
            continue
        found.trials[config] = seconds
        report(f"PyTorch {config}: {seconds:.3g} s")
        if best is not None and seconds >= found.trials[best.config]:
            candidate.stop()
            continue
        if best is not None:
            best.stop()
        best = candidate
    if best is not None:
        found.config = best.config
    elif settings.configs:
        raise WorkerError("no configuration of PyTorch works: " + "; ".join(map(str, found.trials.values())))
    return best


def try_peer(
    candidate: Process,
    work: Work,
    checkpoints: Mapping[str, str],
    settings: Settings,
    found: Measurement,
) -> float:
    """Compares the results of one configuration with ours and times a few runs."""
    compiled = candidate.config == "compiled"
    deadline = time.monotonic() + settings.compile_seconds if compiled else None
    prepare(candidate, work, checkpoints, left(deadline))
    candidate.ask(
        "check",
        left(deadline),
        path=str(FOLDER / "peer.npz"),
        theirs=str(FOLDER / "ours.npz"),
    )
    for name, error in compare(FOLDER / "ours.npz", FOLDER / "peer.npz").items():
        found.errors[name] = max(error, found.errors.get(name, 0.0))
    if compiled:
        candidate.ask("run", left(deadline))  # what the check did not need is compiled now
    candidate.ask("forget_peak")  # the comparison's memory is not the work's
    # Others count here too: a trial that they disturb may choose a slow configuration.
    watch = Watch([candidate.id])
    seconds = trial(candidate, settings)
    found.others = max(found.others, watch.share())
    compare_passes(work, candidate.ask("passes"))
    # The least of all configurations: a compiled one keeps its compiler.
    peak = candidate.ask("peak_mb")
    found.peer_mb = peak if found.peer_mb is None else min(peak, found.peer_mb)
    return seconds


def left(deadline: float | None) -> float | None:
    """Seconds until then; None is for ever."""
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def alternate(ours: Process, peer: Process | None, settings: Settings, found: Measurement) -> None:
    """Counted runs in the order A B B A A B ..., after one more that is not counted."""
    sides = [(ours, found.ours)] + ([(peer, found.peer)] if peer is not None else [])
    once = sum(process.ask("run") for process, _ in sides)
    watch = Watch([process.id for process, _ in sides])
    for _ in range(repetitions(once, settings, found.work)):
        for process, times in sides:
            times.append(process.ask("run"))
        sides.reverse()
    found.others = max(found.others, watch.share())


def repetitions(once: float, settings: Settings, work: Work) -> int:
    if work.kind == AUTOATTACK:
        return min(settings.runs, 3)  # with all steps each takes minutes
    return max(settings.runs, min(25, int(settings.seconds / max(once, 1e-6))))


def facts(config: str, threads: int) -> dict[str, Any]:
    """What a side says about itself; {} where it does not work."""
    try:
        with Process(config, threads) as process:
            return process.ask("facts")
    except WorkerError:
        return {}
