"""Trains small students with every base method, with and without IGDM, measures them, and writes the tables.

make reproduce                    hours, on all cores; stops and goes on at any moment, on another machine too where
                                  docs/reproduction.jsonl is brought along. Writes that file and docs/reproduction.md
REPRODUCE=show make reproduce     writes docs/reproduction.md from the results that there are, and trains nothing
REPRODUCE=quick make reproduce    minutes: does it work? The numbers mean nothing and are only printed
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

import igdm
from igdm.progress import duration

from . import ROOT, document, experiments
from .crew import work_off
from .experiments import FULL, METHODS, QUICK, Alpha, Scale
from .laboratory import Measurement
from .records import Records

WISHES = ("full", "show", "quick")
RESULTS = ROOT / "docs" / "reproduction.jsonl"


def main() -> int:
    wish = os.environ.get("REPRODUCE", "full")
    if wish not in WISHES:
        print(f'REPRODUCE: got "{wish}", want one of {", ".join(WISHES)}', file=sys.stderr)
        return 2
    try:
        if wish == "quick":
            path = ROOT / "runs" / "reproduction-quick.jsonl"
            path.parent.mkdir(exist_ok=True)
            records = Records(path)
            run(QUICK, records)
            for name, lines in sections(QUICK, records).items():
                print(f"\n== {name}\n", *lines, sep="\n")
            return 0
        records = Records(RESULTS)
        document.write(sections(FULL, records))
        if wish == "full":
            run(FULL, records, on_result=lambda: document.write(sections(FULL, records)))
        return 0
    except KeyboardInterrupt:
        print("\nStopped; the same command goes on from here.", file=sys.stderr)
        return 130
    except igdm.IgdmError as error:
        print(f"reproduce: {error}", file=sys.stderr)
        return 1


def run(scale: Scale, records: Records, on_result: Callable[[], None] = lambda: None) -> None:
    """Measures whatever `records` do not have."""
    tried = [seeds for row in choices(scale).values() for seeds in row.values()]
    _measure([one for seeds in zip(*tried, strict=True) for one in seeds], records, on_result)
    _measure(plan(scale, chosen(scale, records)), records, on_result)


def choices(scale: Scale) -> dict[str, dict[float, list[Measurement]]]:
    """By method and alpha, one of each seed."""
    return {
        method: {
            alpha: [Measurement(scale, one, seed) for seed in scale.choice_seeds]
            for alpha, one in experiments.candidates(method, scale)
        }
        for method in METHODS
    }


def choice_results(scale: Scale, records: Records) -> document.Choices:
    return {
        method: {
            alpha: [result for one in seeds if (result := records.find(one.key)) is not None]
            for alpha, seeds in row.items()
        }
        for method, row in choices(scale).items()
    }


def chosen(scale: Scale, records: Records) -> Alpha:
    """The most robust one of each method on average over the seeds, once all have been tried."""
    alpha: Alpha = {}
    for method, tried in choice_results(scale, records).items():
        accuracies = {one: sum(result["pgd-20"] for result in seeds) for one, seeds in tried.items()}
        is_complete = all(len(seeds) == len(scale.choice_seeds) for seeds in tried.values())
        alpha[method] = max(accuracies, key=lambda one: accuracies[one]) if is_complete else None
    return alpha


def plan(scale: Scale, alpha: Alpha) -> list[Measurement]:
    """The main table before the variants, all of one seed first: what is stopped early has something to show."""
    tables = (experiments.main_table(alpha), experiments.ablations(alpha, scale))
    every = [Measurement(scale, one, seed) for table in tables for seed in scale.seeds for one in table]
    return [*every, Measurement(scale, None)]


def sections(scale: Scale, records: Records) -> dict[str, list[str]]:
    """The document's, from the results that there are."""
    alpha = chosen(scale, records)
    results: document.Results = {}
    for one in plan(scale, alpha):
        seeds = results.setdefault(one.experiment, {})
        if (found := records.find(one.key)) is not None:
            seeds[one.seed] = found
    return document.sections(scale, choice_results(scale, records), alpha, results)


def _measure(measurements: Sequence[Measurement], records: Records, on_result: Callable[[], None]) -> None:
    left = [one for one in measurements if records.find(one.key) is None]
    workers = len(os.sched_getaffinity(0))
    seconds = 0.0
    for done, (one, (result, took)) in enumerate(work_off(Measurement.run, left, workers), 1):
        records.add(one.key, result, title=one.title, seed=one.seed, options=one.options, seconds=round(took, 1))
        on_result()
        seconds += took
        shown = ", ".join(f"{what} {value:.3f}" for what, value in result.items())
        print(f"{one.title}, seed {one.seed}: {shown} ({duration(took)})")
        remaining = (len(left) - done) * seconds / done / workers
        print(f"    {done} of {len(left)}, about {duration(remaining)} left", flush=True)
