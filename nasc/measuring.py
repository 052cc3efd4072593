"""Measuring as tables, `compile`, `verify` and `bench` do it: alone, and on one scale."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import profilers
from device_profiles import DeviceProfile
from nasc.files import locked
from nasc.latency.key import device_prefix
from nasc.reporting import Progress, Say

PEAK_PROCESSES = 3
"""Processes that peak memory is measured in where it is limited."""

PEAK_ROOM = 1.03
"""What another process may hold over the most that those held: eight processes with one network of
16 million parameters in int8 held 91.3 to 93.6 MB."""


def quiet_folder(cache_dir: Path) -> Path:
    """Where quiet times of devices are kept in a cache, for tables, limits and `verify` alike."""
    return cache_dir / "quiet"


def measuring(cache_dir: Path, device: str, say: Say | None = None) -> AbstractContextManager[Path]:
    """A work folder, for one process at a time: whatever measures on a device holds it.

    Args:
        cache_dir: The cache.
        device: Name of the device profile.
        say: Told when another process has to be waited for.

    Raises:
        CacheBusy, NascError: On entering, see `nasc.files.locked`.
    """
    folder = cache_dir / "profiling" / device_prefix(device).rstrip("-")
    return locked(folder, f"measurements on device {device!r}", say)


def runtime_options(device: DeviceProfile, threads: int) -> profilers.RuntimeOptions:
    """The runtime's settings that tables, limits and `verify` share on a device."""
    return profilers.RuntimeOptions(
        runtime=device.default_runtime, threads=threads, cores=device.default_cores
    )


def latency_job(name: str, path: Path, seq_len: int, batch: int, rows: int) -> profilers.ModelJob:
    """An emitted model with its inputs: random tokens out of `rows`, none of them padding."""
    shape = (batch, seq_len)
    return profilers.ModelJob(
        name,
        path,
        {
            "input_ids": profilers.InputSpec(shape, "int64", 0, rows),
            "attention_mask": profilers.InputSpec(shape, "int64", 1, 2),
        },
    )


def repeated_peak_memory(
    job: profilers.ModelJob, device: DeviceProfile, options: profilers.RuntimeOptions
) -> profilers.PeakMemory:
    """The largest of some measurements of peak memory, each by a process of its own.

    Raises:
        profilers.MemoryUntold: If the device does not tell it.
        profilers.ProfilerError: If the device cannot be reached or the model cannot be run.
    """
    found = [
        profilers.measure_peak_memory(job, options, device=device) for _ in range(PEAK_PROCESSES)
    ]
    return max(found, key=lambda peak: peak.total_bytes)


def told_peak_memory(
    job: profilers.ModelJob, device: DeviceProfile, options: profilers.RuntimeOptions
) -> profilers.PeakMemory | None:
    """Peak memory of loading and running a model; None where the device does not tell.

    Raises:
        profilers.ProfilerError: If the device cannot be reached or the model cannot be run.
    """
    try:
        return profilers.measure_peak_memory(job, options, device=device)
    except profilers.MemoryUntold:
        return None


class Bench:
    """What `profile` needs of `profilers`; a synthetic device overrides it."""

    def known_quiet(
        self, cache_dir: Path, device: DeviceProfile, options: profilers.RuntimeOptions
    ) -> profilers.QuietTime | None:
        """The device's recorded quiet time, with what it holds for; None without a record."""
        return profilers.load_quiet(cache_dir, device, options=options)

    def quiet(
        self,
        cache_dir: Path,
        device: DeviceProfile,
        options: profilers.RuntimeOptions,
        *,
        renew: bool,
    ) -> profilers.QuietTime:
        """The recorded quiet time; recorded now where there is none, or to renew it."""
        return profilers.load_or_record_quiet(cache_dir, device, options=options, renew=renew)

    def measure(
        self,
        jobs: Sequence[profilers.ModelJob],
        device: DeviceProfile,
        *,
        options: profilers.RuntimeOptions,
        protocol: profilers.Protocol,
        scale: profilers.Scale,
        progress: Progress | None,
        journal: Path,
    ) -> profilers.Measurement:
        """The latencies of all jobs, each as its runs were; a table looks at them together."""
        return profilers.measure(
            jobs,
            device,
            options=options,
            protocol=protocol,
            scale=scale,
            progress=progress,
            journal=journal,
            strict=False,
        )

    def extend(
        self, quiet: profilers.QuietTime, measurement: profilers.Measurement
    ) -> profilers.QuietTime:
        """The record with what a measurement saw of the reference."""
        return profilers.extend_quiet(quiet, measurement)

    def base_bytes(
        self,
        job: profilers.ModelJob,
        device: DeviceProfile,
        options: profilers.RuntimeOptions,
    ) -> int | None:
        """Memory of the runtime's process without a model; None where it is not told."""
        peak = told_peak_memory(job, device, options)
        return None if peak is None else peak.base_bytes
