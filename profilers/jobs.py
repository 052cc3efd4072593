"""What is to be measured, and under which settings of the runtime."""

from __future__ import annotations

import hashlib
import json
import mmap
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from device_profiles import ACCELERATORS, CPU
from device_profiles.reading import FileRefused, opened
from device_profiles.sustained import MAX_SUSTAINED, MIN_SUSTAINED
from profilers import plain
from profilers.errors import InvalidSetting, ModelRejected

INTEGER_DTYPES = ("int64", "int32", "int16", "int8", "uint8", "uint16", "uint32", "uint64")
FLOAT_DTYPES = ("float32", "float16", "float64")
DTYPES = (*INTEGER_DTYPES, *FLOAT_DTYPES, "bool")

MAX_AXES = 16
"""Axes of an input in a record; the operators of runtimes take fewer."""

MAX_AXIS = 1 << 31
"""Size of an axis in a record; protobuf's own limit for a model is 2 GB."""

GIVE_A_FILE = "Give the path of a model file (.onnx, or .xml of OpenVINO) that is readable."
"""What to do where a model file cannot be read."""

MAX_THREADS = 1024
"""Threads and cores that may be asked for; the largest servers have some hundreds (2026)."""

MAX_CORE = 65_535
"""The largest core number that may be asked for."""


def check_sustained(minutes: float) -> None:
    """Raise unless a device may be kept under load for so many minutes.

    Raises:
        InvalidSetting: If not.
    """
    if not MIN_SUSTAINED <= minutes <= MAX_SUSTAINED:
        raise InvalidSetting(
            f"sustained = {minutes:g}; minutes from {MIN_SUSTAINED:g} to {MAX_SUSTAINED:g}. Try: "
            "--sustained 10"
        )


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One input of a model and how its values are drawn.

    Attributes:
        shape: Sizes of the input's axes, all positive, for example (batch, seq_len).
        dtype: Numpy name of the input's type: an integer type, float16/32/64 or bool.
        low: Least value that is drawn for an integer input; floats are uniform in [0, 1) whatever
            it is.
        high: Integer inputs are drawn uniformly from values below it; low + 1 gives a constant.

    Raises:
        InvalidSetting: A shape, type or range that cannot be drawn.
    """

    shape: tuple[int, ...]
    dtype: str = "int64"
    low: int = 0
    high: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(int(axis) for axis in self.shape))
        if any(axis < 1 for axis in self.shape):
            raise InvalidSetting(
                f"input shape {self.shape} has an axis below 1; every axis must be a positive "
                "number. Give symbolic axes a size, for example batch=1, seq_len=128."
            )
        if self.dtype not in DTYPES:
            raise InvalidSetting(
                f"input type {self.dtype!r} cannot be drawn; allowed: {', '.join(DTYPES)}."
            )
        if self.dtype in INTEGER_DTYPES and self.high <= self.low:
            raise InvalidSetting(
                f"input range [{self.low}, {self.high}) is empty; high must be above low."
            )

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as plain JSON data."""
        return {"shape": list(self.shape), "dtype": self.dtype, "low": self.low, "high": self.high}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> InputSpec:
        """Reads what `to_dict` wrote.

        Raises:
            KeyError, ValueError: A field is missing or wrong; InvalidSetting is a ValueError.
        """
        data = plain.record(data, "an input")
        shape = plain.items(data["shape"], "shape", MAX_AXES)
        return cls(
            tuple(plain.whole(axis, "an axis of shape", 1, MAX_AXIS) for axis in shape),
            plain.text(data["dtype"], "dtype"),
            plain.whole(data["low"], "low", -plain.MAX_COUNT),
            plain.whole(data["high"], "high", -plain.MAX_COUNT),
        )


def is_ir(path: Path) -> bool:
    """Whether a model file is an IR of OpenVINO, by its name."""
    return path.suffix.lower() == ".xml"


_BESIDE = {".xml": ".bin", ".so": ".json", ".pt2": ".json"}
"""By how the name of a model's file ends, how that of the other file does that belongs to it."""


def model_files(path: Path) -> tuple[Path, ...]:
    """A model file and what holds its external weights.

    Of an IR that is the .bin beside it, of what is compiled for TVM or torch the .json. Else, the
    files that the model itself names, and those beside it whose name is the model's with a suffix
    that ends in "data" (`model.onnx.data`, `model.onnx_data`).

    Args:
        path: The model file.

    Returns:
        The model first. Files of weights that are missing, or lie outside the model's folder, are
        left out: no runtime takes the latter.
    """
    if path.suffix.lower() in _BESIDE:
        weights = path.with_suffix(_BESIDE[path.suffix.lower()])
        return (path, weights) if weights.exists() else (path,)
    beside = {
        found
        for found in path.parent.glob("*data")
        if found.name.startswith((f"{path.name}.", f"{path.name}_"))
    }
    named = {path.parent / name for name in _external_names(path)}
    return (path, *sorted(beside | {found for found in named if found.is_file()} - {path}))


_LOCATION = b"\x0a\x08location\x12"
"""Before the name of a file of weights: onnx.proto, StringStringEntryProto of external_data."""

_MAX_LOCATION = 1 << 14


def _external_names(path: Path) -> set[str]:
    """Files of weights that an ONNX file names, below its own folder."""
    found = set()
    try:
        with opened(path) as file, _mapped(file) as data:
            at = data.find(_LOCATION)
            while at >= 0:
                found.add(_text_at(data, at + len(_LOCATION)))
                at = data.find(_LOCATION, at + 1)
    except (OSError, ValueError, FileRefused):  # whoever reads it says why
        return set()
    parts = {name: PurePosixPath(name) for name in found if name}
    return {n for n, p in parts.items() if not p.is_absolute() and ".." not in p.parts}


def _mapped(file: BinaryIO) -> mmap.mmap:
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _text_at(data: mmap.mmap, at: int) -> str:
    """A text of protobuf: its length, seven bits a byte, then as many bytes."""
    size = shift = 0
    for byte in data[at : at + 3]:
        at += 1
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    if size > _MAX_LOCATION:
        return ""
    text = data[at : at + size].decode("utf-8", errors="replace")
    return text if text.isprintable() else ""


@dataclass(frozen=True, slots=True)
class ModelJob:
    """One model file to measure.

    Attributes:
        name: Name of the model in results; unique within one measurement.
        path: Path of the model file: ONNX, or the .xml of an OpenVINO IR.
        inputs: Shape, type and values of every input of the graph, by the input's name.

    Raises:
        InvalidSetting: An empty name.
    """

    name: str
    path: Path
    inputs: Mapping[str, InputSpec]

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path))
        object.__setattr__(self, "inputs", dict(self.inputs))
        if not self.name:
            raise InvalidSetting(f"the job for {self.path} has an empty name; give it any other.")

    def files(self) -> tuple[Path, ...]:
        """The model file and what holds its external weights; see `model_files`."""
        return model_files(self.path)

    def content_hash(self) -> str:
        """Identifies what is run: the bytes of `files` and the inputs, not the name.

        Returns:
            16 hexadecimal digits of a sha256.

        Raises:
            ModelRejected: A file cannot be read.
        """
        digest = hashlib.sha256()
        try:
            for path in self.files():
                with opened(path) as file:
                    hashlib.file_digest(file, lambda: digest)
        except FileRefused as error:
            raise ModelRejected(
                f"cannot read the model {str(self.path)!r}: {str(error.path)!r} {error.reason}. "
                "What lies beside a model under its name with an ending in data (of an .xml: .bin) "
                "holds its weights: move it away if it does not."
            ) from error
        except OSError as error:
            reason = error.strerror or error
            raise ModelRejected(
                f"cannot read the model {str(self.path)!r}: {reason}. {GIVE_A_FILE}"
            ) from error
        inputs = {name: spec.to_dict() for name, spec in self.inputs.items()}
        digest.update(json.dumps(inputs, sort_keys=True).encode())
        return digest.hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class RuntimeOptions:
    """How the runtime is set up. All of it is recorded with a measurement.

    A runtime that does not know one of the settings (OpenVINO knows no more than threads and cores)
    refuses all but its default.

    Attributes:
        runtime: Name of the runtime, one of `profilers.runtimes.NAMES`.
        threads: Threads that the runtime may use for one operator, the measuring thread included.
        inter_op_threads: Operators that the runtime may run at the same time: 1, so that latency is
            that of one chain.
        arena: Whether the runtime keeps freed memory for the next run (its default, what apps get).
        spinning: Whether waiting threads burn cycles instead of sleeping (the runtime's default).
            No effect with one thread.
        graph_optimization: Which rewrites the runtime applies to a graph at load: "all",
            "extended", "basic" or "disable". All of them are what an application ships.
        cores: Logical cores that the worker may run on; None leaves the choice to the operating
            system.
        sustained_minutes: Minutes that the device is kept under load before it is measured
            (`profilers.heating`); None measures it as it is. No matter of the runtime: but what is
            measured so is comparable with nothing else, as with other settings here.
        accelerator: What computes, one of `device_profiles.ACCELERATORS`. It is the device's to
            say: `profilers.open_worker` sets it, whatever stands here.

    Raises:
        InvalidSetting: An impossible count of threads, list of cores, or time; an unknown
            accelerator.
    """

    runtime: str = "onnxruntime"
    threads: int = 1
    inter_op_threads: int = 1
    arena: bool = True
    spinning: bool = True
    graph_optimization: str = "all"
    cores: tuple[int, ...] | None = None
    sustained_minutes: float | None = None
    accelerator: str = CPU

    def __post_init__(self) -> None:
        if self.accelerator not in ACCELERATORS:
            raise InvalidSetting(
                f"accelerator = {self.accelerator!r}; allowed: {', '.join(ACCELERATORS)}."
            )
        if self.sustained_minutes is not None:
            check_sustained(self.sustained_minutes)
            object.__setattr__(self, "sustained_minutes", float(self.sustained_minutes))
        if self.threads < 1:
            raise InvalidSetting(
                f"threads = {self.threads}; it must be 1 or more. Try: --threads 1"
            )
        if self.threads > MAX_THREADS:
            raise InvalidSetting(
                f"threads = {self.threads}; it must be at most {MAX_THREADS}. Try: --threads 1"
            )
        if self.inter_op_threads != 1:
            raise InvalidSetting(
                f"inter_op_threads = {self.inter_op_threads}; only 1 is supported, latency is "
                "that of one chain of operators."
            )
        if self.graph_optimization not in ("all", "extended", "basic", "disable"):
            raise InvalidSetting(
                f"graph_optimization = {self.graph_optimization!r}; allowed: all, extended, "
                "basic, disable."
            )
        if self.cores is not None:
            cores = tuple(sorted({int(core) for core in self.cores}))
            object.__setattr__(self, "cores", cores)
            if not cores or cores[0] < 0 or cores[-1] > MAX_CORE:
                raise InvalidSetting(
                    f"cores = {self.cores}; name at least one core, each from 0 to {MAX_CORE}."
                )

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as plain JSON data.

        Two are left out at their defaults: hashes of existing tables and baselines stay.
        """
        data = asdict(self)
        data["cores"] = None if self.cores is None else list(self.cores)
        if self.sustained_minutes is None:
            del data["sustained_minutes"]
        if self.accelerator == CPU:
            del data["accelerator"]
        return data

    def for_worker(self) -> dict[str, Any]:
        """Returns what a worker is told: how long it is kept busy beforehand is the caller's."""
        data = self.to_dict()
        data.pop("sustained_minutes", None)
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RuntimeOptions:
        """Reads what `to_dict` wrote.

        Raises:
            TypeError, ValueError: A field is unknown or wrong; InvalidSetting is a ValueError.
        """
        cores = plain.record(data, "options").get("cores")
        if cores is not None:
            entries = plain.items(cores, "options.cores", MAX_THREADS, 1)
            cores = tuple(plain.whole(core, "a core", 0, MAX_CORE) for core in entries)
        known = plain.fields(cls, data, "options")
        unknown = data.keys() - known.keys() - {"cores"}
        if unknown:
            raise ValueError(f"options has the unknown field {sorted(unknown)[0]!r}")
        return cls(cores=cores, **known)


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """What the process that runs a model may take before it is ended.

    Attributes:
        run_s: Seconds that one run of a model may take.
        load_s: Seconds that loading a model may take.
        memory_bytes: Bytes of memory that the process may write to (Linux); None takes
            `profilers.worker.MEMORY_SHARE` of the machine's.

    Raises:
        InvalidSetting: A limit that is not a positive number.
    """

    run_s: float = 120.0
    load_s: float = 600.0
    memory_bytes: int | None = None

    def __post_init__(self) -> None:
        for name in ("run_s", "load_s", "memory_bytes"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1e15:
                raise InvalidSetting(
                    f"{name} = {value}; it must be a number above 0. Try: --run-timeout 600"
                )

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as plain JSON data."""
        return asdict(self)
