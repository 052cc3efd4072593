"""From an ONNX graph to TVM's modules: what the files of a network, and its tuning, are made of.

Pure functions. A network of several lengths is one module with one function a length, so that
lengths share the weights that they hold in the same order.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import onnx

from nasc.errors import ExportError, UsageError
from profilers import InvalidSetting, RuntimeMissing
from profilers.runtimes import get_runtime

try:
    get_runtime("tvm")  # checks the versions
    import tvm
    from tvm import relax, topi
    from tvm.relax import transform
    from tvm.relax.frontend.onnx import from_onnx
except RuntimeMissing as error:
    raise ExportError(f"networks cannot be made for tvm: {error}") from error

from nasc.lowering.tvm_folding import fold_constants
from nasc.lowering.tvm_objects import CompiledNetwork, compile_network
from profilers.runtimes import tvm_targets
from profilers.runtimes.tvm_schedules import schedule

DATABASE = ("database_workload.json", "database_tuning_record.json")
"""Files of a directory of tuning records, as MetaSchedule names them."""

TVM_LOCK = threading.Lock()
"""Held while TVM makes a module: its frontend knows the graph that it reads, its builder what it
builds, by global variables."""

MODULE_EQUALITY = "ignore-tensor"
"""How MetaSchedule compares kernels with those that it has records of: by all but constants."""


def target_of(
    flags: Collection[str], arch: str, threads: int = 1, precision: str = "fp32"
) -> tvm.target.Target:
    """The processor that code is made for: see `profilers.runtimes.tvm_targets.target_of`.

    Args:
        flags: Of the processor, as `profilers.context.read_context` gives them.
        arch: As `platform.machine` says it there.
        threads: Of a run.
        precision: Of the network.

    Raises:
        UsageError: If networks are not made for such a processor.
    """
    try:
        return tvm_targets.target_of(flags, arch, threads, precision)
    except InvalidSetting as error:
        raise UsageError(str(error)) from error


def fused_module(
    models: Mapping[str, onnx.ModelProto], target: tvm.target.Target
) -> tvm.ir.IRModule:
    """Kernels of graphs, each with what follows it, not yet scheduled.

    The error function and the exponential are polynomials (topi.fast_erf, topi.nn.fast_softmax):
    LLVM has vectors of neither. Constants may be stored in another order (layout-free buffers).

    Args:
        models: Graphs with fixed axes, by the names of the functions that they become.
        target: What the module is for.

    Raises:
        ExportError: If TVM cannot read a graph.
    """
    functions = {}
    for name, model in models.items():
        _check_axes(model)
        try:
            imported = from_onnx(model, keep_params_in_input=False)["main"]
        except Exception as error:  # of many kinds, by operator
            raise ExportError(f"tvm cannot read the graph of {name!r}: {error}") from error
        functions[relax.GlobalVar(name)] = imported.with_attr("global_symbol", name)
    first = [
        transform.DecomposeOpsForInference(),
        transform.CanonicalizeBindings(),
        transform.LegalizeOps(
            {
                "relax.nn.gelu": _gelu,
                "relax.nn.gelu_tanh": _gelu_tanh,
                "relax.nn.softmax": _softmax,
                "relax.take": _take,
            }
        ),
        transform.AnnotateTIROpPattern(),
    ]
    then = [
        transform.FuseOps(),
        transform.FuseTIR(),
        transform.AttachAttrLayoutFreeBuffers(),
    ]
    with target:
        module = tvm.transform.Sequential(first)(tvm.IRModule(functions))
        return tvm.transform.Sequential(then)(fold_constants(module))


def compile_module(module: tvm.ir.IRModule, target: tvm.target.Target) -> CompiledNetwork:
    """The code of a fused module.

    Args:
        module: Of `fused_module`, for the same target. Kernels that are not scheduled yet, by
            `nasc.lowering.tuning.apply`, are by `profilers.runtimes.tvm_schedules`.
        target: What it is for.

    Raises:
        ExportError: If TVM cannot compile it.
    """
    try:
        with target:
            module = schedule(module, target)
            # Constants are put into the order that kernels want now, not in every run.
            module = fold_constants(transform.SplitLayoutRewritePreproc()(module))
            return compile_network(module, target)
    except (RuntimeError, ValueError, TypeError) as error:
        raise ExportError(f"tvm cannot compile the network for {target}: {error}") from error


def open_records(folder: Path) -> Any:
    """MetaSchedule's database of a directory of tuning records.

    Raises:
        UsageError: If the directory holds none that can be read.
    """
    from tvm.s_tir import meta_schedule

    workload, record = (folder / name for name in DATABASE)
    for path in (workload, record):
        if not path.is_file():
            raise UsageError(f"'{folder}' has no tuning records of tvm: {path.name} is missing")
    try:
        return meta_schedule.database.JSONDatabase(
            str(workload), str(record), module_equality=MODULE_EQUALITY
        )
    except Exception as error:  # of many kinds, by what is wrong with a line
        raise UsageError(f"the tuning records in '{folder}' cannot be read: {error}") from error


def _check_axes(model: onnx.ModelProto) -> None:
    for value in model.graph.input:
        if not all(axis.HasField("dim_value") for axis in value.type.tensor_type.shape.dim):
            raise ExportError(
                f"tvm compiles graphs of one shape; the axes of {value.name!r} are free"
            )


def _gelu(builder: Any, call: Any) -> Any:
    def gelu(x: Any) -> Any:
        scaled = topi.multiply(x, tvm.tirx.const(0.5**0.5, x.dtype))
        halved = topi.multiply(x, tvm.tirx.const(0.5, x.dtype))
        return topi.multiply(halved, topi.add(topi.fast_erf(scaled), tvm.tirx.const(1.0, x.dtype)))

    return builder.call_te(gelu, call.args[0], primfunc_name_hint="gelu")


_SLOPE = (2 / math.pi) ** 0.5


def _gelu_tanh(builder: Any, call: Any) -> Any:
    def gelu_tanh(x: Any) -> Any:
        def constant(value: float) -> Any:
            return tvm.tirx.const(value, x.dtype)

        cubic = topi.multiply(topi.multiply(x, x), constant(0.044715))
        inner = topi.multiply(topi.multiply(x, topi.add(cubic, constant(1.0))), constant(_SLOPE))
        halved = topi.multiply(x, constant(0.5))
        return topi.multiply(halved, topi.add(topi.fast_tanh(inner), constant(1.0)))

    return builder.call_te(gelu_tanh, call.args[0], primfunc_name_hint="gelu_tanh")


def _softmax(builder: Any, call: Any) -> Any:
    axis = int(call.attrs.axis)
    return builder.call_te(topi.nn.fast_softmax, call.args[0], axis, primfunc_name_hint="softmax")


def _take(builder: Any, call: Any) -> Any:
    """Rows of a table, within its bounds: ONNX's operator would read whatever lies beyond."""
    table, rows = call.args
    axis = int(call.attrs.axis)
    return builder.call_te(topi.take, table, rows, axis, 0, "clip", primfunc_name_hint="take")
