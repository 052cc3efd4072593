"""The kernels of a model, as a runtime's own profiler tells them, and what each has to do.

A runtime that counts offers `open_profiled` in its module (see `profilers.runtimes.base`); what it
gives is read here alone. Operations and bytes follow from the shapes that the kernel was run with:

* a product of (M, K) by (K, N) is 2 x M x N x K operations, a convolution 2 for each value of its
  output and each weight of its filter;
* attention in one kernel is its two products, with as many keys as the mask that it adds has;
* all else counts `PER_VALUE` operations for each value, a convention and no count of instructions;
* bytes are those of the inputs and outputs, each moved once. Of a table only the rows that are
  taken count, of a reshape nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from profilers import plain
from profilers.devices.client import WorkerClient
from profilers.errors import InvalidSetting
from profilers.inputs import draw_inputs
from profilers.jobs import ModelJob
from profilers.messages import encode_array

QUIETEST = 0.25
"""Share of a kernel's runs, its shortest ones, whose mean is its time: what is left out was
disturbed by others, and a mean over many lies between the profilers' whole microseconds. A whole
run's time is found alike, so that on a busy machine it lies above the sum of its kernels."""

MAX_KERNELS = 100_000
"""Kernels of a model that are read."""

_BYTES = {"float64": 8, "int64": 8, "uint64": 8, "float32": 4, "int32": 4, "uint32": 4}
_BYTES |= {"float16": 2, "bfloat16": 2, "int16": 2, "uint16": 2, "int8": 1, "uint8": 1, "bool": 1}

_HALF = {"bfloat16": "bf16", "float16": "fp16"}
"""Precisions by numpy's names of types."""

_WEIGHT_BYTES = {"int8": 1, "bf16": 2, "fp16": 2}
"""Of a weight that the runtime packed, by the precision of its product; 4 in others."""

_PRODUCTS = ("gemm", "matmul", "fullyconnected", "dynamicquantize")
_KINDS = {
    "normalisation": ("normalization", "mvn"),
    "attention": ("softmax", "attention"),
    "activation": ("gelu", "relu", "tanh", "erf", "sigmoid"),
    "quantisation": ("quantize",),
    "embedding": ("gather",),
    "movement": ("transpose", "slice", "concat", "cast", "convert", "reorder", "expand", "pad"),
    "view": ("reshape", "squeeze", "shape"),
}
"""What a kernel is, by what its operator's name holds, the first that fits."""

PER_VALUE = {
    "normalisation": 8,
    "attention": 5,
    "activation": 8,
    "quantisation": 4,
    "element-wise": 1,
    "reduction": 1,
}
"""Operations for each value of what is no product: of the larger of input and output."""


@dataclass(frozen=True, slots=True)
class Value:
    """An input or output of a kernel: numpy's name of its type, and its shape."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many values it holds."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Bytes that it takes."""
        return self.size * _BYTES.get(self.dtype, 4)


@dataclass(frozen=True, slots=True)
class Kernel:
    """One kernel as it ran.

    Attributes:
        name: Of its node, as the runtime tells it.
        operator: The runtime's name of what it does.
        inputs: What it reads, those aside that the runtime keeps in a form of its own.
        outputs: What it writes.
        time_ms: Mean over the quietest runs, see `QUIETEST`.
        stated: Operations of its products and what they are computed in, where the runtime says
            so because the shapes do not tell; None where they do.
    """

    name: str
    operator: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    time_ms: float
    stated: tuple[int, str] | None = None

    @property
    def kind(self) -> str:
        """What it is: product, attention, convolution, normalisation and so on."""
        operator = self.operator.lower()
        if "conv" in operator and "convert" not in operator:
            return "convolution"
        if operator != "dynamicquantizelinear" and any(p in operator for p in _PRODUCTS):
            both = [len(value.shape) for value in self.inputs[:2]]
            return "attention" if len(both) == 2 and min(both) >= 4 else "product"
        for kind, names in _KINDS.items():
            if any(name in operator for name in names):
                return kind
        return "reduction" if operator.startswith("reduce") else "element-wise"

    @property
    def computed_in(self) -> str:
        """Number format of its products, by which its peak is known: a precision."""
        if self.stated is not None:
            return self.stated[1]
        types = [value.dtype for value in self.inputs[:2]]
        if self._is_product and (
            {"int8", "uint8"} & set(types) or self.operator.startswith("DynamicQuantizeMatMul")
        ):
            return "int8"
        return next((_HALF[kind] for kind in types if kind in _HALF), "fp32")

    @property
    def operations(self) -> int:
        """Operations, two for a multiply-add; see the module."""
        if not self.outputs:
            return 0
        if self.stated is not None and self.stated[0]:
            return self.stated[0]
        if self.kind == "convolution":
            weight = self.inputs[1] if len(self.inputs) > 1 else None
            filters = 1 if weight is None else weight.size // max(1, self.outputs[0].shape[1])
            return 2 * self.outputs[0].size * filters
        if self._is_product:
            return 2 * self.outputs[0].size * self._inner
        if "attention" in self.operator.lower():
            return 4 * self.outputs[0].size * self._keys
        values = max(value.size for value in (*self.inputs, *self.outputs))
        return PER_VALUE.get(self.kind, 0) * values

    @property
    def bytes_moved(self) -> int:
        """Bytes read and written, each once; see the module."""
        written = sum(value.bytes for value in self.outputs)
        if self.kind == "view":
            return 0
        if self.kind == "embedding" or "slice" in self.operator.lower():
            return 2 * written
        read = sum(value.bytes for value in self.inputs)
        if self.kind == "product" and self.stated is None and not self._has_weight:
            weights = self._inner * self.outputs[0].shape[-1]
            read += weights * _WEIGHT_BYTES.get(self.computed_in, 4)
        return read + written

    @property
    def _is_product(self) -> bool:
        operator = self.operator.lower()
        return operator != "dynamicquantizelinear" and any(p in operator for p in _PRODUCTS)

    @property
    def _inner(self) -> int:
        """The size that a product sums over: the last axis of its first input."""
        first = self.inputs[0].shape if self.inputs else ()
        return first[-1] if first else 1

    @property
    def _keys(self) -> int:
        """How many keys whole attention looks at: the length of what is added to its scores.

        0 where nothing is.
        """
        added = [v.shape for v in self.inputs if len(v.shape) == 4 and v.shape[1:3] == (1, 1)]
        return added[0][-1] if added else 0

    @property
    def _has_weight(self) -> bool:
        """Whether the second matrix is among the inputs: runtimes pack it and list it no more."""
        wanted = self._inner * self.outputs[0].shape[-1]
        return any(value.size == wanted and len(value.shape) > 1 for value in self.inputs[1:])


@dataclass(frozen=True, slots=True)
class KernelRun:
    """A model's kernels with what it takes as a whole, on one worker.

    Attributes:
        kernels: Those that ran, in their order.
        plain_ms: A run without the profiler: mean over the quietest, see `QUIETEST`.
        profiled_ms: A run with it, by the same clock.
        runs: Of each, taken in turns.
    """

    kernels: tuple[Kernel, ...]
    plain_ms: float
    profiled_ms: float
    runs: int

    @property
    def sum_ms(self) -> float:
        """Sum of the kernels' times."""
        return sum(kernel.time_ms for kernel in self.kernels)

    @property
    def overhead(self) -> float:
        """What the profiler adds to a run, relative to one without it."""
        return self.profiled_ms / self.plain_ms - 1


def run_kernels(worker: WorkerClient, job: ModelJob, turns: int, seed: int = 0) -> KernelRun:
    """Runs a model with its runtime's profiler and, in turns, without it.

    Args:
        worker: Where it runs.
        job: The model and the shapes of its inputs.
        turns: Of five runs each, the first of which is not counted.
        seed: Of the values of inputs.

    Raises:
        RuntimeMissing: The runtime has no profiler that tells kernels.
        ModelRejected: The model cannot be loaded or run.
        InvalidSetting: The worker knows no kernels (the native one), or `turns` is below 1.
        ProfilerError: The worker ended.
    """
    if turns < 1:
        raise InvalidSetting(f"turns = {turns}; it must be 1 or more.")
    inputs = {name: encode_array(value) for name, value in draw_inputs(job.inputs, seed).items()}
    path = worker.path_there(Path(job.path))
    answer = worker.ask(
        {"op": "kernels", "path": path, "inputs": inputs, "turns": turns}, str(job.path)
    )
    return kernel_run(answer)


def kernel_run(answer: Mapping[str, Any]) -> KernelRun:
    """Reads a worker's answer about kernels.

    Raises:
        InvalidSetting: It is none.
    """
    try:
        rows = plain.items(answer["kernels"], "kernels", MAX_KERNELS)
        kernels = tuple(
            Kernel(
                str(row["name"]),
                str(row["operator"]),
                tuple(_value(v) for v in row["inputs"]),
                tuple(_value(v) for v in row["outputs"]),
                _quiet_mean(row["us"]) * 1e-3,
                (int(row["operations"]), str(row["computed_in"])) if "operations" in row else None,
            )
            for row in rows
        )
        return KernelRun(
            kernels,
            _quiet_mean(answer["plain_ns"]) * 1e-6,
            _quiet_mean(answer["profiled_ns"]) * 1e-6,
            len(answer["plain_ns"]),
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InvalidSetting(f"what the worker says of kernels cannot be read: {error}") from error


def _quiet_mean(times: Sequence[float]) -> float:
    """Mean of the shortest times, see `QUIETEST`."""
    ordered = np.sort(np.asarray(times, np.float64))
    return float(ordered[: max(1, math.ceil(QUIETEST * len(ordered)))].mean())


def _value(data: Sequence[Any]) -> Value:
    dtype, shape = data
    return Value(str(dtype), tuple(int(axis) for axis in shape))
