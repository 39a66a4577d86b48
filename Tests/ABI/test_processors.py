"""One library for processors of several generations: which instructions are where, and runs on emulated older ones; and
whether the code that knows processors compiles for another architecture."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "build" / "lib" / "libigdm.so.1"
PROGRAMS = ROOT / "build" / "c-tests"
AARCH64 = Path("/usr/aarch64-linux-gnu/include")  # Debian's libc6-dev-arm64-cross
IS_X86 = platform.machine() == "x86_64"

# What qemu can stand for, and the CPU path that is right there. Nehalem (2008) has no AVX, Haswell (2013) no AVX-512.
PROCESSORS = {"Nehalem": "baseline", "Haswell": "avx2"}
ON_THEM = [
    ("test_results", "the_library_describes_itself"),
    ("test_results", "input_gradients_are_slopes"),
    ("test_exact", "calls_follow_the_setting"),
    ("test_lifetime", "training_does_not_depend_on_threads"),
]


def test_avx_stays_in_its_modules() -> None:
    """Anywhere else its instructions would stop the process on a processor without AVX. The linker, too, can bring them
    there: of equal functions in several modules it keeps one."""
    if not IS_X86:
        return
    listing = subprocess.run(
        ["objdump", "--disassemble", "--no-show-raw-insn", LIBRARY], capture_output=True, text=True, check=True
    ).stdout
    function, modules, strays = "", set(), set()
    for line in listing.splitlines():
        if match := re.match(r"[0-9a-f]+ <(.*)>:$", line):
            function = match[1]
        elif re.search(r"\t(v(?!er[rw])\w+|kmov\w|.*%[yz]mm)", line):  # all that begin with v, but verr and verw
            # Also of a function of another module that was specialised for a closure of this one.
            module = re.search(r"\d(KernelsAVX(?:512|2))(?=\d)", function)
            modules.add(module[1]) if module else strays.add(function)
    assert not strays
    assert modules == {"KernelsAVX2", "KernelsAVX512"}


@pytest.mark.parametrize("source", ["CCPU/cpu.c", "CClosure/closure.c", "CIgdm/layout.c"])
def test_c_compiles_for_aarch64(source: str, tmp_path: Path) -> None:
    path = ROOT / "Sources" / source
    command = ["clang", "--target=aarch64-linux-gnu", "-isystem", AARCH64, "-I", path.parent / "include"]
    assert compiled_for([toolchain(command[0]), *command[1:], "-c", path], tmp_path) == "AArch64"


def test_baseline_kernels_compile_for_aarch64(tmp_path: Path) -> None:
    """With the standard library for machines without an operating system, which comes with every toolchain: there is no
    Swift for Linux on ARM to link a whole library with. All vector code is in these kernels."""
    headers = ["math.h", "stdlib.h", "string.h"]
    (tmp_path / "glibc.h").write_text("".join(f"#include <{header}>\n" for header in headers))
    ccpu = ROOT / "Sources" / "CCPU" / "include" / "ccpu.h"
    (tmp_path / "module.modulemap").write_text(
        f'module Glibc [system] {{ header "glibc.h" export * }}\nmodule CCPU {{ header "{ccpu}" export * }}\n'
    )
    sources = sorted((ROOT / "Sources" / "KernelsBaseline").glob("*.swift"))
    command = [toolchain("swiftc"), "-target", "aarch64-none-none-elf", "-enable-experimental-feature", "Embedded"]
    command += ["-wmo", "-parse-as-library", "-Ounchecked", "-I", tmp_path, "-Xcc", "-isystem", "-Xcc", AARCH64]
    assert compiled_for([*command, "-c", *sources], tmp_path) == "AArch64"


def toolchain(tool: str) -> str:
    """A tool beside the Swift compiler in use."""
    swift = shutil.which(os.environ.get("SWIFT", "swift"))
    assert swift, "no Swift compiler was found"
    return str(Path(swift).resolve().parent / tool)


def compiled_for(command: list[str | Path], folder: Path) -> str:
    """The architecture of the object file that a compiler makes."""
    target = folder / "object.o"
    subprocess.run([*command, "-o", target], check=True)
    header = subprocess.run(["readelf", "--file-header", target], capture_output=True, text=True, check=True).stdout
    return re.search(r"Machine:\s+(\S+)", header)[1]


@pytest.mark.parametrize("wish", ["", "avx512"])
@pytest.mark.parametrize("processor", PROCESSORS)
def test_the_cpu_path_is_one_that_the_processor_has(processor: str, wish: str) -> None:
    """Also where IGDM_CPU asks for more."""
    if not IS_X86:
        return
    code = f"import ctypes; f = ctypes.CDLL({str(LIBRARY)!r}).igdm_build_info; f.restype = ctypes.c_char_p; print(f())"
    assert f"cpu={PROCESSORS[processor]};" in emulate(processor, sys.executable, "-c", code, IGDM_CPU=wish)


@pytest.mark.parametrize(("program", "test"), ON_THEM)
@pytest.mark.parametrize("processor", PROCESSORS)
def test_older_processors(processor: str, program: str, test: str) -> None:
    if not IS_X86:
        return
    emulate(processor, PROGRAMS / program, test)


def emulate(processor: str, *command: str | Path, **environment: str) -> str:
    """The output of a command that must succeed on the processor."""
    result = subprocess.run(
        ["qemu-x86_64", "-cpu", processor, *command], capture_output=True, text=True, env=os.environ | environment
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout
