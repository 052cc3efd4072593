"""Builds the native worker from its sources, with the C compiler of the PyPI package ziglang."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from device_profiles.temporary import temporary_folder
from profilers.errors import RunnerUnavailable
from profilers.runner.targets import Target, get_target, runner_folder

SOURCES = Path(__file__).resolve().parent / "src"

WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror")
LANGUAGE = ("-std=c11", "-D_GNU_SOURCE")
LIBRARIES = ("-ldl", "-lpthread", "-lm")
FLAGS = (*LANGUAGE, *WARNINGS, "-O2", "-s")
"""Of the program that runs on devices. profilers/runner/CMakeLists.txt holds the same."""

NOT_LINKED = ("check_abi.c",)
"""Sources that only tests compile."""

INSTALL = "pip install 'nasc[runner]'"

_BUILD_TIMEOUT_S = 600.0  # ten seconds on a core of 2026 that is free


def sources() -> list[Path]:
    """The C files of the program, in the order of their names."""
    return sorted(path for path in SOURCES.glob("*.c") if path.name not in NOT_LINKED)


def build_runner(target: str, cache: Path | None = None) -> Path:
    """Builds the native worker, unless this very program was built before.

    Args:
        target: One of `profilers.runner.targets.TARGETS`.
        cache: The cache folder; None takes the user's.

    Returns:
        The program.

    Raises:
        RunnerUnavailable: It is not built for that target, or the compiler is missing or failed.
    """
    system = get_target(target)
    program = runner_folder(cache) / f"nasc-runner-{system.name}-{_key(system)}"
    if not program.is_file():
        try:
            _compile(system, program)
        except OSError as error:
            raise RunnerUnavailable(
                f"cannot write the native worker '{program}': {error.strerror or error}. "
                "Make room there, or name another cache folder: set NASC_CACHE"
            ) from error
    return program


def _compiler_version() -> str:
    try:
        return importlib.metadata.version("ziglang")
    except importlib.metadata.PackageNotFoundError:
        raise RunnerUnavailable(
            "the native worker cannot be built: its compiler, the package ziglang, is not "
            f"installed. Install it: {INSTALL}"
        ) from None


def _key(target: Target) -> str:
    """Identifies a program: 16 hexadecimal digits over all that it is made of."""
    digest = hashlib.sha256()
    for part in (_compiler_version(), target.triple, *FLAGS, *LIBRARIES):
        digest.update(part.encode() + b"\0")
    for path in sorted(SOURCES.glob("*.[ch]")):
        content = path.read_bytes()
        digest.update(f"{path.name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


def _compile(target: Target, program: Path) -> None:
    """Compiles into a temporary folder and moves the program to its place when it is whole."""
    with temporary_folder(program.parent, program.name) as folder:
        made = folder / "nasc-runner"
        command = [sys.executable, "-P", "-m", "ziglang", "cc", "-target", target.triple, *FLAGS]
        environment = dict(os.environ)
        # What the compiler keeps for itself takes a hundred times the program's size: it goes,
        # unless the user has named a place for it.
        environment["ZIG_LOCAL_CACHE_DIR"] = str(folder)
        environment.setdefault("ZIG_GLOBAL_CACHE_DIR", str(folder))
        environment["SOURCE_DATE_EPOCH"] = "0"
        done = _run([*command, *map(str, sources()), "-o", str(made), *LIBRARIES], environment)
        if done.returncode != 0 or not made.is_file():
            raise RunnerUnavailable(
                f"the native worker could not be built for {target.name!r} by ziglang "
                f"{_compiler_version()} (exit status {done.returncode}): "
                f"{_first_error(done.stderr)}. Install the release that nasc was tested with: "
                f"{INSTALL}"
            )
        made.chmod(0o755)
        os.replace(made, program)


def _run(command: Sequence[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            env=environment,
            cwd=SOURCES,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_BUILD_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise RunnerUnavailable(
            f"the native worker was not built within {_BUILD_TIMEOUT_S:g} s. Try again on a "
            "machine that is less busy"
        ) from None


def _first_error(text: str) -> str:
    """The line of a compiler's output that says most."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    wrong = [line for line in lines if "error" in line]
    return (wrong or lines or ["it said nothing"])[0][:300]
