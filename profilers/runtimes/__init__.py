"""What runs a model: one module per runtime, used inside the worker process only.

A runtime has one name: that of its module here, of the package that the module imports, and of
`RuntimeOptions.runtime`. The module is a `profilers.runtimes.base.Runtime`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from typing import TYPE_CHECKING, cast

from profilers.errors import RuntimeMissing
from profilers.runtimes.base import Runtime

if TYPE_CHECKING:
    from profilers.runtimes import onnxruntime

    _TYPED: tuple[Runtime, ...] = (onnxruntime,)

_DISTRIBUTIONS = {"onnxruntime": ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino")}
"""Runtimes by name, with what the package is called where it can be installed from."""

NAMES = tuple(_DISTRIBUTIONS)
"""Names of the runtimes that models can be run by."""


def get_runtime(name: str) -> Runtime:
    """Imports a runtime.

    Args:
        name: One of `NAMES`.

    Raises:
        RuntimeMissing: An unknown name, or its package is not installed.
    """
    if name not in _DISTRIBUTIONS:
        raise RuntimeMissing(f"unknown runtime {name!r}; available: {', '.join(_DISTRIBUTIONS)}.")
    try:
        return cast(Runtime, importlib.import_module(f"{__name__}.{name}"))
    except ImportError as error:
        raise RuntimeMissing(
            f"the runtime {name!r} cannot be imported: {error}. Install it: "
            f"python -m pip install {_DISTRIBUTIONS[name][0]}"
        ) from error


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
