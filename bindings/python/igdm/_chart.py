"""Line charts as inline SVG, coloured by the classes of the page that holds them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

COLOURS = 8
WIDTH, HEIGHT = 360, 220
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 10, 34
LETTER = 7  # about as wide as a digit of a label


def colour(index: int) -> str:
    """The class of the style sheet that colours a line, a name or a bar."""
    return f"c{index % COLOURS}"


@dataclass(frozen=True)
class Series:
    """One line: `values[i]` belongs to epoch i+1, or to the chart's i-th position; None leaves a gap."""

    name: str
    colour: int
    values: Sequence[float | None]
    dashed: bool = False

    @property
    def finite(self) -> list[tuple[int, float]]:
        """The points that can be drawn: index and value."""
        return [(i, v) for i, v in enumerate(self.values) if v is not None and math.isfinite(v)]


def line_chart(
    title: str,
    series: Sequence[Series],
    percent: bool = False,
    positions: Sequence[tuple[float, str]] | None = None,
    axis: str = "epoch",
) -> str:
    """A figure with heading, legend and chart; every series has a finite point. The vertical axis shows their range.

    positions  where the values lie on the horizontal axis, rising, and what they are called there; by default 1, 2, ...
    """
    scale = 100 if percent else 1
    lines = [[(i, v * scale) for i, v in one.finite] for one in series]
    numbers = [v for line in lines for _, v in line]
    ticks = _ticks(min(numbers), max(numbers))
    epochs = max(len(one.values) for one in series)
    places = positions or [(float(i), str(i + 1)) for i in range(epochs)]
    first, span = places[0][0], places[-1][0] - places[0][0]

    def x(index: int) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * ((places[index][0] - first) / span if span else 0.5)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - ticks[0]) / (ticks[-1] - ticks[0])

    parts = []
    for tick in ticks:
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
        label = f"{tick:g}" + (" %" if percent else "")
        parts.append(f'<text class="tick" x="{LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{label}</text>')
    stride = math.ceil((epochs - 1) / 8) or 1
    free = -math.inf  # where the next label may begin
    for index in range(0, epochs, stride):
        half = LETTER * len(places[index][1]) / 2
        if x(index) - half < free:
            continue
        free = x(index) + half + LETTER
        parts.append(
            f'<text class="tick" x="{x(index):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">'
            f"{escape(places[index][1])}</text>"
        )
    parts.append(
        f'<text class="tick" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 3}" text-anchor="middle">'
        f"{escape(axis)}</text>"
    )
    for one, points in zip(series, lines, strict=True):
        style = f'class="line {colour(one.colour)}{" dashed" if one.dashed else ""}"'
        parts.append(f'<polyline {style} points="{" ".join(f"{x(i):.1f},{y(v):.1f}" for i, v in points)}"/>')
        for i, v in points if epochs <= 30 else points[-1:]:
            text = escape(f"{one.name}, {axis} {places[i][1]}: {v:.4g}{' %' if percent else ''}")
            parts.append(
                f'<circle class="dot {colour(one.colour)}" cx="{x(i):.1f}" cy="{y(v):.1f}" r="3"><title>{text}</title>'
                "</circle>"
            )
    legend = "".join(
        f'<li><svg class="key" viewBox="0 0 22 8" aria-hidden="true"><line class="line {colour(one.colour)}'
        f'{" dashed" if one.dashed else ""}" x1="0" y1="4" x2="22" y2="4"/></svg>{escape(one.name)}</li>'
        for one in series
    )
    return (
        f'<figure class="card chart"><figcaption>{escape(title)}</figcaption><ul class="legend">{legend}</ul>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg></figure>'
    )


def _ticks(low: float, high: float) -> list[float]:
    """About five round numbers that enclose [low, high]."""
    span = (high - low) or abs(high) or 1.0
    rough = span / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 10) for index in range(first, max(last, first + 1) + 1)]
