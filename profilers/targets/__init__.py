"""Where models run: one module per transport of a device profile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Protocol

from device_profiles import DeviceProfile
from profilers.errors import DeviceUnreachable
from profilers.jobs import ModelJob, RuntimeOptions, WorkerLimits
from profilers.samples import Step, Visit

TRANSPORTS = ("local",)


class Target(Protocol):
    """A device on which one worker runs, with the models loaded there."""

    context: dict[str, Any]
    base_bytes: int | None

    def load(self, job: ModelJob, seed: int) -> None:
        """Loads a model under its job's name and draws its inputs.

        Raises:
            ModelRejected: the runtime cannot load it.
        """

    def visit(self, steps: Sequence[Step]) -> list[Visit]:
        """Runs loaded models, one step after the other without a pause.

        Returns:
            One visit for each step with recorded runs, in order.

        Raises:
            ModelRejected: the runtime cannot run one of them.
        """

    def unload(self, name: str) -> None:
        """Drops a model; unknown names are ignored."""

    def describe(self, path: str) -> dict[str, tuple[str, list[int | str | None]]]:
        """Returns a model's inputs: numpy type name and axes."""

    def peak_bytes(self) -> int | None:
        """Returns the most memory that the worker held so far."""

    def close(self) -> None:
        """Ends the worker; harmless when called again."""

    def __enter__(self) -> Target: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def reachable(profile: DeviceProfile) -> tuple[bool, str]:
    """Says whether models can be run on a device now.

    Returns:
        Whether, and the reason in a few words either way.
    """
    if profile.transport in TRANSPORTS:
        return True, "this machine"
    return False, f"transport {profile.transport!r} is not implemented yet"


Opener = Callable[[DeviceProfile, RuntimeOptions], Target]
"""Starts a worker on a device, with the runtime's settings; `profilers.testing` makes one up."""


def open_target(
    profile: DeviceProfile, options: RuntimeOptions, limits: WorkerLimits | None = None
) -> Target:
    """Starts a worker on a device.

    Args:
        profile: the device.
        options: how its runtime is set up.
        limits: what the worker may take; None takes the defaults.

    Returns:
        A target to be closed after use; also a context manager.

    Raises:
        DeviceUnreachable: the device's transport does not exist yet.
        RuntimeMissing: the runtime is unknown or not installed there.
        WorkerDied: the worker did not start.
    """
    ok, reason = reachable(profile)
    if not ok:
        raise DeviceUnreachable(
            f"device {profile.name!r} cannot be reached: {reason}. Devices can be reached by: "
            f"{', '.join(TRANSPORTS)}. Measure on this machine: --device host"
        )
    from profilers.targets.local import LocalTarget  # numpy: not needed to say what is reachable

    return LocalTarget(options, limits=limits)
