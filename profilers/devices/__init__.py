"""Where models run, by the connection of a device profile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from device_profiles import CPU, DeviceProfile
from profilers.devices.base import Worker
from profilers.devices.transports import TRANSPORTS
from profilers.errors import DeviceUnreachable
from profilers.jobs import RuntimeOptions, WorkerLimits

COMPUTED_ON = (CPU,)
"""Kinds of accelerator on which a runtime computes today."""


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
        DeviceUnreachable: There is no such connection or no runtime for its accelerator, or a
            phone is not attached; says what to do.
    """
    if profile.accelerator.kind not in COMPUTED_ON:
        reason = f"no runtime computes on accelerator {profile.accelerator.kind!r} yet"
        raise DeviceUnreachable(
            f"models cannot be run on device {profile.name!r}: {reason}. Runtimes compute on: "
            f"{', '.join(COMPUTED_ON)}. Measure its processor: write a device file of another name "
            f"without [accelerator] from {str(profile.path)!r} and give it to --device",
            reason,
        )
    TRANSPORTS[profile.connection.kind].check(profile)


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
        options: How its runtime is set up.
        limits: What the worker may take; None takes the defaults.
        cache: The cache folder, where the native worker is kept; None takes the user's.

    Returns:
        A worker to be closed after use; also a context manager.

    Raises:
        DeviceUnreachable: It is not attached, or there is no runtime for its accelerator: what
            would run on the processor in its place is not started.
        RuntimeMissing: The runtime is unknown or not installed there.
        RunnerUnavailable: The native worker is asked for and cannot be built.
        WorkerDied: The worker did not start.
    """
    check_device(profile)
    worker = TRANSPORTS[profile.connection.kind].open(profile, options, limits, cache)
    if profile.emulated:  # nothing of it is ever taken for a real device's
        worker.context["emulated"] = True
        worker.context["fingerprint"] = f"emulated-{worker.context['fingerprint']}"
    return worker
