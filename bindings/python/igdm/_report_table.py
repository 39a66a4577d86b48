"""The table of a report: a row for each contender, and below it the difference to its base."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from ._chart import colour
from ._contenders import Contender, Measured, attack_title
from .ensemble import AutoAttack

Judged = list[tuple[int, Contender, Measured]]


@dataclass(frozen=True)
class _Column:
    title: str
    digits: int
    better: int
    """1 where more is better, else -1."""
    attack: str = ""
    attribute: str = ""

    def value(self, evaluation: Measured) -> float | None:
        """In per cent for attacks; None where it was not measured."""
        if self.attack:
            accuracy = evaluation.accuracy.get(self.attack)
            return None if accuracy is None else 100 * accuracy
        value: float | None = getattr(evaluation, self.attribute, None)  # AutoAttack has no teacher
        return value

    def difference(self, new: Measured, old: Measured) -> float | None:
        after, before = self.value(new), self.value(old)
        return None if after is None or before is None else after - before


GRADIENTS = (
    _Column("GC", 3, 1, attribute="gradient_cosine"),
    _Column("GD", 3, -1, attribute="gradient_distance"),
)


def results(contenders: Sequence[Contender]) -> str:
    """The section with the table; nothing where nothing was measured."""
    judged: Judged = [(i, one, one.evaluation) for i, one in enumerate(contenders) if one.evaluation is not None]
    if not judged:
        return ""
    attacks = list(dict.fromkeys(name for _, _, evaluation in judged for name in evaluation.accuracy))
    columns = [_Column(attack_title(name), 2, 1, attack=name) for name in attacks]
    columns += [one for one in GRADIENTS if any(one.value(evaluation) is not None for *_, evaluation in judged)]
    pairs = [
        (evaluation, one.base.evaluation)
        for _, one, evaluation in judged
        if one.base is not None and one.base.evaluation is not None
    ]
    rows = []
    for index, one, evaluation in judged:
        cells = "".join(_cell(column, column.value(evaluation)) for column in columns)
        rows.append(f'<tr class="{colour(index)}"><th scope="row" class="own">{escape(one.name)}</th>{cells}</tr>')
        if one.base is not None and one.base.evaluation is not None:
            rows.append(_differences(f"to {one.base.name}", columns, [(evaluation, one.base.evaluation)]))
    if len(pairs) > 1:
        rows.append(_differences(f"mean of {len(pairs)} differences", columns, pairs, "difference mean"))
    head = "".join(f'<th scope="col">{escape(column.title)}</th>' for column in columns)
    first = judged[0][2]
    note = (
        f"{first.count:,} images, ε {first.options['eps']} ({first.options['norm']}). Differences in percentage points"
        + (", mean ± standard deviation below." if len(pairs) > 1 else ".")
    )
    if columns[-1] in GRADIENTS:
        note += (
            " GC and GD: mean cosine and distance of the model's input gradient of the cross-entropy and the teacher's."
        )
    if any(isinstance(evaluation, AutoAttack) for *_, evaluation in judged):
        note += " AutoAttack: after each attack, what is left by it and by all before it; the last one is the result."
    return (
        f"<h2>Accuracy under attack</h2>{_finding(judged)}{_warnings(judged)}"
        f'<div class="card scroll"><table><thead><tr><th scope="col"></th>{head}</tr></thead>'
        f'<tbody>{"".join(rows)}</tbody></table></div><p class="note">{escape(note)}</p>'
    )


def _finding(judged: Judged) -> str:
    """A sentence for each pair with the strongest attack's numbers."""
    sentences = []
    for _, one, evaluation in judged:
        if one.base is None or one.base.evaluation is None:
            continue
        shared = [name for name in evaluation.accuracy if name != "clean" and name in one.base.evaluation.accuracy]
        if not shared:
            continue
        before = one.base.evaluation.accuracy
        hardest = min(shared, key=lambda name: before[name])
        old, new = 100 * before[hardest], 100 * evaluation.accuracy[hardest]
        sentences.append(
            f"Under {escape(attack_title(hardest))}, {escape(one.base.name)} keeps <b>{old:.2f} %</b> of the images "
            f"and {escape(one.name)} <b>{new:.2f} %</b>: {new - old:+.2f} points."
        )
    return f'<p class="card finding">{"<br>".join(sentences)}</p>' if sentences else ""


def _warnings(judged: Judged) -> str:
    """What makes the numbers doubtful."""
    told = [
        f"{escape(one.name)}: {escape(warning)}" for _, one, evaluation in judged for warning in evaluation.warnings
    ]
    return f'<p class="card finding">{"<br>".join(told)}</p>' if told else ""


def _cell(column: _Column, value: float | None) -> str:
    if value is None:
        return "<td></td>"
    shown = f"{value:.{column.digits}f}"
    if not column.attack:
        return f"<td>{shown}</td>"
    return f'<td>{shown} %<span class="bar"><i style="width:{shown}%"></i></span></td>'


def _differences(
    title: str,
    columns: Sequence[_Column],
    pairs: Sequence[tuple[Measured, Measured]],
    kind: str = "difference",
) -> str:
    cells = []
    for column in columns:
        values = [value for pair in pairs if (value := column.difference(*pair)) is not None]
        if not values:
            cells.append("<td></td>")
            continue
        mean = f"{statistics.fmean(values):+.{column.digits}f}"
        direction = "" if float(mean) == 0 else "up" if float(mean) * column.better > 0 else "down"
        spread = f' <span class="soft">± {statistics.stdev(values):.{column.digits}f}</span>' if len(values) > 1 else ""
        cells.append(f'<td class="{direction}">{mean}{spread}</td>')
    return f'<tr class="{kind}"><th scope="row">{escape(title)}</th>{"".join(cells)}</tr>'
