"""Candidates are compiled and run beside this process, so that none can take it down."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import tvm

from nasc.errors import NascError

TIMEOUT_S = 30.0
"""A candidate that takes longer, to compile and to run, is ended."""

DURATION_S = 0.05
"""A candidate runs so long, and the fastest of its runs counts."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What came out of a candidate.

    Attributes:
        seconds: Of its fastest run; None where it failed.
        error: Why; None where it did not.
    """

    seconds: float | None
    error: str | None


Measure = Callable[[Any], Trial]
"""Measures a scheduled kernel, a module with one function ``main``."""


class TrialServer:
    """The process that starts candidates; started anew where it was ended."""

    def __init__(
        self, target: tvm.target.Target, threads: int = 1, timeout_s: float = TIMEOUT_S
    ) -> None:
        """A server; its process starts with the first candidate.

        Args:
            target: What candidates are compiled for.
            threads: That they run on.
            timeout_s: Of a candidate.
        """
        self._target = tvm.ir.save_json(target)
        self._threads = threads
        self._timeout_s = timeout_s
        self._process: subprocess.Popen[str] | None = None

    def measure(self, module: tvm.ir.IRModule) -> Trial:
        """See `Measure`.

        Raises:
            NascError: If the process that starts candidates ends twice in a row.
        """
        request = {
            "module": tvm.ir.save_json(module),
            "target": self._target,
            "timeout_s": self._timeout_s,
            "duration_s": DURATION_S,
        }
        line = json.dumps(request) + "\n"
        for _ in range(2):
            answered = self._ask(line)
            if answered is not None:
                return Trial(answered.get("seconds"), answered.get("error"))
            self.close()
        raise NascError(
            "the process that runs tuning candidates ends at once. See why: "
            f"{sys.executable} -m nasc.lowering.tuning.trial_server </dev/null"
        )

    def _ask(self, line: str) -> dict[str, Any] | None:
        """The answer; None if the process is gone."""
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(line)
            process.stdin.flush()
            told = process.stdout.readline()
        except OSError:
            return None
        return json.loads(told) if told.endswith("\n") else None

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "nasc.lowering.tuning.trial_server"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                encoding="utf-8",
                env={
                    **os.environ,
                    "TVM_NUM_THREADS": str(self._threads),
                    "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
                },
                start_new_session=True,  # Ctrl-C is for who waits, not for the candidate
            )
        return self._process

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(OSError):
            process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


@contextlib.contextmanager
def trial_server(
    target: tvm.target.Target, threads: int = 1, timeout_s: float = TIMEOUT_S
) -> Iterator[TrialServer]:
    """A server that ends with the block. See `TrialServer`."""
    server = TrialServer(target, threads, timeout_s)
    try:
        yield server
    finally:
        server.close()
