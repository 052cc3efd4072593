"""Kernels of a TVM module as functions of plain pointers, in an object file.

TVM's own functions take tensors that describe themselves, check them in every call, allocate
buffers and start threads through TVM's runtime. These take pointers and which of their parts to
compute, and call nothing but the C library: buffers of a few kB are on the stack, larger ones are
arguments.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from tvm import s_tir, tirx
from tvm.tirx.buffer import buffer_data_pointer_type
from tvm.tirx.build import tir_to_runtime

from device_profiles.temporary import temporary_folder
from nasc.errors import ExportError

_STACK_BYTES = 8 << 10
"""Of one buffer; larger ones at the top of a kernel become arguments. Threads of Android have
stacks of 1 MB, those of musl of 128 kB."""

_STACK_TOTAL_BYTES = 48 << 10
"""Of all buffers of a kernel together."""

_REGISTER_BYTES = 64
"""Of a buffer that holds one vector, as each sum of handwritten kernels: LLVM keeps it in a
register."""

_DISCARDED = "SECTIONS { /DISCARD/ : { *(.debug*) *(.text.tvm.fp16.conv) } }\n"
"""What no program needs: descriptions for debuggers, and two functions of the compiler's own
library, unused here, which would take the place of that library's in the whole program."""

_IMPORT = "pragma_import_llvm"
"""What handwritten kernels stand in: functions of theirs in LLVM's own language."""

_RUNTIME = re.compile(rb"TVM(Backend|FFI)\w+")
"""Names of functions of TVM's runtime."""


@dataclass(frozen=True, slots=True)
class Lowered:
    """A kernel as a function of pointers.

    Attributes:
        function: In TVM's IR.
        parts: Into which its work falls.
        work_bytes: Sizes of the buffers that it takes after its tensors, to work with.
    """

    function: Any
    parts: int
    work_bytes: tuple[int, ...]


def scheduled_passes() -> list[Any]:
    """From schedules to loops: TVM's pipeline for processors, up to its calling convention."""
    s, t = s_tir.transform, tirx.transform
    return [
        s.CanonicalizeLoop(),
        s.LowerInitBlock(),
        s.PlanAndUpdateBufferAllocationLocation(),
        s.ConvertBlocksToOpaque(),
        s.CompactBufferAllocation(),
        s.LowerMatchBuffer(),
        s.StmtSimplify(),
        s.AnnotateIrregularLoop(),
        s.LowerOpaqueBlock(),
        t.FlattenBuffer(),
        t.BF16ComputeLegalize(),
        t.NarrowDataType(32),
        s.LoopPartition(),
        t.VectorizeLoop(True),
        t.StorageRewrite(),
        s.HoistIfThenElse(),
        t.UnrollLoop(),
        s.RenormalizeSplitPattern(),
        t.StmtSimplify(),
        t.RemoveNoOp(),
        s.RewriteUnsafeSelect(),
        t.CommonSubexprElim(),
        t.VerifyMemory(),
    ]


def handwritten_passes() -> list[Any]:
    """For kernels of `nasc.lowering.handwritten.kernels`, which are loops already."""
    return [tirx.transform.FlattenBuffer(), tirx.transform.NarrowDataType(32)]


def lower(
    functions: Mapping[str, Any], passes: list[Any], target: tvm.target.Target
) -> dict[str, Lowered]:
    """Kernels as functions of pointers, under the names that they are given by.

    Args:
        functions: Kernels, by the symbols that they get.
        passes: `scheduled_passes` or `handwritten_passes`.
        target: What they are for.

    Raises:
        ExportError: If one needs more memory for itself than a stack has.
    """
    inner = {name: f.without_attr("global_symbol") for name, f in functions.items()}
    module = tirx.transform.BindTarget(target.with_host(target))(tvm.IRModule(inner))
    module = tvm.transform.Sequential(passes)(module)
    return {v.name_hint: _plain(v.name_hint, f, target) for v, f in module.functions_items()}


def _plain(symbol: str, function: Any, target: tvm.target.Target) -> Lowered:
    first, end = (tirx.Var(name, "int32") for name in ("first", "end"))
    top, imported = _statements(function.body), None
    if isinstance(top[-1], tirx.AttrStmt) and top[-1].attr_key == _IMPORT:
        imported = top.pop()
        top += _statements(imported.body)
    pointers, declared = [], []
    for buffer in function.params:
        pointers.append(tirx.Var(f"{buffer.name}_data", buffer_data_pointer_type(buffer)))
        declared.append(tirx.DeclBuffer(buffer, data=pointers[-1]))
    work: list[int] = []
    for index, statement in enumerate(top):
        if isinstance(statement, tirx.AllocBuffer) and _size(statement.buffer) > _STACK_BYTES:
            work.append(_size(statement.buffer))
            pointer = tirx.Var(f"work_{index}", buffer_data_pointer_type(statement.buffer))
            pointers.append(pointer)
            top[index] = tirx.DeclBuffer(statement.buffer, data=pointer)
    *before, last = top
    parts = 1
    if not work and _is_shared(before, last):
        parts = int(last.extent)
        top = [*before, _part(last, first, end)]
    body = tirx.SeqStmt([*declared, *map(_serial, top)])
    _check_stack(symbol, body)
    if imported is not None:
        body = tirx.AttrStmt(imported.node, _IMPORT, imported.value, body)
    attributes = {
        "global_symbol": symbol,
        "target": target,
        "calling_conv": 0,
        "tirx.noalias": True,
    }
    made = tirx.PrimFunc([*pointers, first, end], body).with_attrs(attributes)
    return Lowered(made, parts, tuple(work))


def _statements(body: Any) -> list[Any]:
    return list(body.seq) if isinstance(body, tirx.SeqStmt) else [body]


def _is_shared(before: list[Any], last: Any) -> bool:
    """Whether all of a kernel's work is one loop of steps that do not depend on each other."""
    return (
        isinstance(last, tirx.For)
        and int(last.kind) == int(tirx.ForKind.PARALLEL)
        and int(last.min) == 0
        and all(isinstance(statement, tirx.DeclBuffer) for statement in before)
    )


def _part(loop: Any, first: Any, end: Any) -> Any:
    return tirx.For(loop.loop_var, first, end - first, tirx.ForKind.SERIAL, loop.body)


def _serial(statement: Any) -> Any:
    """A statement whose loops that may run at once run in turn: TVM would start threads there."""
    if isinstance(statement, tirx.SeqStmt):
        return tirx.SeqStmt([_serial(one) for one in statement.seq])
    if isinstance(statement, tirx.For):
        together = int(statement.kind) == int(tirx.ForKind.PARALLEL)
        kind = tirx.ForKind.SERIAL if together else statement.kind
        body = _serial(statement.body)
        return tirx.For(statement.loop_var, statement.min, statement.extent, kind, body)
    if isinstance(statement, tirx.IfThenElse):
        other = statement.else_case
        return tirx.IfThenElse(
            statement.condition,
            _serial(statement.then_case),
            None if other is None else _serial(other),
        )
    return statement


def _size(buffer: Any) -> int:
    lanes = int(getattr(buffer.dtype, "lanes", 1))
    scalar = np.dtype(str(buffer.dtype).split("x")[0].replace("bfloat16", "uint16"))
    return int(np.prod([int(n) for n in buffer.shape])) * scalar.itemsize * lanes


def _check_stack(symbol: str, body: Any) -> None:
    sizes: list[int] = []

    def visit(node: Any) -> None:
        if isinstance(node, tirx.AllocBuffer) and _size(node.buffer) > _REGISTER_BYTES:
            sizes.append(_size(node.buffer))

    _visit(body, visit)
    if sum(sizes) > _STACK_TOTAL_BYTES:
        raise ExportError(
            f"the kernel {symbol} needs {sum(sizes):,} bytes of the stack; at most "
            f"{_STACK_TOTAL_BYTES:,} are there. Tune it anew, or leave its tuning record out"
        )


def _visit(statement: Any, visit: Callable[[Any], None]) -> None:
    """Every statement of a body."""
    waiting = [statement]
    while waiting:
        one = waiting.pop()
        visit(one)
        if isinstance(one, tirx.SeqStmt):
            waiting += list(one.seq)
        waiting += [
            inner
            for name in ("body", "then_case", "else_case")
            if isinstance(inner := getattr(one, name, None), tirx.Stmt)
        ]


def object_file(kernels: Mapping[str, Lowered], target: tvm.target.Target) -> bytes:
    """The object file of kernels.

    Args:
        kernels: By their symbols.
        target: That they were lowered for.

    Raises:
        ExportError: If ziglang, whose linker cleans the file, is missing or fails, or a kernel
            needs TVM's runtime.
    """
    module = tvm.IRModule({name: kernel.function for name, kernel in kernels.items()})
    compiled = tir_to_runtime(tirx.transform.LowerIntrin()(module), {}, target)
    with temporary_folder() as folder:
        raw, script, made = (folder / name for name in ("raw.o", "discard.ld", "kernels.o"))
        compiled.write_to_file(str(raw))
        script.write_text(_DISCARDED)
        _link(raw, script, made)
        content = made.read_bytes()
    if found := _RUNTIME.search(content):
        raise ExportError(
            f"a kernel calls {found[0].decode()}, of TVM's runtime, which a C library is without. "
            "Leave the tuning records out"
        )
    return content


def _link(raw: Path, script: Path, made: Path) -> None:
    command = [sys.executable, "-P", "-m", "ziglang", "ld.lld", "-r", "-T", str(script)]
    done = subprocess.run(
        [*command, "-o", str(made), str(raw)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0 or not made.is_file():
        raise ExportError(
            "the kernels' object file cannot be made by ziglang: "
            f"{done.stderr.strip()[-300:] or done.returncode}. Install it: "
            "python -m pip install ziglang"
        )
