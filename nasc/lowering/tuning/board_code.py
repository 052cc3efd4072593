"""Code that boards are sent: what they are (`src/board.c`), and how long a kernel takes there."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import tvm_ffi

from nasc.errors import ExportError

SOURCES = Path(__file__).resolve().parent / "src"

ARCHITECTURES = ("x86_64", "aarch64")
"""Of boards, as `platform.machine` says it: a board is of that whose library it can load."""

GLIBC = "2.28"
"""The oldest C library that a board may have: what wheels of TVM need (2026)."""

FLAGS = ("-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O2", "-fPIC")

TIMEOUT_S = 300.0
"""Of the compiler; it takes a second."""


@dataclass(frozen=True, slots=True)
class BoardCode:
    """What was made for an architecture.

    Attributes:
        arch: As `platform.machine` says it.
        about: Library that tells what a board is.
        timed: Object that candidates are linked with.
        linker: Command that links; ``-o``, the output and the objects follow.
    """

    arch: str
    about: Path
    timed: Path
    linker: tuple[str, ...]

    def link(self, output: Path | str, objects: list[str]) -> None:
        """Makes a shared library.

        Raises:
            ExportError: If that fails.
        """
        _run([*self.linker, "-o", str(output), *objects])


def make_board_code(folder: Path) -> tuple[BoardCode, ...]:
    """Compiles for all architectures that boards may have.

    Args:
        folder: Where it is put.

    Returns:
        One of each architecture; of this machine's alone where ziglang is not installed.

    Raises:
        ExportError: If there is no compiler, or it fails.
    """
    found = importlib.util.find_spec("ziglang")
    places = (found.submodule_search_locations or []) if found is not None else []
    zig = next((str(Path(p) / "zig") for p in places if (Path(p) / "zig").is_file()), None)
    made = []
    for arch in ARCHITECTURES:
        if zig is not None:
            compiler = [
                zig,
                "cc",
                "-target",
                f"{arch}-linux-gnu.{GLIBC}",
                "-fno-sanitize=undefined",
            ]
            linker: tuple[str, ...] = (zig, "ld.lld", "-shared", "--build-id=none")
        elif arch == platform.machine() and (cc := shutil.which("cc")) is not None:
            compiler = [cc]
            linker = (cc, "-shared", "-fPIC", "-Wl,--build-id=none")
        else:
            continue
        include = ["-I", str(tvm_ffi.libinfo.find_include_path())]
        objects = {}
        for name in ("board", "timed"):
            objects[name] = folder / f"{name}-{arch}.o"
            source = SOURCES / f"{name}.c"
            _run([*compiler, *FLAGS, *include, "-c", str(source), "-o", str(objects[name])])
        code = BoardCode(arch, folder / f"board-{arch}.so", objects["timed"], linker)
        code.link(code.about, [str(objects["board"])])
        made.append(code)
    if not made:
        raise ExportError(
            "code for boards cannot be made: neither ziglang nor a C compiler (cc) is installed. "
            "Install one: python -m pip install ziglang"
        )
    return tuple(made)


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ExportError(f"code for boards cannot be made: {error}") from error
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or [
            "it said nothing"
        ]
        raise ExportError(
            f"code for boards cannot be made: {Path(command[0]).name} failed: {lines[0][:300]}. "
            "Install the compiler that nasc was tested with: python -m pip install ziglang==0.17.0"
        )
