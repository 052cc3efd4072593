"""The C library that the native worker brings with it to a system that has another.

Android has none of GNU's, for which ONNX Runtime's library of PyPI is built: its own loader starts
the worker there, with the libraries beside it.
"""

from __future__ import annotations

import os
from pathlib import Path

from profilers.errors import RunnerUnavailable
from profilers.runner.targets import Target

FOLDER_VARIABLE = "NASC_GLIBC"
"""Environment variable that names a folder in which the libraries lie."""

LOADERS = {"aarch64": "ld-linux-aarch64.so.1"}
"""The loader of programs, by the processor."""

_LIBRARIES = (
    *("libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1"),
    *("libgcc_s.so.1", "libstdc++.so.6"),
)
"""What the worker and libonnxruntime.so of 1.32 need (their NEEDED entries)."""

_MACHINES = {"aarch64": 183}  # e_machine of ELF files (elf.h)

_INSTALL = "Debian, Ubuntu: apt install libstdc++6-arm64-cross"


def glibc_files(target: Target) -> list[tuple[Path, str]]:
    """The loader, which comes first, and the libraries that a worker needs, from this machine.

    Args:
        target: What the worker is built for.

    Returns:
        Each with the name by which it is looked for.

    Raises:
        RunnerUnavailable: They are not here.
    """
    names = (LOADERS[target.machine], *_LIBRARIES)
    given = os.environ.get(FOLDER_VARIABLE)
    folders = [Path(given)] if given else _folders(target.machine)
    found = []
    for name in names:
        path = next((folder / name for folder in folders if (folder / name).is_file()), None)
        if path is None:
            raise RunnerUnavailable(
                f"the native worker for phones needs {name} for {target.machine}, which is not in "
                f"{', '.join(repr(str(folder)) for folder in folders)}. Install it ({_INSTALL}), "
                f"or name a folder that holds it and the others: {FOLDER_VARIABLE}=DIR"
            )
        _check(path, target.machine)
        found.append((path, name))
    return found


def _folders(machine: str) -> list[Path]:
    """Where Debian keeps them: of another machine, and of this one."""
    triple = f"{machine}-linux-gnu"
    return [Path(f"/usr/{triple}/lib"), Path(f"/lib/{triple}"), Path(f"/usr/lib/{triple}")]


def _check(path: Path, machine: str) -> None:
    with open(path, "rb") as file:
        head = file.read(20)
    if head[:4] != b"\x7fELF" or int.from_bytes(head[18:20], "little") != _MACHINES[machine]:
        raise RunnerUnavailable(
            f"{str(path)!r} is no library for {machine}. Leave {FOLDER_VARIABLE} out, or name a "
            f"folder that holds those for {machine} ({_INSTALL})"
        )
