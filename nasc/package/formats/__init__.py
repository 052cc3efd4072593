"""How a network is shipped: one module a format, chosen by the runtime that opens its files.

A package is of the format whose runtime its manifest's conditions name.
"""

from __future__ import annotations

import importlib
from typing import cast

from nasc.errors import PackageError
from nasc.package.formats.base import ModelFile, PackageFormat

__all__ = [
    "BESIDE",
    "ITSELF",
    "SHIPPED",
    "ModelFile",
    "PackageFormat",
    "code_refused",
    "format_of",
    "opened_by",
]

_MODULES = {
    "onnxruntime": "onnx_folder",
    "openvino": "openvino_folder",
    "tvm": "tvm_folder",
    "torch": "torch_folder",
    "c": "c_package",
    "web": "web_folder",
    "android": "android_folder",
    "ios": "ios_folder",
}
"""By name of a runtime; `c` needs none, `web` is of browsers, `android` and `ios` of phones."""

_OPENED_BY = {"web": "onnxruntime", "android": "onnxruntime", "ios": "onnxruntime"}

BESIDE = {"c": "tvm", **_OPENED_BY}
"""Formats of folders that are written beside the package of a runtime, of the network that was
chosen and measured for that one. Their own latency is not measured."""

ITSELF = {"onnx": "onnxruntime"}
"""Formats that are the package of a runtime itself: to ask for one asks for nothing beside it."""

SHIPPED = tuple(name for name in _MODULES if name not in BESIDE)
"""Names of the runtimes that there are packages for."""


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
