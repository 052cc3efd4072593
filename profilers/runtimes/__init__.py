"""What runs a model: one module per runtime, used inside the worker process only.

A runtime has one name: that of its module here, of the package that the module imports, and of
`RuntimeOptions.runtime`. The module is a `profilers.runtimes.base.Runtime`. `ONNXRUNTIME_WEB` has
none: a page drives it (`profilers.browser`).
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from device_profiles import CPU
from profilers.errors import RuntimeMissing
from profilers.runtimes.base import Runtime

if TYPE_CHECKING:
    from profilers.runtimes import onnxruntime, openvino, torch, tvm

    _TYPED: tuple[Runtime, ...] = (onnxruntime, openvino, torch, tvm)


@dataclass(frozen=True, slots=True)
class RuntimeEntry:
    """A runtime that models can be run by.

    Attributes:
        distributions: What its package is called where it can be installed from.
        pip: What is given to pip where not the newest release is needed, but those that work
            together.
        computes_on: Accelerators, the one first that it is the first choice for.
        counts_kernels: Whether it tells what its kernels take: its module is a `CountingRuntime`.
        described: Module of this folder, light to import, whose `precisions` is the runtime's own;
            None where that is asked.
        needs_torch: Whether its import needs that of torch.
        read_with: Packages that its module opens files with, besides numpy: nasc has them, the
            Python of another machine may not.
    """

    distributions: tuple[str, ...]
    pip: str = ""
    computes_on: tuple[str, ...] = (CPU,)
    counts_kernels: bool = False
    described: str | None = None
    needs_torch: bool = False
    read_with: tuple[str, ...] = ()

    @property
    def package(self) -> str:
        """What is given to pip to install it."""
        return self.pip or self.distributions[0]


RUNTIMES = {
    "onnxruntime": RuntimeEntry(
        ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino"),
        computes_on=(CPU, "cuda"),
        counts_kernels=True,
    ),
    "openvino": RuntimeEntry(("openvino", "openvino-nightly"), counts_kernels=True),
    "tvm": RuntimeEntry(
        ("apache-tvm",),
        pip="'apache-tvm==0.27.0.post1' 'apache-tvm-ffi==0.1.14.post0'",
        counts_kernels=True,
        read_with=("jsonschema", "onnx"),
    ),
    "torch": RuntimeEntry(
        ("torch",),
        computes_on=("cuda", CPU),
        described="torch_description",
        needs_torch=True,
        read_with=("jsonschema", "onnx"),
    ),
}
"""By name."""

NAMES = tuple(RUNTIMES)
"""Names of the runtimes that models can be run by."""

ONNXRUNTIME_WEB = "onnxruntime-web"
"""Name of the only runtime of browsers, and of no other device."""


@contextmanager
def without_torch() -> Iterator[None]:
    """What is imported within finds no torch, where that is not imported yet.

    TVM imports it, for torch's tensors, wherever it is installed: three quarters of the time that
    its import takes, and half of the memory, in processes that know arrays of numpy alone. Beside
    other threads, which may import torch meanwhile, it is found as ever.
    """
    if "torch" in sys.modules or threading.active_count() > 1:
        yield
        return
    sys.modules["torch"] = None  # type: ignore[assignment]  # documented: it is not found
    try:
        yield
    finally:
        del sys.modules["torch"]


def get_runtime(name: str) -> Runtime:
    """Imports a runtime.

    Args:
        name: One of `NAMES`.

    Raises:
        RuntimeMissing: An unknown name, or its package is not installed, or one that its files are
            opened with.
    """
    if name == ONNXRUNTIME_WEB:
        raise RuntimeMissing(
            f"the runtime {name!r} runs in browsers alone. Take one: --device chromium"
        )
    if name not in RUNTIMES:
        raise RuntimeMissing(f"unknown runtime {name!r}; available: {', '.join(RUNTIMES)}.")
    try:
        with nullcontext() if RUNTIMES[name].needs_torch else without_torch():
            found = cast(Runtime, importlib.import_module(f"{__name__}.{name}"))
    except ImportError as error:
        raise RuntimeMissing(
            f"the runtime {name!r} cannot be imported: {error}. Install it: "
            f"python -m pip install {RUNTIMES[name].package}"
        ) from error
    read_with = RUNTIMES[name].read_with
    lacking = [one for one in read_with if importlib.util.find_spec(one) is None]
    if lacking:
        raise RuntimeMissing(
            f"the runtime {name!r} opens no files without {' and '.join(lacking)}. Install what is "
            f"missing: python -m pip install {' '.join(lacking)}"
        )
    return found


def pip_arguments(name: str) -> str:
    """What pip is given where nothing of nasc is installed, so that a runtime opens files there.

    Args:
        name: One of `NAMES`.
    """
    return " ".join(("numpy", RUNTIMES[name].package, *RUNTIMES[name].read_with))


def computing_on(accelerator: str) -> tuple[str, ...]:
    """Names of the runtimes that compute on an accelerator, out of `NAMES`.

    Args:
        accelerator: One of `device_profiles.ACCELERATORS`.

    Returns:
        Those first that it is the first choice of.
    """
    those = [name for name, entry in RUNTIMES.items() if accelerator in entry.computes_on]
    return tuple(sorted(those, key=lambda name: RUNTIMES[name].computes_on.index(accelerator)))


def told_precisions(name: str, flags: Collection[str]) -> tuple[str, ...] | None:
    """What a runtime computes in on a processor, where that is told without its import.

    Args:
        name: One of `NAMES`.
        flags: Of the processor, see `Runtime.precisions`.

    Returns:
        As `Runtime.precisions` gives it; None where the runtime has to be asked.
    """
    described = RUNTIMES[name].described
    if described is None:
        return None
    told: Callable[[Collection[str]], tuple[str, ...]]
    told = importlib.import_module(f"{__name__}.{described}").precisions
    return told(flags)


def installed(name: str) -> tuple[bool, str | None]:
    """Looks for a runtime on this machine without importing it.

    Args:
        name: That of a device profile, known or not.

    Returns:
        Whether it is one of `NAMES` that can be imported, and its version where that is told.
    """
    if name not in RUNTIMES or importlib.util.find_spec(name) is None:
        return False, None
    for distribution in RUNTIMES[name].distributions:
        try:
            return True, importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return True, None
