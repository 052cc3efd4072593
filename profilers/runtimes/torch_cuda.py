"""A model on a GPU as it is run there: its kernels as one CUDA graph, timed by CUDA events."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from profilers.errors import ModelRejected

Compute = Callable[[Sequence[Tensor]], Sequence[Tensor]]

DEVICE = "cuda"
"""Whose memory a model reads and writes."""

PINNED = True
"""Outputs come back into pinned memory, into which a GPU copies by itself."""

MAX_GRAPHS = 16
"""Shapes of inputs whose graphs are kept; the oldest makes room (chosen, 2026)."""

WARMUP_RUNS = 3
"""Of a model before its kernels are captured: libraries choose their kernels in the first ones."""


@dataclass(frozen=True, slots=True)
class _Captured:
    """A graph with the memory that it reads and writes, on the GPU and on the host."""

    graph: Any
    inputs: Sequence[Tensor]
    outputs: Sequence[Tensor]
    given_back: Sequence[Tensor]


@contextmanager
def rounding(tf32: bool) -> Iterator[None]:
    """Within it, products of fp32 are rounded to TF32 or not, which torch decides for a process."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = tf32
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


class CudaRuns:
    """Runs of a model."""

    def __init__(self, compute: Compute, tf32: bool) -> None:
        """Nothing is captured yet.

        Args:
            compute: The model: tensors on the GPU in, tensors on the GPU out.
            tf32: Whether its products of fp32 are rounded to TF32.
        """
        self._compute, self._tf32 = compute, tf32
        cuda: Any = torch.cuda  # where much is untyped
        self._stream = cuda.Stream()
        self._begin, self._end = (cuda.Event(enable_timing=True) for _ in range(2))
        self._captured: dict[Any, _Captured] = {}

    def run(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        """Runs the model once: inputs to the GPU, its kernels as one graph, outputs back.

        Args:
            tensors: Inputs in the host's pinned memory.

        Returns:
            Outputs in the host's memory, which the next run of the same shape overwrites.

        Raises:
            ModelRejected: If it cannot be captured.
        """
        key = tuple((tuple(tensor.shape), tensor.dtype) for tensor in tensors)
        held = self._captured.get(key)
        if held is None:
            while len(self._captured) >= MAX_GRAPHS:
                self._captured.pop(next(iter(self._captured)))
            held = self._captured[key] = self._capture(tensors)
        with torch.cuda.stream(self._stream):
            self._begin.record(self._stream)
            for there, here in zip(held.inputs, tensors, strict=True):
                there.copy_(here, non_blocking=True)
            held.graph.replay()
            for here, there in zip(held.given_back, held.outputs, strict=True):
                here.copy_(there, non_blocking=True)
            self._end.record(self._stream)
        self._end.synchronize()
        return held.given_back

    def run_once(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        """Runs the same kernels without a graph: for a shape that may never come again."""
        with torch.cuda.stream(self._stream), torch.no_grad(), rounding(self._tf32):
            return [found.cpu() for found in self._compute([t.to(DEVICE) for t in tensors])]

    def device_ns(self) -> int:
        """What the last run took between its two events, in nanoseconds."""
        return int(1e6 * self._begin.elapsed_time(self._end))

    def _capture(self, tensors: Sequence[Tensor]) -> _Captured:
        graph = torch.cuda.CUDAGraph()
        with torch.no_grad(), rounding(self._tf32):
            inputs = [tensor.to(DEVICE) for tensor in tensors]
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                for _ in range(WARMUP_RUNS):
                    self._compute(inputs)
            self._stream.synchronize()
            try:
                with torch.cuda.graph(graph, stream=self._stream):
                    outputs = self._compute(inputs)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                raise ModelRejected(
                    f"its kernels cannot be captured as one CUDA graph: {error}"
                ) from error
        back = [torch.empty(o.shape, dtype=o.dtype, pin_memory=PINNED) for o in outputs]
        return _Captured(graph, inputs, outputs, back)
