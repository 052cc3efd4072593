"""Code that several threads make is the code that one makes."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("tvm", reason="needs apache-tvm (extra 'tvm')")

import tvm
from tvm import relax
from tvm_kernels import product
from tvm_records import network, target

from nasc.lowering import get_lowering, tvm_build
from profilers.context import read_context
from profilers.runtimes.tvm_schedules import schedule
from profilers.runtimes.tvm_targets import int8_kind

pytestmark = [pytest.mark.tvm, pytest.mark.slow]

INT8 = pytest.mark.skipif(
    int8_kind(read_context()["cpu"]["flags"]) is None, reason="int8 is not made for this processor"
)


@pytest.mark.parametrize("precision", ["fp32", pytest.param("int8", marks=INT8)])
def test_the_threads_do_not_change_a_byte(
    precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    for threads in (1, 4):
        monkeypatch.setattr(tvm_build, "usable_cores", lambda n=threads: n)
        folder = tmp_path / str(threads)
        folder.mkdir()
        artifact = get_lowering("tvm").lower(network(precision), folder, lengths=(8,))
        made.append(artifact.path.read_bytes())
    assert made[0] == made[1]


@pytest.mark.parametrize("count", [1, tvm_build.PARTS - 1, 2 * tvm_build.PARTS + 1])
def test_kernels_are_dealt_out_and_all_are_there(count: int) -> None:
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((8, 8), "float32"))
    kernel = schedule(product(8).module, target())["main"].without_attr("global_symbol")
    with builder.function("main", [x]):
        with builder.dataflow():
            value = x
            for index in range(count):
                name = builder.add_func(kernel.with_attr("nasc.number", index), "kernel")
                value = builder.emit(relax.call_tir(name, [value, x], x.ty))
            result = builder.emit_output(value)
        builder.emit_func_output(result)
    made = tvm_build.build(builder.finalize(), target())
    assert len(made.mod.imports) == min(count, tvm_build.PARTS)
    machine = relax.VirtualMachine(made, tvm.cpu())
    ones = tvm.runtime.empty((8, 8), "float32").copyfrom([[0.125] * 8] * 8)
    assert machine["main"](ones).numpy() == pytest.approx(0.125)
