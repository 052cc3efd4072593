"""What each known device can do, without running anything on it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import device_profiles
from device_profiles import DeviceProfile
from nasc.architecture.space import PRECISIONS
from nasc.lowering import LIMITS
from nasc.lowering import PRECISIONS as LOWERED
from profilers import (
    DeviceUnreachable,
    ProfilerError,
    RuntimeOptions,
    open_worker,
    precisions_of,
    reachable,
)
from profilers.context import read_context
from profilers.devices.phones import Phone, attached, fits
from profilers.devices.transports import transport_of
from profilers.nvidia import find_gpu
from profilers.runtimes import computing_on, installed, told_precisions


@dataclass(frozen=True, slots=True)
class RuntimeReport:
    """A runtime on a device.

    Attributes:
        name: As device profiles name it.
        default: It is used where nobody says otherwise.
        installed: Whether it can be imported there; None where nasc cannot look.
        version: Of what is installed, where it is told.
        precisions: Of networks that nasc can make for it.
        reason: Why it does not compute on the device's accelerator; empty where it does, or nobody
            looked.
    """

    name: str
    default: bool
    installed: bool | None
    version: str | None
    precisions: tuple[str, ...]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ThreadsReport:
    """Threads that a runtime may use on a device.

    Attributes:
        default: Where nobody says otherwise.
        maximum: Cores that there are for it; None where nobody tells.
    """

    default: int
    maximum: int | None


@dataclass(frozen=True, slots=True)
class DeviceListing:
    """A device and what it can do.

    Attributes:
        name: As ``--device`` takes it.
        description: A line for people.
        path: The file that describes it.
        transport: How it is reached.
        reachable: Whether models can be run on it now.
        reason: Why, or why not, in a few words.
        worker: What runs models there, in a few words.
        runtimes: The default one first.
        precisions: Those that any of its runtimes runs.
        threads: Of a runtime.
        clusters: Its cores by kind: ``core``, ``count`` and, where they are certain, ``ids``.
        attached: Serial numbers of the phones that it may be, of those that adb sees.
        gpu: What computes there, see `profilers.nvidia.Gpu.identity`; None where it is the
            processor, or nobody tells.
    """

    name: str
    description: str
    path: str
    transport: str
    reachable: bool
    reason: str
    worker: str
    runtimes: tuple[RuntimeReport, ...]
    precisions: tuple[str, ...]
    threads: ThreadsReport
    clusters: tuple[device_profiles.Cluster, ...]
    attached: tuple[str, ...] = ()
    gpu: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as `--json` prints it."""
        return dataclasses.asdict(self)

    def lines(self) -> list[str]:
        """The device for people: what it is, whether it is there, what it can do."""
        state = f"reachable, worker: {self.worker}"
        if not self.reachable:
            state = f"not reachable: {self.reason}"
        cores = ", ".join(f"{c.count} x {c.core}" for c in self.clusters) or "not told"
        most = "" if self.threads.maximum is None else f", at most {self.threads.maximum}"
        return [
            f"{self.name:16} {self.transport:7} {self.description}",
            f"{'':24} {state}",
            *(f"{'':24} {_runtime_text(runtime)}" for runtime in self.runtimes),
            f"{'':24} threads: {self.threads.default}{most}; cores: {cores}",
            *(f"{'':24} attached: {serial}" for serial in self.attached),
            *([f"{'':24} {_gpu_text(self.gpu)}"] if self.gpu else []),
        ]


def _gpu_text(gpu: Mapping[str, Any]) -> str:
    return (
        f"{gpu['name']}, {gpu['memory_bytes'] / 1e9:.0f} GB, compute capability "
        f"{gpu['capability']}, driver {gpu['driver']}"
    )


def _runtime_text(runtime: RuntimeReport) -> str:
    states = {True: runtime.version or "installed", False: "not installed", None: ""}
    name = f"{runtime.name} {states[runtime.installed]}".strip()
    if runtime.reason:
        return f"{name}: does not compute here: {runtime.reason}"
    return f"{name}: {', '.join(runtime.precisions) or 'nasc makes no networks for it'}"


def devices(
    on_wrong: Callable[[device_profiles.DeviceProfileError], None] | None = None,
) -> list[DeviceListing]:
    """Every known device, ordered by name.

    Args:
        on_wrong: Told of each device file that is wrong, which is left out then.

    Raises:
        device_profiles.DeviceProfileError: If a device file is wrong and nobody is told.
    """
    return [report(device) for device in device_profiles.available(on_wrong=on_wrong)]


def report(device: DeviceProfile) -> DeviceListing:
    """What a device can do, by its profile, and by a look at it where it is this machine."""
    there, reason = reachable(device)
    transport = transport_of(device)
    phones = _phones() if transport.is_phone else ()
    here = transport.is_host
    any_runtime = here and device.connection.worker != device_profiles.NATIVE
    kind = device.accelerator.kind
    names = dict.fromkeys([device.default_runtime, *(computing_on(kind) if any_runtime else ())])
    runtimes = tuple(_runtime(name, device, here) for name in names)
    clusters = device.clusters
    if here and device.detect and not clusters:
        clusters = (_detected(),)
    return DeviceListing(
        device.name,
        device.description,
        str(device.path),
        device.connection.kind,
        there,
        reason,
        device.connection.worker or transport.worker,
        runtimes,
        tuple(
            p
            for p in PRECISIONS
            if any(p in r.precisions for r in runtimes if r.installed is not False)
        ),
        ThreadsReport(device.default_threads, _most_threads(device, here, clusters)),
        clusters,
        tuple(phone.serial for phone in phones if fits(device, phone)),
        find_gpu().identity if kind != device_profiles.CPU and here and there else None,
    )


def unknown_phones() -> list[Phone]:
    """Phones that adb sees and that no known device means; none where adb does not work."""
    known = device_profiles.available(on_wrong=lambda error: None)
    return [phone for phone in _phones() if not any(fits(device, phone) for device in known)]


def _phones() -> tuple[Phone, ...]:
    try:
        return attached()
    except ProfilerError:
        return ()


def _runtime(name: str, device: DeviceProfile, here: bool) -> RuntimeReport:
    found, version = installed(name) if here else (None, None)
    precisions, reason = LOWERED.get(name, ()), ""
    on_cpu = device.accelerator.kind == device_profiles.CPU
    if found and not (on_cpu and set(precisions) <= set(LIMITS[name].on_any_processor)):
        offered, reason = _offered(name, device)
        precisions = tuple(p for p in precisions if p in offered)
    return RuntimeReport(name, name == device.default_runtime, found, version, precisions, reason)


def _offered(name: str, device: DeviceProfile) -> tuple[tuple[str, ...], str]:
    """What a runtime computes in on a device of this machine; why not, where it does not."""
    on_cpu = device.accelerator.kind == device_profiles.CPU
    told = told_precisions(name, read_context()["cpu"]["flags"]) if on_cpu else None
    if told is not None:
        return told, ""
    try:
        with open_worker(device, RuntimeOptions(runtime=name)) as worker:
            return precisions_of(worker.context), ""
    except ProfilerError as error:
        if on_cpu:
            return LIMITS[name].on_any_processor, ""
        first = str(error).partition("\n")[0]
        return (), error.reason if isinstance(error, DeviceUnreachable) else first


def _detected() -> device_profiles.Cluster:
    """This machine's cores, taken for alike: no file tells them apart."""
    cpu = read_context()["cpu"]
    return device_profiles.Cluster(
        str(cpu["model"] or cpu["arch"] or "unknown"), int(cpu["logical_cores"] or 1)
    )


def _most_threads(
    device: DeviceProfile, here: bool, clusters: tuple[device_profiles.Cluster, ...]
) -> int | None:
    if device.default_cores is not None:
        return len(device.default_cores)
    if here and hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return sum(cluster.count for cluster in clusters) or None
