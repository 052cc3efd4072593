"""Candidates are compiled and run beside this process, so that none can take it down."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import tvm

from nasc.errors import NascError

TIMEOUT_S = 30.0
"""A candidate that takes longer, to compile and to run, is ended."""

DURATION_S = 0.05
"""A candidate runs so long, and the fastest of its runs counts."""

ROUNDS = 5
"""Times that kernels are run in turn where they are compared."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What came out of a candidate.

    Attributes:
        seconds: Of its fastest run; None where it failed.
        error: Why; None where it did not.
    """

    seconds: float | None
    error: str | None


class Measure(Protocol):
    """Measures scheduled kernels, each a module with one function ``main``."""

    def __call__(
        self, modules: Sequence[Any], is_over: Callable[[], bool] = lambda: False
    ) -> list[Trial]:
        """What came out of them, in their order.

        Args:
            modules: The kernels.
            is_over: Asked before each but the first: no more are begun once it is so.

        Returns:
            Of as many of the first as were begun.
        """
        ...


def one_by_one(measure: Callable[[Any], Trial]) -> Measure:
    """Measures one kernel after the other."""

    def measure_all(
        modules: Sequence[Any], is_over: Callable[[], bool] = lambda: False
    ) -> list[Trial]:
        trials: list[Trial] = []
        for module in modules:
            if trials and is_over():
                break
            trials.append(measure(module))
        return trials

    return measure_all


def fastest_in_turn(
    measure: Measure,
    modules: Sequence[Any],
    rounds: int = ROUNDS,
    is_over: Callable[[], bool] = lambda: False,
) -> list[float] | None:
    """How fast kernels are beside each other, whatever else the machine does meanwhile.

    Args:
        measure: Runs them.
        modules: The kernels.
        rounds: Times that each is run, in turn.
        is_over: Asked before each round.

    Returns:
        Seconds of each one's fastest run; infinite where every run failed. None where the time was
        over first.
    """
    least = [math.inf] * len(modules)
    for _ in range(rounds):
        if is_over():
            return None
        for place, module in enumerate(modules):
            (trial,) = measure([module])
            least[place] = min(least[place], trial.seconds or math.inf)
    return least


class TrialProcess:
    """The process that starts candidates; started anew where it was ended."""

    def __init__(self, threads: int = 1) -> None:
        """It starts with the first request.

        Args:
            threads: That candidates run on here.
        """
        self._threads = threads
        self._process: subprocess.Popen[str] | None = None
        self._closed = False

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request, see `nasc.lowering.tuning.trial_server`.

        Raises:
            NascError: If the process ends twice in a row.
        """
        line = json.dumps(request) + "\n"
        for _ in range(2):
            answered = self._ask(line)
            if answered is not None:
                return answered
            self._end()
        raise NascError(
            "the process that runs tuning candidates ends at once. See why: "
            f"{sys.executable} -m nasc.lowering.tuning </dev/null"
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
        if self._closed:
            raise NascError("tuning candidates are not run any more")
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "nasc.lowering.tuning"],
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
        """End the process, and what it runs; nothing is asked of it any more."""
        self._closed = True
        self._end()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)  # the candidate that it runs as well
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


class TrialServer:
    """Candidates on this machine."""

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
        self._timeout_s = timeout_s
        self._process = TrialProcess(threads)

    def measure(self, module: tvm.ir.IRModule) -> Trial:
        """What comes out of a scheduled kernel.

        Raises:
            NascError: If the process that starts candidates ends twice in a row.
        """
        answered = self._process.ask(
            {
                "module": tvm.ir.save_json(module),
                "target": self._target,
                "timeout_s": self._timeout_s,
                "duration_s": DURATION_S,
            }
        )
        return Trial(answered.get("seconds"), answered.get("error"))

    def close(self) -> None:
        """End the process."""
        self._process.close()


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
