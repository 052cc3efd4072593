"""Peak memory of a run, in a process of its own."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from device_profiles import DeviceProfile
from profilers.devices import Opener, open_worker
from profilers.errors import MemoryUnavailable
from profilers.jobs import ModelJob, RuntimeOptions, WorkerLimits
from profilers.measuring import device_options
from profilers.samples import Step


@dataclass(frozen=True, slots=True)
class PeakMemory:
    """The most memory a process held in RAM.

    Attributes:
        total_bytes: Peak memory in bytes after the model was loaded and run twice.
        base_bytes: Peak memory of the same process before the model was loaded, in bytes:
            interpreter and runtime.
    """

    total_bytes: int
    base_bytes: int

    @property
    def model_bytes(self) -> int:
        """Peak memory that the model added, in bytes."""
        return self.total_bytes - self.base_bytes


def measure_peak_memory(
    job: ModelJob,
    options: RuntimeOptions | None = None,
    *,
    device: DeviceProfile | None = None,
    limits: WorkerLimits | None = None,
    opener: Opener | None = None,
) -> PeakMemory:
    """Measures the peak resident memory (VmHWM on Linux) of loading and running a model.

    Args:
        job: The model.
        options: The runtime's settings; None takes the device's defaults.
        device: Where it runs; None is this machine.
        limits: What its process may take; None takes the defaults.
        opener: Starts a worker on the device, see `measure`; None is `open_worker`.

    Returns:
        The peaks in bytes.

    Raises:
        ModelRejected: The file is missing, damaged, or holds what the runtime cannot run.
        MemoryUnavailable: The device does not tell a process's peak memory.
        ProfilerError: The device cannot be reached.
    """
    if device is None:
        from device_profiles import find

        device = find("host")
    opener = opener or functools.partial(open_worker, limits=limits)
    with opener(device, device_options(device, options)) as worker:
        worker.load(job, seed=0)
        worker.visit([Step(job.name, warmup=1, runs=1)])
        total, base = worker.peak_bytes(), worker.base_bytes
    if total is None or base is None:
        raise MemoryUnavailable(
            f"device {device.name!r} does not tell how much memory a process held; Linux and macOS "
            "do. Leave the memory limit out."
        )
    return PeakMemory(total_bytes=total, base_bytes=base)
