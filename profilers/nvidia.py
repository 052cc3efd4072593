"""The NVIDIA GPU of this machine, as its driver tells of it (NVML, through nvidia-ml-py).

It is the one on which CUDA programs of this process compute: the first, or the first that
CUDA_VISIBLE_DEVICES names, in the order of their places on the bus (`use_bus_order`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from profilers.errors import DeviceUnreachable

INSTALL = "python -m pip install nvidia-ml-py"

THROTTLES = {
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
}
"""Bits of NVML's reasons for a clock below its highest that speak of a GPU that is held back; idle,
and clocks that somebody has set, are none (nvml.h, nvmlClocksThrottleReasons)."""

SAME_CLOCK = 0.02
"""Clocks that lie so near to each other, relatively, are one clock (chosen, 2026)."""

SETTLED_READINGS = 5
"""So many readings in a row of one clock are a clock that has settled (chosen, 2026)."""

SETTLE_S = 5.0
"""A GPU is kept busy so long at most until its clock has settled (chosen, 2026)."""


class Gpu:
    """A GPU that its driver tells of.

    Attributes:
        identity: "kind" ("cuda"), "name", "driver" (its version), "capability" (of its
            instructions, as "9.0") and "memory_bytes": equal for GPUs that are alike
            under one driver.
    """

    def __init__(self, nvml: Any, handle: Any) -> None:
        """Asks the driver once.

        Args:
            nvml: The module pynvml, or what answers as it does.
            handle: Of the GPU there.
        """
        self._nvml, self._handle = nvml, handle
        major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
        self.identity: dict[str, Any] = {
            "kind": "cuda",
            "name": str(nvml.nvmlDeviceGetName(handle)),
            "driver": str(nvml.nvmlSystemGetDriverVersion()),
            "capability": f"{major}.{minor}",
            "memory_bytes": int(nvml.nvmlDeviceGetMemoryInfo(handle).total),
        }

    def clock_khz(self) -> int | None:
        """The clock of its multiprocessors now; None where it is not told."""
        nvml = self._nvml
        found = self._told(nvml.nvmlDeviceGetClockInfo, nvml.NVML_CLOCK_SM)
        return None if found is None else 1000 * found

    def state(self) -> dict[str, Any]:
        """As a visit's `state` in docs/worker-protocol.md; what is not told is left out."""
        nvml = self._nvml
        clock, reasons = (
            self.clock_khz(),
            self._told(nvml.nvmlDeviceGetCurrentClocksThrottleReasons),
        )
        warm = self._told(nvml.nvmlDeviceGetTemperature, nvml.NVML_TEMPERATURE_GPU)
        found: dict[str, Any] = {}
        if clock is not None:
            found["frequency_khz"] = {"gpu": clock}
        if warm is not None:
            found["temperature_mc"] = {"gpu": 1000 * warm}
        if reasons is not None:
            found["throttled"] = [name for bit, name in THROTTLES.items() if reasons & bit]
        return found

    def _told(self, ask: Callable[..., Any], *arguments: Any) -> int | None:
        try:
            return int(ask(self._handle, *arguments))
        except self._nvml.NVMLError:  # a driver need not tell everything
            return None


def use_bus_order() -> None:
    """Has CUDA, before it starts, number GPUs as their driver does, unless the user says how."""
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")


def find_gpu() -> Gpu:
    """The GPU of this machine.

    Raises:
        DeviceUnreachable: There is none, or nothing tells of it; says what to do.
    """
    try:
        import pynvml
    except ImportError as error:
        raise DeviceUnreachable(
            f"the driver of an NVIDIA GPU is asked through nvidia-ml-py, which cannot be imported: "
            f"{error}. Install it: {INSTALL}",
            "nvidia-ml-py is not installed",
        ) from error
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise DeviceUnreachable(
            f"there is no NVIDIA GPU that can be used here: {error}. Install its driver, until "
            "nvidia-smi lists the GPU; or take the processor: --device host",
            "no NVIDIA driver answers here",
        ) from error
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0].strip()
    try:
        if first.startswith(("GPU-", "MIG-")):
            return Gpu(pynvml, pynvml.nvmlDeviceGetHandleByUUID(first))
        return Gpu(pynvml, pynvml.nvmlDeviceGetHandleByIndex(int(first)))
    except (ValueError, pynvml.NVMLError) as error:
        raise DeviceUnreachable(
            f"there is no NVIDIA GPU {first!r} here: {error}. CUDA_VISIBLE_DEVICES names those "
            "that may be used, as nvidia-smi -L lists them",
            f"no GPU {first!r}, which CUDA_VISIBLE_DEVICES names",
        ) from error


def is_settled(clocks_khz: Sequence[int | None]) -> bool:
    """Whether the last readings of a clock are one clock; also where none is told.

    Args:
        clocks_khz: All readings so far, in their order.
    """
    last = clocks_khz[-SETTLED_READINGS:]
    told = [clock for clock in last if clock is not None]
    if len(last) < SETTLED_READINGS or not told:
        return len(last) == SETTLED_READINGS
    return max(told) - min(told) <= SAME_CLOCK * max(told)


def settle(gpu: Gpu, run: Callable[[], None], now: Callable[[], float]) -> int:
    """Keeps a GPU busy until its clock has settled, for `SETTLE_S` at most.

    Args:
        gpu: Which.
        run: Keeps it busy for a moment: until the run that it begins has ended.
        now: Seconds of a clock.

    Returns:
        How often it was run.
    """
    begin, clocks = now(), [gpu.clock_khz()]
    while not is_settled(clocks) and now() - begin < SETTLE_S:
        until = now() + SETTLE_S / 100
        run()
        while now() < until:
            run()
        clocks.append(gpu.clock_khz())
    return len(clocks) - 1
