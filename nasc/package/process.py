"""Files of a package are opened in another process, which has limits of time and memory."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from tokenizers import Tokenizer

from nasc.errors import ExportError
from nasc.evaluation.encoder import Encoder
from nasc.package.modelfile import ModelFile
from profilers import RuntimeOptions, WorkerLimits
from profilers.devices.local import LocalWorker

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from nasc.evaluation.encoder import Vectors


class PackageProcess:
    """Such a process; a context manager. Started with the first request, and anew if it died."""

    def __init__(self, limits: WorkerLimits | None = None) -> None:
        """Nothing is started yet.

        Args:
            limits: Of the process; None takes the defaults.
        """
        self._limits = limits
        self._open: LocalWorker | None = None

    @property
    def _worker(self) -> LocalWorker:
        if self._open is None or not self._open.alive:
            self.close()
            self._open = LocalWorker(
                RuntimeOptions(), limits=self._limits, module="nasc.package.worker"
            )
        return self._open

    def inspect(self, path: Path) -> ModelFile:
        """What an ONNX file says of itself, checked.

        Raises:
            ProfilerError: If it is no valid one, or cannot be read within the limits.
        """
        answer = self._worker.ask({"op": "inspect", "path": str(path.resolve())}, str(path))
        facts: dict[str, Any] = answer["facts"]
        lists = {name: tuple(value) for name, value in facts.items() if isinstance(value, list)}
        return ModelFile(**facts | lists)

    def wrong_companions(self, folder: Path, max_length: int, older: bool) -> list[str]:
        """See `nasc.package.tokenizer_files.wrong_companions`.

        Raises:
            ProfilerError: If a file cannot be read, or not within the limits.
        """
        request = {
            "op": "companions",
            "path": str(folder.resolve()),
            "max_length": max_length,
            "older": older,
        }
        problems: list[str] = self._worker.ask(request, str(folder))["problems"]
        return problems

    def token_ids(self, path: Path, texts: list[str]) -> list[list[int]]:
        """Token ids of texts by a tokenizer.json, cut and padded as that says.

        Raises:
            ProfilerError: If it cannot be read, or not within the limits.
        """
        request = {"op": "tokenize", "path": str(path.resolve()), "texts": texts}
        ids: list[list[int]] = self._worker.ask(request, str(path))["ids"]
        return ids

    def encoder(
        self,
        path: Path,
        tokenizer: Tokenizer | PreTrainedTokenizerBase | None = None,
        *,
        max_length: int | None = None,
        batch_size: int = 1,
    ) -> Encoder:
        """An encoder whose model runs in the process, for as long as that is open.

        Args:
            path: The ONNX file.
            tokenizer: See `Encoder`.
            max_length: See `Encoder`.
            batch_size: See `Encoder`.

        Raises:
            ProfilerError: If the model cannot be loaded within the limits.
            ExportError: If it was not written by NASC.
        """
        session = _RemoteSession(self._worker, path)
        return Encoder(
            path, tokenizer, max_length=max_length, batch_size=batch_size, session=session
        )

    def close(self) -> None:
        """End the process."""
        if self._open is not None:
            self._open.close()
        self._open = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._open is not None:
            self._open.__exit__(kind, error, trace)
        self._open = None


class _RemoteSession:
    """A model that is loaded in the process."""

    def __init__(self, worker: LocalWorker, path: Path) -> None:
        self._worker = worker
        self._path = path
        self._about = worker.open(str(path), str(path))

    def describe_inputs(self) -> dict[str, tuple[str, list[int | str | None]]]:
        return dict(self._about["inputs"])

    def describe_outputs(self) -> dict[str, tuple[str, list[int | str | None]]]:
        return dict(self._about["outputs"])

    def metadata(self) -> dict[str, str]:
        return dict(self._about["metadata"])

    def outputs(self, feeds: dict[str, Any]) -> list[Any]:
        outputs: list[Vectors] = self._worker.run(str(self._path), feeds)
        if not outputs:
            raise ExportError(f"the model '{self._path}' gives nothing")
        first, *others = outputs
        shape = (*first.shape[:1], 1, *first.shape[1:])
        for other in others:  # the only one that nasc writes: see `nasc.export.onnx.ONE_TOKEN`
            if other.shape != shape or not np.array_equal(other.ravel(), first.ravel()):
                raise ExportError(
                    f"the second output of the model '{self._path}', which libraries that pool "
                    "tokens read, is not its first"
                )
        return outputs
