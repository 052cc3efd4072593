"""From an ONNX graph to TVM's modules: what the files of a network, and its tuning, are made of.

Pure functions. A network of several lengths is one module with one function a length, so that
lengths share the weights that they hold in the same order.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import onnx

from nasc.errors import ExportError, UsageError
from profilers import RuntimeMissing
from profilers.runtimes import get_runtime

try:
    get_runtime("tvm")  # checks the versions
    import tvm
    from tvm import relax, topi
    from tvm.relax import transform
    from tvm.relax.frontend.onnx import from_onnx
except RuntimeMissing as error:
    raise ExportError(f"networks cannot be made for tvm: {error}") from error

from nasc.lowering.tvm_schedules import schedule

DATABASE = ("database_workload.json", "database_tuning_record.json")
"""Files of a directory of tuning records, as MetaSchedule names them."""

MODULE_EQUALITY = "ignore-tensor"
"""How MetaSchedule compares kernels with those that it has records of: by all but constants."""

_X86 = (
    ("x86-64-v4", {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}),
    ("x86-64-v3", {"avx2", "fma", "bmi1", "bmi2", "f16c", "movbe"}),
)
"""LLVM's names of processors, best first, with the flags (as Linux calls them) that each needs
beside those of the ones below."""

_X86_EXTRA = {"avx512_vnni": "avx512vnni", "avx_vnni": "avxvnni", "avx512_bf16": "avx512bf16"}
"""Flags of which a target makes use where a processor has them, with LLVM's names."""

_ARM64 = {"asimd", "fp"}

_ARM64_EXTRA = {"asimddp": "dotprod", "asimdhp": "fullfp16", "i8mm": "i8mm", "bf16": "bf16"}

_TRIPLES = {"x86_64": "x86_64-linux-gnu", "aarch64": "aarch64-linux-gnu"}


def needed_flags(flags: Collection[str], arch: str) -> tuple[str, ...]:
    """Which of a processor's flags the code for it makes use of, in their order.

    Args:
        flags: Of the processor, as `profilers.context.read_context` gives them.
        arch: As `platform.machine` says it.

    Raises:
        UsageError: If networks are not made for such a processor.
    """
    has = set(flags)
    if arch == "aarch64":
        _check_flags(_ARM64, has, arch)
        return tuple(sorted(_ARM64 | (_ARM64_EXTRA.keys() & has)))
    if arch != "x86_64":
        raise UsageError(
            f"networks are not made by tvm for processors of {arch!r}; known: {', '.join(_TRIPLES)}"
            ". Take another runtime: --runtime onnxruntime"
        )
    lowest = _X86[-1][1]
    _check_flags(lowest, has, arch)
    best = _X86[0][1]
    if best <= has:
        return tuple(sorted(lowest | best | (_X86_EXTRA.keys() & has)))
    return tuple(sorted(lowest | ({"avx_vnni"} & has)))


def _check_flags(needed: set[str], has: set[str], arch: str) -> None:
    lacking = sorted(needed - has)
    if lacking:
        raise UsageError(
            f"networks are made by tvm for processors of {arch} with {', '.join(sorted(needed))}; "
            f"this one lacks {', '.join(lacking)}. Take another runtime: --runtime onnxruntime"
        )


def target_of(flags: Collection[str], arch: str, threads: int = 1) -> tvm.target.Target:
    """The processor that code is made for.

    Args:
        flags: Of the processor, as `profilers.context.read_context` gives them.
        arch: As `platform.machine` says it.
        threads: That kernels are tuned for; MetaSchedule must know.

    Raises:
        UsageError: If networks are not made for such a processor.
    """
    used = set(needed_flags(flags, arch))
    config: dict[str, Any] = {"kind": "llvm", "num-cores": threads}
    if arch == "aarch64":
        config["mattr"] = ["+neon", *(f"+{x}" for f, x in _ARM64_EXTRA.items() if f in used)]
    else:
        config["mcpu"] = next(name for name, needed in _X86 if needed <= used)
        extra = [f"+{name}" for flag, name in _X86_EXTRA.items() if flag in used]
        if extra:
            config["mattr"] = extra
    config["mtriple"] = _TRIPLES[arch]
    return tvm.target.Target(config)


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
    passes = [
        transform.DecomposeOpsForInference(),
        transform.CanonicalizeBindings(),
        transform.LegalizeOps({"relax.nn.gelu": _gelu, "relax.nn.softmax": _softmax}),
        transform.AnnotateTIROpPattern(),
        transform.FoldConstant(),
        transform.FuseOps(),
        transform.FuseTIR(),
        transform.AttachAttrLayoutFreeBuffers(),
    ]
    with target:
        return tvm.transform.Sequential(passes)(tvm.IRModule(functions))


def compile_module(
    module: tvm.ir.IRModule, target: tvm.target.Target, records: Path | None = None
) -> Any:
    """The executable of a fused module.

    Args:
        module: Of `fused_module`, for the same target.
        target: What it is for.
        records: Directory of tuning records (`DATABASE`), measured on that target. Kernels without
            a record, and all where there is none, are scheduled by `nasc.lowering.tvm_schedules`.

    Raises:
        UsageError: If the directory holds no records that can be read.
        ExportError: If TVM cannot compile it.
    """
    database = None if records is None else open_records(records)
    try:
        with target:
            if database is not None:
                with database:
                    module = transform.MetaScheduleApplyDatabase()(module)
            module = schedule(module, target)
            # Constants are put into the order that kernels want now, not in every run.
            module = tvm.transform.Sequential(
                [transform.SplitLayoutRewritePreproc(), transform.FoldConstant()]
            )(module)
            return tvm.compile(module, target=target)
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


def _softmax(builder: Any, call: Any) -> Any:
    axis = int(call.attrs.axis)
    return builder.call_te(topi.nn.fast_softmax, call.args[0], axis, primfunc_name_hint="softmax")
