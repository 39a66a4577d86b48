"""Random attacks beside the authors' code, in distribution: robust accuracy on the same 1000 images, three seeds, or
six where three lie at the limit.

Run by `make distribution`: hours on two idle cores. Each result goes to docs/distribution.json as it comes;
what is there is not measured again, so that another machine goes on from the committed file. The table of
docs/attacks.md is written after each seed of a case, with what there is. --show only writes it.
See Tests/Parity/random_attacks.py.
"""

from __future__ import annotations

import argparse
import sys
import time
from statistics import fmean, stdev

import measured
from beside_authors import DOCUMENT, ROOT, SYMBOLS, Results
from random_attacks import CASES, Case

RESULTS = ROOT / "docs" / "distribution.json"
SEEDS = 3
ALLOWED = 0.5
"""Percentage points between the means."""


def seeds_of(case: Case, norm: str, seeds: int) -> int:
    return 2 * seeds if norm in case.close else seeds


def table(results: dict[str, float], cases: list[tuple[str, Case, str]], seeds: int) -> tuple[list[str], list[str]]:
    """Lines of Markdown, and the cases whose means over all seeds are too far apart."""
    rows, failures = [], []
    for name, case, norm in cases:
        wanted = seeds_of(case, norm, seeds)
        ours, theirs = (
            [results[key] for seed in range(wanted) if (key := f"{name}, {side}, seed {seed}") in results]
            for side in ("igdm", "authors")
        )
        verdict = "not measured yet"
        if len(ours) == len(theirs) == wanted:
            difference = fmean(ours) - fmean(theirs)
            error = ((stdev(ours) ** 2 + stdev(theirs) ** 2) / wanted) ** 0.5 if wanted > 1 else float("nan")
            verdict = f"{round(difference, 2) + 0.0:+.2f} ± {error:.2f}"
            if norm in case.differs:
                verdict += ", see below"
            elif abs(difference) > ALLOWED:
                failures.append(f"{name}: {difference:+.2f} points")
        elif ours or theirs:
            verdict = "not all seeds yet"
        shown = (
            f"{fmean(side):.2f} % ({', '.join(f'{value:.1f}' for value in side)})" if side else ""
            for side in (ours, theirs)
        )
        rows.append([f"{case.attack} ({case.settings}), {SYMBOLS[norm]}", *shown, verdict])
    return measured.markdown(
        ["", "igdm", "authors' code, or the package named", "difference ± its standard error"], rows
    ), failures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="cases with this in their name")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--image-count", type=int, default=1000)
    parser.add_argument("--show", action="store_true", help="measure nothing")
    asked = parser.parse_args()
    results = Results(RESULTS)
    every = [
        (f"{case.attack} ({case.settings}), {norm} {case.radius[norm]}, {asked.image_count} images", case, norm)
        for case in CASES for norm in case.norms
    ]  # fmt: skip
    cases = [one for one in every if asked.only in one[0]]
    is_whole = cases == every and (asked.seeds, asked.image_count) == (SEEDS, 1000)
    for seed in range(0 if asked.show else 2 * asked.seeds):
        for name, case, norm in cases:
            if seed >= seeds_of(case, norm, asked.seeds):
                continue
            for side in ("igdm", "authors"):
                key = f"{name}, {side}, seed {seed}"
                if key in results.values:
                    continue
                comparison = results.comparison(asked.image_count, case.network)
                began = time.monotonic()
                results.keep(key, (comparison.ours if side == "igdm" else comparison.theirs)(case, norm, seed))
                print(f"{key}: {results.values[key]:.2f} % ({time.monotonic() - began:.0f} s)", flush=True)
            if is_whole:
                measured.write(DOCUMENT, "distribution", table(results.values, cases, asked.seeds)[0])
    lines, failures = table(results.values, cases, asked.seeds)
    print(*lines, *failures, sep="\n")
    if is_whole:
        measured.write(DOCUMENT, "distribution", lines)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
