"""Options, the reference, and the table of measured errors at the end of the run."""

from __future__ import annotations

from pathlib import Path

import cases
import igdm
import ours
import pytest
from numpy.typing import ArrayLike
from report import Quantity, Report, Row

REPORT = pytest.StashKey[Report]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("parity", "parity with PyTorch")
    group.addoption("--live", action="store_true", help="compute the reference with PyTorch now, and run more cases")
    group.addoption("--write-report", metavar="FILE", help="write the measured errors as Markdown")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[REPORT] = Report("live" if config.getoption("--live") else "committed")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Modules that need PyTorch belong to live mode only; committed mode does not know them."""
    if collection_path.name.startswith("test_live_") and not config.getoption("--live"):
        return True
    return None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    live = metafunc.config.getoption("--live")
    tables = {
        "model_case": cases.MODELS + cases.LIVE_MODELS * live,
        "attack_case": cases.ATTACKS,
        "curve_case": cases.CURVES,
        "step_case": cases.STEPS + cases.LIVE_STEPS * live,
    }
    for name, table in tables.items():
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, table, ids=lambda case: case.id)


class Parity:
    """Compares igdm's numbers with the reference's and keeps the errors for the report."""

    def __init__(self, references: cases.References, report: Report) -> None:
        self.references = references
        self.report = report

    def wanted(self, case: cases.Case) -> cases.Arrays:
        return self.references.of(case)

    def check(
        self, case: cases.Case, quantity: Quantity, got: dict[str, ArrayLike], allowance: ArrayLike = 0.0
    ) -> None:
        """Fails with every name in `got` whose error exceeds the tolerance."""
        wanted = self.references.of(case)
        single = self.references.single_precision(case)
        failures = []
        for name, values in got.items():
            error = quantity.error(values, wanted[name], allowance)
            torch_error = None if single is None else quantity.error(single[name], wanted[name], allowance)
            self.report.rows.append(Row(quantity, case.id, name, ours.exact, error, torch_error))
            if not error <= quantity.tolerance:
                failures.append(f"{quantity.name} {name}: error {error:.2e}, want at most {quantity.tolerance:.0e}")
        if failures:
            pytest.fail("\n".join(failures), pytrace=False)


@pytest.fixture(scope="session")
def references(pytestconfig: pytest.Config) -> cases.References:
    return cases.References(live=pytestconfig.getoption("--live"))


@pytest.fixture(params=[False, True], ids=["winograd", "exact"])
def exact(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Runs what uses it twice, the models without and with `exact`."""
    monkeypatch.setattr(ours, "exact", request.param)
    return request.param


@pytest.fixture
def parity(pytestconfig: pytest.Config, references: cases.References, exact: bool) -> Parity:
    return Parity(references, pytestconfig.stash[REPORT])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    report = config.stash[REPORT]
    if not report.rows:
        return
    terminalreporter.section(f"parity with PyTorch ({report.mode} reference, CPU path {igdm.build_info()['cpu']})")
    for line in report.table():
        terminalreporter.write_line(line)
    path = config.getoption("--write-report")
    if path:
        Path(path).write_text("\n".join(document(report)) + "\n", encoding="utf-8")
        terminalreporter.write_line(f"written to {path}")


def document(report: Report) -> list[str]:
    command = "python -m pytest Tests/Parity --write-report FILE" + (" --live" if report.mode == "live" else "")
    return [
        "# Parity with PyTorch, measured",
        "",
        f"Written by `{command}`. The reference is PyTorch in float64 on the same float32 weights and inputs",
        "(Tests/Parity/reference); errors are the largest absolute ones, where stated divided by the largest reference",
        "value of the same array, with Winograd's convolutions and exact. The last column gives what PyTorch in",
        f"float32 differs from the same reference. CPU path {igdm.build_info()['cpu']}.",
        "",
        *report.table(),
        "",
        "## Largest error by case",
        "",
        *report.cases(),
    ]
