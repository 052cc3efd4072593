"""What depends on constants alone, computed once.

TVM's pass by itself compiles for every single weight the function that puts it into another order,
though most are equal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tvm
import tvm_ffi
from tvm.relax import transform

_BUILD = "tirx.build"
"""TVM's name of the function by which the pass compiles."""

_MOST = 1000
"""Functions that are kept; of one search space there are tens."""

_Built = list[tuple[tvm.ir.IRModule, str, Any]]

_BUILT: dict[int, _Built] = {}


def fold_constants(module: tvm.ir.IRModule) -> tvm.ir.IRModule:
    """A module without what can be computed now; equal functions are compiled once a process.

    For one thread at a time: TVM is told by a global name what compiles.

    Args:
        module: Of Relax, with calls of kernels.
    """
    own = tvm.get_global_func(_BUILD)
    tvm.register_global_func(_BUILD, _once(own), override=True)
    try:
        return transform.FoldConstant()(module)
    finally:
        tvm.register_global_func(_BUILD, own, override=True)


def _once(build: Callable[..., Any]) -> Callable[..., Any]:
    def built(module: tvm.ir.IRModule, target: tvm.target.Target) -> Any:
        if len(_BUILT) >= _MOST:
            _BUILT.clear()
        alike = _BUILT.setdefault(int(tvm_ffi.structural_hash(module)), [])
        for known, known_target, code in alike:
            if known_target == str(target) and tvm_ffi.structural_equal(known, module):
                return code
        alike.append((module, str(target), build(module, target)))
        return alike[-1][2]

    return built
