"""This machine: a worker process of the native program, without Python."""

from __future__ import annotations

import os
from pathlib import Path

from profilers.devices.client import REQUEST_TIMEOUT_S, WorkerClient
from profilers.jobs import RuntimeOptions, WorkerLimits
from profilers.runner.build import build_runner
from profilers.runner.library import runtime_library
from profilers.runner.targets import this_machine


class NativeWorker(WorkerClient):
    """A native worker on this machine. It ends with the thread that started it."""

    def __init__(
        self,
        options: RuntimeOptions,
        *,
        limits: WorkerLimits | None = None,
        request_timeout_s: float = REQUEST_TIMEOUT_S,
        program: Path | None = None,
        cache: Path | None = None,
    ) -> None:
        """Starts the worker, which is built where it was not yet.

        Args:
            options: How its runtime is set up.
            limits: What it may take; None takes the defaults.
            request_timeout_s: See `REQUEST_TIMEOUT_S`.
            program: What is run; None takes what `build_runner` makes for this machine.
            cache: The cache folder; None takes the user's.

        Raises:
            RunnerUnavailable: It cannot be built, or its library cannot be had.
            RuntimeMissing, InvalidSetting, WorkerDied: It could not start with these options.
        """
        here = this_machine().name
        library = runtime_library(here, cache)
        super().__init__(
            [str(program or build_runner(here, cache)), str(library), str(os.getpid())],
            options,
            limits=limits,
            request_timeout_s=request_timeout_s,
        )
