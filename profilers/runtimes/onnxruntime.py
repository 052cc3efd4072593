"""ONNX Runtime with its CPU provider, or with CUDA's where the device is a GPU.

On a GPU inputs and outputs are copied in every run, and onnxruntime tells nothing of its own clock.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

# Official builds (from 1.29 on) write a device id and a queue of events into the user's cache when
# they are imported, and send them; the variable is read once, at import. Whoever set it is obeyed.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime as ort

from device_profiles import CPU
from profilers.errors import ModelRejected, RuntimeMissing
from profilers.jobs import RuntimeOptions

SETTINGS = ("inter_op_threads", "arena", "spinning", "graph_optimization")
"""See `Runtime`."""

_LEVELS = {
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "disable": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
}
_NUMPY_NAMES = {"float": "float32", "double": "float64"}

_OUT_OF_MEMORY = ("ailed to allocate memory", "bad_alloc", "bad allocation")
"""How onnxruntime, whose errors are all of a kind, says that memory is not given."""


def version() -> str:
    """Returns the version of the installed onnxruntime."""
    return str(ort.__version__)


def precisions(flags: Collection[str]) -> tuple[str, ...]:
    """See `Runtime`. The CPU provider computes in no other."""
    return ("fp32", "int8")


_CUDA = "CUDAExecutionProvider"

_PROVIDERS: Mapping[str, list[Any]] = {
    CPU: ["CPUExecutionProvider"],
    # By itself it rounds products of fp32 to TF32, which is another precision.
    "cuda": [(_CUDA, {"use_tf32": "0"}), "CPUExecutionProvider"],
}
"""By accelerator; on a GPU the CPU provider computes the shapes of a graph, and single nodes for
which CUDA's has no kernel, which a session does not tell."""

INSTALL_CUDA = (
    "python -m pip uninstall -y onnxruntime onnxruntime-gpu && python -m pip install "
    "onnxruntime-gpu"
)


def precisions_on(accelerator: Mapping[str, Any]) -> tuple[str, ...]:
    """See `AcceleratedRuntime`. Of int8 the CUDA provider computes next to nothing."""
    if _CUDA not in ort.get_available_providers():
        raise RuntimeMissing(
            f"onnxruntime {version()} does not compute on the GPU {accelerator['name']}: this "
            f"build has no {_CUDA}, only {', '.join(ort.get_available_providers())}. Install the "
            f"one that has, in its place: {INSTALL_CUDA}"
        )
    ort.preload_dlls()  # CUDA and cuDNN of pip's packages, which it does not find by itself
    return ("fp32",)


def has_device_clock() -> bool:
    """See `AcceleratedRuntime`."""
    return False


class OnnxRuntimeSession:
    """One onnxruntime session on one model file.

    Attributes:
        accelerator: See `AcceleratedSession`.
    """

    def __init__(self, path: Path, options: RuntimeOptions, profile: Path | None = None) -> None:
        settings = ort.SessionOptions()
        if profile is not None:
            settings.enable_profiling = True
            settings.profile_file_prefix = str(profile)
        settings.intra_op_num_threads = options.threads
        settings.inter_op_num_threads = options.inter_op_threads
        settings.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        settings.graph_optimization_level = _LEVELS[options.graph_optimization]
        settings.enable_cpu_mem_arena = options.arena
        settings.log_severity_level = 3  # errors only: they come as exceptions as well
        spinning = "1" if options.spinning else "0"
        settings.add_session_config_entry("session.intra_op.allow_spinning", spinning)
        self._session = ort.InferenceSession(
            str(path), settings, providers=_PROVIDERS[options.accelerator]
        )
        self._check_provider(options.accelerator)
        self.accelerator = "cuda" if self._session.get_providers()[0] == _CUDA else CPU

    def _check_provider(self, accelerator: str) -> None:
        """Raise where onnxruntime took the CPU in place of a GPU, which it does without a word."""
        taken = self._session.get_providers()
        if accelerator != CPU and taken[:1] != [_CUDA]:
            raise ModelRejected(
                f"onnxruntime would run it by {', '.join(taken)}, not by {_CUDA}: CUDA or cuDNN of "
                "the releases that it needs are missing. Its own message says which: python -c "
                '"import onnxruntime; onnxruntime.preload_dlls(); onnxruntime.InferenceSession('
                f"'model.onnx', providers=['{_CUDA}'])\""
            )

    def device_ns(self) -> int | None:
        """See `AcceleratedSession`."""
        return None

    def describe_inputs(self) -> dict[str, tuple[str, list[int | str | None]]]:
        """See `RuntimeSession`."""
        return _described(self._session.get_inputs())

    def describe_outputs(self) -> dict[str, tuple[str, list[int | str | None]]]:
        """See `RuntimeSession`."""
        return _described(self._session.get_outputs())

    def metadata(self) -> dict[str, str]:
        """See `RuntimeSession`."""
        return dict(self._session.get_modelmeta().custom_metadata_map)

    def run(self, feeds: dict[str, Any]) -> None:
        """See `RuntimeSession`."""
        self._session.run(None, feeds)

    def outputs(self, feeds: dict[str, Any]) -> list[Any]:
        """See `RuntimeSession`."""
        return list(self._session.run(None, feeds))


class ProfiledOnnxRuntimeSession(OnnxRuntimeSession):
    """The same with onnxruntime's profiler, which writes a file of whole microseconds."""

    def __init__(self, path: Path, options: RuntimeOptions) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="nasc-kernels-")
        super().__init__(path, options, Path(self._folder.name) / "profile")

    def kernels(self) -> list[dict[str, Any]]:
        """See `ProfiledSession`."""
        with self._folder, open(self._session.end_profiling(), encoding="utf-8") as file:
            events = json.load(file)
        return _kernels(events)


def _kernels(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The kernels in a profile of runs that are all alike."""
    suffix = "_kernel_time"
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for event in events:
        if event.get("cat") != "Node" or not event["name"].endswith(suffix):
            continue
        told = event["args"]
        key = (event["name"], told.get("node_index", ""))
        kernel = found.setdefault(
            key,
            {
                "name": event["name"].removesuffix(suffix),
                "operator": told["op_name"],
                "inputs": _values(told.get("input_type_shape", [])),
                "outputs": _values(told.get("output_type_shape", [])),
                "us": [],
            },
        )
        kernel["us"].append(event["dur"])
    return list(found.values())


def _values(told: list[dict[str, list[int]]]) -> list[list[Any]]:
    return [
        [_NUMPY_NAMES.get(kind, kind), shape] for value in told for kind, shape in value.items()
    ]


def _described(values: list[Any]) -> dict[str, tuple[str, list[int | str | None]]]:
    """Numpy type name and axes of inputs or outputs, by name."""
    found = {}
    for value in values:
        kind = value.type.removeprefix("tensor(").removesuffix(")")
        found[value.name] = (_NUMPY_NAMES.get(kind, kind), list(value.shape))
    return found


def open_session(path: Path, options: RuntimeOptions) -> OnnxRuntimeSession:
    """See `Runtime`."""
    return OnnxRuntimeSession(path, options)


def open_profiled(path: Path, options: RuntimeOptions) -> ProfiledOnnxRuntimeSession:
    """See `CountingRuntime`."""
    return ProfiledOnnxRuntimeSession(path, options)


def is_out_of_memory(error: Exception) -> bool:
    """See `Runtime`."""
    return any(sign in str(error) for sign in _OUT_OF_MEMORY)
