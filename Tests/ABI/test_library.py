"""The built library and the header as a host meets them: symbols, what is linked in, installation, C standards."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "build" / "lib" / "libigdm.so.1"
STAGE = ROOT / "build" / "stage"
HEADER = (ROOT / "include" / "igdm.h").read_text()
GOLDEN = (ROOT / "Tests" / "C" / "symbols.txt").read_text().split()


def run(*command: str | Path, **options: object) -> str:
    """The standard output of a command that must succeed."""
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def version() -> str:
    return ".".join(re.search(rf"#define IGDM_VERSION_{part} (\d+)", HEADER)[1] for part in ("MAJOR", "MINOR", "PATCH"))


def test_only_the_golden_symbols_are_exported() -> None:
    lines = run("nm", "--dynamic", "--defined-only", "--extern-only", LIBRARY).splitlines()
    assert sorted(line.split()[-1] for line in lines) == sorted(GOLDEN)


def test_the_header_declares_the_golden_symbols() -> None:
    declared = re.findall(r"^IGDM_API [^(]*?(igdm_\w+)\(", HEADER, re.MULTILINE)
    assert sorted(declared) == sorted(GOLDEN)
    assert sorted(GOLDEN) == GOLDEN


def test_the_swift_runtime_is_inside() -> None:
    dynamic = run("readelf", "--dynamic", "--wide", LIBRARY)
    needed = re.findall(r"NEEDED.*\[(.*)\]", dynamic)
    assert not [name for name in needed if "swift" in name.lower() or "Foundation" in name or "dispatch" in name]
    assert "not found" not in run("ldd", LIBRARY)
    assert "soname: [libigdm.so.1]" in dynamic
    assert "NODELETE" in dynamic
    assert "TEXTREL" not in dynamic


def test_unloading_does_no_harm() -> None:
    """Loading sets no signal handlers; after dlclose the code is still there."""
    code = f"""
import _ctypes, ctypes
def handlers():
    caught = next(line for line in open("/proc/self/status") if line.startswith("SigCgt"))
    return int(caught.split()[1], 16) & ~(3 << 31)  # without 32 and 33, which the C library keeps for its threads
before = handlers()
library = ctypes.CDLL({str(LIBRARY)!r})
version = library.igdm_version_number
assert library.igdm_set_threads(ctypes.c_int64(2)) == 0
assert handlers() == before
_ctypes.dlclose(library._handle)
assert version() >= 100
"""
    run(sys.executable, "-c", code)


@pytest.mark.parametrize(
    "compiler", [["gcc", "-std=c90"], ["gcc", "-std=c11"], ["g++", "-x", "c++", "-std=c++17"]], ids=" ".join
)
def test_the_header_compiles(compiler: list[str], tmp_path: Path) -> None:
    source = tmp_path / "host.c"
    source.write_text("#include <igdm.h>\n#include <igdm.h>\nint main(void) { return igdm_set_log_callback(0, 0); }\n")
    run(*compiler, "-Wall", "-Wextra", "-pedantic", "-Werror", "-fsyntax-only", "-I", STAGE / "include", source)


def test_struct_layouts_are_pinned_completely() -> None:
    """Sources/CIgdm/layout.c has an assertion for every member of every struct of the header."""
    layout = (ROOT / "Sources" / "CIgdm" / "layout.c").read_text()
    code = re.sub(r"/\*.*?\*/", "", HEADER, flags=re.DOTALL)
    structs = re.findall(r"typedef struct (\w+) \{(.*?)\} \1;", code, re.DOTALL)
    assert len(structs) > 10
    for name, body in structs:
        members = re.findall(r"(\w+)(?:\[\d+\])?;", body)
        assert re.findall(rf"^AT\({name}, (\w+), \d+\);", layout, re.MULTILINE) == members
        assert re.findall(rf"^SIZE\({name}, \d+\);", layout, re.MULTILINE)


def test_every_pointer_is_in_the_pointer_test() -> None:
    """Tests/C/test_pointers.c has a row for each function, and in it each pointer of the prototype."""
    code = re.sub(r"/\*.*?\*/", "", HEADER, flags=re.DOTALL)
    table = (ROOT / "Tests" / "C" / "test_pointers.c").read_text()
    rows = {}
    for row in re.split(r"\bROW\(|\{\"igdm_", table)[1:]:
        name = re.match(r"igdm_\w+", row)
        if name:
            rows[name[0]] = re.findall(r"\b(?:IN|OUT|LIVING|NEW)(?:_OR_NULL)?\((\w+),", row)
    prototypes = re.findall(r"^IGDM_API int32_t (igdm_\w+)\(([^)]*)\);", code, re.MULTILINE)
    assert len(prototypes) > 30
    for name, parameters in prototypes:
        pointers = re.findall(r"(?:\w+ )+\*+(\w+)", parameters)
        untyped = re.findall(r"void \*(\w+)", parameters)  # handed back to the host as it is
        assert [p for p in rows.get(name, []) if p not in untyped] == [p for p in pointers if p not in untyped], name


def test_installation(tmp_path: Path) -> None:
    run("make", "install", f"DESTDIR={tmp_path}", "PREFIX=/opt/igdm", cwd=ROOT)
    installed = {str(path.relative_to(tmp_path / "opt/igdm")) for path in tmp_path.rglob("*") if not path.is_dir()}
    minor_and_patch = version().split(".", 1)[1]
    assert installed == {
        "include/igdm.h",
        "lib/libigdm.so",
        "lib/libigdm.so.1",
        f"lib/libigdm.so.1.{minor_and_patch}",
        "lib/pkgconfig/igdm.pc",
    }
    assert (tmp_path / "opt/igdm/lib/libigdm.so").resolve().name == f"libigdm.so.1.{minor_and_patch}"
    environment = dict(os.environ, PKG_CONFIG_PATH=str(tmp_path / "opt/igdm/lib/pkgconfig"))
    assert run("pkg-config", "--modversion", "igdm", env=environment).strip() == version()
    flags = run("pkg-config", "--cflags", "--libs", "igdm", env=environment).split()
    assert flags == ["-I/opt/igdm/include", "-L/opt/igdm/lib", "-ligdm"]


def test_make_has_nothing_to_do() -> None:
    """A second `make lib` neither builds nor prints."""
    output = run("make", "lib", cwd=ROOT)
    assert re.fullmatch(r"(make.*(Nothing to be done|Entering|Leaving).*\n?)*", output), output
