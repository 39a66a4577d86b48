"""The tables and the plot of `make reproduce`, from made-up results."""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "Benchmarks"))

from igdm_reproduction import document
from igdm_reproduction.experiments import METHODS, QUICK, Experiment, ablations, alphas, main_table


def run(robust: float) -> dict[str, float]:
    return {"clean": 0.8, "fgsm": 0.7, "pgd-20": 0.6, "cw": 0.55, "autoattack": robust, "GD": 0.1, "GC": 0.4}


def test_tables_and_plot() -> None:
    alpha = {method: alphas(method, QUICK)[1] for method in METHODS}
    results: dict[Experiment, list[dict[str, float]]] = {}
    for one in main_table(alpha):
        gain = 0.02 if one.options else 0.0
        results[one] = [run(0.5 + gain), run(0.52 + 2 * gain)]
    for one in ablations(alpha):
        results[one] = [run(0.4), run(0.41)]
    choices = {method: {one: run(0.5) for one in [0.0, *alphas(method, QUICK)]} for method in METHODS}
    made = document.sections(QUICK, choices, alpha, results, run(0.7))

    rows = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]] for line in made["main"]}
    assert rows["ARD alone"][4] == "51.0 ± 1.4"
    # Seed by seed: 2 and 4 points.
    assert rows["difference, ARD"][4] == "+3.0 ± 1.4"
    assert rows["teacher"][4] == "70.0"
    assert len(made["main"]) == 2 + 3 * len(METHODS) + 1
    assert len(made["ablations"]) == 2 + len(ablations(alpha)) + 4
    assert "**1: 80.0 / 60.0**" in next(line for line in made["alpha"] if "RSLAD" in line)

    drawing = ElementTree.fromstring(document.plot(results, main_table(alpha)))
    circles = [element for element in drawing.iter() if element.tag.endswith("circle")]
    assert len(circles) == 2 + len(METHODS) * 2 * (1 + 2)


def test_every_section_has_its_place() -> None:
    text = document.DOCUMENT.read_text(encoding="utf-8")
    for name in ("scale", "alpha", "main", "ablations"):
        assert text.count(f"<!-- measured: {name} -->") == 1


def test_rslad_has_a_tenth_of_alpha() -> None:
    assert alphas("rslad", QUICK) == [alpha / 10 for alpha in alphas("ard", QUICK)]
