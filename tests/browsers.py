"""Browsers without a window, for tests."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

PROGRAMS = {
    "chromium": ("chromium", "chromium-browser", "google-chrome"),
    "firefox": ("firefox-esr", "firefox"),
}


def browser(name: str) -> str | None:
    """The program of a browser, if it is installed."""
    return next(filter(None, map(shutil.which, PROGRAMS[name])), None)


@contextlib.contextmanager
def opened(
    name: str, url: str, profile: Path, flags: Sequence[str] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """A page that is open for as long as the block lasts.

    Args:
        name: Of the browser, which is installed.
        url: Of the page.
        profile: Folder of its own, for this start alone.
        flags: More arguments of the program.
    """
    program = browser(name)
    assert program is not None
    profile.mkdir(parents=True, exist_ok=True)
    if name == "chromium":
        command = [
            *(program, "--headless=new", "--no-sandbox", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *("--disable-dev-shm-usage", f"--user-data-dir={profile}", *flags, url),
        ]
    else:
        (profile / "user.js").write_text(
            'user_pref("datareporting.policy.dataSubmissionEnabled", false);\n'
            'user_pref("app.update.enabled", false);\n'
            'user_pref("browser.shell.checkDefaultBrowser", false);\n'
        )
        command = [program, "--headless", "--no-remote", "--profile", str(profile), *flags, url]
    environment = {**os.environ, "HOME": str(profile), "MOZ_DISABLE_CONTENT_SANDBOX": "1"}
    process = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
