"""How a network is shipped: one module a format, chosen by the runtime that opens its files.

A package is of the format whose runtime its manifest's conditions name.
"""

from __future__ import annotations

import importlib
from typing import cast

from nasc.errors import PackageError
from nasc.package.formats.base import CFormat, ModelFile, PackageFormat

__all__ = [
    "FORMATS",
    "SHIPPED",
    "CFormat",
    "ModelFile",
    "PackageFormat",
    "code_refused",
    "format_of",
    "is_package",
    "opened_by",
    "runtime_of",
]

_OF_RUNTIMES = {
    "onnxruntime": "onnx_folder",
    "openvino": "openvino_folder",
    "tvm": "tvm_folder",
    "torch": "torch_folder",
    "onnxruntime-web": "web_folder",
}
"""By name of a runtime that measures, the module of its packages."""

_BESIDE = {
    "web": "web_folder",
    "android": "android_folder",
    "android-ort": "android_ort_folder",
    "aar": "aar_folder",
    "ios": "ios_folder",
    "c": "c_package",
    "android-c": "android_c_folder",
}
"""By name of a format that states no latency, its module: its folders lie beside a package."""

_OTHER_NAMES = {"onnx": "onnxruntime"}
"""By name of a format that is the package for a runtime, that runtime."""

FORMATS = (*_OTHER_NAMES, *_BESIDE)
"""What `nasc compile --format` takes."""

SHIPPED = tuple(_OF_RUNTIMES)
"""Names of the runtimes that there are packages for: those that measure."""


def runtime_of(name: str) -> str:
    """What the manifest of a format's folder names as its runtime.

    Args:
        name: Out of `FORMATS`.
    """
    return _OTHER_NAMES.get(name, name)


def is_package(name: str, runtime: str) -> bool:
    """Whether a format is what a package for a runtime is, so that it goes into no other folder.

    Args:
        name: Out of `FORMATS`.
        runtime: Out of `SHIPPED`.
    """
    return format_of(runtime) is format_of(runtime_of(name))


def format_of(runtime: str) -> PackageFormat:
    """The format of packages for a runtime.

    Args:
        runtime: As manifests name it: see `runtime_of`.

    Raises:
        PackageError: If there are none for it.
    """
    modules = _OF_RUNTIMES | _BESIDE
    if runtime not in modules:
        raise PackageError(
            f"there are no packages for the runtime {runtime!r}; known: {', '.join(modules)}"
        )
    return cast(PackageFormat, importlib.import_module(f"{__name__}.{modules[runtime]}"))


def opened_by(runtime: str) -> str:
    """The runtime of `profilers` that opens here the model of a package for a runtime."""
    return format_of(runtime).OPENED_BY or runtime


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
