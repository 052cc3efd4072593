"""What runs a model: one module per runtime, used inside the worker process only.

A runtime module offers `version() -> str` and `open_session(path, options) -> RuntimeSession`.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path
from typing import Any, Protocol

from profilers.errors import RuntimeMissing
from profilers.jobs import RuntimeOptions

NAMES = ("onnxruntime",)

_PROJECTS = {"onnxruntime": ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino")}
"""What a runtime is called where packages are installed from, by the name it is imported by."""


class RuntimeSession(Protocol):
    """A model that is loaded and can be run."""

    def describe_inputs(self) -> dict[str, tuple[str, list[int | str | None]]]:
        """Returns each input's numpy type name and axes (a number, a symbol, or None)."""

    def describe_outputs(self) -> dict[str, tuple[str, list[int | str | None]]]:
        """Returns each output's numpy type name and axes (a number, a symbol, or None)."""

    def metadata(self) -> dict[str, str]:
        """Returns what the model's maker wrote into it."""

    def run(self, feeds: dict[str, Any]) -> None:
        """Runs the model once; its outputs are computed completely and dropped."""

    def outputs(self, feeds: dict[str, Any]) -> list[Any]:
        """Runs the model once and returns its outputs, in their order."""


class Runtime(Protocol):
    """A runtime module."""

    def version(self) -> str:
        """Returns the runtime's version."""

    def open_session(self, path: Path, options: RuntimeOptions) -> RuntimeSession:
        """Loads a model file. Any exception it raises means that the model was rejected."""


def get_runtime(name: str) -> Runtime:
    """Imports a runtime.

    Raises:
        RuntimeMissing: an unknown name, or its package is not installed.
    """
    if name not in NAMES:
        raise RuntimeMissing(f"unknown runtime {name!r}; available: {', '.join(NAMES)}.")
    try:
        from profilers.runtimes import onnxruntime as runtime
    except ImportError as error:
        raise RuntimeMissing(
            f"the runtime {name!r} cannot be imported: {error}. Install it: "
            f"python -m pip install {name}"
        ) from error
    return runtime


def installed(name: str) -> tuple[bool, str | None]:
    """Looks for a runtime on this machine without importing it.

    Returns:
        Whether it is one of `NAMES` that can be imported, and its version where that is told.
    """
    if name not in NAMES or importlib.util.find_spec(name) is None:
        return False, None
    for project in _PROJECTS.get(name, (name,)):
        try:
            return True, importlib.metadata.version(project)
        except importlib.metadata.PackageNotFoundError:
            continue
    return True, None
