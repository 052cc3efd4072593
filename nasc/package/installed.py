"""Programs of others that are asked for, in a release that is new enough."""

from __future__ import annotations

import re
import shutil
import subprocess

_TIMEOUT_S = 60.0


def installed_program(name: str, argument: str, release: str, oldest: int) -> str | None:
    """The command of a program; None where it is missing, does not start, or is too old.

    Args:
        name: Of the program, in the PATH.
        argument: With which it tells its release.
        release: Regular expression of what it tells, the major release as its only group.
        oldest: The major release that is new enough.
    """
    command = shutil.which(name)
    if command is None:
        return None
    try:
        done = subprocess.run(
            [command, argument], capture_output=True, text=True, check=True, timeout=_TIMEOUT_S
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    found = re.search(release, done.stdout + done.stderr)
    return command if found is not None and int(found[1]) >= oldest else None
