"""The process in which the files of a package are opened: `python -m nasc.package.worker`.

It is the worker of `profilers`, with its limits of time and memory and its end with the process
that started it, and knows four requests more:

    {"op": "inspect", "path": s, "runtime": s}        check a model's files
        -> {"facts": the fields of `nasc.package.formats.base.ModelFile`}
    {"op": "tokenize", "path": s, "texts": [s or [s, s], ...]}  by a tokenizer.json as it is
        -> {"ids": [[n, ...], ...]}
    {"op": "companions", "path": s, "max_length": n, "older": b}  the files beside it, in a folder
        -> {"problems": [s, ...]}
    {"op": "tables", "path": s}  the tokenizer's tables and golden texts, in a folder
        -> {"problems": [s, ...]}

Their failures are of the kind "file".
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from nasc.package.formats import format_of
from nasc.package.formats.c_package import wrong_tokenizer
from nasc.package.tokenizer_files import wrong_companions
from profilers.worker import Failure, WorkerProcess, serve


class PackageWorker(WorkerProcess):
    """Opens the files of a package."""

    def operations(self) -> dict[str, Callable[[dict[str, Any]], dict[str, Any]]]:
        """See `WorkerProcess`."""
        return super().operations() | {
            "inspect": self._inspect,
            "tokenize": self._tokenize,
            "companions": self._companions,
            "tables": self._tables,
        }

    def _inspect(self, request: dict[str, Any]) -> dict[str, Any]:
        with self._reading():
            facts = format_of(request["runtime"]).inspect(Path(request["path"]))
            return {"facts": dataclasses.asdict(facts)}

    def _tokenize(self, request: dict[str, Any]) -> dict[str, Any]:
        with self._reading():
            tokenizer = Tokenizer.from_file(str(request["path"]))
            texts = [one if isinstance(one, str) else tuple(one) for one in request["texts"]]
            return {"ids": [one.ids for one in tokenizer.encode_batch(texts)]}

    def _companions(self, request: dict[str, Any]) -> dict[str, Any]:
        with self._reading():
            folder = Path(request["path"])
            return {"problems": wrong_companions(folder, request["max_length"], request["older"])}

    def _tables(self, request: dict[str, Any]) -> dict[str, Any]:
        with self._reading():
            return {"problems": wrong_tokenizer(Path(request["path"]), request["tables"])}

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            with self.loading():
                yield
        except MemoryError:
            raise
        except Exception as error:  # of any kind: both libraries raise what they like
            lines = str(error).strip().splitlines()
            reason = lines[0][:300] if lines else type(error).__name__
            raise Failure("file", reason) from error


if __name__ == "__main__":
    serve(PackageWorker())
