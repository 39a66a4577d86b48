"""The command line: what to measure, in which order, and where the results go."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import machine, plot, programs, results
from .disturbance import TOLERATED, Watch
from .measure import CONFIGS, Measurement, Settings, facts, measure
from .probes import PROBES, Finding, Probe
from .processes import FOLDER, OURS, ROOT, Process, WorkerError
from .works import DEFAULT, Work, named


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where everything that this library can do was measured; 1 where something failed or was unequal."""
    options = parser().parse_args(arguments)
    try:
        works, probes = chosen(options)
    except ValueError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    bench = Bench(options, works, probes)
    try:
        return bench.run()
    except KeyboardInterrupt:
        say("Stopped.")
        return 130


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="bench.py",
        description="Measures igdm against PyTorch on the CPU. Without --models: the project's own list.",
    )
    own = made.add_argument_group("your own case")
    own.add_argument("--models", metavar="A,B", help="architectures, for example resnet18,wrn_16_4")
    own.add_argument("--batch", metavar="N,M", default="32", help="batch sizes (default %(default)s)")
    own.add_argument(
        "--work", metavar="W,V", default="forward,gradient,training",
        help="forward, gradient, training, autoattack, pgd-K, ard, adaad (IGDM; need --teacher) (default %(default)s)",
    )  # fmt: skip
    own.add_argument("--teacher", metavar="T", help="architecture of the teacher")
    own.add_argument("--classes", type=positive, default=100, metavar="N", help="logits (default %(default)s)")
    own.add_argument("--input", default="3,32,32", metavar="C,H,W", help="shape of an image (default %(default)s)")
    made.add_argument("--only", metavar="TEXT", help="only what has TEXT in its title")
    made.add_argument("--threads", type=positive, default=machine.processors(), help="of both sides (default: all)")
    made.add_argument(
        "--runs", type=positive, default=5, help="counted runs of each side, at least (default %(default)s)"
    )
    made.add_argument("--quick", action="store_true", help="two runs, no compiled PyTorch: to see whether it works")
    made.add_argument("--no-peer", action="store_true", help="igdm alone")
    made.add_argument("--configs", metavar="C,D", default=",".join(CONFIGS), help="of PyTorch (default %(default)s)")
    made.add_argument(
        "--compile-seconds", type=positive, default=150, metavar="N",
        help="give torch.compile up after so long, for each piece of work (default %(default)s)",
    )  # fmt: skip
    made.add_argument(
        "--output", type=Path, metavar="FILE",
        help="JSON (default build/bench.json for the whole list, build/bench-own.json for parts and own cases); the "
        "chart and the facts of the machine lie beside it",
    )  # fmt: skip
    return made


def positive(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise ValueError(f'got "{text}", want a number of at least 1')
    return value


def chosen(options: argparse.Namespace) -> tuple[list[Work], list[Probe]]:
    """Raises ValueError."""
    if options.models is None:
        works, probes = list(DEFAULT), list(PROBES)
    else:
        shape = tuple(positive(part) for part in options.input.split(","))
        if len(shape) != 3:
            raise ValueError(f'--input: got "{options.input}", want C,H,W')
        works, probes = [], []
        for model in options.models.split(","):
            for batch in options.batch.split(","):
                for name in options.work.split(","):
                    works.append(
                        named(name, model, positive(batch), options.teacher, classes=options.classes, shape=shape)
                    )
    for config in options.configs.split(","):
        if config not in CONFIGS:
            raise ValueError(f'--configs: got "{config}", want some of {", ".join(CONFIGS)}')
    if options.only:
        text = options.only.lower()
        works = [work for work in works if text in work.title.lower()]
        probes = [probe for probe in probes if text in probe.title.lower()]
    if not works and not probes:
        raise ValueError(f'--only: nothing has "{options.only}" in its title')
    return works, probes


def say(text: str = "") -> None:
    print(text, flush=True)


class Bench:
    """One run of the benchmark."""

    def __init__(self, options: argparse.Namespace, works: list[Work], probes: list[Probe]) -> None:
        self.works, self.probes = works, probes
        configs = tuple(options.configs.split(","))
        self.settings = Settings(options.threads, configs, options.runs, compile_seconds=options.compile_seconds)
        if options.quick:
            few = tuple(config for config in configs if config != "compiled")
            self.settings = dataclasses.replace(self.settings, configs=few, runs=2, seconds=0, trial_seconds=0)
        if options.no_peer or importlib.util.find_spec("torch") is None:
            self.settings = dataclasses.replace(self.settings, configs=())
            if not options.no_peer:
                say("PyTorch is not installed in this Python: igdm alone is measured. `make bench` brings it along.")
        whole = options.models is None and not (options.only or options.quick or options.no_peer)
        self.output = options.output or ROOT / "build" / ("bench.json" if whole else "bench-own.json")
        self.rows: list[results.Row] = []
        self.checkpoints: dict[tuple[Any, ...], str] = {}
        self.multiply_adds: dict[str, int] = {}

    def run(self) -> int:
        began = time.monotonic()
        self.record_machine()
        failed = False
        total, work_rows, findings = len(self.works) + len(self.probes), [], []
        for index, work in enumerate(self.works, 1):
            say(f"[{index}/{total}] {work.title}")
            found = self.measure(work)
            work_rows.append(results.work_row(found, self.multiply_adds, self.peak))
            failed |= found.failure is not None and not found.unavailable
            self.keep(work_rows[-1])
            say(f"      {summary(found)}")
        for index, probe in enumerate(self.probes, len(self.works) + 1):
            say(f"[{index}/{total}] {probe.title}")
            findings.append(self.probe(probe))
            failed |= findings[-1].failure is not None
            self.keep(results.finding_row(findings[-1]))
        say()
        if work_rows:
            say("\n".join([*results.work_table(work_rows), ""]))
        if findings:
            say("\n".join([*results.finding_table(findings), ""]))
        self.draw(work_rows)
        if any(row["disturbed"] for row in self.rows):
            say("Disturbed: other programs took processor time, and the numbers count for nothing. Measure again.")
        say(f"{self.output}, after {(time.monotonic() - began) / 60:.1f} minutes.")
        return 1 if failed else 0

    def record_machine(self) -> None:
        described = machine.describe()
        load = described["load_average_before"]
        described["busy"] = load > machine.BUSY
        if described["busy"]:
            say(f"WARNING: the load average is {load:.2f}: other programs are at work. Numbers are worth little.")
        watch = Watch([])
        try:
            described["peak_gflops"] = programs.peak(self.settings.threads)
            described["peak_others_share"] = others = watch.share()
            self.peak = described["peak_gflops"]["all_threads"] if others <= TOLERATED else None
        except programs.ProgramError as error:
            described["peak_gflops"] = str(error)
            self.peak = None
        described["settings"] = dataclasses.asdict(self.settings)
        described["command"] = sys.argv[1:]
        described["igdm"] = facts(OURS, self.settings.threads)
        described["pytorch"] = facts(self.settings.configs[0], self.settings.threads) if self.settings.configs else {}
        results.write(self.output.with_name(f"{self.output.stem}-machine.json"), described)
        rate = (
            "FMA peak unknown (no compiler, or other programs at work)"
            if self.peak is None
            else f"{self.peak:.0f} GFLOP/s of FMA"
        )
        say(f"{described['processor']}, {self.settings.threads} threads, {rate}")
        self.subtitle = f"{described['processor']}, {self.settings.threads} threads; PyTorch " + str(
            described["pytorch"].get("torch", "not measured")
        )

    def measure(self, work: Work) -> Measurement:
        try:
            checkpoints = {model: self.checkpoint(model, work.classes, work.shape) for model in work.models}
        except WorkerError as error:
            unknown = error.kind == "InvalidArgument"
            reason = f"unavailable: {error}" if unknown else str(error)
            return Measurement(work, failure=reason, unavailable=unknown)
        return measure(work, checkpoints, self.settings, lambda text: say(f"      {text}"))

    def probe(self, probe: Probe) -> Finding:
        work = probe.work or Work("forward", "")
        try:
            checkpoints = {model: self.checkpoint(model, work.classes, work.shape) for model in probe.models}
        except WorkerError as error:
            return Finding(probe.title, failure=str(error))
        return probe.run(checkpoints, self.settings)

    def checkpoint(self, model: str, classes: int, shape: tuple[int, int, int]) -> str:
        """A file with that model's weights, made at the first call. Raises WorkerError."""
        key = (model, classes, shape)
        if key not in self.checkpoints:
            path = str(FOLDER / f"{model}-{classes}-{'x'.join(map(str, shape))}.h5")
            with Process(OURS, self.settings.threads) as process:
                self.multiply_adds[model] = process.ask(
                    "make_checkpoint", architecture=model, classes=classes, shape=shape, path=path
                )
            self.checkpoints[key] = path
        return self.checkpoints[key]

    def keep(self, row: results.Row) -> None:
        """Writes what there is, so that a bench which is stopped leaves its results."""
        self.rows.append(row)
        results.write(self.output, self.rows)

    def draw(self, rows: list[results.Row]) -> None:
        chart = self.output.with_suffix(".svg")
        chart.unlink(missing_ok=True)  # an older one would pass for this one's
        if any(row["ratio"] and not row["disturbed"] for row in rows):
            chart.write_text(plot.bars(rows, self.subtitle), encoding="utf-8")
            say(f"Chart: {chart}")


def summary(found: Measurement) -> str:
    if found.failure is not None:
        return found.failure
    text = f"igdm {results.duration(found.ours_s)}"
    if found.ratio is not None:
        same = max(found.errors, key=lambda name: found.errors[name], default=None)
        if found.disturbed:
            text += f", DISTURBED: others took {100 * found.others:.0f} % of the processors"
        text += f", PyTorch {results.duration(found.peer_s)} ({found.config}): {found.ratio:.2f} times"
        if same is not None:
            text += f"; both compute the same (largest difference {found.errors[same]:.1e}, {same})"
    return text
