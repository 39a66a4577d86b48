"""Benchmarks/bench.py on tiny cases, without PyTorch."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import CHECKOUT

BENCH = CHECKOUT / "Benchmarks"
sys.path.insert(0, str(BENCH))

from igdm_bench import disturbance, equality, plot, results  # noqa: E402
from igdm_bench.measure import Measurement  # noqa: E402
from igdm_bench.works import Work  # noqa: E402

Run = Callable[..., subprocess.CompletedProcess[str]]
KEYS = {"work", "ours_s", "peer_s", "peer_config", "ratio", "ours_mb", "peer_mb"}


def bench(python: Run, output: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return python(str(BENCH / "bench.py"), "--quick", "--no-peer", "--output", str(output), *arguments)


def test_own_cases_without_pytorch(python: Run, tmp_path: Path) -> None:
    output = tmp_path / "bench.json"
    work = "forward,gradient,training,pgd-2,ard,adaad"
    result = bench(
        python, output, "--models", "resnet8", "--teacher", "small_cnn", "--batch", "2", "--work", work,
        "--classes", "4", "--input", "1,8,8",
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    rows = json.loads(output.read_text())
    assert len(rows) == 6
    for row in rows:
        assert set(row) >= KEYS
        assert (row["ours_s"] > 0, row["ours_mb"] > 0, row["failure"]) == (True, True, None)
        assert (row["peer_s"], row["ratio"], row["peer_mb"]) == (None, None, None)
        assert row["work"] in result.stdout
    described = json.loads((tmp_path / "bench-machine.json").read_text())
    assert described["settings"]["configs"] == []


@pytest.mark.parametrize("title", ["gradient, batch 64: 1 thread", "by batch size", "C call", "load"])
def test_what_is_measured_of_igdm_alone(python: Run, tmp_path: Path, title: str) -> None:
    output = tmp_path / "bench.json"
    result = bench(python, output, "--only", title)
    assert result.returncode == 0, result.stdout + result.stderr
    rows = json.loads(output.read_text())
    assert rows
    for row in rows:
        assert (row["ours_s"] > 0, row["failure"]) == (True, None)


def test_an_unknown_model_is_a_row_without_numbers(python: Run, tmp_path: Path) -> None:
    result = bench(
        python, tmp_path / "bench.json", "--models", "resnet8,resnet9000", "--batch", "1", "--work", "forward"
    )
    assert result.returncode == 0, result.stdout + result.stderr
    known, unknown = json.loads((tmp_path / "bench.json").read_text())
    assert known["ours_s"] > 0
    assert unknown["ours_s"] is None
    assert "unavailable" in unknown["failure"]
    assert "unavailable" in result.stdout


@pytest.mark.parametrize("arguments", [("--models", "resnet8", "--work", "flying"), ("--only", "no such title")])
def test_nonsense_is_refused_in_one_line(python: Run, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    result = bench(python, tmp_path / "bench.json", *arguments)
    assert (result.returncode, len(result.stderr.splitlines())) == (2, 1)


def test_unequal_work_is_refused(tmp_path: Path) -> None:
    logits = np.ones((2, 3), np.float32)
    paths = [tmp_path / "ours.npz", tmp_path / "peer.npz"]
    np.savez(paths[0], logits=logits, loss=1.0)
    np.savez(paths[1], logits=logits + np.float32(5e-5), loss=1.0005)
    assert equality.compare(*paths)["logits"] < 1e-4
    for wrong in ({"logits": logits, "loss": 1.01}, {"logits": logits + 1, "loss": 1.0}, {"logits": logits}):
        np.savez(paths[1], **wrong)
        with pytest.raises(equality.Unequal):
            equality.compare(*paths)
    np.savez(paths[1], logits=logits, loss=np.nan)
    with pytest.raises(equality.Unequal):
        equality.compare(*paths)


def test_the_attack_is_compared_pixel_by_pixel_and_its_start_is_not(tmp_path: Path) -> None:
    images = np.full((2, 1, 10, 10), 0.5, np.float32)
    paths = [tmp_path / "ours.npz", tmp_path / "peer.npz"]
    np.savez(paths[0], **{"adversarial images": images, equality.FIRST_ITERATE: images})
    for moved, equal in ((26, True), (120, False)):
        other = images.copy()
        other.ravel()[:moved] += np.float32(0.002)
        np.savez(paths[1], **{"adversarial images": other})
        if equal:
            equality.compare(*paths)
        else:
            with pytest.raises(equality.Unequal):
                equality.compare(*paths)


def test_a_step_that_the_peer_leaves_out_is_refused() -> None:
    work = Work("step", "s", teacher="t", method="ard")
    equality.compare_passes(work, [26, 3])
    for counted in ([24, 3], [26, 2]):
        with pytest.raises(equality.Unequal):
            equality.compare_passes(work, counted)


def test_other_programs_are_noticed() -> None:
    """A busy process beside a quiet measurement; the same process counted as measured is no disturbance."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        try:
            unknown, known = disturbance.Watch([]), disturbance.Watch([busy.pid])
            time.sleep(0.6)
            shares = unknown.share(), known.share()
        finally:
            busy.kill()
    assert shares[0] > disturbance.TOLERATED
    assert shares[1] < shares[0]


def test_the_ratio_is_that_of_neighbouring_runs() -> None:
    """A machine that becomes slower in the middle slows both sides: 3 times all along."""
    found = Measurement(Work("forward", "s", 1), [1.0, 1.0, 1.0, 2.0, 2.0], [3.0, 3.0, 6.0, 6.0, 6.0], "nchw")
    assert (found.ours_s, found.peer_s, found.ratio) == (1.0, 6.0, 3.0)


def test_a_disturbed_ratio_gets_no_verdict_and_no_bar() -> None:
    work = Work("forward", "resnet8", 2, required=2.0)
    rows = []
    for others in (0.0, 0.5):
        found = Measurement(work, [1.0], [9.0], "nchw", ours_mb=1.0, peer_mb=2.0, others=others)
        rows.append(results.work_row(found, {"resnet8": 10**6}, peak=100.0))
    quiet, disturbed = (results.work_table([row])[-1] for row in rows)
    assert "2 yes" in quiet and "disturbed" not in quiet
    assert "disturbed" in disturbed and "yes" not in disturbed
    assert plot.bars(rows, "").count("<rect") == 1


def test_passes_follow_the_methods() -> None:
    """ARD: 10 steps of forward and gradient, two training passes; the teacher sees x, x + d and x - d. AdaAD's
    adversary goes through the teacher too."""
    assert Work("step", "s", teacher="t", method="ard").passes == (26, 3)
    assert Work("step", "s", teacher="t", method="adaad").passes == (26, 22)
    assert Work("training", "s", 64).operations({"s": 5}) == 2 * 3 * 64 * 5
