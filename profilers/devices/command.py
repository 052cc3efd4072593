"""Devices reached by a program that passes its stdin and stdout on to a worker there."""

from __future__ import annotations

from pathlib import Path

from device_profiles import DeviceProfile
from profilers.devices.client import WorkerClient
from profilers.jobs import RuntimeOptions, WorkerLimits


def open_device(
    profile: DeviceProfile,
    options: RuntimeOptions,
    limits: WorkerLimits | None = None,
    cache: Path | None = None,
) -> WorkerClient:
    """Starts the program that a device file names.

    Args:
        profile: Of a connection of the kind "command".
        options: How the runtime is set up.
        limits: What the worker may take; None takes the defaults.
        cache: Not used.

    Raises:
        RuntimeMissing, InvalidSetting, WorkerDied: The worker did not start.
    """
    return WorkerClient(profile.connection.command, options, limits=limits)
