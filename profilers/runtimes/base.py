"""What a runtime offers: loading a model file, and running it. Used in the worker process only."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from profilers.errors import InvalidSetting
from profilers.jobs import RuntimeOptions

_OF_ALL = ("runtime", "threads", "cores", "accelerator")
"""Fields of `RuntimeOptions` that mean something to every runtime."""


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


@runtime_checkable
class AcceleratedSession(Protocol):
    """A `RuntimeSession` whose model something beside the processor may compute.

    Attributes:
        accelerator: What computes it, out of `device_profiles.ACCELERATORS`.
    """

    accelerator: str

    def device_ns(self) -> int | None:
        """What the last run took by the accelerator's own clock, which waits for nobody.

        Returns:
            Nanoseconds from the first input that it took to the last output that it gave; None
            where it has no such clock.
        """


@runtime_checkable
class AcceleratedRuntime(Protocol):
    """A runtime that computes on something beside the processor."""

    def precisions_on(self, accelerator: Mapping[str, Any]) -> tuple[str, ...]:
        """Returns the number formats that it computes in there, see `Runtime.precisions`.

        Args:
            accelerator: Its `profilers.nvidia.Gpu.identity`.

        Raises:
            RuntimeMissing: What is installed does not compute there; says what does.
        """

    def has_device_clock(self) -> bool:
        """Whether its sessions tell `AcceleratedSession.device_ns` there."""


class ProfiledSession(Protocol):
    """A model that is loaded with the runtime's own profiler switched on."""

    def run(self, feeds: dict[str, Any]) -> None:
        """Runs the model once; what each kernel took is kept."""

    def kernels(self) -> list[dict[str, Any]]:
        """Ends the profiling and returns the kernels that ran, in their order.

        Returns:
            Of each its "name", its "operator", "inputs" and "outputs" (pairs of numpy's type name
            and the shape, as it ran), and "us", its microseconds in each run. Where shapes do not
            tell it, the "operations" of its products, and what they are "computed_in".
        """


@runtime_checkable
class CountingRuntime(Protocol):
    """A runtime that tells what each of its kernels takes: what `nasc report --kernels` needs."""

    def open_profiled(self, path: Path, options: RuntimeOptions) -> ProfiledSession:
        """Loads a model file as `Runtime.open_session` does, with the profiler switched on."""


class HeedsSettings(Protocol):
    """What takes the settings of a runtime.

    Attributes:
        SETTINGS: Fields of `RuntimeOptions` that it heeds, those aside that all do.
    """

    @property
    def SETTINGS(self) -> tuple[str, ...]: ...  # noqa: D102 (a constant of the module)


class Runtime(HeedsSettings, Protocol):
    """A module of this folder, as the worker process uses it."""

    def version(self) -> str:
        """Returns the version of the installed runtime."""

    def precisions(self, flags: Collection[str]) -> tuple[str, ...]:
        """Returns the number formats that it computes in on this device.

        Args:
            flags: Of the processor, as `profilers.context.read_context` gives them.

        Returns:
            Out of `profilers.context.PRECISIONS`, in that order: what the processor has
            instructions for, and int8.
        """

    def open_session(self, path: Path, options: RuntimeOptions) -> RuntimeSession:
        """Loads a model file. Any exception it raises means that the model was rejected."""

    def is_out_of_memory(self, error: Exception) -> bool:
        """Returns whether an exception of this runtime says that memory was not given."""


def check_settings(runtime: HeedsSettings, options: RuntimeOptions) -> None:
    """Refuses settings that a runtime would not heed.

    Raises:
        InvalidSetting: One that it does not know is not at its default.
    """
    default = RuntimeOptions()
    for field in dataclasses.fields(options):
        value, usual = getattr(options, field.name), getattr(default, field.name)
        if field.name not in (*_OF_ALL, *runtime.SETTINGS) and value != usual:
            raise InvalidSetting(
                f"{field.name} = {value!r}; the runtime {options.runtime!r} has no such setting. "
                f"Leave it at {usual!r}."
            )
