#!/usr/bin/env python3
"""Runs test suites one after the other and adds up their results.

    python Scripts/run_tests.py swift c abi python parity     what `make test` runs
    python Scripts/run_tests.py parity-live                   what `make parity` runs

Full output goes to build/test-logs/<suite>.log. The last line printed is "N passed, N failed"; the exit status is 0
only if every suite ran at least one test and nothing failed. A skipped test counts as failed: a machine that cannot run
a test has not passed it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
LOGS = BUILD / "test-logs"
TAIL = 60  # lines of a log shown when something failed


@dataclass
class Result:
    passed: int = 0
    failures: list[str] = field(default_factory=list)


def run(command: list[str], log: Path, **variables: str) -> int:
    """Runs a command with its output appended to the log, and returns its exit status."""
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL")}
    environment["PYTHONPATH"] = str(ROOT / "bindings" / "python")
    environment |= variables
    with log.open("ab") as stream:
        stream.write(f"$ {' '.join(command)}\n".encode())
        stream.flush()
        try:
            process = subprocess.run(command, cwd=ROOT, stdout=stream, stderr=subprocess.STDOUT, env=environment)
        except OSError as error:
            stream.write(f"{error}\n".encode())
            return 127
        return process.returncode


def read_junit(path: Path) -> Result:
    """Counts the test cases of a JUnit file; a test with several issues counts once."""
    result = Result()
    try:
        cases = list(ElementTree.parse(path).iter("testcase"))
    except (OSError, ElementTree.ParseError):
        return result  # the runner died before it could report
    for case in cases:
        problems = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
        if problems:
            result.failures.append(f"{case.get('classname')}.{case.get('name')} ({problems[0]})")
        else:
            result.passed += 1
    return result


def swift_suite(log: Path) -> Result:
    command = [os.environ.get("SWIFT", "swift"), "test", "-c", "release", "-Xswiftc", "-enable-testing"]
    command += ["--scratch-path", str(BUILD / "swift-test"), "--xunit-output", str(LOGS / "swift.xml")]
    report = LOGS / "swift-swift-testing.xml"  # SwiftPM adds the name of the testing library
    report.unlink(missing_ok=True)
    status = run(command, log)
    return checked(read_junit(report), status, "swift test")


def pytest_suite(*arguments: str, **variables: str) -> Callable[[Path], Result]:
    def suite(log: Path) -> Result:
        report = log.with_suffix(".xml")
        report.unlink(missing_ok=True)
        status = run([sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *arguments], log, **variables)
        return checked(read_junit(report), status, "pytest " + " ".join(arguments))

    return suite


def on_every_cpu_path(*arguments: str) -> Callable[[Path], Result]:
    """A pytest suite on each CPU path of this processor, one after the other."""

    def suite(log: Path) -> Result:
        total = Result()
        for path in cpu_paths(log):
            part = pytest_suite(*arguments, IGDM_CPU=path)(log)
            total.passed += part.passed
            total.failures += [f"{path}: {name}" for name in part.failures]
        return total

    return suite


def cpu_paths(log: Path) -> list[str]:
    """Those that the library takes when it is told to."""
    used = "import igdm, sys; sys.exit(igdm.build_info()['cpu'] != '{}')"
    paths = ["baseline", "avx2", "avx512"]
    return [path for path in paths if run([sys.executable, "-c", used.format(path)], log, IGDM_CPU=path) == 0]


def c_suite(log: Path) -> Result:
    total = Result()
    for source in sorted((ROOT / "Tests" / "C").glob("test_*.c")):
        program = BUILD / "c-tests" / source.stem
        mark = log.stat().st_size if log.exists() else 0
        status = run([str(program)], log)
        output = log.read_bytes()[mark:].decode(errors="replace")
        names = re.findall(r"^FAILED (\w+)$", output, re.MULTILINE)
        summary = re.search(r"^(\d+) passed, \d+ failed$", output, re.MULTILINE)
        part = Result(int(summary[1]) if summary else 0, [f"{program.name}.{name}" for name in names])
        part = checked(part, status if summary else status or 1, program.name)
        total.passed += part.passed
        total.failures += part.failures
    return total


def checked(result: Result, status: int, name: str) -> Result:
    """Adds a failure where a runner ended badly without naming a failed test."""
    if status != 0 and not result.failures:
        result.failures.append(f"{name} ended with status {status}")
    return result


def excerpt(log: Path) -> list[str]:
    """What a reader needs of a log: Swift's complaints, which stand among the tests that passed; else the end."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    complaints = [line for line in lines if "✘" in line or ": error: " in line]
    return (complaints or lines)[-TAIL:]


SUITES = {
    "swift": ("Swift tests", swift_suite),
    "c": ("C tests", c_suite),
    "abi": ("Library, header and C examples", pytest_suite("Tests/ABI")),
    "python": ("Python tests", pytest_suite("Tests/Python")),
    "parity": ("Parity with PyTorch, committed tensors", on_every_cpu_path("Tests/Parity")),
    "parity-live": ("Parity with PyTorch, live", pytest_suite("Tests/Parity", "--live")),
}


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in SUITES]
    if unknown or not names:
        print(f"suites: {', '.join(SUITES)}", file=sys.stderr)
        return 2
    LOGS.mkdir(parents=True, exist_ok=True)
    passed = failed = 0
    for name in names:
        title, suite = SUITES[name]
        log = LOGS / f"{name}.log"
        log.unlink(missing_ok=True)
        print(f"== {title}", flush=True)
        result = suite(log)
        if not result.passed and not result.failures:
            result.failures.append("no test ran")
        print(f"   {result.passed} passed, {len(result.failures)} failed", flush=True)
        if result.failures:
            print("\n".join(excerpt(log)))
            print("\n".join(f"   failed: {failure}" for failure in result.failures))
            print(f"   full output: {log.relative_to(ROOT)}", flush=True)
        passed += result.passed
        failed += len(result.failures)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
