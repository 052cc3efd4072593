"""Where models run, by the connection of a device profile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from device_profiles import CPU, NATIVE, DeviceProfile
from profilers.devices.base import Worker
from profilers.errors import DeviceUnreachable
from profilers.jobs import RuntimeOptions, WorkerLimits

REACHED = {"local": "this machine", "command": "by a command", "ssh": "over SSH"}
"""Kinds of connection by which a worker can be started today, in words."""

COMPUTED_ON = (CPU,)
"""Kinds of accelerator on which a runtime computes today."""


def reachable(profile: DeviceProfile) -> tuple[bool, str]:
    """Says whether models can be run on a device now.

    Returns:
        Whether, and the reason in a few words either way.
    """
    kind = profile.connection.kind
    if kind not in REACHED:
        return False, f"connection {kind!r} is not implemented yet"
    if profile.accelerator.kind not in COMPUTED_ON:
        return False, f"no runtime computes on accelerator {profile.accelerator.kind!r} yet"
    if kind == "ssh" and profile.connection.host is None:
        return False, f"~/.ssh/config has no Host {profile.name}, which is to say where it is"
    return True, REACHED[kind]


Opener = Callable[[DeviceProfile, RuntimeOptions], Worker]
"""Starts a worker on a device, with the runtime's settings; `profilers.testing` makes one up."""


def _not_located(name: str) -> DeviceUnreachable:
    return DeviceUnreachable(
        f"it is not known where device {name!r} is. Say it in ~/.ssh/config, in two lines: "
        f"'Host {name}' and below it 'HostName ADDRESS' (and 'User NAME'), so that this gets in: "
        f"ssh {name}. Any machine without a profile of its own: --device USER@HOST"
    )


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
        DeviceUnreachable: There is no such connection yet, or no runtime for its accelerator: what
            would run on the processor in its place is not started.
        RuntimeMissing: The runtime is unknown or not installed there.
        RunnerUnavailable: The native worker is asked for and cannot be built.
        WorkerDied: The worker did not start.
    """
    ok, reason = reachable(profile)
    if profile.connection.kind == "ssh" and profile.connection.host is None:
        raise _not_located(profile.name)
    if not ok and profile.connection.kind in REACHED:
        raise DeviceUnreachable(
            f"models cannot be run on device {profile.name!r}: {reason}. Runtimes compute on: "
            f"{', '.join(COMPUTED_ON)}. Measure its processor: write a device file of another name "
            f"without [accelerator] from {str(profile.path)!r} and give it to --device"
        )
    if not ok:
        raise DeviceUnreachable(
            f"device {profile.name!r} cannot be reached: {reason}. Devices can be reached by: "
            f"{', '.join(REACHED)}. Measure on this machine: --device host"
        )
    # numpy: not needed to say what is reachable
    if profile.connection.kind == "command":
        from profilers.devices.client import WorkerClient

        return WorkerClient(profile.connection.command, options, limits=limits)
    if profile.connection.kind == "ssh":
        from profilers.devices.ssh import open_ssh_worker

        return open_ssh_worker(profile.connection, options, limits, cache)
    if profile.connection.worker == NATIVE:
        from profilers.devices.native import NativeWorker

        return NativeWorker(options, limits=limits, cache=cache)
    from profilers.devices.local import LocalWorker

    return LocalWorker(options, limits=limits)
