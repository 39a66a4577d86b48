"""The measurements as rows of bench.json and as tables on the screen."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .measure import Measurement
from .probes import Finding

Row = dict[str, Any]


def work_row(found: Measurement, multiply_adds: Mapping[str, int], peak: float | None) -> Row:
    """peak  GFLOP/s of the machine with the threads in use"""
    work = found.work
    row = _row(work.title, found.ours_s, found.peer_s, found.config, found.ratio, found.ours_mb, found.peer_mb)
    row |= {"required": work.required, "stretch": work.stretch, "memory_required": work.memory_required}
    row |= {"ours_gflops": None, "peer_gflops": None, "peak_share": None}
    if found.ours and work.counts_passes:
        operations = work.operations(multiply_adds) / 1e9
        row["ours_gflops"] = operations / found.ours_s
        row["peer_gflops"] = operations / found.peer_s if found.peer else None
        row["peak_share"] = row["ours_gflops"] / peak if peak else None
    row |= {"ours_runs_s": found.ours, "peer_runs_s": found.peer, "peer_trials": found.trials}
    row |= {"others_share": found.others, "disturbed": found.disturbed}
    return row | {"differences": found.errors, "failure": found.failure}


def finding_row(finding: Finding) -> Row:
    row = _row(finding.title, finding.seconds, None, None, None, None, None)
    kept = None if finding.disturbed else finding.kept
    row |= finding.details | {"ours_runs_s": finding.runs, "kept": kept}
    return row | {"others_share": finding.others, "disturbed": finding.disturbed, "failure": finding.failure}


def _row(
    work: str,
    ours_s: float | None,
    peer_s: float | None,
    config: str | None,
    ratio: float | None,
    ours_mb: float | None,
    peer_mb: float | None,
) -> Row:
    return {
        "work": work,
        "ours_s": ours_s,
        "peer_s": peer_s,
        "peer_config": config,
        "ratio": ratio,
        "ours_mb": ours_mb,
        "peer_mb": peer_mb,
    }


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


WORK_HEADING = ("work", "igdm", "PyTorch, best", "ratio", "required", "GFLOP/s (of peak)", "memory, MB")


def work_table(rows: Sequence[Row]) -> list[str]:
    return aligned([WORK_HEADING, *(_work_cells(row) for row in rows)])


def _work_cells(row: Row) -> tuple[str, ...]:
    if row["failure"]:
        return (row["work"], row["failure"])
    ratio, required = row["ratio"], row["required"]
    share = row["peak_share"]
    wanted = "" if required is None else f"{required:g}"
    if required is not None and ratio is not None:
        wanted += " yes" if ratio >= required else " NO"
    if row["disturbed"]:
        wanted = "disturbed"
    return (
        row["work"],
        duration(row["ours_s"]),
        f"{duration(row['peer_s'])} {row['peer_config']}" if row["peer_s"] else "-",
        f"{ratio:.2f}" if ratio else "-",
        wanted,
        ("" if row["ours_gflops"] is None else f"{row['ours_gflops']:.0f}")
        + (f" ({100 * share:.0f} %)" if share else ""),
        _memory(row),
    )


def _memory(row: Row) -> str:
    ours, peer, limit = row["ours_mb"], row["peer_mb"], row["memory_required"]
    if peer is None:
        return f"{ours:.0f}"
    text = f"{ours:.0f} / {peer:.0f} = {ours / peer:.2f}"
    return text if limit is None else f"{text}, <= {limit:g} {'yes' if ours <= limit * peer else 'NO'}"


FINDING_HEADING = ("igdm alone", "time", "", "wanted")


def finding_table(findings: Sequence[Finding]) -> list[str]:
    return aligned([FINDING_HEADING, *(_finding_cells(finding) for finding in findings)])


def _finding_cells(finding: Finding) -> tuple[str, ...]:
    if finding.failure:
        return (finding.title, finding.failure)
    verdict = {None: "", True: " yes", False: " NO"}[finding.kept]
    if finding.disturbed:
        verdict = " (disturbed)"
    return (finding.title, duration(finding.seconds), finding.value, finding.wanted + verdict)


def duration(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} us"


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns two spaces apart, a rule under the heading. A row of two is a name and a remark, of any length."""
    columns = len(rows[0])
    widths = [max(len(row[i]) for row in rows if i == 0 or len(row) == columns) for i in range(columns)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip() for row in rows]
    return [lines[0], "-" * (sum(widths) + 2 * (columns - 1)), *lines[1:]]
