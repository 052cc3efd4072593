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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, cast

from device_profiles import CPU, DeviceProfile
from profilers.errors import RuntimeMissing
from profilers.runtimes.base import Runtime

if TYPE_CHECKING:
    from profilers.runtimes import onnxruntime, openvino, torch, tvm

    _TYPED: tuple[Runtime, ...] = (onnxruntime, openvino, torch, tvm)

_DISTRIBUTIONS = {
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino"),
    "openvino": ("openvino", "openvino-nightly"),
    "tvm": ("apache-tvm",),
    "torch": ("torch",),
}
"""Runtimes by name, with what the package is called where it can be installed from."""

_HELD = {"tvm": "'apache-tvm==0.27.0.post1' 'apache-tvm-ffi==0.1.14.post0'"}
"""What is given to pip where not the newest releases are needed, but those that work together."""

_READ_WITH = {"tvm": ("jsonschema", "onnx"), "torch": ("jsonschema", "onnx")}
"""Packages that their modules open files with, besides numpy: nasc has them, the Python of another
machine may not."""

NAMES = tuple(_DISTRIBUTIONS)
"""Names of the runtimes that models can be run by."""

ONNXRUNTIME_WEB = "onnxruntime-web"
"""Name of the only runtime of browsers, and of no other device."""

_ON = {CPU: NAMES, "cuda": ("torch", "onnxruntime")}
"""By accelerator, those that compute there."""

_ONLY_OPENED_BY = {".xml": "openvino", ".so": "tvm", ".pt2": "torch"}
"""Endings of files that no other runtime opens; ONNX files are every runtime's."""

_CODE = (".so", ".pt2")
"""Endings of files that are code for a processor."""


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
    if name not in _DISTRIBUTIONS:
        raise RuntimeMissing(f"unknown runtime {name!r}; available: {', '.join(_DISTRIBUTIONS)}.")
    try:
        with nullcontext() if name == "torch" else without_torch():
            found = cast(Runtime, importlib.import_module(f"{__name__}.{name}"))
    except ImportError as error:
        raise RuntimeMissing(
            f"the runtime {name!r} cannot be imported: {error}. Install it: "
            f"python -m pip install {_HELD.get(name, _DISTRIBUTIONS[name][0])}"
        ) from error
    lacking = [one for one in _READ_WITH.get(name, ()) if importlib.util.find_spec(one) is None]
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
    return " ".join(("numpy", _HELD.get(name, _DISTRIBUTIONS[name][0]), *_READ_WITH.get(name, ())))


def computing_on(accelerator: str) -> tuple[str, ...]:
    """Names of the runtimes that compute on an accelerator, out of `NAMES`.

    Args:
        accelerator: One of `device_profiles.ACCELERATORS`.
    """
    return _ON[accelerator]


def runtimes_on(device: DeviceProfile) -> tuple[str, ...]:
    """Names of the runtimes that may be driven on a device, installed there or not.

    Args:
        device: The device.
    """
    if device.connection.kind == "browser":
        return (ONNXRUNTIME_WEB,)
    return computing_on(device.accelerator.kind)


def runtime_for(paths: Sequence[Path], default: str) -> str:
    """The runtime that opens files, by how their names end.

    Args:
        paths: The files.
        default: What opens them where the names do not say.

    Returns:
        The only one that opens the first file whose name says so.
    """
    named = (_ONLY_OPENED_BY.get(path.suffix.lower()) for path in paths)
    return next((name for name in named if name is not None), default)


def is_code(path: Path) -> bool:
    """Whether to open a model file is to run code that is in it, by how its name ends."""
    return path.suffix.lower() in _CODE


def installed(name: str) -> tuple[bool, str | None]:
    """Looks for a runtime on this machine without importing it.

    Args:
        name: That of a device profile, known or not.

    Returns:
        Whether it is one of `NAMES` that can be imported, and its version where that is told.
    """
    if name not in _DISTRIBUTIONS or importlib.util.find_spec(name) is None:
        return False, None
    for distribution in _DISTRIBUTIONS[name]:
        try:
            return True, importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return True, None
