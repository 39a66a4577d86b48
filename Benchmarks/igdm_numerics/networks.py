"""Logits and input gradients of whole networks against PyTorch in double precision: Tests/Parity's large cases."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import cases
import igdm
import numpy as np
import ours
from measured import markdown

from . import ROOT
from .errors import cell, errors
from .kernels import PATHS

CASES = cases.LIVE_MODELS


def compute(path: str) -> None:
    """Writes what igdm computes, on the CPU path of this process."""
    results = {}
    for exact in (False, True):
        ours.exact = exact
        for case in CASES:
            model = ours.model(case.model)
            results[f"{case.id} {exact} logits"] = model.predict(case.images)
            results[f"{case.id} {exact} gradient"] = model.input_gradient(case.images, case.cotangent)
    np.savez(path, cpu=igdm.build_info()["cpu"], **results)


def on_path(cpu: str) -> dict[str, np.ndarray] | None:
    """The same from a process on that CPU path; None where the processor does not have it."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "results.npz"
        code = f"from igdm_numerics.networks import compute; compute({str(file)!r})"
        environment = os.environ | {"IGDM_CPU": cpu, "PYTHONPATH": str(ROOT / "Benchmarks")}
        subprocess.run([sys.executable, "-c", code], check=True, env=environment)
        results = dict(np.load(file))
    return results if str(results["cpu"]) == cpu else None


def table() -> list[str]:
    references = cases.References(live=True)
    computed = {cpu: results for cpu in PATHS if (results := on_path(cpu)) is not None}
    rows = []
    for case in CASES:
        wanted = references.of(case)

        def row(name: str, logits: np.ndarray, gradient: np.ndarray, case=case, wanted=wanted) -> None:
            rows.append(
                [case.model.architecture, name, cell(*errors(logits, wanted["logits"])),
                 cell(*errors(gradient, wanted["gradient"], wanted["allowance"]))]
            )  # fmt: skip

        for cpu, results in computed.items():
            for exact in (False, True):
                if cpu == "baseline" and exact:
                    continue  # the same computation
                name = f"igdm, {cpu}" + (", exact" if exact else "")
                row(name, results[f"{case.id} {exact} logits"], results[f"{case.id} {exact} gradient"])
        single = references.single_precision(case)
        row("PyTorch, float32", single["logits"], single["gradient"])
    return markdown(["network", "computed by", "logits", "input gradient"], rows)
