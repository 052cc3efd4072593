"""Whether it is known where a device over SSH is; loads nothing."""

from __future__ import annotations

from device_profiles import DeviceProfile
from profilers.errors import DeviceUnreachable


def check_located(profile: DeviceProfile) -> None:
    """Raises where nobody knows where a device is; none is connected to.

    Args:
        profile: Of a connection of the kind "ssh".

    Raises:
        DeviceUnreachable: Says where to write it.
    """
    if profile.connection.host is not None:
        return
    name = profile.name
    raise DeviceUnreachable(
        f"it is not known where device {name!r} is. Say it in ~/.ssh/config, in two lines: "
        f"'Host {name}' and below it 'HostName ADDRESS' (and 'User NAME'), so that this gets in: "
        f"ssh {name}. Any machine without a profile of its own: --device USER@HOST",
        f"~/.ssh/config has no Host {name}, which is to say where it is",
    )
