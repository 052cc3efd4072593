"""Which kernels of some networks are worth tuning, each once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import tvm
import tvm_ffi
from tvm import tirx
from tvm.s_tir import meta_schedule
from tvm.s_tir.analysis import estimate_tir_flops

from nasc.lowering.tvm_module import MODULE_EQUALITY


@dataclass(frozen=True, slots=True)
class Task:
    """One kernel to tune: a fused function, equal wherever it occurs but for its constants.

    Attributes:
        name: As TVM calls it where it was first met.
        key: Of its structure, 16 hexadecimal digits.
        module: The kernel alone, as function ``main``, not scheduled.
        shapes: Of its arguments, the results last, as in ``float32[1,128,384]``.
        flops: Floating-point operations of one run, as TVM counts them.
        count: Runs in one pass of the full-size network.
        weight: Mean runs in a pass of the networks that were looked at.
    """

    name: str
    key: str
    module: tvm.ir.IRModule
    shapes: tuple[str, ...]
    flops: float
    count: int
    weight: float


@dataclass(frozen=True, slots=True)
class Kernels:
    """The kernels of some networks.

    Attributes:
        tasks: Those to tune, in the order in which they were met.
        left_out: Names of those that compute nothing (they only move values), or read where other
            values say (gathers, which made-up values lead astray).
    """

    tasks: tuple[Task, ...]
    left_out: tuple[str, ...]


def find_kernels(modules: Iterable[tvm.ir.IRModule], target: tvm.target.Target) -> Kernels:
    """The distinct kernels of networks.

    Args:
        modules: Of `nasc.lowering.tvm_module.fused_module`, one a network, the full-size one first.
            Each may hold functions of several lengths.
        target: What they are for.
    """
    found: dict[str, tuple[str, tvm.ir.IRModule]] = {}
    counts: dict[str, list[int]] = {}
    left_out: dict[str, None] = {}
    networks = 0
    for module in modules:
        for extracted in meta_schedule.relax_integration.extract_tasks(
            module, target, module_equality=MODULE_EQUALITY
        ):
            kernel = extracted.dispatched[0]
            if not is_tunable(_only_function(kernel)):
                left_out[str(extracted.task_name)] = None
                continue
            key = kernel_key(kernel)
            found.setdefault(key, (str(extracted.task_name), kernel))
            runs = counts.setdefault(key, [])
            runs.extend([0] * (networks + 1 - len(runs)))
            runs[networks] += int(extracted.weight)
        networks += 1
    tasks = tuple(
        Task(
            name=name,
            key=key,
            module=kernel,
            shapes=_shapes(kernel),
            flops=float(estimate_tir_flops(kernel)),
            count=counts[key][0],
            weight=sum(counts[key]) / networks,
        )
        for key, (name, kernel) in found.items()
    )
    return Kernels(tasks, tuple(left_out))


def is_tunable(function: tirx.PrimFunc) -> bool:
    """Whether a kernel computes something, and reads where it always does."""
    return bool(estimate_tir_flops(tvm.IRModule({"main": function}))) and not _gathers(function)


def kernel_key(kernel: tvm.ir.IRModule) -> str:
    """Of a kernel's structure, 16 hexadecimal digits."""
    return f"{tvm_ffi.structural_hash(kernel, skip_tensor_content=True) & (2**64 - 1):016x}"


def _only_function(kernel: tvm.ir.IRModule) -> tirx.PrimFunc:
    return kernel[kernel.get_global_vars()[0]]


def _shapes(kernel: tvm.ir.IRModule) -> tuple[str, ...]:
    found = [a.as_json() for a in meta_schedule.arg_info.ArgInfo.from_entry_func(kernel)]
    return tuple(f"{dtype}[{','.join(str(n) for n in shape)}]" for _, dtype, shape in found)


def _gathers(function: tirx.PrimFunc) -> bool:
    """Whether values are read at places that other values name."""
    found: list[object] = []

    def look(load: tvm.ir.TensorLoad) -> None:
        for index in load.indices:
            tvm_ffi.structural_walk(index, (tvm.ir.TensorLoad, found.append))

    tvm_ffi.structural_walk(function.body, (tvm.ir.TensorLoad, look))
    return bool(found)
