"""Systems that the native worker is built for, and where what is made for them is kept."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from profilers.errors import RunnerUnavailable

CACHE_VARIABLE = "NASC_CACHE"
"""Environment variable that names another cache folder, as nasc reads it."""


@dataclass(frozen=True, slots=True)
class Target:
    """A kind of system.

    Attributes:
        name: As `build_runner` takes it.
        machine: The processor, as the system itself and tags of wheels call it.
        triple: As zig calls the system, with the oldest C library that it may have.
    """

    name: str
    machine: str
    triple: str


OLDEST_GLIBC = (2, 28)
"""Of 2018: what wheels of ONNX Runtime 1.32 need."""

TARGETS = {
    f"{machine}-linux": Target(
        f"{machine}-linux", machine, f"{machine}-linux-gnu.{OLDEST_GLIBC[0]}.{OLDEST_GLIBC[1]}"
    )
    for machine in ("x86_64", "aarch64")
}
"""By name."""


def get_target(name: str) -> Target:
    """Finds a target.

    Raises:
        RunnerUnavailable: There is none of that name.
    """
    if name not in TARGETS:
        raise RunnerUnavailable(
            f"the native worker is not built for {name!r}; it is for: {', '.join(TARGETS)}. "
            "Android: see profilers/runner/CMakeLists.txt"
        )
    return TARGETS[name]


def this_machine() -> Target:
    """The target that this machine is.

    Raises:
        RunnerUnavailable: The native worker is not built for machines like it.
    """
    return get_target(f"{platform.machine()}-{platform.system().lower()}")


def runner_folder(given: Path | None = None) -> Path:
    """Where programs and libraries are kept.

    Args:
        given: The cache folder; None takes `CACHE_VARIABLE`'s, else the user's.

    Returns:
        A folder in it, which is made.

    Raises:
        RunnerUnavailable: It cannot be made.
    """
    cache = given or Path(os.environ.get(CACHE_VARIABLE) or platformdirs.user_cache_dir("nasc"))
    folder = Path(os.path.expanduser(cache)).absolute() / "runner"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunnerUnavailable(
            f"cannot make the folder '{folder}' for the native worker: {error.strerror or error}. "
            f"Name another cache folder: set {CACHE_VARIABLE}"
        ) from error
    return folder
