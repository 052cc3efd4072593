"""What a device offers, whatever its transport: a process there that runs models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol, runtime_checkable

from profilers.jobs import ModelJob
from profilers.samples import Step, Visit


class Worker(Protocol):
    """The caller's end of a process on a device in which models are loaded and run.

    Attributes:
        context: The device and its state when the worker started, as
            `profilers.context.read_context` describes them, with the runtime, its version and the
            number formats that it offers there (`profilers.context.precisions_of`).
        base_bytes: Peak memory of the process before any model was loaded, in bytes; None where
            the device does not tell.
    """

    context: dict[str, Any]
    base_bytes: int | None

    def load(self, job: ModelJob, seed: int) -> None:
        """Loads a model under its job's name and draws the values of its inputs.

        Args:
            job: The model file and the shapes of its inputs.
            seed: The same seed gives the same values.

        Raises:
            ModelRejected: The runtime cannot load it.
            WorkerDied: The process ended or stopped answering.
        """

    def visit(self, steps: Sequence[Step]) -> list[Visit]:
        """Runs loaded models, one step after the other without a pause, and times every run.

        Args:
            steps: Which model to run, and how often.

        Returns:
            One visit for each step with recorded runs, in order.

        Raises:
            ModelRejected: The runtime cannot run one of them.
            WorkerDied: The process ended or stopped answering.
        """

    def unload(self, name: str) -> None:
        """Drops a loaded model; does nothing if no model has that name.

        Args:
            name: The name of the model's job.

        Raises:
            WorkerDied: The process ended or stopped answering.
        """

    def describe(self, path: str) -> dict[str, tuple[str, list[int | str | None]]]:
        """Loads a model file to find its inputs, and drops it again.

        Args:
            path: The file.

        Returns:
            By the input's name, its numpy type name and its axes: a size, a symbol's name, or None
            where the file says neither.

        Raises:
            ModelRejected: The runtime cannot load it.
            WorkerDied: The process ended or stopped answering.
        """

    def peak_bytes(self) -> int | None:
        """Returns the most memory that the process has held so far.

        Returns:
            Bytes; None where the device does not tell.

        Raises:
            WorkerDied: The process ended or stopped answering.
        """

    def close(self) -> None:
        """Ends the process. Does nothing when it is called again."""

    def __enter__(self) -> Worker: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


@runtime_checkable
class Heating(Protocol):
    """A worker on a device that heats up: what it measures then is slower than what it could."""

    def why_rest(self) -> str | None:
        """Why the device should rest before it is measured on, in words; None where it need not.

        Raises:
            DeviceUnreachable: The device is lost.
        """


@runtime_checkable
class HeatReader(Protocol):
    """A worker on a device that tells how warm it is by another way than around visits."""

    def read_heat(self) -> dict[str, Any]:
        """How warm the device is.

        Returns:
            "thermal_status" (0: nothing is slowed, to 6) and "skin_c", the warmest place that its
            owner feels, in degrees Celsius; None where it does not tell.

        Raises:
            DeviceUnreachable: The device is lost.
        """


@runtime_checkable
class ModelRunner(Protocol):
    """A worker that also gives what a model computes; one on a made-up device does not."""

    def open(self, name: str, path: str) -> dict[str, Any]:
        """Loads a model to be run on inputs of one's own.

        Args:
            name: How `run` calls it.
            path: The file.

        Returns:
            "inputs" and "outputs" (numpy type name and axes by name), and "metadata".

        Raises:
            ModelRejected: It cannot be loaded within the limits.
            WorkerDied: The process ended or stopped answering.
        """

    def run(self, name: str, inputs: Mapping[str, Any]) -> list[Any]:
        """Runs a model once.

        Args:
            name: Given to `open`.
            inputs: An array of numpy for each input.

        Returns:
            An array of numpy for each output.

        Raises:
            ModelRejected: It cannot be run within the limits.
            WorkerDied: The process ended or stopped answering.
        """
