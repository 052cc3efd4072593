"""How a network is shipped: one module a format, chosen by the runtime that opens its files.

A package is of the format whose runtime its manifest's conditions name.
"""

from __future__ import annotations

import importlib
from typing import cast

from nasc.errors import PackageError
from nasc.package.formats.base import ModelFile, PackageFormat

__all__ = [
    "LOWERED_FOR",
    "SHIPPED",
    "ModelFile",
    "PackageFormat",
    "code_refused",
    "format_of",
    "is_package",
    "opened_by",
    "runtime_of",
]

_MODULES = {
    "onnxruntime": "onnx_folder",
    "openvino": "openvino_folder",
    "tvm": "tvm_folder",
    "torch": "torch_folder",
    "c": "c_package",
    "web": "web_folder",
    "onnxruntime-web": "web_folder",
    "android": "android_folder",
    "android-c": "android_c_folder",
    "aar": "aar_folder",
    "ios": "ios_folder",
}
"""By name of a runtime; `c` needs none, `web` is of browsers where nothing was measured, others of
phones."""

_OF_APPS = dict.fromkeys(("web", "android", "aar", "ios"), "onnxruntime")

_OPENED_BY = {**_OF_APPS, "onnxruntime-web": "onnxruntime"}

LOWERED_FOR = {"onnx": "onnxruntime", **_OF_APPS, "c": "tvm", "android-c": "tvm"}
"""By name of what `nasc compile --format` takes, the runtime whose lowering makes its model."""

SHIPPED = tuple(name for name in _MODULES if name not in LOWERED_FOR)
"""Names of the runtimes that there are packages for: those that measure."""


def runtime_of(name: str) -> str:
    """What the manifest of a format's folder names as its runtime.

    Args:
        name: Out of `LOWERED_FOR`.
    """
    return name if name in _MODULES else LOWERED_FOR[name]


def is_package(name: str, runtime: str) -> bool:
    """Whether a format is what a package for a runtime is, so that it goes into no other folder.

    Args:
        name: Out of `LOWERED_FOR`.
        runtime: Out of `SHIPPED`.
    """
    return _MODULES.get(runtime) == _MODULES[runtime_of(name)]


def format_of(runtime: str) -> PackageFormat:
    """The format of packages for a runtime.

    Args:
        runtime: Its name, as in `profilers.RuntimeOptions`.

    Raises:
        PackageError: If there are none for it.
    """
    if runtime not in _MODULES:
        raise PackageError(
            f"there are no packages for the runtime {runtime!r}; known: {', '.join(_MODULES)}"
        )
    return cast(PackageFormat, importlib.import_module(f"{__name__}.{_MODULES[runtime]}"))


def opened_by(runtime: str) -> str:
    """The runtime of `profilers` that opens here the model of a package for a runtime."""
    return _OPENED_BY.get(runtime, runtime)


def code_refused(runtime: str, run_code: bool) -> str:
    """Why a package's model is not opened; empty if it may be.

    Args:
        runtime: That it is for, one of `SHIPPED`.
        run_code: Whether the user has said that the code of a package may run.
    """
    if run_code or not format_of(runtime).CODE:
        return ""
    return (
        f"{format_of(runtime).CODE} is code, and to open it is to run it with all that you may do "
        "here: if you trust who made the package, give --run-code"
    )
