"""The results as tables and as a plot, and their places in docs/reproduction.md."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import measured

from . import ROOT
from .experiments import BASE, IGDM, METHODS, NAMES, Alpha, Experiment, Scale, main_table

DOCUMENT = ROOT / "docs" / "reproduction.md"
PERCENT = {"clean": "clean", "fgsm": "FGSM", "pgd-20": "PGD-20", "cw": "C&W∞", "autoattack": "AutoAttack"}
AGREEMENT = ("GD", "GC")

MISSING = "not measured yet"

Result = dict[str, float]
Results = dict[Experiment | None, dict[int, Result]]
"""By experiment (None: the teacher) and seed."""
Choices = dict[str, dict[float, list[Result]]]
"""By method and alpha, of the seeds that were measured."""


def sections(scale: Scale, choices: Choices, alpha: Alpha, results: Results) -> dict[str, list[str]]:
    """Lines by section, of the results that there are; also draws the plot at full scale."""
    experiments = main_table(alpha)
    shown = []
    if scale.name == "full" and any(results[one] for one in experiments):
        for one in PLOTS:
            (DOCUMENT.parent / one.file).write_text(plot(results, experiments, one), encoding="utf-8")
            shown += [f"![{one.title}]({one.file})", ""]
    return {
        "scale": [_about(scale, results)],
        "alpha": _choice_table(choices, alpha),
        "main": shown + _main_table(results, experiments),
        "ablations": _ablation_table(results, experiments),
    }


def write(blocks: dict[str, list[str]]) -> None:
    """Each section between the marks that carry its name."""
    for name, lines in blocks.items():
        measured.write(DOCUMENT, name, lines)


def _about(scale: Scale, results: Results) -> str:
    grid = ", ".join(f"{alpha:g}" for alpha in scale.grid)
    done = sum(len(seeds) for one, seeds in results.items() if one)
    total = len(scale.seeds) * sum(1 for one in results if one)
    return (
        f"Students: {scale.train_count:,} images, {scale.epochs} epochs, {len(scale.seeds)} seeds. Measured on the "
        f"first {scale.test_count:,} test images, AutoAttack (standard) on {scale.autoattack_count:,}. α from {grid} "
        f"(RSLAD: a tenth), by PGD-20 on {scale.choice_count:,} training images that are not trained on, mean of "
        f"{len(scale.choice_seeds)} seeds of their own. Measured so far: {done} of {total} trainings."
    )


def _choice_table(choices: Choices, alpha: Alpha) -> list[str]:
    rows = []
    for method, tried in choices.items():
        shown = [f"{'**' * (one == alpha[method])}{one:g}: {_pair(found)}{'**' * (one == alpha[method])}"
                 for one, found in sorted(tried.items())]  # fmt: skip
        rows.append([NAMES[method], "; ".join(shown)])
    return measured.markdown(["method", "α: clean / PGD-20, %"], rows)


def _pair(found: Sequence[Result]) -> str:
    if not found:
        return MISSING
    return " / ".join(spread([100 * result[name] for result in found], 1) for name in ("clean", "pgd-20"))


def _main_table(results: Results, experiments: Sequence[Experiment]) -> list[str]:
    rows = []
    for base, ours in zip(experiments[::2], experiments[1::2], strict=True):
        rows += [_row(one.title, results[one]) for one in (base, ours)]
        rows.append(_differences(f"difference, {NAMES[base.method]}", results[base], results[ours]))
    rows.append(_row("teacher", results[None]))
    return measured.markdown(HEAD, rows)


def _ablation_table(results: Results, experiments: Sequence[Experiment]) -> list[str]:
    varied = [one for one in results if one and one not in experiments]
    shown = [one for one in experiments if one.method in {other.method for other in varied}]
    order = sorted([*shown, *varied], key=lambda one: METHODS.index(one.method))
    return measured.markdown(HEAD, [_row(one.title, results[one]) for one in order])


HEAD = ["", "seeds", *(f"{title}, %" for title in PERCENT.values()), *AGREEMENT]
UNITS = [(name, 100, 1) for name in PERCENT] + [(name, 1, 3) for name in AGREEMENT]
"""Each column's name in the results, factor and digits."""


def _row(title: str, seeds: dict[int, Result]) -> list[str]:
    if not seeds:
        return [title, MISSING, *[""] * len(UNITS)]
    runs = list(seeds.values())
    return [title, str(len(runs)), *(
        spread([factor * run[name] for run in runs], digits) if name in runs[0] else ""
        for name, factor, digits in UNITS
    )]  # fmt: skip


def _differences(title: str, base: dict[int, Result], ours: dict[int, Result]) -> list[str]:
    """Seed by seed, of those that both have."""
    pairs = [(base[seed], ours[seed]) for seed in base if seed in ours]
    if not pairs:
        return _row(title, {})
    return [title, str(len(pairs)), *(
        spread([factor * (new[name] - old[name]) for old, new in pairs], digits, sign="+")
        for name, factor, digits in UNITS
    )]  # fmt: skip


def spread(values: Sequence[float], digits: int, sign: str = "") -> str:
    """Mean ± standard deviation, the latter where there are several values."""
    mean = f"{statistics.fmean(values):{sign}.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


@dataclass(frozen=True)
class Plot:
    """A column of the main table, method by method."""

    file: str
    title: str
    column: str
    factor: int
    digits: int
    tick: float
    unit: str


PLOTS = (
    Plot("reproduction.svg", "Accuracy under AutoAttack, with and without IGDM", "autoattack", 100, 1, 5, " %"),
    Plot("reproduction-gc.svg", "GC, the cosine of the input gradients, with and without IGDM", "GC", 1, 3, 0.1, ""),
)

WIDTH, ROW, LEFT, RIGHT, TOP, BOTTOM = 720, 34, 90, 30, 62, 42
STYLE = """
svg { font: 13px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; background: #ffffff; }
text { fill: #1b2330; } .soft { fill: #5c6675; } .grid { stroke: #e2e6ec; } .way { stroke: #9aa5b4; stroke-width: 2; }
.base { fill: #c8690a; stroke: #c8690a; } .ours { fill: #2563d9; stroke: #2563d9; }
@media (prefers-color-scheme: dark) { svg { background: #12151a; } text { fill: #e8ebf0; } .soft { fill: #9aa5b4; }
  .grid { stroke: #2d343e; } .base { fill: #f0a04e; stroke: #f0a04e; } .ours { fill: #6aa5ff; stroke: #6aa5ff; } }
"""


def plot(results: Results, experiments: Sequence[Experiment], what: Plot) -> str:
    """A column, method by method: alone and with IGDM; each seed a small dot, the mean a large one."""
    values = {one: [what.factor * run[what.column] for run in results[one].values()] for one in experiments}
    everything = [value for runs in values.values() for value in runs] or [0, what.factor]
    first, last = math.floor(min(everything) / what.tick), math.ceil(max(everything) / what.tick)
    last = max(last, first + 1)
    low, high = what.tick * first, what.tick * last
    height = TOP + ROW * len(METHODS) + BOTTOM

    def x(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (value - low) / (high - low)

    parts = [
        f'<text x="16" y="24" font-size="16" font-weight="600">{escape(what.title)}</text>',
        f'<circle class="base" cx="22" cy="42" r="5"/><text x="34" y="46">{BASE}</text>',
        f'<circle class="ours" cx="102" cy="42" r="5"/><text x="114" y="46">{IGDM}</text>',
    ]
    bottom = height - BOTTOM + 4
    for tick in (what.tick * number for number in range(first, last + 1)):
        parts.append(f'<line class="grid" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{TOP}" y2="{bottom}"/>')
        label = f"{tick:g}{what.unit}"
        parts.append(f'<text class="soft" x="{x(tick):.1f}" y="{bottom + 18}" text-anchor="middle">{label}</text>')
    for row, method in enumerate(METHODS):
        y = TOP + ROW * (row + 0.5)
        pair = [one for one in experiments if one.method == method]
        parts.append(f'<text x="{LEFT - 12}" y="{y + 4:.1f}" text-anchor="end">{NAMES[method]}</text>')
        if not all(values[one] for one in pair):
            parts.append(f'<text class="soft" x="{LEFT}" y="{y + 4:.1f}">{MISSING}</text>')
            continue
        means = [statistics.fmean(values[one]) for one in pair]
        parts.append(f'<line class="way" x1="{x(means[0]):.1f}" x2="{x(means[1]):.1f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        for one, mean, colour in zip(pair, means, ("base", "ours"), strict=True):
            for value in values[one]:
                parts.append(f'<circle class="{colour}" cx="{x(value):.1f}" cy="{y:.1f}" r="2" fill-opacity="0.5"/>')
            title = escape(f"{one.title}: {spread(values[one], what.digits)}{what.unit}")
            parts.append(
                f'<circle class="{colour}" cx="{x(mean):.1f}" cy="{y:.1f}" r="6"><title>{title}</title></circle>'
            )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">'
        f"<style>{STYLE}</style>{''.join(parts)}</svg>\n"
    )
