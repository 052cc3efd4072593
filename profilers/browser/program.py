"""A browser's program, and its process."""

from __future__ import annotations

import contextlib
import html
import os
import shutil
import signal
import subprocess
import tempfile
import time
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

_GUARD = ("/bin/sh", "-c", "read -r _; kill -KILL 0")
"""Ends its process group when its stdin ends, which is when the process that started it does."""

_START = "start.html"
_GROUP = "group"
_TEMPORARY = "tmp"

GONE_S = 5.0
"""Processes that were killed are gone so long after (chosen, 2026: it takes some milliseconds)."""


def find_program(named: str | None) -> str | None:
    """The path of a browser's program.

    Args:
        named: By a device file, a name or a path; None looks for `PROGRAMS`.

    Returns:
        None where there is none.
    """
    return next(filter(None, map(shutil.which, PROGRAMS if named is None else [named])), None)


class Browser:
    """A browser without a window, with one page.

    It and all that it starts are a process group, which ends with this process, however that ends.
    """

    def __init__(self, program: str, url: str, folder: Path) -> None:
        """Starts it.

        Args:
            program: See `find_program`.
            url: Of the page. The browser reads it from a file, since everybody on a machine reads
                the arguments of its programs.
            folder: Its own, which is empty: all that it writes goes there.

        Raises:
            OSError: It cannot be run.
        """
        folder = folder.absolute()
        (folder / _TEMPORARY).mkdir()
        start = folder / _START
        start.touch(mode=0o600)
        start.write_text(f'<meta http-equiv="refresh" content="0; url={html.escape(url)}" />\n')
        flags = list(_FLAGS)
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            flags.append("--no-sandbox")  # it does not start as root with one
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the process)
        self._guard = subprocess.Popen(_GUARD, stdin=subprocess.PIPE, process_group=0)
        (folder / _GROUP).write_text(str(self._guard.pid))
        try:
            self._process = subprocess.Popen(
                [program, *flags, f"--user-data-dir={folder / 'profile'}", start.as_uri()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._said,
                # Relative: Chromium makes a socket there, whose path has a limit of some 100.
                cwd=folder,
                env={**os.environ, "HOME": str(folder), "TMPDIR": _TEMPORARY},
                process_group=self._guard.pid,
            )
        except BaseException:
            self._end_group()
            raise

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
        """Ends it and all its processes."""
        self._end_group()
        self._process.wait()

    def _end_group(self) -> None:
        # The guard was not waited for: no other group can have its number.
        if self._guard.returncode is None:
            os.killpg(self._guard.pid, signal.SIGKILL)
        self._guard.wait()
        if self._guard.stdin is not None:
            self._guard.stdin.close()


def wait_for_end(folder: Path) -> None:
    """Waits until no process of a browser that was ended is left, `GONE_S` at most.

    Args:
        folder: The browser's own, see `Browser`.
    """
    try:
        group = int((folder / _GROUP).read_text())
    except (OSError, ValueError):
        return  # none was started
    deadline = time.monotonic() + GONE_S
    while _runs(group) and time.monotonic() < deadline:
        time.sleep(0.01)


def _runs(group: int) -> bool:
    """Whether a process of a group runs. One that ended and that nobody waits for does not."""
    try:
        os.killpg(group, 0)
    except OSError:
        return False
    if not Path("/proc/self/stat").exists():
        return True
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            state, _, its_group, *_ = path.read_text(errors="replace").rpartition(")")[2].split()
            if int(its_group) == group and state not in "ZX":
                return True
    return False
