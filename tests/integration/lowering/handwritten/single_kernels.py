"""Single kernels of int8 by TVM, run here or on an emulated arm64."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tvm
import tvm_ffi

from nasc.lowering.handwritten.compile import PIPELINE
from nasc.lowering.handwritten.kernels import Kernel
from nasc.lowering.tvm_module import target_of

ARM64 = ("asimd", "asimddp", "fp")
"""Flags of the emulated processor that kernels are for."""

QEMU = shutil.which("qemu-aarch64-static")
_RUNNER = Path(__file__).with_name("kernel_runner.c")
_CODES = {"i": 0, "u": 1, "f": 2}


def buffers(kernel: Kernel, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """What a kernel takes: its inputs, flat, and then its outputs."""
    made = [np.zeros(size, dtype) for size, dtype in kernel.outputs]
    return [np.ascontiguousarray(x).reshape(-1) for x in inputs.values()] + made


def build_kernel(kernel: Kernel, target: tvm.target.Target) -> Any:
    """The module of one kernel alone, as function ``f``, which takes its buffers."""
    named = kernel.function.with_attr("global_symbol", "f")
    return tvm.tirx.build(tvm.IRModule({"f": named}), target=target, pipeline=PIPELINE)


def run_here(kernel: Kernel, inputs: Mapping[str, np.ndarray], target: Any) -> Sequence[np.ndarray]:
    """Outputs of a kernel on this processor."""
    built = build_kernel(kernel, target)
    tensors = [tvm.runtime.tensor(x) for x in buffers(kernel, inputs)]
    built["f"](*tensors)
    return [x.numpy() for x in tensors[len(inputs) :]]


def run_on_arm64(
    kernel: Kernel, inputs: Mapping[str, np.ndarray], folder: Path
) -> Sequence[np.ndarray]:
    """Outputs of a kernel on an emulated arm64 with dot products."""
    built = build_kernel(kernel, target_of(ARM64, "aarch64", precision="int8"))
    code, program = folder / "kernel.o", folder / "kernel"
    built.write_to_file(str(code), "o")
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-none"]
    command += ["-O1", "-ffreestanding", "-fno-stack-protector", "-nostdlib", "-static"]
    command += [f"-I{tvm_ffi.libinfo.find_include_path()}", "-o", str(program)]
    subprocess.run([*command, str(_RUNNER), str(code)], check=True)
    arrays = buffers(kernel, inputs)
    given = b"".join(
        np.array([_CODES[x.dtype.kind], 8 * x.itemsize, 1, x.size], np.int32).tobytes()
        + x.tobytes()
        for x in arrays
    )
    done = subprocess.run([str(QEMU), str(program)], input=given, capture_output=True, check=True)
    found, at = [], 0
    for x in arrays:
        found.append(np.frombuffer(done.stdout, x.dtype, x.size, at))
        at += x.nbytes
    assert at == len(done.stdout)
    return found[len(inputs) :]
