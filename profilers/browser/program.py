"""A browser's program, and its process."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
"""What Chromium's program is called, where a device file names none."""

_FLAGS = (
    *("--headless=new", "--no-first-run", "--no-default-browser-check", "--disable-extensions"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-default-apps", "--disable-dev-shm-usage", "--mute-audio", "--no-proxy-server"),
    *("--password-store=basic", "--use-mock-keychain"),
    # What slows pages that nobody looks at:
    *("--disable-background-timer-throttling", "--disable-renderer-backgrounding"),
    "--disable-backgrounding-occluded-windows",
    # Hot functions of WebAssembly are compiled for speed at once, not some time later:
    "--js-flags=--wasm-sync-tier-up",
)

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def find_program(named: str | None) -> str | None:
    """The path of a browser's program.

    Args:
        named: By a device file, a name or a path; None looks for `PROGRAMS`.

    Returns:
        None where there is none.
    """
    return next(filter(None, map(shutil.which, PROGRAMS if named is None else [named])), None)


class Browser:
    """A browser without a window, with one page. It ends with this process."""

    def __init__(self, program: str, url: str, folder: Path) -> None:
        """Starts it.

        Args:
            program: See `find_program`.
            url: Of the page.
            folder: Its own, which is empty: all that it writes goes there.

        Raises:
            OSError: It cannot be run.
        """
        temporary = folder / "tmp"
        temporary.mkdir()
        flags = list(_FLAGS)
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            flags.append("--no-sandbox")  # it does not start as root with one
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the process)
        self._process = subprocess.Popen(
            [program, *flags, f"--user-data-dir={folder / 'profile'}", url],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._said,
            env={**os.environ, "HOME": str(folder), "TMPDIR": str(temporary)},
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,
        )

    def ended(self, wait_s: float = 0.0) -> str | None:
        """How it ended, in words; None where it runs on.

        Args:
            wait_s: Seconds in which it may yet end.
        """
        try:
            code = self._process.wait(wait_s)
        except subprocess.TimeoutExpired:
            return None
        how = f"exit status {code}"
        if code < 0:
            with contextlib.suppress(ValueError):
                how = f"signal {signal.Signals(-code).name}"
        self._said.seek(0)
        lines = self._said.read()[-4000:].decode(errors="replace").strip().splitlines()
        return f"{how}{f': {lines[-1][:300]}' if lines else ''}"

    def end(self) -> None:
        """Ends it and all its processes, which go with the first of them."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
