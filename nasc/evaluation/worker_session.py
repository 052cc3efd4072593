"""A model that runs in a worker process, on this machine or on another device."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nasc.architecture.heads import gives_answers
from nasc.errors import ExportError
from profilers.devices.base import ModelRunner

if TYPE_CHECKING:
    from nasc.evaluation.encoder import Vectors


class WorkerSession:
    """See `nasc.evaluation.encoder.EncoderSession`. It lives as long as its worker."""

    def __init__(self, worker: ModelRunner, path: Path) -> None:
        """Load a model there.

        Args:
            worker: On the device.
            path: The file that its runtime opens.

        Raises:
            ProfilerError: If it cannot be loaded within the worker's limits.
        """
        self._worker = worker
        self._path = path
        self._about = worker.open(str(path), str(path))
        about = self.metadata()  # of an IR under the name alone
        self._answers = gives_answers(about.get("nasc.head", about.get("head", "")))

    def describe_inputs(self) -> dict[str, tuple[str, list[int | str | None]]]:
        """See `EncoderSession`."""
        return dict(self._about["inputs"])

    def describe_outputs(self) -> dict[str, tuple[str, list[int | str | None]]]:
        """See `EncoderSession`."""
        return dict(self._about["outputs"])

    def metadata(self) -> dict[str, str]:
        """See `EncoderSession`."""
        return dict(self._about["metadata"])

    def outputs(self, feeds: dict[str, Any]) -> list[Any]:
        """See `EncoderSession`.

        Raises:
            ProfilerError: If the model cannot be run within the worker's limits.
            ExportError: If its outputs are none of nasc's.
        """
        outputs: list[Vectors] = self._worker.run(str(self._path), feeds)
        if not outputs:
            raise ExportError(f"the model '{self._path}' gives nothing")
        if self._answers:
            return outputs  # of a first and of a last token, which `Encoder` looks at
        first, *others = outputs
        shape = (*first.shape[:1], 1, *first.shape[1:])
        for other in others:  # the only one that nasc writes: see `nasc.export.onnx.ONE_TOKEN`
            if other.shape != shape or not np.array_equal(other.ravel(), first.ravel()):
                raise ExportError(
                    f"the second output of the model '{self._path}', which libraries that pool "
                    "tokens read, is not its first"
                )
        return outputs
