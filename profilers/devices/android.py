"""What a phone with Android tells of itself over its shell, and the state that it is in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_MARK = "nasc-part "

_PARTS = {
    "properties": "getprop",
    "battery": "dumpsys battery",
    "power": "dumpsys power | grep mWakefulness",
    "thermal": "dumpsys thermalservice | grep 'Thermal Status'",
    "governors": (
        "cd /sys/devices/system/cpu && for one in cpu*/cpufreq/scaling_governor; do "
        'echo "$one $(cat $one)"; done'
    ),
}

STATE_SCRIPT = (
    "\n".join(f'echo "{_MARK}{name}"; ({command}) 2>/dev/null' for name, command in _PARTS.items())
    + "\ntrue"
)
"""Script of a phone's shell whose output `parse_state` reads. What it lacks prints nothing."""

_PROPERTY = re.compile(r"\[(.+?)\]: \[(.*)\]")
_FIELD = re.compile(r"\s*([A-Za-z ]+): (.*)")
_WAKEFULNESS = re.compile(r"mWakefulness=(\w+)")
_STATUS = re.compile(r"Thermal Status: (\d+)")
_GOVERNOR = re.compile(r"cpu(\d+)/cpufreq/scaling_governor (\S+)")

_CHARGING = ("2", "5")  # BatteryManager: BATTERY_STATUS_CHARGING, BATTERY_STATUS_FULL

_TOLD = {
    "model": "ro.product.model",
    "product": "ro.product.device",
    "android": "ro.build.version.release",
    "build": "ro.build.id",
    "soc": "ro.soc.model",
    "abi": "ro.product.cpu.abi",
}


def split_parts(text: str) -> dict[str, str]:
    """What the commands of a script like `STATE_SCRIPT` printed, by their names."""
    parts: dict[str, str] = {}
    for part in f"\n{text}".split(f"\n{_MARK}")[1:]:
        name, _, printed = part.partition("\n")
        parts[name.strip()] = printed
    return parts


def parse_state(text: str) -> dict[str, Any]:
    """The phone and its state before a measurement, as the context of that keeps it.

    Args:
        text: What `STATE_SCRIPT` printed.

    Returns:
        "model", "product", "android" (its version), "build", "soc", "abi"; "screen" ("Awake",
        "Asleep" and others of Android), "battery_percent", "battery_c" (degrees Celsius),
        "charging", "thermal_status" (0: none, to 6), "governors" by the core's number. What the
        phone does not tell is None.
    """
    parts = split_parts(text)
    properties = dict(_PROPERTY.findall(parts.get("properties", "")))
    battery = dict(_FIELD.findall(parts.get("battery", "")))
    found: dict[str, Any] = {name: properties.get(key) or None for name, key in _TOLD.items()}
    awake = _WAKEFULNESS.search(parts.get("power", ""))
    status = _STATUS.search(parts.get("thermal", ""))
    tenths = _number(battery, "temperature")
    charge = battery.get("status", "").strip()
    return found | {
        "screen": awake and awake[1],
        "battery_percent": _number(battery, "level"),
        "battery_c": None if tenths is None else tenths / 10,
        "charging": charge in _CHARGING if charge else None,
        "thermal_status": int(status[1]) if status else None,
        "governors": dict(_GOVERNOR.findall(parts.get("governors", ""))) or None,
    }


def _number(fields: Mapping[str, str], name: str) -> int | None:
    text = fields.get(name, "").strip()
    return int(text) if re.fullmatch(r"-?[0-9]{1,9}", text) else None
