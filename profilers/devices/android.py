"""What a phone with Android tells of itself over its shell, and the state that it is in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_MARK = "nasc-part "

_PARTS = {
    "properties": "getprop",
    "battery": "dumpsys battery",
    "power": "dumpsys power | grep mWakefulness",
    "thermal": "dumpsys thermalservice",
    "governors": (
        "cd /sys/devices/system/cpu && for one in cpu*/cpufreq/scaling_governor; do "
        'echo "$one $(cat $one)"; done'
    ),
}

_DESCRIBED = {
    "properties": "getprop",
    "cores": "cat /proc/cpuinfo",
    "memory": "cat /proc/meminfo",
    "clocks": (
        "cd /sys/devices/system/cpu && for one in cpu*/cpufreq/cpuinfo_max_freq; do "
        'echo "$one $(cat $one)"; done'
    ),
}


def _script(parts: Mapping[str, str]) -> str:
    """Runs commands one after the other, each under its name; what is not there prints nothing."""
    each = [f'echo "{_MARK}{name}"; ({command}) 2>/dev/null' for name, command in parts.items()]
    return "\n".join([*each, "true"])


STATE_SCRIPT = _script(_PARTS)
"""Script of a phone's shell whose output `parse_state` reads."""

HEAT_SCRIPT = _script({"thermal": _PARTS["thermal"]})
"""Script of a phone's shell whose output `parse_heat` reads."""

DESCRIPTION_SCRIPT = _script(_DESCRIBED)
"""Script of a phone's shell whose output `parse_description` reads."""

_PROPERTY = re.compile(r"\[(.+?)\]: \[(.*)\]")
_FIELD = re.compile(r"\s*([A-Za-z ]+): (.*)")
_WAKEFULNESS = re.compile(r"mWakefulness=(\w+)")
_STATUS = re.compile(r"Thermal Status: (\d+)")
_NOW = "Current temperatures from HAL:"
_SKIN = re.compile(r"Temperature\{mValue=([0-9.]{1,9}), mType=3,")
_GOVERNOR = re.compile(r"cpu(\d+)/cpufreq/scaling_governor (\S+)")

_CLOCK = re.compile(r"cpu(\d+)/cpufreq/cpuinfo_max_freq (\d+)")
_MEMORY = re.compile(r"MemTotal:\s*(\d+) kB")

_ARM = "0x41"
_CORES = {
    "0xd03": "Cortex-A53",
    "0xd04": "Cortex-A35",
    "0xd05": "Cortex-A55",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd09": "Cortex-A73",
    "0xd0a": "Cortex-A75",
    "0xd0b": "Cortex-A76",
    "0xd0d": "Cortex-A77",
    "0xd41": "Cortex-A78",
    "0xd44": "Cortex-X1",
    "0xd46": "Cortex-A510",
    "0xd47": "Cortex-A710",
    "0xd48": "Cortex-X2",
    "0xd4d": "Cortex-A715",
    "0xd4e": "Cortex-X3",
    "0xd80": "Cortex-A520",
    "0xd81": "Cortex-A720",
    "0xd82": "Cortex-X4",
}
"""Arm's cores by part number (Linux, arch/arm64/include/asm/cputype.h, 2026)."""

MAX_CORES = 4096

WARMER_C = 3.0
"""A phone that is warmer than at first by more, in degrees Celsius, rests (chosen, 2026, without a
phone)."""

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
        "charging", what `parse_heat` tells, "governors" by the core's number. What the phone does
        not tell is None.
    """
    parts = split_parts(text)
    properties = dict(_PROPERTY.findall(parts.get("properties", "")))
    battery = dict(_FIELD.findall(parts.get("battery", "")))
    found: dict[str, Any] = {name: properties.get(key) or None for name, key in _TOLD.items()}
    awake = _WAKEFULNESS.search(parts.get("power", ""))
    tenths = _number(battery, "temperature")
    charge = battery.get("status", "").strip()
    return found | {
        "screen": awake and awake[1],
        "battery_percent": _number(battery, "level"),
        "battery_c": None if tenths is None else tenths / 10,
        "charging": charge in _CHARGING if charge else None,
        "governors": dict(_GOVERNOR.findall(parts.get("governors", ""))) or None,
        **parse_heat(text),
    }


def parse_heat(text: str) -> dict[str, Any]:
    """How hot a phone is.

    Args:
        text: What `HEAT_SCRIPT` or `STATE_SCRIPT` printed.

    Returns:
        "thermal_status" (0: nothing is slowed, to 6) and "skin_c", the warmest place that its owner
        feels, in degrees Celsius. What the phone does not tell is None.
    """
    told = split_parts(text).get("thermal", "")
    status = _STATUS.search(told)
    now = told.partition(_NOW)[2].partition("Current cooling")[0]
    skin = [_real(one) for one in _SKIN.findall(now)]
    return {
        "thermal_status": int(status[1]) if status else None,
        "skin_c": max((one for one in skin if one), default=None),
    }


def why_rest(first: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """Why a phone should rest before it is measured on; None where it need not.

    Args:
        first: What `parse_heat` told before anything ran.
        now: What it tells now.
    """
    before, after = first.get("thermal_status"), now.get("thermal_status")
    if before is not None and after is not None and after > before:
        return f"its thermal status is {after}, at first it was {before}"
    cool, warm = first.get("skin_c"), now.get("skin_c")
    if cool is not None and warm is not None and warm > cool + WARMER_C:
        return f"its skin is at {warm:.1f} C, at first it was at {cool:.1f} C"
    return None


def _real(text: str) -> float:
    try:
        return float(text)
    except ValueError:  # two points
        return 0.0


def _number(fields: Mapping[str, str], name: str) -> int | None:
    text = fields.get(name, "").strip()
    return int(text) if re.fullmatch(r"-?[0-9]{1,9}", text) else None


@dataclass(frozen=True, slots=True)
class CoreCluster:
    """Cores of one kind.

    Attributes:
        core: Their product name, or their part number where that is not known here.
        ids: Their numbers.
        max_khz: Their highest clock in kHz; None where the phone does not tell.
    """

    core: str
    ids: tuple[int, ...]
    max_khz: int | None


@dataclass(frozen=True, slots=True)
class PhoneDescription:
    """What a phone is; text of it may be anything.

    Attributes:
        properties: Of Android, by name.
        clusters: The highest clock first; empty where the phone does not tell.
        memory_bytes: None where the phone does not tell.
    """

    properties: Mapping[str, str]
    clusters: tuple[CoreCluster, ...]
    memory_bytes: int | None


def parse_description(text: str) -> PhoneDescription:
    """What a phone is.

    Args:
        text: What `DESCRIPTION_SCRIPT` printed.
    """
    parts = split_parts(text)
    clocks = {int(core): int(khz) for core, khz in _CLOCK.findall(parts.get("clocks", ""))}
    alike: dict[tuple[int, str], list[int]] = {}
    for number, name in _core_names(parts.get("cores", "")):
        alike.setdefault((clocks.get(number, 0), name), []).append(number)
    memory = _MEMORY.search(parts.get("memory", ""))
    return PhoneDescription(
        dict(_PROPERTY.findall(parts.get("properties", ""))),
        tuple(
            CoreCluster(name, tuple(sorted(numbers)), khz or None)
            for (khz, name), numbers in sorted(alike.items(), reverse=True)
        ),
        int(memory[1]) * 1024 if memory else None,
    )


def _core_names(text: str) -> list[tuple[int, str]]:
    """The cores of /proc/cpuinfo, with their names."""
    found: dict[int, str] = {}
    for block in text.split("\n\n"):
        fields = {
            name.strip(): value.strip()
            for name, _, value in (line.partition(":") for line in block.splitlines())
        }
        number, part = fields.get("processor", ""), fields.get("CPU part", "")
        if not re.fullmatch(r"[0-9]{1,4}", number) or int(number) >= MAX_CORES:
            continue
        own = fields.get("CPU implementer") == _ARM
        plain = part if re.fullmatch(r"0x[0-9a-f]{1,4}", part) else "not told"
        found[int(number)] = (own and _CORES.get(part)) or f"part {plain}"
    return sorted(found.items())
