"""Whether there is a browser on this machine, and what it runs models by; loads nothing."""

from __future__ import annotations

from pathlib import Path

from device_profiles import DeviceProfile
from profilers.browser.library import INSTALL, VARIABLE, VERSION, named_folder
from profilers.browser.program import PROGRAMS, find_program
from profilers.errors import DeviceUnreachable, RuntimeMissing


def check_located(profile: DeviceProfile) -> None:
    """Raises where no browser is installed, or nothing for it to run models by.

    Args:
        profile: Of a connection of the kind "browser".

    Raises:
        DeviceUnreachable: Says what to install.
    """
    located(profile)


def located(profile: DeviceProfile) -> tuple[str, Path]:
    """The browser's program, and the folder of onnxruntime-web.

    Args:
        profile: Of a connection of the kind "browser".

    Raises:
        DeviceUnreachable: Says what to install.
    """
    named = profile.connection.program
    program = find_program(named)
    if program is None:
        what = f"no program {named!r}" if named else f"none of {', '.join(PROGRAMS)} in PATH"
        raise DeviceUnreachable(
            f"device {profile.name!r} is a browser, and there is {what}. Install one "
            "(Debian: apt install chromium), or name its program in a device file: "
            "connection.program",
            f"there is {what}",
        )
    try:
        folder = named_folder()
    except RuntimeMissing as error:
        raise DeviceUnreachable(str(error), str(error).partition("\n")[0]) from error
    if folder is None:
        raise DeviceUnreachable(
            f"device {profile.name!r} runs models by onnxruntime-web {VERSION}, and it is not "
            f"known where that is: {INSTALL}, then name its folder: "
            f"{VARIABLE}=node_modules/onnxruntime-web",
            f"{VARIABLE} does not name the folder of onnxruntime-web {VERSION}",
        )
    return program, folder
