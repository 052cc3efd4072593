"""The ways to reach a device: what each is called, and where it is written.

A new one is a module here with `open_device`, a line in `TRANSPORTS`, its fields of `[connection]`
in `device_profiles`, and its test. Modules are imported when first used: those that start workers
need numpy, and to say what is reachable none does.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from device_profiles import DeviceProfile
from profilers.devices.base import Worker
from profilers.jobs import RuntimeOptions, WorkerLimits

OpenDevice = Callable[
    [DeviceProfile, RuntimeOptions, WorkerLimits | None, Path | None],
    Worker,
]
"""Starts a worker on a device that a file means, see `profilers.devices.open_worker`."""


@dataclass(frozen=True, slots=True)
class Transport:
    """A way to reach a device.

    Attributes:
        words: By which it is told that a device is reached.
        opens: Module of `profilers.devices` that has `open_device`, an `OpenDevice`.
        checks: Module, light to import, whose `check_located` raises `DeviceUnreachable` where it
            can be told in a moment that a device is not there; None where it cannot.
    """

    words: str
    opens: str
    checks: str | None = None

    def check(self, profile: DeviceProfile) -> None:
        """Raises where a device is known not to be there.

        Raises:
            DeviceUnreachable: Says what to do.
        """
        if self.checks is not None:
            _module(self.checks).check_located(profile)

    def open(
        self,
        profile: DeviceProfile,
        options: RuntimeOptions,
        limits: WorkerLimits | None,
        cache: Path | None,
    ) -> Worker:
        """Starts a worker there; see `profilers.devices.open_worker`."""
        start: OpenDevice = _module(self.opens).open_device
        return start(profile, options, limits, cache)


TRANSPORTS = {
    "local": Transport("this machine", "local"),
    "command": Transport("by a command", "command"),
    "ssh": Transport("over SSH", "ssh", "ssh_located"),
    "adb": Transport("over adb", "adb", "phones"),
    "browser": Transport("a browser on this machine", "browser", "browser_located"),
}
"""By the kind of a connection."""


def _module(name: str) -> Any:
    return importlib.import_module(f"profilers.devices.{name}")
