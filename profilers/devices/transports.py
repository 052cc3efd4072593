"""The ways to reach a device: what each is called, and where it is written.

A new one is a module here with `open_device` (by a `profilers.devices.remote.Transport` where
programs are run and files sent there), a line in `TRANSPORTS`, its fields of `[connection]` in
`device_profiles`, and its test. Modules are imported when first used: those that start workers
need numpy, and to say what is reachable none does.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from device_profiles import NATIVE, PYTHON, DeviceProfile
from profilers.devices.base import Worker
from profilers.jobs import RuntimeOptions, WorkerLimits
from profilers.runtimes import ONNXRUNTIME_WEB, computing_on

OpenDevice = Callable[
    [DeviceProfile, RuntimeOptions, WorkerLimits | None, Path | None],
    Worker,
]
"""Starts a worker on a device that a file means, see `profilers.devices.open_worker`."""


@dataclass(frozen=True, slots=True)
class TransportEntry:
    """A way to reach a device.

    Attributes:
        words: By which it is told that a device is reached.
        opens: Module of `profilers.devices` that has `open_device`, an `OpenDevice`.
        worker: What runs models there, in a few words, where a device file does not say more.
        checks: Module, light to import, whose `check_located` raises `DeviceUnreachable` where it
            can be told in a moment that a device is not there; None where it cannot.
        is_host: Whether the device is this machine, as this process finds it: its processor, and
            the runtimes that are installed here.
        is_phone: Whether it is a phone that adb sees.
        runtimes: The only ones that are driven there; None: all that compute on its accelerator.
        on_cpu_alone: What runs models there, in words, where that computes on the processor alone,
            whatever a file names; empty where it may compute on more.
    """

    words: str
    opens: str
    worker: str
    checks: str | None = None
    is_host: bool = False
    is_phone: bool = False
    on_cpu_alone: str = ""
    runtimes: tuple[str, ...] | None = None

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


_OVER_SSH = "native; python for runtimes and machines that it is not made for"
"""Which one it was stands in what is measured."""

TRANSPORTS = {
    "local": TransportEntry("this machine", "local", PYTHON, is_host=True),
    "command": TransportEntry("by a command", "command", "what its command starts"),
    "ssh": TransportEntry("over SSH", "ssh", _OVER_SSH, "ssh_located"),
    "adb": TransportEntry(
        "over adb", "adb", NATIVE, "phones", is_phone=True, on_cpu_alone="the native worker"
    ),
    "browser": TransportEntry(
        "a browser on this machine",
        "browser",
        "a page in it",
        "browser_located",
        on_cpu_alone="a page",
        runtimes=(ONNXRUNTIME_WEB,),
    ),
}
"""By the kind of a connection."""


def transport_of(profile: DeviceProfile) -> TransportEntry:
    """How a device is reached."""
    return TRANSPORTS[profile.connection.kind]


def runtimes_on(profile: DeviceProfile) -> tuple[str, ...]:
    """Names of the runtimes that may be driven on a device, installed there or not."""
    own = transport_of(profile).runtimes
    return computing_on(profile.accelerator.kind) if own is None else own


def is_host(profile: DeviceProfile) -> bool:
    """Whether a device is this machine, see `TransportEntry.is_host`."""
    return transport_of(profile).is_host


def _module(name: str) -> Any:
    return importlib.import_module(f"profilers.devices.{name}")
