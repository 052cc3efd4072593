"""Kernels as functions of pointers."""

from __future__ import annotations

import ctypes
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tvm")
pytest.importorskip("ziglang")

import tvm
from tvm import s_tir, te, tirx

from nasc.errors import ExportError
from nasc.lowering.static import kernels
from nasc.lowering.tvm_module import target_of
from profilers.runtimes.tvm_schedules import schedule

CC = shutil.which("cc")

pytestmark = [
    pytest.mark.tvm,
    pytest.mark.skipif(CC is None, reason="needs a C compiler"),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="its code is for x86-64"),
]
TARGET = target_of(["avx2", "fma", "bmi1", "bmi2", "f16c", "movbe"], "x86_64")


def loaded(functions: dict[str, Any], folder: Path) -> tuple[Any, dict[str, kernels.Lowered]]:
    lowered = kernels.lower(functions, kernels.scheduled_passes(), TARGET)
    (folder / "k.o").write_bytes(kernels.object_file(lowered, TARGET))
    command = [str(CC), "-shared", "-Wl,-z,defs", "-o", folder / "k.so", folder / "k.o", "-lm"]
    subprocess.run(command, check=True)
    return ctypes.CDLL(str(folder / "k.so")), lowered


def call(function: Any, *arguments: np.ndarray | int) -> None:
    function(*(x if isinstance(x, int) else x.ctypes.data_as(ctypes.c_void_p) for x in arguments))


def buffer(*shape: int) -> np.ndarray:
    """Floats at a multiple of 64 bytes, as kernels want them."""
    size = int(np.prod(shape))
    whole = np.full(size + 16, np.nan, np.float32)
    start = -whole.ctypes.data % 64 // 4
    return whole[start : start + size].reshape(shape)


def twice() -> Any:
    x = te.placeholder((12, 16), name="x")
    y = te.compute((12, 16), lambda i, j: x[i, j] * 2.0, name="y")
    module = tvm.IRModule({"main": te.create_prim_func([x, y])})
    return schedule(module, TARGET)["main"]


def summed(size: int) -> Any:
    """A kernel that no rule schedules: with a buffer of its own, read twice."""
    x = te.placeholder((size,), name="x")
    y = te.compute((size,), lambda i: x[i] * x[i], name="y")
    k = te.reduce_axis((0, size), name="k")
    z = te.compute((1,), lambda i: te.sum(y[k], axis=k), name="z")
    w = te.compute((size,), lambda i: y[i] + z[0], name="w")
    return te.create_prim_func([x, w])


def test_parts_are_computed_and_no_others(tmp_path: Path) -> None:
    library, lowered = loaded({"twice": twice()}, tmp_path)
    parts = lowered["twice"].parts
    assert parts == 12
    x, y = buffer(12, 16), buffer(12, 16)
    x[:] = np.arange(192).reshape(12, 16)
    call(library.twice, x, y, 3, 7)
    assert np.array_equal(y[3:7], 2 * x[3:7])
    assert np.isnan(y[:3]).all()
    assert np.isnan(y[7:]).all()


@pytest.mark.parametrize(("size", "work"), [(64, ()), (5000, (20000,))])
def test_large_buffers_are_arguments(tmp_path: Path, size: int, work: tuple[int, ...]) -> None:
    library, lowered = loaded({"summed": summed(size)}, tmp_path)
    assert (lowered["summed"].parts, lowered["summed"].work_bytes) == (1, work)
    x, y = buffer(size), buffer(size)
    x[:] = 1
    call(library.summed, x, y, *(buffer(bytes_ // 4) for bytes_ in work), 0, 1)
    assert (y == size + 1).all()


def test_a_kernel_of_several_loops_starts_no_threads(tmp_path: Path) -> None:
    trial = s_tir.Schedule(summed(64))
    for name in "yw":
        outer, _ = trial.split(trial.get_loops(trial.get_sblock(name))[0], [4, 16])
        trial.parallel(outer)
    library, lowered = loaded({"summed": trial.mod["main"]}, tmp_path)
    assert lowered["summed"].parts == 1
    x, y = buffer(64), buffer(64)
    x[:] = np.arange(64)
    call(library.summed, x, y, 0, 1)
    np.testing.assert_allclose(y, x * x + (x * x).sum(), rtol=1e-6)


def test_a_kernel_that_needs_the_runtime_is_refused() -> None:
    x = te.placeholder((4,), name="x")
    y = te.compute((4,), lambda i: tirx.call_pure_extern("float32", "TVMBackendX", x[i]), name="y")
    function = te.create_prim_func([x, y])
    lowered = kernels.lower({"calls": function}, kernels.scheduled_passes(), TARGET)
    with pytest.raises(ExportError, match="a kernel calls TVMBackendX, of TVM's runtime"):
        kernels.object_file(lowered, TARGET)


def test_nothing_is_in_the_file_but_the_kernels(tmp_path: Path) -> None:
    loaded({"one": twice(), "other": twice()}, tmp_path)
    content = (tmp_path / "k.o").read_bytes()
    assert b".debug" not in content
    assert b"__extendhfsf2" not in content
    assert b"TVMFFI" not in content
    assert b"TVMBackend" not in content
    again = kernels.lower({"one": twice(), "other": twice()}, kernels.scheduled_passes(), TARGET)
    assert kernels.object_file(again, TARGET) == content


def test_a_kernel_that_takes_too_much_of_the_stack_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kernels, "_STACK_TOTAL_BYTES", 100)
    with pytest.raises(ExportError, match=r"the kernel summed needs .* bytes of the stack"):
        kernels.lower({"summed": summed(64)}, kernels.scheduled_passes(), TARGET)
