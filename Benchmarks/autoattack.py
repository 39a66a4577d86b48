"""AutoAttack as a whole beside the authors' code: which attack breaks which image, with the published numbers of
steps, targets and queries.

Run by `make autoattack`: hours on two cores. What is measured goes to docs/autoattack.json, 50 images at a time; what
is there is not measured again, so that another machine goes on from the committed file. The table of docs/attacks.md
is written after each case, with what there is. --show only writes it. See Tests/Parity/whole_autoattack.py.
"""

from __future__ import annotations

import argparse
import time

import measured
from beside_authors import DOCUMENT, ROOT, SYMBOLS, Results
from fashion import RADIUS
from whole_autoattack import SIDES

RESULTS = ROOT / "docs" / "autoattack.json"
CHUNK = 50
CASES = [
    ("standard", "linf", 100),
    ("standard", "l2", 100),
    ("standard", "l1", 100),
    ("rand", "linf", 50),
    ("plus", "linf", 50),
]
"""Version, norm, number of images."""

ATTACKS = {
    "standard": ["apgd-ce", "apgd-t", "fab-t", "square"],
    "rand": ["apgd-ce", "apgd-dlr"],
    "plus": ["apgd-ce", "apgd-dlr", "fab", "square", "apgd-t", "fab-t"],
}

Breakers = dict[str, list[str]]
"""For each image the attack that broke it, or "": by version, norm, side and images."""


def key(version: str, norm: str, side: str, first: int) -> str:
    return f"{version}, {norm} {RADIUS[norm]}, {side}, images {first}-{first + CHUNK - 1}"


def row(results: Breakers, version: str, norm: str, count: int) -> list[str]:
    name = f"{version}, {SYMBOLS[norm]}"
    pairs: list[tuple[str, str]] = []
    for first in range(0, count, CHUNK):
        ours, theirs = (results.get(key(version, norm, side, first), []) for side in SIDES)
        if ours and theirs:
            pairs += zip(ours, theirs, strict=True)
    if not pairs:
        return [name, "not measured yet", *[""] * 4]
    attacks = ATTACKS[version]
    after = [
        " / ".join(str(sum(breaker not in attacks[: i + 1] for breaker in side)) for side in zip(*pairs, strict=True))
        for i in range(len(attacks))
    ]
    only_ours = sum(bool(ours) and not theirs for ours, theirs in pairs)
    only_theirs = sum(bool(theirs) and not ours for ours, theirs in pairs)
    return [
        name,
        str(len(pairs)),
        ", ".join(f"{attack} {left}" for attack, left in zip(attacks, after, strict=True)),
        f"{100 * (1 - (only_ours + only_theirs) / len(pairs)):.1f} %",
        str(only_ours),
        str(only_theirs),
    ]


def table(results: Breakers) -> list[str]:
    return measured.markdown(
        [
            "",
            "images",
            "left after each attack: igdm / authors' code",
            "same verdict",
            "only igdm's breaks",
            "only theirs",
        ],
        [row(results, *case) for case in CASES],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help='cases with this in their name: "standard, l1"')
    parser.add_argument("--show", action="store_true", help="measure nothing")
    asked = parser.parse_args()
    results = Results(RESULTS)
    if not asked.show:
        comparison = results.comparison(max(count for _, _, count in CASES))
        for version, norm, count in CASES:
            for first in range(0, count, CHUNK):
                for side, run in SIDES.items():
                    name = key(version, norm, side, first)
                    if name in results.values or asked.only not in name:
                        continue
                    began = time.monotonic()
                    verdicts = run(comparison, first, first + CHUNK, version, norm)
                    results.keep(name, [verdict or "" for verdict in verdicts])
                    print(f"{name}: {verdicts.count(None)} left ({time.monotonic() - began:.0f} s)", flush=True)
                measured.write(DOCUMENT, "autoattack", table(results.values))
    lines = table(results.values)
    print(*lines, sep="\n")
    measured.write(DOCUMENT, "autoattack", lines)


if __name__ == "__main__":
    main()
