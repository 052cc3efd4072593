"""`bench`: anybody's model files, with inputs found by looking at them."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from device_profiles import DeviceProfile
from device_profiles.reading import FileRefused, read_bytes
from profilers.devices import Opener, open_worker
from profilers.devices.base import Worker
from profilers.errors import (
    InvalidSetting,
    MemoryUnavailable,
    ModelRejected,
    ProfilerError,
    WorkerDied,
    WorkerUnreliable,
)
from profilers.heating import Heat
from profilers.jobs import (
    DTYPES,
    INTEGER_DTYPES,
    InputSpec,
    ModelJob,
    RuntimeOptions,
    WorkerLimits,
)
from profilers.measuring import device_options, measure
from profilers.memory import PeakMemory, measure_peak_memory
from profilers.mlperf import SingleStream, check_duration, single_stream
from profilers.model_files import GIVE_A_FILE, ONNX, kind_of, runtime_for
from profilers.protocol import Protocol
from profilers.results import Measurement, ModelMeasurement
from profilers.samples import Step
from profilers.statistic import Scale

DEFAULT_DIMS = {"batch": 1, "seq_len": 128}
"""Sizes of symbolic axes when nobody says otherwise: one sentence of 128 tokens."""

MAX_MODEL_BYTES = (2 << 30) - 1
"""What an ONNX file can hold, weights beside it not counted: protobuf's limit."""

Axes = Sequence[int | str | None]
"""Of an input, as `Worker.describe` gives them: a size, the name of a symbol, or neither."""

_ALIASES = {
    "batch": ("batch", "batch_size", "n", "b", "batchsize"),
    "seq_len": ("seq_len", "sequence_length", "sequence", "seq", "length", "seq_length", "s"),
}


@dataclass(frozen=True, slots=True)
class BenchJob:
    """One file and what it is run with.

    Attributes:
        job: The file, with the shapes and values of its inputs.
        dims: Sizes that the symbolic axes of the file took; empty if all of its axes are fixed.
            Axes without a name are called by what their position was taken for, "batch" or
            "seq_len".
    """

    job: ModelJob
    dims: Mapping[str, int]

    @property
    def shapes(self) -> str:
        """The shapes of all inputs in words: `1x128`, or by name where they differ."""
        texts = {name: _shape_text(spec.shape) for name, spec in self.job.inputs.items()}
        if len(set(texts.values())) == 1:
            return next(iter(texts.values()))
        return ", ".join(f"{name} {text}" for name, text in texts.items()) or "no inputs"


@dataclass(frozen=True, slots=True)
class BenchEntry:
    """One file's figures.

    Attributes:
        path: The measured file.
        run: The file with its inputs and the sizes of its axes, as it was run.
        size_bytes: Size of the file with its external weights, in bytes.
        latency: Latency of the file on the device, with its bounds and raw runs.
        memory: Peak memory of a process that runs the file; None if it was not asked for, or the
            device does not tell.
        stream: A run of MLPerf's single-stream scenario; None if it was not asked for.
    """

    path: Path
    run: BenchJob
    size_bytes: int
    latency: ModelMeasurement
    memory: PeakMemory | None
    stream: SingleStream | None = None

    @property
    def job(self) -> ModelJob:
        """The file with its inputs."""
        return self.run.job

    def to_dict(self) -> dict[str, Any]:
        """Returns the figures as plain JSON data."""
        return {
            "name": self.job.name,
            "path": str(self.path),
            "size_bytes": self.size_bytes,
            "latency_ms": self.latency.latency_ms,
            "upper_ms": self.latency.upper_ms,
            "p50_ms": self.latency.p50_ms,
            "p90_ms": self.latency.p90_ms,
            "p99_ms": self.latency.p99_ms,
            "dims": dict(self.run.dims),
            "inputs": {name: spec.to_dict() for name, spec in self.job.inputs.items()},
            "peak_memory_bytes": self.memory.total_bytes if self.memory else None,
            "base_memory_bytes": self.memory.base_bytes if self.memory else None,
        } | ({} if self.stream is None else {"single_stream": self.stream.to_dict()})


@dataclass(frozen=True, slots=True)
class BenchRejection:
    """One of several files that the runtime cannot load or run there.

    Attributes:
        path: The file.
        reason: What went wrong, with the next step.
    """

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class BenchResult:
    """The figures of all files.

    Attributes:
        entries: Figures of each file, in the order of the files.
        measurement: The whole measurement, with context and raw samples.
        rejected: Files without figures; of a single file, or where there are no others, the reasons
            are raised instead.
    """

    entries: tuple[BenchEntry, ...]
    measurement: Measurement
    rejected: tuple[BenchRejection, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as plain JSON data; the sizes are those of each entry."""
        return {
            "measurement": self.measurement.to_dict(),
            "entries": [entry.to_dict() for entry in self.entries],
            "rejected": [{"path": str(one.path), "reason": one.reason} for one in self.rejected],
        }


def bench(
    paths: Sequence[Path | str],
    device: DeviceProfile,
    *,
    dims: Mapping[str, int] | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    options: RuntimeOptions | None = None,
    protocol: Protocol | None = None,
    scale: Scale | None = None,
    memory: bool = True,
    stream_s: float | None = None,
    limits: WorkerLimits | None = None,
    progress: Callable[[int, int, str], None] | None = None,
    journal: Path | None = None,
    heat: Heat | None = None,
    opener: Opener | None = None,
) -> BenchResult:
    """Measures model files whose inputs are found by loading them.

    Integer inputs whose name contains "mask" are ones, "type" or "segment" zeros, all others ids
    from 0 to 99; floats are uniform in [0, 1). Each of several files is run once before anything is
    measured: those that cannot be, or whose inputs have no shape, are left out, and told in the
    result.

    Args:
        paths: The files.
        device: Where they run.
        dims: Sizes of symbolic axes by name, over `DEFAULT_DIMS`. Common names of the batch and
            the length (batch_size, sequence_length, ...) follow "batch" and "seq_len"; unnamed
            axes take them by their position.
        shapes: Whole shapes of inputs by name, in all files that have them. An input whose shape
            the file does not say needs one.
        options: The runtime's settings; None takes the device's defaults, and another runtime
            where the files are for that alone.
        protocol: The settings of the measurement.
        scale: See `measure`.
        memory: Measure peak memory too.
        stream_s: Seconds that a run of MLPerf's single-stream scenario lasts, of each file; None
            runs none.
        limits: What a worker may take; None takes the defaults.
        progress: See `measure`.
        journal: See `measure`.
        heat: See `measure`.
        opener: Starts a worker on the device, see `measure`; None is `open_worker`.

    Returns:
        The figures.

    Raises:
        InvalidSetting: No path, a size that is not positive, a size or shape that no model takes,
            or no file whose inputs all have a shape.
        ModelRejected, WorkerDied: A file is missing, or none can be loaded and run: the reasons
            of all.
        WorkerUnreliable: The worker hangs or answers what cannot be, whatever file that was about.
        ProfilerError: See `measure`.
    """
    if not paths:
        raise InvalidSetting("there is nothing to measure; give at least one model file.")
    if stream_s is not None:
        check_duration(stream_s)
    sizes = Sizes(dict(dims or {}), {name: tuple(s) for name, s in (shapes or {}).items()})
    if options is None:
        options = device_options(device, None)
        name = runtime_for([Path(path) for path in paths], options.runtime)
        options = dataclasses.replace(options, runtime=name)
    opener = opener or functools.partial(open_worker, limits=limits)
    rejected: list[BenchRejection] = []
    runs = describe_jobs(paths, device, sizes, options, opener, rejected)
    heat = heat or Heat()
    measurement = measure(
        [run.job for run in runs],
        device,
        options=options,
        protocol=protocol,
        scale=scale,
        progress=progress,
        journal=journal,
        heat=heat,
        opener=opener,
    )
    entries = tuple(
        BenchEntry(
            path=run.job.path,
            run=run,
            size_bytes=sum(path.stat().st_size for path in run.job.files()),
            latency=measurement[run.job.name],
            memory=_peak_memory(run.job, device, options, opener) if memory else None,
            stream=None
            if stream_s is None
            else single_stream(
                run.job,
                device,
                options,
                min_duration_s=stream_s,
                progress=progress,
                heat=heat,
                opener=opener,
            ),
        )
        for run in runs
    )
    return BenchResult(entries, measurement, tuple(rejected))


def _peak_memory(
    job: ModelJob,
    device: DeviceProfile,
    options: RuntimeOptions,
    opener: Opener,
) -> PeakMemory | None:
    """The peak; None where the device does not tell."""
    try:
        return measure_peak_memory(job, options, device=device, opener=opener)
    except MemoryUnavailable:
        return None


@dataclass(frozen=True, slots=True)
class Sizes:
    """What was asked for of axes and inputs.

    Attributes:
        dims: Sizes of axes by name, where they were given.
        shapes: Whole shapes of inputs by name, where they were given.

    Raises:
        InvalidSetting: A size below 1.
    """

    dims: Mapping[str, int]
    shapes: Mapping[str, tuple[int, ...]]

    def __post_init__(self) -> None:
        for name, size in self.dims.items():
            if size < 1:
                raise InvalidSetting(f"{name} = {size}; the size of an axis must be 1 or more.")
        for name, shape in self.shapes.items():
            if any(size < 1 for size in shape):
                raise InvalidSetting(
                    f"shape {_shape_text(shape)} of {name!r}; every size must be 1 or more."
                )

    @property
    def all_dims(self) -> dict[str, int]:
        """Sizes of axes by name, the defaults included."""
        return {**DEFAULT_DIMS, **self.dims}


def describe_jobs(
    paths: Sequence[Path | str],
    device: DeviceProfile,
    sizes: Sizes,
    options: RuntimeOptions,
    opener: Opener | None = None,
    rejected: list[BenchRejection] | None = None,
) -> list[BenchJob]:
    """Turns files into jobs by asking the runtime for their inputs.

    Args:
        paths: The files.
        device: Where they are loaded.
        sizes: Of symbolic axes and of inputs.
        options: The runtime's settings.
        opener: Starts a worker on the device; None is `open_worker`.
        rejected: Takes those of several files that cannot be loaded or run, or have an input
            without a shape, which are left out then; None has the first of them raised, and runs
            none.

    Returns:
        A job per file; its name is the file's, with its folder where names repeat.

    Raises:
        InvalidSetting: An axis without a size, an input without a shape, or a size or shape that
            no model takes; the last is not looked for where a file cannot be described.
        ModelRejected, WorkerDied: A file is missing, or it cannot be loaded, or none can.
        WorkerUnreliable: The worker hangs or answers what cannot be, which no file is to blame for.
    """
    files = [Path(path) for path in paths]
    stems = [file.name for file in files]
    found: list[tuple[str, Axes]] = []
    runs: list[BenchJob] = []
    errors: list[ProfilerError] = []
    all_described = True
    start = functools.partial(opener or open_worker, device, options)
    with contextlib.ExitStack() as stack:
        worker: Worker | None = stack.enter_context(start())
        for file in files:
            if not file.is_file():
                kind = "regular file" if file.exists() else "file"
                raise ModelRejected(f"there is no {kind} {str(file)!r}. {GIVE_A_FILE}")
        for file in files:
            worker = worker or stack.enter_context(start())
            name = file.name if stems.count(file.name) == 1 else str(file)
            described: Mapping[str, tuple[str, Axes]] | None = None
            try:
                described = worker.describe(str(file))
                found += [(name, axes) for name, (_, axes) in described.items()]
                run = _run(name, file, described, sizes)
                if rejected is not None and len(files) > 1:
                    worker.load(run.job, seed=0)
                    worker.visit([Step(name, 0, 1)])
                    worker.unload(name)
            except WorkerUnreliable:
                raise
            except (InvalidSetting, ModelRejected, WorkerDied) as error:
                if rejected is None or len(files) == 1:
                    raise
                rejected.append(BenchRejection(file, str(error)))
                errors.append(error)
                all_described &= described is not None
                stack.close()  # it may have ended
                worker = None
            else:
                runs.append(run)
    if errors and not runs:
        raise _none_runs(files, errors)
    if all_described:  # else the file that takes a size may be one that was not
        _check_taken(sizes, runs, found)
    return runs


def _none_runs(files: Sequence[Path], errors: Sequence[ProfilerError]) -> ProfilerError:
    """What is raised where none of several files can be run: all of their reasons."""
    reasons = (f"{str(file)!r}: {error}" for file, error in zip(files, errors, strict=True))
    settings = all(isinstance(error, InvalidSetting) for error in errors)
    kind = InvalidSetting if settings else ModelRejected
    return kind("\n".join([f"none of the {len(files)} files can be measured.", *reasons]))


def _run(
    name: str,
    file: Path,
    described: Mapping[str, tuple[str, Axes]],
    sizes: Sizes,
) -> BenchJob:
    """One file with its inputs' shapes and values, and the sizes that its axes took."""
    without_axes = {name for name, (_, axes) in described.items() if not axes}
    scalars = without_axes
    if without_axes and kind_of(file) is ONNX:  # inputs of others have a rank
        scalars = without_axes & _with_shape(file)
    inputs: dict[str, InputSpec] = {}
    taken: dict[str, int] = {}
    for input_name, (dtype, axes) in described.items():
        known = input_name in scalars or input_name not in without_axes
        if input_name in sizes.shapes:
            shape = sizes.shapes[input_name]
            if known:
                _check_fits(file, input_name, axes, shape)
                named = zip(axes, shape, strict=True)
                taken |= {axis: size for axis, size in named if isinstance(axis, str) and axis}
        elif not known:
            raise InvalidSetting(
                f"the input {input_name!r} of {str(file)!r} has no shape: the file does not say "
                "how many axes it has. Give it one, for example --shape "
                f"{input_name}={DEFAULT_DIMS['batch']},{DEFAULT_DIMS['seq_len']}"
            )
        else:
            found = [_axis(file, input_name, *axis, sizes.all_dims) for axis in enumerate(axes)]
            shape = tuple(size for _, size in found)
            taken |= {axis: size for axis, size in found if axis is not None}
        inputs[input_name] = _input_spec(file, input_name, dtype, shape)
    return BenchJob(ModelJob(name, file, inputs), taken)


def _with_shape(file: Path) -> set[str]:
    """The inputs whose number of axes an ONNX file says, be it none.

    onnxruntime describes a scalar and an input of unknown rank alike. A file of another format
    says nothing here.
    """
    import onnx  # a third of a second, and few models have inputs without axes

    try:
        model = onnx.ModelProto.FromString(read_bytes(file, MAX_MODEL_BYTES))
    except OSError as error:
        raise ModelRejected(
            f"cannot read the model {str(file)!r}: {error.strerror or error}. {GIVE_A_FILE}"
        ) from error
    except FileRefused as error:
        raise ModelRejected(f"the model {error}.") from error
    except Exception:  # protobuf's DecodeError, whose stubs are a package of their own
        return set()
    return {v.name for v in model.graph.input if v.type.tensor_type.HasField("shape")}


def _check_fits(file: Path, name: str, axes: Axes, shape: tuple[int, ...]) -> None:
    """Raise unless a model can take a shape that was asked for."""
    fixed = [axis if isinstance(axis, int) and axis >= 0 else None for axis in axes]
    if len(axes) == len(shape) and all(
        axis in (None, size) for axis, size in zip(fixed, shape, strict=True)
    ):
        return
    own = "x".join("?" if axis is None else str(axis) for axis in fixed) or "a scalar"
    raise InvalidSetting(
        f"--shape {name}={','.join(map(str, shape))} does not fit {str(file)!r}, whose input "
        f"{name!r} is {own}. Give the fixed sizes as they are and one for each ?, or leave it out."
    )


def _check_taken(
    sizes: Sizes,
    runs: Sequence[BenchJob],
    found: Sequence[tuple[str, Axes]],
) -> None:
    """Raise where a size or a shape was asked for that no model takes.

    Args:
        sizes: What was asked for.
        runs: The files that can be run, with the sizes that their axes took.
        found: All inputs of all files, by name with their axes.
    """
    states = "; ".join(f"{run.job.name}: {run.shapes}" for run in runs)
    unknown = sorted(sizes.shapes.keys() - {name for name, _ in found})
    if unknown:
        names = sorted({name for name, _ in found})
        raise InvalidSetting(
            f"no model has an input named {unknown[0]!r}; inputs: {', '.join(names) or 'none'}. "
            f"Leave --shape {unknown[0]} out."
        )
    taken = {name for input_name, axes in found for name in _takes(input_name, axes, sizes)}
    for name in sizes.dims.keys() - taken:
        option = f"--{name.replace('_', '-')}" if name in DEFAULT_DIMS else f"--dim {name}"
        named = sorted({axis for _, axes in found for axis in axes if isinstance(axis, str)} - {""})
        raise InvalidSetting(
            f"no model has an axis that takes {name} = {sizes.dims[name]}; named axes: "
            f"{', '.join(named) or 'none'}; sizes: {states}. Leave {option} out."
        )


def _takes(input_name: str, axes: Axes, sizes: Sizes) -> set[str]:
    """Names in `Sizes.dims` of the sizes that the axes of an input take."""
    found: set[str] = set()
    by_position = dict(enumerate(DEFAULT_DIMS))
    for position, axis in enumerate(axes):
        if isinstance(axis, str) and axis:
            found |= {axis, _canonical(axis)}
        elif position in by_position:
            name = by_position[position]
            fixed = isinstance(axis, int) and axis >= 0
            # fixed at just this size is as asked for
            if axis == sizes.dims.get(name) if fixed else input_name not in sizes.shapes:
                found.add(name)
    return found


def _input_spec(file: Path, name: str, dtype: str, shape: tuple[int, ...]) -> InputSpec:
    """Chooses the values of one input."""
    if dtype not in DTYPES:
        raise InvalidSetting(
            f"input {name!r} of {str(file)!r} is of type {dtype!r}, which cannot be drawn; "
            f"allowed: {', '.join(DTYPES)}."
        )
    if dtype not in INTEGER_DTYPES:
        return InputSpec(shape, dtype)
    lowered = name.lower()
    if "mask" in lowered:
        return InputSpec(shape, dtype, 1, 2)
    if "type" in lowered or "segment" in lowered:
        return InputSpec(shape, dtype, 0, 1)
    return InputSpec(shape, dtype, 0, 100)


def _canonical(axis: str) -> str:
    """The name in `DEFAULT_DIMS` of an axis that is called by an alias; others as they are."""
    for canonical, aliases in _ALIASES.items():
        if axis.lower() in aliases:
            return canonical
    return axis


def _axis(
    file: Path, name: str, position: int, axis: int | str | None, dims: Mapping[str, int]
) -> tuple[str | None, int]:
    """The size of one axis, and by what name it took it.

    Returns:
        None and its own size; its name and the one given for that; or the name and size of its
        position.
    """
    where = f"axis {position} of the input {name!r} of {str(file)!r}"
    if isinstance(axis, int) and axis >= 0:
        if axis == 0:
            raise InvalidSetting(f"{where} is 0: an input without values cannot be measured.")
        return None, axis
    if isinstance(axis, str) and axis:
        for known in (axis, _canonical(axis)):
            if known in dims:
                return axis, dims[known]
    elif position < len(DEFAULT_DIMS):
        canonical = list(DEFAULT_DIMS)[position]
        return canonical, dims[canonical]
    if not (isinstance(axis, str) and axis):
        raise InvalidSetting(
            f"{where} has neither a size nor a name, so none can be given to it. Give the whole "
            f"shape: --shape {name}=1,128,..."
        )
    raise InvalidSetting(
        f"{where} is {axis!r}, which has no size; sizes are known for: {', '.join(dims)}. "
        f"Give it one, for example --dim {axis}=16"
    )


def _shape_text(shape: Sequence[int]) -> str:
    """A shape in words: 1x128; a number without axes is a scalar."""
    return "x".join(map(str, shape)) or "scalar"
