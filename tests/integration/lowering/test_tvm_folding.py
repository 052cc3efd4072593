"""Constants of a module, folded as TVM does it, by functions that are compiled once."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("tvm", reason="needs apache-tvm (extra 'tvm')")

import tvm
import tvm_ffi
from tvm import relax
from tvm.relax import transform

from nasc.lowering import tvm_folding

pytestmark = pytest.mark.tvm


def test_it_is_as_tvm_does_it_and_equal_functions_are_compiled_once(monkeypatch) -> None:
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((2, 3), "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            y = x
            for n in range(3):
                weight = relax.const(np.arange(6, dtype="float32").reshape(3, 2) * n, "float32")
                y = builder.emit(relax.op.add(y, builder.emit(relax.op.permute_dims(weight))))
            out = builder.emit_output(y)
        builder.emit_func_output(out)
    module = transform.LegalizeOps()(builder.finalize())
    monkeypatch.setattr(tvm_folding, "_BUILT", {})
    before = tvm.get_global_func("tirx.build")
    found = tvm_folding.fold_constants(module)
    assert tvm_ffi.structural_equal(found, transform.FoldConstant()(module))
    assert not tvm_ffi.structural_equal(found, module)
    assert sum(map(len, tvm_folding._BUILT.values())) == 1
    assert tvm.get_global_func("tirx.build").same_as(before)
