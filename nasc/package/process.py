"""Files of a package are opened in another process, which has limits of time and memory."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from tokenizers import Tokenizer

from nasc.data.texts import Text
from nasc.evaluation.encoder import Encoder, EncoderSession
from nasc.evaluation.worker_session import WorkerSession
from nasc.package.formats import ModelFile, format_of, opened_by
from profilers import RuntimeOptions, WorkerLimits, precisions_of
from profilers.devices.local import LocalWorker

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FILES = RuntimeOptions().runtime
"""The runtime of the process that reads files, which nasc cannot be installed without."""


class PackageProcess:
    """Such a process; a context manager. Started with the first request, and anew if it died.

    A model of another runtime than `FILES` runs in a second one, so that all the rest can be looked
    at where that runtime is not installed.
    """

    def __init__(self, limits: WorkerLimits | None = None) -> None:
        """Nothing is started yet.

        Args:
            limits: Of the process; None takes the defaults.
        """
        self._limits = limits
        self._open: dict[str, LocalWorker] = {}
        self._programs = contextlib.ExitStack()
        self._timeout_s = None if limits is None else limits.run_s

    def _worker(self, runtime: str = FILES) -> LocalWorker:
        worker = self._open.get(runtime)
        if worker is None or not worker.alive:
            if worker is not None:
                worker.close()
            worker = self._open[runtime] = LocalWorker(
                RuntimeOptions(runtime), limits=self._limits, module="nasc.package.worker"
            )
        return worker

    def inspect(self, path: Path, runtime: str) -> ModelFile:
        """What a model's files say of themselves, checked; the runtime is not needed for it.

        Args:
            path: The file that the runtime opens.
            runtime: Its name, by which the format is known.

        Raises:
            ProfilerError: If it is no valid model, or cannot be read within the limits.
        """
        answer = self._worker().ask(
            {"op": "inspect", "path": str(path.absolute()), "runtime": runtime}, str(path)
        )
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
        problems: list[str] = self._worker().ask(request, str(folder))["problems"]
        return problems

    def token_ids(self, path: Path, texts: list[Text]) -> list[list[int]]:
        """Token ids of texts, or of pairs, by a tokenizer.json, cut and padded as that says.

        Raises:
            ProfilerError: If it cannot be read, or not within the limits.
        """
        request = {"op": "tokenize", "path": str(path.resolve()), "texts": texts}
        ids: list[list[int]] = self._worker().ask(request, str(path))["ids"]
        return ids

    def wrong_tokenizer(self, folder: Path, tables: str) -> list[str]:
        """See `nasc.package.formats.c_package.wrong_tokenizer`.

        Raises:
            ProfilerError: If a file cannot be read, or not within the limits.
        """
        request = {"op": "tables", "path": str(folder.resolve()), "tables": tables}
        problems: list[str] = self._worker().ask(request, str(folder))["problems"]
        return problems

    def encoder(
        self,
        path: Path,
        tokenizer: Tokenizer | PreTrainedTokenizerBase | None = None,
        *,
        runtime: str,
        max_length: int | None = None,
        batch_size: int = 1,
    ) -> Encoder:
        """An encoder whose model runs in the process, for as long as that is open.

        Args:
            path: The file that the runtime opens.
            tokenizer: See `Encoder`.
            runtime: Its name.
            max_length: See `Encoder`.
            batch_size: See `Encoder`.

        Raises:
            ProfilerError: If the runtime is not installed, or the model cannot be loaded within the
                limits.
            ExportError: If it was not written by NASC.
        """
        session: EncoderSession
        if (own := format_of(runtime).open_session(path, self._timeout_s)) is not None:
            session = self._programs.enter_context(own)
        else:
            session = WorkerSession(self._worker(opened_by(runtime)), path)
        return Encoder(
            path, tokenizer, max_length=max_length, batch_size=batch_size, session=session
        )

    def precisions(self, runtime: str) -> tuple[str, ...]:
        """What this machine computes in by a runtime.

        Raises:
            ProfilerError: If the runtime is not installed.
        """
        return precisions_of(self._worker(opened_by(runtime)).context)

    def close(self) -> None:
        """End the process, or both."""
        self.__exit__(None, None, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._programs.close()
        while self._open:
            _, worker = self._open.popitem()
            worker.__exit__(kind, error, trace)
