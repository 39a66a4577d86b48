"""The results as tables and as a plot, and their places in docs/reproduction.md."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from html import escape

import measured

from . import ROOT
from .experiments import BASE, IGDM, METHODS, NAMES, Experiment, Scale, main_table

DOCUMENT = ROOT / "docs" / "reproduction.md"
PLOT = ROOT / "docs" / "reproduction.svg"
PERCENT = {"clean": "clean", "fgsm": "FGSM", "pgd-20": "PGD-20", "cw": "C&W∞", "autoattack": "AutoAttack"}
AGREEMENT = ("GD", "GC")

Results = dict[Experiment, list[dict[str, float]]]


def sections(
    scale: Scale, choices: dict[str, dict[float, dict[str, float]]], alpha: dict[str, float], results: Results,
    teacher: dict[str, float],
) -> dict[str, list[str]]:  # fmt: skip
    """Lines by section; also draws the plot at full scale."""
    experiments = main_table(alpha)
    if scale.name == "full":
        PLOT.write_text(plot(results, experiments), encoding="utf-8")
    return {
        "scale": [_about(scale)],
        "alpha": _choice_table(choices, alpha),
        "main": _main_table(results, experiments, teacher),
        "ablations": _ablation_table(results, experiments),
    }


def write(blocks: dict[str, list[str]]) -> None:
    """Each section between the marks that carry its name."""
    for name, lines in blocks.items():
        measured.write(DOCUMENT, name, lines)


def _about(scale: Scale) -> str:
    grid = ", ".join(f"{alpha:g}" for alpha in scale.grid)
    return (
        f"Teacher: {scale.teacher_count:,} images, {scale.teacher_epochs} epochs. Students: {scale.train_count:,} "
        f"images, {scale.epochs} epochs, {len(scale.seeds)} seeds. Measured on the first {scale.test_count:,} test "
        f"images, AutoAttack (standard) on {scale.autoattack_count:,}. α from {grid} (RSLAD: a tenth), by PGD-20 on "
        f"{scale.choice_count:,} training images that are not trained on, with a seed of its own."
    )


def _choice_table(choices: dict[str, dict[float, dict[str, float]]], alpha: dict[str, float]) -> list[str]:
    rows = []
    for method, tried in choices.items():
        shown = [f"{'**' * (one == alpha[method])}{one:g}: {_pair(found)}{'**' * (one == alpha[method])}"
                 for one, found in sorted(tried.items())]  # fmt: skip
        rows.append([NAMES[method], "; ".join(shown)])
    return measured.markdown(["method", "α: clean / PGD-20, %"], rows)


def _pair(found: dict[str, float]) -> str:
    return f"{100 * found['clean']:.1f} / {100 * found['pgd-20']:.1f}"


def _main_table(results: Results, experiments: Sequence[Experiment], teacher: dict[str, float]) -> list[str]:
    rows = []
    for base, ours in zip(experiments[::2], experiments[1::2], strict=True):
        for one in (base, ours):
            rows.append([one.title, *_cells(results[one])])
        rows.append([f"difference, {NAMES[base.method]}", *_differences(results[base], results[ours])])
    rows.append(["teacher", *(f"{100 * teacher[name]:.1f}" for name in PERCENT), "", ""])
    return measured.markdown(["", *(f"{title}, %" for title in PERCENT.values()), *AGREEMENT], rows)


def _ablation_table(results: Results, experiments: Sequence[Experiment]) -> list[str]:
    varied = [one for one in results if one not in experiments]
    shown = [one for one in experiments if one.method in {other.method for other in varied}]
    order = sorted([*shown, *varied], key=lambda one: METHODS.index(one.method))
    return measured.markdown(
        ["", *(f"{title}, %" for title in PERCENT.values()), *AGREEMENT],
        [[one.title, *_cells(results[one])] for one in order],
    )


def _cells(runs: list[dict[str, float]]) -> list[str]:
    return [
        *(spread([100 * run[name] for run in runs], 1) for name in PERCENT),
        *(spread([run[name] for run in runs], 3) for name in AGREEMENT),
    ]


def _differences(base: list[dict[str, float]], ours: list[dict[str, float]]) -> list[str]:
    """Seed by seed."""
    return [
        spread([factor * (new[name] - old[name]) for old, new in zip(base, ours, strict=True)], digits, sign="+")
        for names, factor, digits in ((tuple(PERCENT), 100, 1), (AGREEMENT, 1, 3))
        for name in names
    ]


def spread(values: Sequence[float], digits: int, sign: str = "") -> str:
    """Mean ± standard deviation, the latter where there are several values."""
    mean = f"{statistics.fmean(values):{sign}.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


WIDTH, ROW, LEFT, RIGHT, TOP, BOTTOM = 720, 34, 90, 30, 62, 42
STYLE = """
svg { font: 13px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; background: #ffffff; }
text { fill: #1b2330; } .soft { fill: #5c6675; } .grid { stroke: #e2e6ec; } .way { stroke: #9aa5b4; stroke-width: 2; }
.base { fill: #c8690a; stroke: #c8690a; } .ours { fill: #2563d9; stroke: #2563d9; }
@media (prefers-color-scheme: dark) { svg { background: #12151a; } text { fill: #e8ebf0; } .soft { fill: #9aa5b4; }
  .grid { stroke: #2d343e; } .base { fill: #f0a04e; stroke: #f0a04e; } .ours { fill: #6aa5ff; stroke: #6aa5ff; } }
"""


def plot(results: Results, experiments: Sequence[Experiment]) -> str:
    """Accuracy under AutoAttack, method by method: alone and with IGDM; each seed a small dot, the mean a large one."""
    values = {one: [100 * run["autoattack"] for run in results[one]] for one in experiments}
    everything = [value for runs in values.values() for value in runs]
    low, high = int(min(everything)) // 5 * 5, -(-int(max(everything) + 1) // 5) * 5
    height = TOP + ROW * len(METHODS) + BOTTOM

    def x(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (value - low) / (high - low)

    parts = [
        '<text x="16" y="24" font-size="16" font-weight="600">Accuracy under AutoAttack, with and without IGDM</text>',
        f'<circle class="base" cx="22" cy="42" r="5"/><text x="34" y="46">{BASE}</text>',
        f'<circle class="ours" cx="102" cy="42" r="5"/><text x="114" y="46">{IGDM}</text>',
    ]
    bottom = height - BOTTOM + 4
    for tick in range(low, high + 1, 5):
        parts.append(f'<line class="grid" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{TOP}" y2="{bottom}"/>')
        parts.append(f'<text class="soft" x="{x(tick):.1f}" y="{bottom + 18}" text-anchor="middle">{tick} %</text>')
    for row, method in enumerate(METHODS):
        y = TOP + ROW * (row + 0.5)
        pair = [one for one in experiments if one.method == method]
        means = [statistics.fmean(values[one]) for one in pair]
        parts.append(f'<text x="{LEFT - 12}" y="{y + 4:.1f}" text-anchor="end">{NAMES[method]}</text>')
        parts.append(f'<line class="way" x1="{x(means[0]):.1f}" x2="{x(means[1]):.1f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        for one, mean, colour in zip(pair, means, ("base", "ours"), strict=True):
            for value in values[one]:
                parts.append(f'<circle class="{colour}" cx="{x(value):.1f}" cy="{y:.1f}" r="2" fill-opacity="0.5"/>')
            title = escape(f"{one.title}: {spread(values[one], 1)} %")
            parts.append(
                f'<circle class="{colour}" cx="{x(mean):.1f}" cy="{y:.1f}" r="6"><title>{title}</title></circle>'
            )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">'
        f"<style>{STYLE}</style>{''.join(parts)}</svg>\n"
    )
