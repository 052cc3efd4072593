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
        total_bytes: after loading the model and running it twice.
        base_bytes: the same process before: interpreter and runtime without a model.
    """

    total_bytes: int
    base_bytes: int

    @property
    def model_bytes(self) -> int:
        """What the model added."""
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
        job: the model.
        options: the runtime's settings; None takes the device's defaults.
        device: where it runs; None is this machine.
        limits: what its process may take; None takes the defaults.
        opener: starts a worker on the device, see `measure`; None is `open_worker`.

    Returns:
        The peaks in bytes.

    Raises:
        ModelRejected: the file is missing, damaged, or holds what the runtime cannot run.
        MemoryUnavailable: the device does not tell a process's peak memory.
        ProfilerError: the device cannot be reached.
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
