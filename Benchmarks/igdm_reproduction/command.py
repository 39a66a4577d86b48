"""Trains a robust teacher and small students with every base method, with and without IGDM, and writes the tables.

make reproduce                    hours; stops and goes on at any moment; writes docs/reproduction.md and its plot
REPRODUCE=quick make reproduce    minutes: does it work? The numbers mean nothing and are only printed
"""

from __future__ import annotations

import os
import sys

import igdm
from igdm.progress import duration

from . import ROOT, document, experiments
from .experiments import FULL, METHODS, QUICK, Experiment
from .laboratory import Laboratory

CHOICE_SEED = 100
"""Of the trainings among which alpha is chosen: none of those that are reported."""


def main() -> int:
    wish = os.environ.get("REPRODUCE", "full")
    if wish not in ("full", "quick"):
        print(f'REPRODUCE: got "{wish}", want "full" or "quick"', file=sys.stderr)
        return 2
    scale = FULL if wish == "full" else QUICK
    try:
        sections = run(Laboratory(scale, ROOT / "runs" / "reproduction"))
    except KeyboardInterrupt:
        print("\nStopped; the same command goes on from here.", file=sys.stderr)
        return 130
    except igdm.IgdmError as error:
        print(f"reproduce: {error}", file=sys.stderr)
        return 1
    for name, lines in sections.items():
        print(f"\n== {name}\n", *lines, sep="\n")
    if scale is FULL:
        document.write(sections)
    return 0


def run(laboratory: Laboratory) -> dict[str, list[str]]:
    scale = laboratory.scale
    choices: dict[str, dict[float, dict[str, float]]] = {}
    for method in METHODS:
        choices[method] = {
            alpha: laboratory.on_choice(one, CHOICE_SEED) for alpha, one in experiments.candidates(method, scale)
        }
        choices[method][0.0] = laboratory.on_choice(Experiment(method, "alone"), CHOICE_SEED)
    alpha = {
        method: max(experiments.alphas(method, scale), key=lambda one: choices[method][one]["pgd-20"])
        for method in METHODS
    }
    plan = [*experiments.main_table(alpha), *experiments.ablations(alpha)]
    results: dict[Experiment, list[dict[str, float]]] = {}
    total = len(plan) * len(scale.seeds)
    for seed in scale.seeds:  # all of one seed first: a run that is stopped early has something to show
        for one in plan:
            results.setdefault(one, []).append(laboratory.on_test(one, seed))
            done = sum(map(len, results.values()))
            if laboratory.done and done < total:
                left = (total - done) * laboratory.seconds / laboratory.done
                print(f"    {done} of {total}, about {duration(left)} left", flush=True)
    return document.sections(scale, choices, alpha, results, laboratory.teacher_on_test())
