"""Where and under which conditions something was measured. Runs on the device, in the worker.

Linux is read through /proc and /sys; what another system does not offer is None, never guessed.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

PRECISIONS = ("fp32", "tf32", "bf16", "fp16", "int8")
"""Number formats that a runtime may offer on a device."""

_UNTOLD_PRECISIONS = ("fp32", "int8")
"""Those of a worker that does not tell them: it runs onnxruntime alone."""


def describe_cpu(cpuinfo: str, arch: str, logical_cores: int | None) -> dict[str, Any]:
    """A processor, as `read_context` describes it.

    Args:
        cpuinfo: The text of its /proc/cpuinfo; empty where there is none.
        arch: As `platform.machine` says it there.
        logical_cores: How many it has.
    """
    fields: dict[str, str] = {}
    for line in cpuinfo.split("\n\n", 1)[0].splitlines():
        key, _, value = line.partition(":")
        fields[key.strip()] = value.strip()
    flags = fields.get("flags") or fields.get("Features") or ""
    return {
        "arch": arch,
        "vendor": fields.get("vendor_id") or fields.get("CPU implementer"),
        "model": fields.get("model name") or fields.get("CPU part"),
        "family": fields.get("cpu family") or fields.get("CPU architecture"),
        "model_number": fields.get("model") or fields.get("CPU variant"),
        "stepping": fields.get("stepping") or fields.get("CPU revision"),
        "flags": sorted(flags.split()),
        "logical_cores": logical_cores,
    }


def _read(path: str) -> str | None:
    """The stripped text of a small file, or None."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _affinity() -> list[int] | None:
    """The cores this process may run on."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


def precisions_of(context: Mapping[str, Any]) -> tuple[str, ...]:
    """The number formats that a worker's runtime offers on its device.

    Args:
        context: A worker's.

    Returns:
        Out of `PRECISIONS`, in that order.
    """
    told = context.get("precisions")
    if not isinstance(told, list | tuple):
        return _UNTOLD_PRECISIONS
    return tuple(name for name in PRECISIONS if name in told)


def fingerprint(cpu: dict[str, Any]) -> str:
    """Identifies the kind of processor: equal on identical machines, different on others.

    Args:
        cpu: The "cpu" part of `read_context`.

    Returns:
        16 hexadecimal digits of a sha256.
    """
    text = json.dumps(cpu, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def usable_flags(flags: Sequence[str], tiles: Callable[[], bool]) -> list[str]:
    """Flags without those of AMX where this process may not use it.

    Args:
        flags: Of the processor.
        tiles: Says whether it may; asked where there is AMX alone.
    """
    amx = [flag for flag in flags if flag.startswith("amx_")]
    refused = amx if amx and not tiles() else []
    return [flag for flag in flags if flag not in refused]


@functools.cache
def may_use_tiles() -> bool:
    """Whether Linux lets this process use the tiles of AMX, which it has to be asked.

    ``arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)``, since Linux 5.16; a filter of system
    calls may refuse it.
    """
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return False
    return bool(ctypes.CDLL(None, use_errno=True).syscall(158, 0x1023, 18) == 0)


def read_context() -> dict[str, Any]:
    """Describes this machine and its present state.

    Returns:
        "fingerprint"; "cpu" (what the fingerprint covers: architecture, vendor, model, family,
        stepping, `usable_flags`, logical cores); "system", "governor" and "frequency_khz" of the
        first core (None where unreadable), "load_average" over 1, 5 and 15 minutes, "affinity",
        "memory_bytes" and "time_utc" (ISO 8601).
    """
    try:
        cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        cpuinfo = ""
    cpu = describe_cpu(cpuinfo, platform.machine(), os.cpu_count())
    cpu["flags"] = usable_flags(cpu["flags"], may_use_tiles)
    cpu["model"] = cpu["model"] or platform.processor() or None
    frequency = _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq")
    try:
        load = list(os.getloadavg())
    except OSError:
        load = None
    return {
        "fingerprint": fingerprint(cpu),
        "cpu": cpu,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "frequency_khz": int(frequency) if frequency and frequency.isdigit() else None,
        "load_average": load,
        "affinity": _affinity(),
        "memory_bytes": _memory_bytes(),
        "time_utc": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _memory_bytes() -> int | None:
    """The machine's memory."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None


def available_memory_bytes() -> int | None:
    """The memory that processes here may fill.

    Returns:
        Bytes: the machine's, or what its container (a control group of Linux) may have, whichever
        is less; None where neither is told.
    """
    group = _read("/sys/fs/cgroup/memory.max") or ""
    limits = [_memory_bytes(), int(group) if group.isdigit() else None]
    return min((one for one in limits if one), default=None)


def peak_memory_bytes() -> int | None:
    """The most memory this process ever held in RAM.

    Returns:
        Bytes: VmHWM on Linux, else getrusage's maximum resident set; None where neither exists.
    """
    for line in (_read("/proc/self/status") or "").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024
