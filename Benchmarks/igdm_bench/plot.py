"""The ratios as a bar chart: one SVG that needs nothing else, light or dark as the reader's system is."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

WIDTH, BAR, ROW = 860, 18, 34
LEFT, RIGHT, TOP, BOTTOM = 330, 70, 58, 40

STYLE = """
svg { font: 13px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; background: #ffffff; }
text { fill: #1b2330; } .soft { fill: #5c6675; } .grid { stroke: #e2e6ec; } .one { stroke: #5c6675; }
.kept { fill: #2563d9; } .missed { fill: #c8690a; } .mark { stroke: #1b2330; stroke-width: 2; }
@media (prefers-color-scheme: dark) { svg { background: #12151a; } text { fill: #e8ebf0; } .soft { fill: #9aa5b4; }
  .grid { stroke: #2d343e; } .one { stroke: #9aa5b4; } .kept { fill: #6aa5ff; } .missed { fill: #f0a04e; }
  .mark { stroke: #e8ebf0; } }
"""


def bars(rows: Sequence[dict[str, Any]], subtitle: str) -> str:
    """A bar for each row that has a ratio that other programs did not spoil, with a mark at the ratio required."""
    drawn = [row for row in rows if row["ratio"] and not row["disturbed"]]
    height = TOP + ROW * len(drawn) + BOTTOM
    most = max([1.0, *(max(row["ratio"], row["required"] or 0) for row in drawn)])
    end = int(most) + 1

    def x(ratio: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * ratio / end

    bottom = height - BOTTOM + 4
    parts = [
        '<text x="16" y="24" font-size="16" font-weight="600">How many times faster than PyTorch</text>',
        f'<text class="soft" x="16" y="43">{escape(subtitle)}</text>',
    ]
    for tick in range(end + 1):
        style = "one" if tick == 1 else "grid"
        parts.append(f'<line class="{style}" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{TOP}" y2="{bottom}"/>')
        parts.append(f'<text class="soft" x="{x(tick):.1f}" y="{bottom + 18}" text-anchor="middle">{tick}×</text>')
    for index, row in enumerate(drawn):
        top = TOP + ROW * index + (ROW - BAR) / 2
        ratio, required = row["ratio"], row["required"]
        style = "kept" if required is None or ratio >= required else "missed"
        parts.append(
            f'<text x="{LEFT - 10}" y="{top + 14:.1f}" text-anchor="end">{escape(row["work"])}</text>'
            f'<rect class="{style}" x="{LEFT}" y="{top:.1f}" width="{x(ratio) - LEFT:.1f}" height="{BAR}" rx="3"/>'
            f'<text x="{max(x(ratio), x(required or 0)) + 8:.1f}" y="{top + 14:.1f}">{ratio:.2f}×</text>'
        )
        if required is not None:
            parts.append(
                f'<line class="mark" x1="{x(required):.1f}" x2="{x(required):.1f}" y1="{top - 4:.1f}" '
                f'y2="{top + BAR + 4:.1f}"><title>required: {required:g}×</title></line>'
            )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="How many times faster than PyTorch"><style>{STYLE}</style>{"".join(parts)}</svg>\n'
    )
