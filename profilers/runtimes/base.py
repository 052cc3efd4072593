"""What a runtime offers: loading a model file, and running it. Used in the worker process only."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from profilers.jobs import RuntimeOptions


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
    """A module of this folder, as the worker process uses it."""

    def version(self) -> str:
        """Returns the version of the installed runtime."""

    def open_session(self, path: Path, options: RuntimeOptions) -> RuntimeSession:
        """Loads a model file. Any exception it raises means that the model was rejected."""

    def is_out_of_memory(self, error: Exception) -> bool:
        """Returns whether an exception of this runtime says that memory was not given."""
