"""What `nasc devices add` does: a device file for an attached phone, from what that tells."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import device_profiles
from device_profiles import Connection, DeviceProfile
from device_profiles.reading import shown
from nasc.errors import NascError, UsageError
from nasc.utils.files import write_atomically
from profilers.devices.adb import describe_phone
from profilers.devices.android import PhoneDescription

_NAME = re.compile(r"(?!.*\.toml$)[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

_SPECS = {
    "soc": "ro.soc.model",
    "abi": "ro.product.cpu.abilist",
    "android": "ro.build.version.release",
    "sdk": "ro.build.version.sdk",
}
"""Facts about a phone, by the property that tells them."""


@dataclass(frozen=True, slots=True)
class AddedDevice:
    """A device file that was written.

    Attributes:
        profile: What it says.
        serial: Of the phone that it was written from.
    """

    profile: DeviceProfile
    serial: str

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as `--json` prints it."""
        return {
            "name": self.profile.name,
            "description": self.profile.description,
            "path": str(self.profile.path),
            "serial": self.serial,
            "clusters": [
                {"core": c.core, "count": c.count, "ids": list(c.ids or ())}
                for c in self.profile.clusters
            ],
        }


def add_device(name: str, *, serial: str | None = None, force: bool = False) -> AddedDevice:
    """Writes a device file for an attached phone into the user's folder.

    Args:
        name: Of the device.
        serial: Of the phone; None takes the only one that is attached.
        force: Replace a file, or hide a device that comes with nasc.

    Raises:
        UsageError: If no device can have the name, or one has it.
        profilers.DeviceUnreachable: If there is no such phone.
        NascError: If the file cannot be written.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"no device can be named {shown(name)}: take letters, digits, '-', '_' and '.', at "
            "most 64, a letter or digit first, without .toml, as in my-phone"
        )
    path = device_profiles.user_folder() / f"{name}.toml"
    if not force and (name in device_profiles.names() or path.exists()):  # if a broken one
        raise UsageError(
            f"there is a device {name!r} already: nasc devices. Take another name, or have it "
            f"replaced by '{path}': --force"
        )
    asked = device_profiles.bare(name, name, Connection("adb", serial=serial), path)
    found, told = describe_phone(asked)
    text = "".join(device_text(name, found, told, datetime.date.today()))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text.encode())
    except OSError as error:
        raise NascError(
            f"cannot write the device file '{path}': {error.strerror or error}. Mend that, or set "
            "XDG_CONFIG_HOME to another folder"
        ) from error
    return AddedDevice(device_profiles.load(path), found)


def device_text(
    name: str, serial: str, told: PhoneDescription, today: datetime.date
) -> Iterator[str]:
    """The lines of a device file.

    Args:
        name: Of the device.
        serial: Of the phone.
        told: By the phone; what is not plain text of a line is left out.
        today: The date of what is written.
    """
    properties = {key: value for key, value in told.properties.items() if _is_plain(value)}
    made = " ".join(
        properties[key]
        for key in ("ro.product.manufacturer", "ro.product.model")
        if key in properties
    )
    yield f"# Written by nasc devices add from what the phone told on {today}.\n"
    yield f"name = {_quoted(name)}\ndescription = {_quoted(made or 'a phone')}\n"
    yield '\n[connection]\nkind = "adb"\n'
    if "ro.product.device" in properties:
        yield f"product = {_quoted(properties['ro.product.device'])}\n"
    yield f"serial = {_quoted(serial)} # without it, any such phone is meant\n"
    for cluster in told.clusters:
        yield f"\n[[clusters]]\ncore = {_quoted(cluster.core)}\ncount = {len(cluster.ids)}\n"
        yield f"ids = {list(cluster.ids)}\n"
    yield '\n[defaults]\nthreads = 1\nruntime = "onnxruntime"\n'
    for spec, (value, source) in _facts(properties, told).items():
        yield f"\n[[specs]]\nname = {_quoted(spec)}\nvalue = {value}\n"
        yield f"source = {_quoted(source)}\ndate = {today}\n"


def _facts(properties: Mapping[str, str], told: PhoneDescription) -> dict[str, tuple[str, str]]:
    """What the phone told of itself, each as TOML writes it and with where it stands."""
    facts = {
        name: (_quoted(properties[key]), f"the phone: getprop {key}")
        for name, key in _SPECS.items()
        if key in properties
    }
    if told.memory_bytes is not None:
        facts["memory_bytes"] = (str(told.memory_bytes), "the phone: /proc/meminfo, MemTotal")
    for cluster in told.clusters:
        if cluster.max_khz is not None:
            where = "the phone: cpufreq/cpuinfo_max_freq"
            facts[f"max_khz of cores {list(cluster.ids)}"] = (str(cluster.max_khz), where)
    return facts


def _is_plain(text: str) -> bool:
    return 0 < len(text) <= 200 and text.isprintable()


def _quoted(text: str) -> str:
    """A printable text as TOML writes it: escapes are those of JSON."""
    return json.dumps(text, ensure_ascii=False)
