"""What can be done where a device is not there, and no latency table with it. Loads little."""

from __future__ import annotations

from device_profiles import DeviceProfile
from nasc.errors import TableMissing


def without_device(device: DeviceProfile, error: Exception) -> TableMissing:
    """The error of a search or a compilation whose device cannot be reached.

    Args:
        device: That is wanted.
        error: Why it cannot be reached.
    """
    name = device.name
    ways = [
        f"measure a table where the device is: nasc profile --device {name}",
        f"or a few networks, with a table of a similar device: nasc profile --device {name} "
        "--from-table DEVICE --budget 20",
    ]
    if device.peaks:
        ways.append("without the device, by what is stated of it, no measurement: --estimate")
    return TableMissing(
        f"no latency table can be measured on device {name!r}, and one in the cache cannot be "
        f"checked against it: {str(error).rstrip('.')}. Ways on: {'; '.join(ways)}"
    )
