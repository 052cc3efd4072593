"""Where models run, by the connection of a device profile."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from device_profiles import CPU, NATIVE, PYTHON, DeviceProfile
from profilers.devices.base import Worker
from profilers.devices.transports import TRANSPORTS
from profilers.errors import DeviceUnreachable
from profilers.jobs import RuntimeOptions, WorkerLimits
from profilers.nvidia import find_gpu


def reachable(profile: DeviceProfile) -> tuple[bool, str]:
    """Says whether models can be run on a device now, as far as can be told in a moment.

    A phone must be attached; machines over SSH are not connected to.

    Returns:
        Whether, and the reason in a few words either way.
    """
    try:
        check_device(profile)
    except DeviceUnreachable as error:
        return False, error.reason
    return True, TRANSPORTS[profile.connection.kind].words


def check_device(profile: DeviceProfile) -> None:
    """Refuses a device on which models cannot be run now, before anything slow is done for it.

    Args:
        profile: The device.

    Raises:
        DeviceUnreachable: A phone is not attached, a GPU not there, or its worker does not compute
            on its accelerator; says what to do.
    """
    if profile.accelerator.kind != CPU:
        _check_accelerator(profile)
    TRANSPORTS[profile.connection.kind].check(profile)


def _check_accelerator(profile: DeviceProfile) -> None:
    """Refuses a GPU that no worker of nasc computes on; looks for one in this machine."""
    connection = profile.connection
    if connection.kind == "browser":
        reason = f"a page does not compute on accelerator {profile.accelerator.kind!r}"
        raise DeviceUnreachable(
            f"models cannot be run on device {profile.name!r}: {reason}. Leave [accelerator] out "
            f"of {str(profile.path)!r}",
            reason,
        )
    if connection.kind == "adb" or connection.worker == NATIVE:
        reason = f"the native worker does not compute on accelerator {profile.accelerator.kind!r}"
        raise DeviceUnreachable(
            f"models cannot be run on device {profile.name!r}: {reason}. The Python worker does: "
            f"write a device file from {str(profile.path)!r} with connection.worker = "
            f"{PYTHON!r}; or measure its processor: leave [accelerator] out",
            reason,
        )
    if connection.kind == "local":
        find_gpu()


Opener = Callable[[DeviceProfile, RuntimeOptions], Worker]
"""Starts a worker on a device, with the runtime's settings; `profilers.testing` makes one up."""


def open_worker(
    profile: DeviceProfile,
    options: RuntimeOptions,
    limits: WorkerLimits | None = None,
    cache: Path | None = None,
) -> Worker:
    """Starts a worker on a device.

    Args:
        profile: The device.
        options: How its runtime is set up; what computes is the device's to say.
        limits: What the worker may take; None takes the defaults.
        cache: The cache folder, where the native worker is kept; None takes the user's.

    Returns:
        A worker to be closed after use; also a context manager.

    Raises:
        DeviceUnreachable: See `check_device`: what would run on the processor in place of a GPU is
            not started.
        RuntimeMissing: The runtime is unknown or not installed there.
        RunnerUnavailable: The native worker is asked for and cannot be built.
        WorkerDied: The worker did not start.
    """
    check_device(profile)
    options = dataclasses.replace(options, accelerator=profile.accelerator.kind)
    worker = TRANSPORTS[profile.connection.kind].open(profile, options, limits, cache)
    if profile.emulated:  # nothing of it is ever taken for a real device's
        worker.context["emulated"] = True
        worker.context["fingerprint"] = f"emulated-{worker.context['fingerprint']}"
    return worker
