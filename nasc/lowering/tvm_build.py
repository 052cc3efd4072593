"""From a module of TVM to its executable, the kernels' code made by several threads.

`tvm.compile` gives all kernels to LLVM as one module, and LLVM runs on one thread. Here they are
dealt out to `PARTS` modules, always the same way: the code does not depend on the threads.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import tvm
from tvm import relax, tirx
from tvm.relax import vm_build
from tvm.tirx.build import codegen_build, split_host_device_mods

from nasc.utils.processes import usable_cores

PARTS = 8
"""Modules that kernels are dealt out to, where there are so many."""


def build(
    module: tvm.ir.IRModule,
    target: tvm.target.Target,
    pipeline: str = "default",
    threads: int | None = None,
) -> Any:
    """What `tvm.compile` gives of a module with functions of Relax, for a processor.

    Args:
        module: Kernels and the functions that call them.
        target: The processor.
        pipeline: Name of the passes that lower kernels.
        threads: That make code; None takes all cores.
    """
    with target:
        module = relax.get_pipeline("default")(module)
    constants = dict((module.attrs or {}).get("const_name_to_constant", {}))
    builder = relax.ExecBuilder()
    kernels = vm_build._filter_tir(vm_build._vmcodegen(builder, module))
    if kernels is None:
        return vm_build._vmlink(builder, target, params=constants)
    parts = _parts(_lowered(kernels, target, pipeline))
    with ThreadPoolExecutor(threads or usable_cores()) as pool:
        # TVM lets go of Python's lock while LLVM works.
        first, *others = pool.map(lambda part: codegen_build(part, target), parts)
    linked = vm_build._ffi_api.VMLink(builder, target, first, others, constants)
    return vm_build.VMExecutable(linked)


def _lowered(kernels: tvm.ir.IRModule, target: tvm.target.Target, pipeline: str) -> tvm.ir.IRModule:
    """Kernels as LLVM is given them, as `tvm.tirx.build` does it."""
    lower, finalize, _ = tirx.get_tir_pipeline(pipeline)
    host, _ = split_host_device_mods(
        lower(tirx.transform.BindTarget(target.with_host(target))(kernels))
    )
    return finalize()(host)


def _parts(kernels: tvm.ir.IRModule) -> list[tvm.ir.IRModule]:
    """Modules that together hold all kernels, in the order of their names."""
    functions = sorted(kernels.functions_items(), key=lambda item: str(item[0].name_hint))
    dealt = [functions[first::PARTS] for first in range(PARTS)]
    return [tvm.IRModule(dict(some), attrs=kernels.attrs) for some in dealt if some]
