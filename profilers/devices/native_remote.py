"""The native worker on another machine: built here for its system, sent there with its library.

It ends with its stdin, which whatever reaches the machine closes when the caller is gone.
"""

from __future__ import annotations

import re
from pathlib import Path

from device_profiles import CPU, NATIVE
from profilers.devices.remote import NOT_A_PROGRAM, Files, RemoteWorker, System, Transport
from profilers.errors import ProfilerError, RunnerUnavailable
from profilers.jobs import RuntimeOptions, WorkerLimits
from profilers.runner.build import build_runner
from profilers.runner.library import runtime_library
from profilers.runner.targets import OLDEST_GLIBC, TARGETS, Target

RUNTIME = "onnxruntime"
"""The runtime that the native worker drives."""

OTHER_WORKER = (
    'Or let the Python there run the models: connection.worker = "python" in a device file'
)


def runs_native(worker: str | None, options: RuntimeOptions, system: System) -> bool:
    """Whether a machine's models are run by the native worker.

    Args:
        worker: As the device's profile has it: one of `device_profiles.WORKERS`, or None for the
            native one where there is one for the runtime, what computes, and the machine.
        options: The runtime that is to be driven, and on what it computes.
        system: What the machine is.
    """
    if worker is None:
        fits = options.runtime == RUNTIME and options.accelerator == CPU
        return fits and _why_not(system) is None
    return worker == NATIVE


def _why_not(system: System) -> str | None:
    """Why there is no native worker for a machine, if there is none."""
    if _name(system) not in TARGETS:
        return f"it is for: {', '.join(TARGETS)}"
    found = re.fullmatch(r"glibc (\d+)\.(\d+)", system.libc)
    if "musl" in system.libc or (found and (int(found[1]), int(found[2])) < OLDEST_GLIBC):
        return f"it needs glibc {OLDEST_GLIBC[0]}.{OLDEST_GLIBC[1]} or newer"
    return None


def _name(system: System) -> str:
    return f"{system.machine}-{system.name.lower()}"


def native_target(device: str, system: System) -> Target:
    """The target that a machine is.

    Args:
        device: What people call the machine.
        system: What it says of itself.

    Raises:
        RunnerUnavailable: There is no native worker for such a machine.
    """
    reason = _why_not(system)
    if reason is not None:
        libc = f" with {system.libc}" if system.libc else ""
        raise RunnerUnavailable(
            f"the native worker does not run on device {device!r}, which is "
            f"{_name(system)!r}{libc}: {reason}. {OTHER_WORKER}"
        )
    return TARGETS[_name(system)]


def open_native_worker(
    transport: Transport,
    files: Files,
    options: RuntimeOptions,
    limits: WorkerLimits | None = None,
    cache: Path | None = None,
) -> RemoteWorker:
    """Starts a native worker on a machine.

    Args:
        transport: How the machine is reached.
        files: Of that machine.
        options: How its runtime is set up.
        limits: What it may take; None takes the defaults.
        cache: The cache folder; None takes the user's.

    Raises:
        DeviceUnreachable: The machine cannot be reached.
        RunnerUnavailable: The worker cannot be built for the machine or run there, or its library
            cannot be had.
        RuntimeMissing, InvalidSetting, WorkerDied: It did not start with these options.
    """
    target = native_target(transport.name, files.system)
    library = runtime_library(target.name, cache)
    words = [
        files.place([(build_runner(target.name, cache), "nasc-runner")]),
        files.place([(library, library.name)]),
    ]

    def ended(status: int, said: str) -> ProfilerError | None:
        if status not in NOT_A_PROGRAM and "GLIBC" not in said:
            return None
        last = (said.splitlines() or [f"exit status {status}"])[-1]
        return RunnerUnavailable(
            f"the native worker cannot be run on device {transport.name!r}: {last[:300]}. It needs "
            f"glibc {OLDEST_GLIBC[0]}.{OLDEST_GLIBC[1]} or newer, and a folder from which programs "
            f"may be run: connection.folder in a device file. {OTHER_WORKER}"
        )

    return RemoteWorker(transport, files, words, options, ended=ended, limits=limits)
