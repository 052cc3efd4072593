"""Calls that run in several processes at once, for work that holds Python's lock.

The processes are started anew, by their own command, and import what is called: unlike those of
`multiprocessing` they take nothing of the main module's, which a script need not guard.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

from nasc.errors import NascError

MOST = 8
"""Processes at once."""

_END = (
    "a process that works beside this one ended (exit code {}); on Linux -9 is often a lack of "
    "memory. Run the same command again: what was measured is kept"
)


_SHARE = "NASC_PROCESS_CORES"
"""Tells a process its share of the cores."""


def usable_cores() -> int:
    """Cores that this process may run on; its share of them where it is one of several."""
    if (share := os.environ.get(_SHARE, "")).isdecimal():
        return max(1, int(share))
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        return os.cpu_count() or 1


def run_in_processes(function: Callable[..., Any], calls: Sequence[Sequence[Any]]) -> list[Any]:
    """Results of calls, in their order; made here where there is one core, or one call.

    Args:
        function: Of a module's top level; what it takes, gives and raises can be pickled.
        calls: Arguments of each.

    Raises:
        NascError: If a process ends by itself.
        Exception: What the first call raised that failed; calls that were not begun are left out.
    """
    count = min(usable_cores(), len(calls), MOST)
    if count < 2:
        return [function(*call) for call in calls]
    with ExitStack() as stack:
        free: queue.SimpleQueue[_Process] = queue.SimpleQueue()
        share = usable_cores() // count
        processes = [stack.enter_context(_started(share)) for _ in range(count)]
        for process in processes:
            free.put(process)

        def run(call: Sequence[Any]) -> Any:
            process = free.get()
            try:
                return process.call(function, call)
            finally:
                free.put(process)

        pool = ThreadPoolExecutor(count)
        try:
            return list(pool.map(run, calls))
        finally:
            # What runs is ended, and what was not begun is not: also on Ctrl-C.
            pool.shutdown(wait=False, cancel_futures=True)
            for process in processes:
                process.end()
            pool.shutdown()


class _Process:
    """One that answers calls."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def call(self, function: Callable[..., Any], arguments: Sequence[Any]) -> Any:
        """What a call gives, or raises."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            pickle.dump((function, tuple(arguments)), process.stdin)
            process.stdin.flush()
            raised, result = pickle.load(process.stdout)
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            raise NascError(_END.format(process.wait())) from error
        if raised:
            raise result
        return result

    def end(self) -> None:
        """End it, whatever it does."""
        with contextlib.suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)


@contextlib.contextmanager
def _started(cores: int) -> Iterator[_Process]:
    path = os.pathsep.join(entry for entry in sys.path if entry)
    with subprocess.Popen(
        [sys.executable, "-P", "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path, _SHARE: str(cores)},
        start_new_session=True,  # Ctrl-C is for who waits
    ) as process:
        started = _Process(process)
        try:
            yield started
        finally:
            started.end()
            assert process.stdin is not None
            with contextlib.suppress(OSError):
                process.stdin.close()


def main() -> None:
    """Answer calls until stdin ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a call prints is no answer
    while True:
        try:
            function, arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer = False, function(*arguments)
        except Exception as error:
            answer = True, error
        try:
            content = pickle.dumps(answer)
            pickle.loads(content)  # an error may ask for more than it is made from
        except Exception:
            content = pickle.dumps((True, NascError(str(answer[1]))))
        answers.write(content)
        answers.flush()


if __name__ == "__main__":
    main()
