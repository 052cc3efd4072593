"""From a module of scheduled kernels to a shared library, each kernel compiled once in a process.

The networks of a search space are made of a few dozen kernels, and LLVM takes nine tenths of the
time that a network does. TVM compiles a module as a whole; here each kernel is an object file of
its own, which networks share. What comes out does not depend on what was compiled before.
"""

from __future__ import annotations

import functools
import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tvm
import tvm_ffi
from tvm import relax
from tvm.relax import vm_build

from device_profiles.temporary import temporary_folder
from nasc.errors import ExportError
from nasc.utils.processes import usable_cores

KEPT = 2048
"""Object files in memory, of 15 to 80 kB each."""

MOST_THREADS = 8
"""That compile at once: LLVM runs without Python's lock."""


_NOTHING = "nasc_nothing"


@dataclass(frozen=True, slots=True)
class CompiledNetwork:
    """Code of a network's functions.

    Attributes:
        objects: Of its kernels, as object files.
    """

    objects: Sequence[bytes]
    _executable: Any

    def export(self, path: Path) -> None:
        """Write the shared library.

        Raises:
            ExportError: If it cannot be linked.
            OSError: If it cannot be written.
        """
        with temporary_folder() as folder:
            files = []
            for index, content in enumerate(self.objects):
                files.append(str(folder / f"kernel{index}.o"))
                Path(files[-1]).write_bytes(content)
            self._executable.export_library(
                str(path), fcompile=_link, addons=files, workspace_dir=str(folder)
            )


def compile_network(
    module: tvm.ir.IRModule, target: tvm.target.Target, pipeline: str | None = None
) -> CompiledNetwork:
    """Compile a module, as `tvm.compile` does.

    Args:
        module: Kernels, and the functions that call them.
        target: What it is for.
        pipeline: Of TVM's IR, by its name; None is TVM's own.

    Raises:
        RuntimeError, ValueError, TypeError: If TVM cannot compile it.
    """
    with target:
        module = relax.get_pipeline("default")(module)
    builder = relax.ExecBuilder()
    left = vm_build._vmcodegen(builder, module)
    kernels = [
        (variable.name_hint, tvm_ffi.StructuralKey(function))  # type: ignore[call-arg]
        for variable, function in left.functions_items()
        if isinstance(function, tvm.tirx.PrimFunc)
    ]
    text = tvm.ir.save_json(target)
    with ThreadPoolExecutor(min(usable_cores(), MOST_THREADS)) as pool:
        objects = list(pool.map(lambda one: _object(*one, text, pipeline), _by_name(kernels)))
    # A library without any of TVM's own modules in it would hold no functions for it.
    executable = vm_build._vmlink(builder, target, _nothing(), pipeline)
    return CompiledNetwork(objects, executable)


def _by_name(kernels: Sequence[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """In an order that is always the same, which is that of the code in the library."""
    return sorted(kernels, key=lambda one: one[0])


@functools.lru_cache(KEPT)
def _object(name: str, function: Any, target: str, pipeline: str | None) -> bytes:
    """The object file of a kernel.

    Without its checks of what it is given: TVM's virtual machine has made them, and their messages
    hold names of variables, which count on from what a network has before.
    """
    named = function.key.with_attr("global_symbol", name)
    with tvm.transform.PassContext(config={"tirx.disable_assert": True}):
        built = tvm.tirx.build(
            tvm.IRModule({name: named}), target=tvm.ir.load_json(target), pipeline=pipeline
        )
    with temporary_folder() as folder:
        path = folder / "kernel.o"
        built.write_to_file(str(path))
        return path.read_bytes()


def _nothing() -> tvm.ir.IRModule:
    """A kernel that does nothing."""
    nothing = tvm.tirx.PrimFunc([], tvm.tirx.Evaluate(0)).with_attr("global_symbol", _NOTHING)
    return tvm.IRModule({_NOTHING: nothing})


def _link(output: str, objects: list[str], **_: Any) -> None:
    """Make a shared library of compiled code: by ziglang, or where that is absent the C compiler.

    LLVM's notes for debuggers, half of what the code holds, are left out.

    Raises:
        ExportError: If neither is there, or it fails.
    """
    if importlib.util.find_spec("ziglang") is not None:
        command = [sys.executable, "-P", "-m", "ziglang", "ld.lld", "-shared"]
        command += ["--build-id=none", "--strip-debug"]
    elif (compiler := shutil.which("cc")) is not None:
        # No code of the compiler's own, which would run when the library is opened.
        flags = ["-nostdlib", "-Wl,--build-id=none,--strip-debug", "-Wl,--hash-style=both"]
        command = [compiler, "-shared", "-fPIC", *flags]
    else:
        raise ExportError(
            "tvm's code cannot be linked: neither ziglang nor a C compiler (cc) is installed. "
            "Install one: python -m pip install ziglang"
        )
    made = subprocess.run(
        [*command, "-o", output, *objects], capture_output=True, text=True, check=False
    )
    if made.returncode != 0:
        raise ExportError(f"tvm's code cannot be linked: {made.stderr.strip() or made.returncode}")
