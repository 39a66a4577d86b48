"""`make reproduce` from made-up results: tables, plot, file of results; and its processes."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "Benchmarks"))

from igdm_reproduction import command, document
from igdm_reproduction.experiments import METHODS, QUICK, Alpha, Experiment, ablations, alphas, main_table
from igdm_reproduction.laboratory import Measurement
from igdm_reproduction.records import Records

BENCHMARKS = Path(command.__file__).parents[1]


def run(robust: float) -> dict[str, float]:
    return {"clean": 0.8, "fgsm": 0.7, "pgd-20": 0.6, "cw": 0.55, "autoattack": robust, "GD": 0.1, "GC": 0.4}


def rows(table: list[str]) -> dict[str, list[str]]:
    return {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]] for line in table}


def test_tables_and_plot() -> None:
    alpha: Alpha = {method: alphas(method, QUICK)[1] for method in METHODS}
    results: document.Results = {None: {0: {"clean": 0.9, "fgsm": 0.8, "pgd-20": 0.8, "cw": 0.8, "autoattack": 0.7}}}
    for one in main_table(alpha):
        gain = 0.02 if one.options else 0.0
        results[one] = {0: run(0.5 + gain), 1: run(0.52 + 2 * gain)}
    for one in ablations(alpha, QUICK):
        results[one] = {0: run(0.4)}
    choices: document.Choices = {
        method: {0.0: [], **{one: [run(0.5), run(0.6)] for one in alphas(method, QUICK)}} for method in METHODS
    }
    made = document.sections(QUICK, choices, alpha, results)

    found = rows(made["main"])
    assert found["ARD alone"][0] == "2"
    assert found["ARD alone"][5] == "51.0 ± 1.4"
    # Seed by seed: 2 and 4 points.
    assert found["difference, ARD"][5] == "+3.0 ± 1.4"
    assert found["teacher"][5] == "70.0"
    assert len(made["main"]) == 2 + 3 * len(METHODS) + 1
    assert len(made["ablations"]) == 2 + len(ablations(alpha, QUICK)) + 12
    assert "**1: 80.0 ± 0.0 / 60.0 ± 0.0**" in next(line for line in made["alpha"] if "RSLAD" in line)

    for one in document.PLOTS:
        drawing = ElementTree.fromstring(document.plot(results, main_table(alpha), one))
        circles = [element for element in drawing.iter() if element.tag.endswith("circle")]
        assert len(circles) == 2 + len(METHODS) * 2 * (1 + 2)


def test_what_is_not_measured_is_said_to_be_missing(tmp_path: Path) -> None:
    records = Records(tmp_path / "results.jsonl")
    made = command.sections(QUICK, records)
    assert all(cells[0] == document.MISSING for name, cells in rows(made["main"]).items() if name not in ("", "---"))
    assert "0 of 44" in made["scale"][0]

    for (one,) in command.choices(QUICK)["ard"].values():
        records.add(one.key, run(0.5))
    alpha = command.chosen(QUICK, records)
    assert alpha["ard"] == 1.0 and alpha["akd"] is None
    both = [one for one in command.plan(QUICK, alpha) if one.title in ("ARD alone", "ARD + IGDM")]
    for one in both:
        records.add(one.key, run(0.5))
    assert rows(command.sections(QUICK, records)["main"])["difference, ARD"][5] == "+0.0"
    nothing = {one: {} for one in main_table(alpha)}
    drawing = ElementTree.fromstring(document.plot(nothing, main_table(alpha), document.PLOTS[0]))
    assert sum(element.text == document.MISSING for element in drawing.iter()) == len(METHODS)


def test_alpha_is_the_best_on_average_over_its_seeds(tmp_path: Path) -> None:
    records, scale = Records(tmp_path / "results.jsonl"), replace(QUICK, choice_seeds=(100, 101))
    first, second = command.choices(scale)["ard"].values()
    for one, accuracy in zip([*first, *second], [0.70, 0.50, 0.60, 0.62], strict=True):
        assert command.chosen(scale, records)["ard"] is None
        records.add(one.key, {"clean": 0.8, "pgd-20": accuracy})
    assert command.chosen(scale, records)["ard"] == scale.grid[1]


def test_records_are_found_again_and_others_lines_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    first = Records(path)
    first.add("a", run(0.5), title="ARD α")
    Records(path).add("b", run(0.6))
    first.add("c", run(0.7))
    assert {key: found["autoattack"] for key in "abcd" if (found := Records(path).find(key))} == {
        "a": 0.5, "b": 0.6, "c": 0.7,
    }  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["results.jsonl"]


def test_the_key_changes_with_what_changes_the_numbers() -> None:
    one = Measurement(QUICK, Experiment("ard", "alone"))
    others = [
        Measurement(QUICK, Experiment("ard", "alone"), seed=1),
        Measurement(QUICK, Experiment("ard", "alone"), seed=QUICK.choice_seeds[0]),
        Measurement(QUICK, Experiment("ard", "+ IGDM", {"igdm": 1.0})),
        Measurement(replace(QUICK, epochs=2), Experiment("ard", "alone")),
        Measurement(replace(QUICK, train_count=400), Experiment("ard", "alone")),
        Measurement(replace(QUICK, autoattack_count=30), Experiment("ard", "alone")),
        Measurement(QUICK, None),
    ]
    assert len({other.key for other in [one, *others]}) == 1 + len(others)
    # Another name, more seeds or another grid change no training.
    same = Measurement(replace(QUICK, name="other", seeds=(0, 1), grid=(5.0,)), Experiment("ard", "renamed"))
    assert same.key == one.key


def test_workers_end_with_the_process_that_began_them(tmp_path: Path) -> None:
    program = (
        "import sys, time; sys.path.insert(0, sys.argv[1])\n"
        "from igdm_reproduction.crew import work_off\n"
        "import os, pathlib\n"
        "def work(path):\n"
        "    pathlib.Path(path).write_text(str(os.getpid())); time.sleep(600)\n"
        "if __name__ == '__main__': list(work_off(work, [sys.argv[2]], 1))\n"
    )
    script, note = tmp_path / "program.py", tmp_path / "pid"
    script.write_text(program)
    for ending in (signal.SIGINT, signal.SIGKILL):
        note.unlink(missing_ok=True)
        process = subprocess.Popen([sys.executable, script, str(BENCHMARKS), note], stderr=subprocess.DEVNULL)
        wait_for(lambda: note.exists() and note.read_text() != "")
        worker = int(note.read_text())
        process.send_signal(ending)
        process.wait(timeout=60)
        wait_for(lambda worker=worker: not Path(f"/proc/{worker}").exists())


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "waited for two minutes"
        time.sleep(0.05)


def test_every_section_has_its_place() -> None:
    text = document.DOCUMENT.read_text(encoding="utf-8")
    for name in ("scale", "alpha", "main", "ablations"):
        assert text.count(f"<!-- measured: {name} -->") == 1


def test_rslad_has_a_tenth_of_alpha() -> None:
    assert alphas("rslad", QUICK) == [alpha / 10 for alpha in alphas("ard", QUICK)]
