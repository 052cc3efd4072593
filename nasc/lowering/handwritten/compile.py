"""From a module of handwritten kernels to code.

TVM's own pipelines look for schedules to apply, and their simplifier and search for common parts
grow with the power of the depth of straight-line code. What is left here only lowers; LLVM does
the rest.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import tirx
from tvm.tirx.compilation_pipeline import (
    finalize_device_passes,
    finalize_host_passes,
    register_tir_pipeline,
)

from nasc.lowering.tvm_objects import CompiledNetwork, compile_network

PIPELINE = "nasc_handwritten"
"""Name of the pipeline, by which TVM finds it."""


def _lower(module: tvm.ir.IRModule, _context: Any) -> tvm.ir.IRModule:
    passes = [
        tirx.transform.FlattenBuffer(),
        tirx.transform.NarrowDataType(32),
        tirx.transform.AnnotateEntryFunc(),
        tirx.transform.SplitHostDevice(),
        tirx.transform.MakePackedAPI(),
    ]
    return tvm.transform.Sequential(passes)(module)


def _pipeline() -> tuple[Any, Any, Any]:
    lower = tvm.transform.module_pass(_lower, opt_level=0, name=PIPELINE)
    return lower, finalize_host_passes, finalize_device_passes


register_tir_pipeline(PIPELINE, _pipeline)


def compile_handwritten(module: tvm.ir.IRModule, target: tvm.target.Target) -> CompiledNetwork:
    """The code of a module of `nasc.lowering.handwritten.module.handwritten_module`.

    Args:
        module: Kernels and the function that calls them.
        target: A processor with AVX512-VNNI, and with AVX512-BF16 where the module was made for it.
    """
    return compile_network(module, target, PIPELINE)
