"""A browser of this machine: a worker process that opens a page in it."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

from device_profiles import DeviceProfile
from device_profiles.temporary import temporary_folder
from profilers.browser.program import wait_for_end
from profilers.devices.browser_located import located
from profilers.devices.client import REQUEST_TIMEOUT_S, WorkerClient
from profilers.devices.local import python_environment
from profilers.jobs import RuntimeOptions, WorkerLimits


class BrowserClient(WorkerClient):
    """A worker in a browser. It ends with this process."""

    def __init__(
        self,
        program: str,
        library: Path,
        options: RuntimeOptions,
        *,
        limits: WorkerLimits | None = None,
        request_timeout_s: float = REQUEST_TIMEOUT_S,
        module: str = "profilers.browser.worker",
    ) -> None:
        """Starts the worker.

        Args:
            program: Of the browser.
            library: Folder of onnxruntime-web.
            options: How it is set up.
            limits: What it may take; None takes the defaults.
            request_timeout_s: See `REQUEST_TIMEOUT_S`.
            module: What is run, `profilers.browser.worker` or a program that can do more.

        Raises:
            RuntimeMissing, InvalidSetting, WorkerDied: It could not start with these options.
        """
        self._kept = contextlib.ExitStack()
        folder = self._kept.enter_context(temporary_folder())
        self._kept.callback(wait_for_end, folder)  # what runs on writes into it
        words = [sys.executable, "-P", "-m", module]
        try:
            super().__init__(
                [*words, program, str(library.absolute()), str(folder)],
                options,
                limits=limits,
                request_timeout_s=request_timeout_s,
                environment=python_environment(),
            )
        except BaseException:
            self._kept.close()
            raise

    def close(self) -> None:
        """See `WorkerClient`; removes the browser's folder."""
        super().close()
        self._kept.close()


def open_device(
    profile: DeviceProfile,
    options: RuntimeOptions,
    limits: WorkerLimits | None = None,
    cache: Path | None = None,
) -> BrowserClient:
    """Opens a page in the browser that a device file means.

    Args:
        profile: Of a connection of the kind "browser".
        options: How the runtime is set up.
        limits: What the worker may take; None takes the defaults.
        cache: Not used.

    Raises:
        DeviceUnreachable: There is no browser, or nothing for it to run models by.
        RuntimeMissing, InvalidSetting, WorkerDied: The worker did not start.
    """
    program, library = located(profile)
    return BrowserClient(program, library, options, limits=limits)
