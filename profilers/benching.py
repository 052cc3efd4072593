"""`bench`: anybody's ONNX files, with inputs found by looking at them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from device_profiles import DeviceProfile
from profilers.errors import InvalidSetting, MemoryUntold, ModelRejected
from profilers.jobs import DTYPES, INTEGER_DTYPES, InputSpec, ModelJob, RuntimeOptions, WorkerLimits
from profilers.measuring import device_options, measure
from profilers.memory import PeakMemory, measure_peak_memory
from profilers.protocol import Protocol
from profilers.results import Measurement, ModelMeasurement
from profilers.statistic import Scale
from profilers.targets import open_target

DEFAULT_DIMS = {"batch": 1, "seq_len": 128}
"""Sizes of symbolic axes when nobody says otherwise: one sentence of 128 tokens."""

_ALIASES = {
    "batch": ("batch", "batch_size", "n", "b", "batchsize"),
    "seq_len": ("seq_len", "sequence_length", "sequence", "seq", "length", "seq_length", "s"),
}


@dataclass(frozen=True, slots=True)
class BenchEntry:
    """One file's figures.

    Attributes:
        path: the file.
        job: how it was run.
        size_bytes: the file with its external weights.
        latency: see `ModelMeasurement`.
        memory: None if it was not asked for, or the device does not tell.
    """

    path: Path
    job: ModelJob
    size_bytes: int
    latency: ModelMeasurement
    memory: PeakMemory | None


@dataclass(frozen=True, slots=True)
class BenchResult:
    """The figures of all files.

    Attributes:
        entries: in the order of the files.
        measurement: the whole measurement, with context and raw samples.
        dims: sizes given to symbolic axes.
    """

    entries: tuple[BenchEntry, ...]
    measurement: Measurement
    dims: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as plain JSON data."""
        return {
            "dims": dict(self.dims),
            "measurement": self.measurement.to_dict(),
            "entries": [
                {
                    "name": entry.job.name,
                    "path": str(entry.path),
                    "size_bytes": entry.size_bytes,
                    "latency_ms": entry.latency.latency_ms,
                    "upper_ms": entry.latency.upper_ms,
                    "inputs": {name: spec.to_dict() for name, spec in entry.job.inputs.items()},
                    "peak_memory_bytes": entry.memory.total_bytes if entry.memory else None,
                    "base_memory_bytes": entry.memory.base_bytes if entry.memory else None,
                }
                for entry in self.entries
            ],
        }


def bench(
    paths: Sequence[Path | str],
    device: DeviceProfile,
    *,
    dims: Mapping[str, int] | None = None,
    options: RuntimeOptions | None = None,
    protocol: Protocol | None = None,
    scale: Scale | None = None,
    memory: bool = True,
    limits: WorkerLimits | None = None,
    progress: Callable[[int, int, str], None] | None = None,
    journal: Path | None = None,
) -> BenchResult:
    """Measures ONNX files whose inputs are found by loading them.

    Integer inputs whose name contains "mask" are ones, "type" or "segment" zeros, all others ids
    from 0 to 99; floats are uniform in [0, 1).

    Args:
        paths: the files.
        device: where they run.
        dims: sizes of symbolic axes by name, over `DEFAULT_DIMS`. Common names of the batch and
            the length (batch_size, sequence_length, ...) follow "batch" and "seq_len"; unnamed
            axes take them by their position.
        options: the runtime's settings; None takes the device's defaults.
        protocol: the settings of the measurement.
        scale: see `measure`.
        memory: measure peak memory too.
        limits: what a worker may take; None takes the defaults.
        progress: see `measure`.
        journal: see `measure`.

    Returns:
        The figures.

    Raises:
        InvalidSetting: no path, a size that is not positive, an axis without a size, or a size of
            an axis that no model has.
        ProfilerError: see `measure`.
    """
    if not paths:
        raise InvalidSetting("there is nothing to measure; give at least one ONNX file.")
    sizes = {**DEFAULT_DIMS, **(dims or {})}
    for name, size in sizes.items():
        if size < 1:
            raise InvalidSetting(f"{name} = {size}; the size of an axis must be 1 or more.")
    options = device_options(device, options)
    jobs = describe_jobs(paths, device, sizes, options, limits)
    measurement = measure(
        jobs,
        device,
        options=options,
        protocol=protocol,
        scale=scale,
        progress=progress,
        journal=journal,
        opener=functools.partial(open_target, limits=limits),
    )
    entries = tuple(
        BenchEntry(
            path=job.path,
            job=job,
            size_bytes=sum(path.stat().st_size for path in job.files()),
            latency=measurement[job.name],
            memory=_peak_memory(job, device, options, limits) if memory else None,
        )
        for job in jobs
    )
    return BenchResult(entries, measurement, sizes)


def _peak_memory(
    job: ModelJob,
    device: DeviceProfile,
    options: RuntimeOptions,
    limits: WorkerLimits | None = None,
) -> PeakMemory | None:
    """The peak; None where the device does not tell."""
    try:
        return measure_peak_memory(job, options, device=device, limits=limits)
    except MemoryUntold:
        return None


def describe_jobs(
    paths: Sequence[Path | str],
    device: DeviceProfile,
    dims: Mapping[str, int],
    options: RuntimeOptions,
    limits: WorkerLimits | None = None,
) -> list[ModelJob]:
    """Turns files into jobs by asking the runtime for their inputs.

    Args:
        paths: the files.
        device: where they are loaded.
        dims: sizes of symbolic axes.
        options: the runtime's settings.
        limits: what the worker may take; None takes the defaults.

    Returns:
        A job per file; its name is the file's, with its folder where names repeat.

    Raises:
        InvalidSetting: an axis without a size, or a size of an axis that no model has.
        ModelRejected: a file is missing or cannot be loaded.
    """
    files = [Path(path) for path in paths]
    stems = [file.name for file in files]
    named: set[str] = set()
    jobs = []
    with open_target(device, options, limits) as target:
        for file in files:
            if not file.is_file():
                raise ModelRejected(
                    f"there is no file {str(file)!r}. Give the path of an ONNX file that exists "
                    "and is readable."
                )
            found = target.describe(str(file))
            named |= {axis for _, axes in found.values() for axis in axes if isinstance(axis, str)}
            inputs = {
                name: _input_spec(file, name, dtype, axes, dims)
                for name, (dtype, axes) in found.items()
            }
            name = file.name if stems.count(file.name) == 1 else str(file)
            jobs.append(ModelJob(name, file, inputs))
    unknown = sorted(set(dims) - named - set(DEFAULT_DIMS))
    if unknown:
        raise InvalidSetting(
            f"no model has an axis named {unknown[0]!r}; named axes: "
            f"{', '.join(sorted(filter(None, named))) or 'none'}. Leave --dim {unknown[0]} out."
        )
    return jobs


def _input_spec(
    file: Path, name: str, dtype: str, axes: Sequence[int | str | None], dims: Mapping[str, int]
) -> InputSpec:
    """Chooses shape and values of one input."""
    if dtype not in DTYPES:
        raise InvalidSetting(
            f"input {name!r} of {str(file)!r} is of type {dtype!r}, which cannot be drawn; "
            f"allowed: {', '.join(DTYPES)}."
        )
    shape = tuple(_axis(file, name, axis, position, dims) for position, axis in enumerate(axes))
    if dtype not in INTEGER_DTYPES:
        return InputSpec(shape, dtype)
    lowered = name.lower()
    if "mask" in lowered:
        return InputSpec(shape, dtype, 1, 2)
    if "type" in lowered or "segment" in lowered:
        return InputSpec(shape, dtype, 0, 1)
    return InputSpec(shape, dtype, 0, 100)


def _axis(
    file: Path, name: str, axis: int | str | None, position: int, dims: Mapping[str, int]
) -> int:
    """The size of one axis: its own, the one given for its name, or the one of its position."""
    if isinstance(axis, int) and axis > 0:
        return axis
    if isinstance(axis, str) and axis:
        if axis in dims:
            return dims[axis]
        for canonical, aliases in _ALIASES.items():
            if axis.lower() in aliases:
                return dims[canonical]
    elif position < 2:
        return dims["batch" if position == 0 else "seq_len"]
    where = f"axis {position} of the input {name!r} of {str(file)!r}"
    if not (isinstance(axis, str) and axis):
        raise InvalidSetting(
            f"{where} has neither a size nor a name, so none can be given to it. Export the model "
            "with a size or a name for that axis (torch.onnx.export: dynamic_axes)"
        )
    raise InvalidSetting(
        f"{where} is {axis!r}, which has no size; sizes are known for: {', '.join(dims)}. "
        f"Give it one, for example --dim {axis}=16"
    )
