"""This machine: a worker process of this Python."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from device_profiles import NATIVE, DeviceProfile
from profilers.devices.client import REQUEST_TIMEOUT_S, WorkerClient, thread_variables
from profilers.jobs import RuntimeOptions, WorkerLimits

_PACKAGE_ROOT = Path(__file__).resolve().parents[2]


def python_environment() -> dict[str, str]:
    """The environment of a worker that is a program of this Python: it finds this package."""
    path = os.environ.get("PYTHONPATH")
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(_PACKAGE_ROOT), *([path] if path else [])]),
        "PYTHONSAFEPATH": "1",  # a file onnx.py in the caller's folder is not our onnx
    }


class LocalWorker(WorkerClient):
    """A worker process on this machine. It ends with this process and, on Linux, this thread."""

    def __init__(
        self,
        options: RuntimeOptions,
        *,
        limits: WorkerLimits | None = None,
        request_timeout_s: float = REQUEST_TIMEOUT_S,
        module: str = "profilers.worker",
    ) -> None:
        """Starts the worker.

        Args:
            options: How its runtime is set up.
            limits: What it may take; None takes the defaults.
            request_timeout_s: See `REQUEST_TIMEOUT_S`.
            module: What is run, `profilers.worker` or a program that can do more.

        Raises:
            RuntimeMissing, InvalidSetting, WorkerDied: It could not start with these options.
        """
        super().__init__(
            [sys.executable, "-P", "-m", module, str(os.getpid())],
            options,
            limits=limits,
            request_timeout_s=request_timeout_s,
            environment=python_environment() | thread_variables(options.threads),
        )


def open_device(
    profile: DeviceProfile,
    options: RuntimeOptions,
    limits: WorkerLimits | None = None,
    cache: Path | None = None,
) -> WorkerClient:
    """Starts a worker on this machine: the one that the device file names, or this Python.

    Args:
        profile: Of a connection of the kind "local".
        options: How the runtime is set up.
        limits: What the worker may take; None takes the defaults.
        cache: The cache folder, where the native worker is kept; None takes the user's.

    Raises:
        RunnerUnavailable: The native worker is asked for and cannot be built.
        RuntimeMissing, InvalidSetting, WorkerDied: The worker did not start.
    """
    if profile.connection.worker == NATIVE:
        from profilers.devices.native import NativeWorker  # its building is not needed else

        return NativeWorker(options, limits=limits, cache=cache)
    return LocalWorker(options, limits=limits)
