"""PyTorch, on the processor and on NVIDIA's GPUs (CUDA).

It opens what `nasc.lowering.torch` writes: a package of AOTInductor (.pt2), compiled code with its
weights, with a JSON file beside it that tells for what it was made, what it takes and gives. It
also opens ONNX files of the reference network's operators, which it runs one after the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from device_profiles import CPU
from profilers.errors import ModelRejected, RuntimeMissing
from profilers.jobs import RuntimeOptions
from profilers.runtimes import torch_description
from profilers.runtimes.described import (
    InputCache,
    Values,
    check_tokens,
    checked,
    read_description,
    values_of,
)
from profilers.runtimes.torch_cuda import CudaRuns
from profilers.runtimes.torch_description import (
    DESCRIPTION,
    PACKAGE,
    SCHEMA,
    why_not_here,
)
from profilers.runtimes.torch_onnx import OnnxGraph

SETTINGS = ()
"""See `Runtime`."""

_OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "bad_alloc")
"""How torch, whose errors are of many kinds, says that memory is not given."""

_LEAST_CAPABILITY = (7, 0)
"""Of a GPU for which Inductor compiles (Triton's, 2026)."""

_BF16_CAPABILITY = (8, 0)
"""Of a GPU that computes in TF32 and bfloat16 (CUDA C++ Programming Guide)."""


def version() -> str:
    """Returns the version of the installed torch, with its build: 2.13.0+cpu."""
    return str(torch.__version__)


precisions = torch_description.precisions
"""See `Runtime`."""


def precisions_on(accelerator: Mapping[str, Any]) -> tuple[str, ...]:
    """See `AcceleratedRuntime`."""
    if not torch.cuda.is_available():
        built = torch.version.cuda
        why = f"its build is for CUDA {built}" if built else "its build is for processors alone"
        raise RuntimeMissing(
            f"torch {version()} does not compute on the GPU {accelerator['name']}: {why}, and the "
            f"driver is {accelerator['driver']}. Install a build for that driver: "
            "https://pytorch.org/get-started/locally"
        )
    capability = tuple(int(part) for part in str(accelerator["capability"]).split("."))
    if capability < _LEAST_CAPABILITY:
        raise RuntimeMissing(
            f"torch compiles nothing for the GPU {accelerator['name']} of compute capability "
            f"{accelerator['capability']}: {'.'.join(map(str, _LEAST_CAPABILITY))} is the least"
        )
    return ("fp32", "tf32", "bf16", "fp16") if capability >= _BF16_CAPABILITY else ("fp32", "fp16")


def has_device_clock() -> bool:
    """See `AcceleratedRuntime`: CUDA's events."""
    return True


class _Model(Protocol):
    """A model that is loaded.

    Attributes:
        accelerator: What computes it.
        tf32: Whether its products of fp32 are rounded to TF32.
        inputs: See `RuntimeSession.describe_inputs`.
        outputs: See `RuntimeSession.describe_outputs`.
        metadata: What its maker wrote into it.
    """

    accelerator: str
    tf32: bool
    inputs: Values
    outputs: Values
    metadata: dict[str, str]

    def arrays(self, feeds: Mapping[str, Any]) -> list[Any]:
        """Inputs in their order, checked."""

    def __call__(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        """What it computes of them."""


class _Compiled:
    """A package of AOTInductor."""

    def __init__(self, path: Path) -> None:
        self._about = read_description(path, DESCRIPTION, SCHEMA, "package_sha256", why_not_here)
        self.accelerator: str = self._about["accelerator"]
        self.tf32: bool = self._about["tf32"]
        self.inputs = values_of(self._about["inputs"])
        self.outputs = values_of(self._about["outputs"])
        self.metadata = dict(self._about["metadata"])
        try:
            # Without the locks of several threads, which a CUDA graph cannot hold.
            package = torch._inductor.aoti_load_package(str(path), run_single_threaded=True)
        except Exception as error:  # of many kinds
            raise ModelRejected(f"torch cannot open the package: {error}") from error
        self._run = package.loader.boxed_run  # beneath what arranges nested inputs anew every run

    def arrays(self, feeds: Mapping[str, Any]) -> list[Any]:
        about = self._about
        arrays = [checked(value, feeds[value["name"]]) for value in about["inputs"]]
        batch, length = check_tokens(about["inputs"], arrays, about["tokens"])
        if not batch or not 1 <= length <= about["longest"]:
            raise ModelRejected(
                f"it was made for 1 text or more, of 1 to {about['longest']} tokens; given: "
                f"{batch} of {length}."
            )
        return arrays

    def __call__(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        return list(self._run(list(tensors)))


class _Graph:
    """An ONNX file."""

    tf32 = False

    def __init__(self, path: Path, accelerator: str) -> None:
        self.accelerator = accelerator
        self._graph = OnnxGraph(path, torch.device(accelerator))
        self.inputs, self.outputs = self._graph.inputs, self._graph.outputs
        self.metadata = self._graph.metadata

    def arrays(self, feeds: Mapping[str, Any]) -> list[Any]:
        return [
            checked({"name": name, "type": kind, "axes": axes}, feeds[name])
            for name, (kind, axes) in self.inputs.items()
        ]

    def __call__(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        return self._graph(tensors)


class TorchSession:
    """One model, on the processor or a GPU.

    Attributes:
        accelerator: See `AcceleratedSession`.
    """

    def __init__(self, path: Path, options: RuntimeOptions) -> None:
        """Loads a model.

        Args:
            path: A package with its description beside it, or an ONNX file.
            options: How it is run; a package says itself what computes it.

        Raises:
            ModelRejected: It cannot be loaded.
        """
        compiled = path.suffix.lower() == PACKAGE
        self._model: _Model = _Compiled(path) if compiled else _Graph(path, options.accelerator)
        self.accelerator = self._model.accelerator
        self._threads = options.threads
        on_gpu = self.accelerator != CPU
        self._cuda = CudaRuns(self._model, self._model.tf32) if on_gpu else None
        self._fed = InputCache(self._model.inputs)
        self._tensors: list[Tensor] = []

    def describe_inputs(self) -> Values:
        """See `RuntimeSession`."""
        return dict(self._model.inputs)

    def describe_outputs(self) -> Values:
        """See `RuntimeSession`."""
        return dict(self._model.outputs)

    def metadata(self) -> dict[str, str]:
        """See `RuntimeSession`."""
        return dict(self._model.metadata)

    def run(self, feeds: dict[str, Any]) -> None:
        """See `RuntimeSession`."""
        if self._fed.is_new(feeds):
            self._feed(feeds)
        if self._cuda is not None:
            self._cuda.run(self._tensors)
        else:
            self._compute()

    def outputs(self, feeds: dict[str, Any]) -> list[Any]:
        """See `RuntimeSession`."""
        self._feed(feeds)  # the same array may hold other numbers by now
        if self._cuda is not None:
            found = self._cuda.run_once(self._tensors)
        else:
            found = self._compute()
        return [np.array(value.numpy()) for value in found]

    def device_ns(self) -> int | None:
        """See `AcceleratedSession`."""
        return None if self._cuda is None else self._cuda.device_ns()

    def _feed(self, feeds: Mapping[str, Any]) -> None:
        self._fed.is_new(feeds)  # refuses other inputs
        self._fed.keep(None)
        arrays = [np.ascontiguousarray(array) for array in self._model.arrays(feeds)]
        # Copied: numpy's may be read-only.
        self._tensors = [torch.from_numpy(array.copy()) for array in arrays]
        if self._cuda is not None:
            self._tensors = [tensor.pin_memory() for tensor in self._tensors]
        self._fed.keep(feeds)

    def _compute(self) -> Sequence[Tensor]:
        """A run on the processor, by as many threads as were asked for, and as before after it."""
        before = torch.get_num_threads()
        if before != self._threads:
            torch.set_num_threads(self._threads)
        try:
            with torch.inference_mode():
                return self._model(self._tensors)
        finally:
            if before != self._threads:
                torch.set_num_threads(before)


def open_session(path: Path, options: RuntimeOptions) -> TorchSession:
    """See `Runtime`."""
    return TorchSession(path, options)


def is_out_of_memory(error: Exception) -> bool:
    """See `Runtime`."""
    return isinstance(error, MemoryError) or any(sign in str(error) for sign in _OUT_OF_MEMORY)
