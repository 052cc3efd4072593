"""The process that runs the models: `python -m profilers.worker`.

It answers the requests of docs/worker-protocol.md, each one line of JSON on stdin, with one line of
JSON on stdout.

The process ends when stdin does, and dies with the process that started it, whatever it runs then.
The limits of `profilers.jobs.WorkerLimits` are the system's, so that nothing that a model does
escapes them: a run or a load that takes too long ends the process by SIGALRM, and memory beyond
the limit is not given.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import json
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from device_profiles import CPU
from profilers.context import available_memory_bytes, fingerprint, peak_memory_bytes, read_context
from profilers.errors import DeviceUnreachable, InvalidSetting, ProfilerError, RuntimeMissing
from profilers.jobs import RuntimeOptions, WorkerLimits
from profilers.messages import PROTOCOL, decode_array, encode_array
from profilers.nvidia import Gpu, find_gpu, settle, use_bus_order
from profilers.runtimes import computing_on, get_runtime
from profilers.runtimes.base import (
    AcceleratedRuntime,
    AcceleratedSession,
    CountingRuntime,
    Runtime,
    RuntimeSession,
    check_settings,
)

try:
    import resource
except ImportError:  # Windows
    _HAVE_RUSAGE = False
else:
    _HAVE_RUSAGE = True

MEMORY_SHARE = 0.8
"""Share of the machine's memory, or of what its container may have, that a worker may fill where
nobody says less: it fails before the machine does. Chosen, 2026."""

MAX_OUTPUT_BYTES = 256 << 20
"""Outputs of a run that are given back; 32 texts of 512 tokens, 1024 numbers each, are 64 MiB."""

KERNEL_RUNS = 5
"""Runs in a row with a runtime's profiler, and as many without it; the first of them is left
out."""

_WRONG_REQUEST = (
    *(ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError),
)
"""What a request of the wrong form raises where it is read."""

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Failure(Exception):
    """An answer with "ok": false.

    Attributes:
        kind: What is to blame, as the answer says it: "model", "memory", "runtime", "request" or
            "file".
        name: Name of the model that is to blame where there are several, else None.
    """

    def __init__(self, kind: str, message: str, name: str | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.name = name


def _failed(kind: str, error: str, name: str | None = None) -> dict[str, Any]:
    """The answer about a failure."""
    return {"ok": False, "kind": kind, "error": error, "name": name}


def _involuntary_switches() -> int:
    """How often the system took a core away from this process, all threads together."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw if _HAVE_RUSAGE else 0


def _arm(seconds: float) -> None:
    """The system ends this process after so many seconds; 0 takes that back.

    A timer of the system and not a thread of Python's: it needs nobody who waits, so that nothing
    disturbs what is timed, and no interpreter that is free.
    """
    if hasattr(signal, "setitimer"):  # not on Windows
        signal.setitimer(signal.ITIMER_REAL, seconds)


@contextlib.contextmanager
def _within(seconds: float) -> Iterator[None]:
    _arm(seconds)
    try:
        yield
    finally:
        _arm(0)


def _allow_memory(most: int | None) -> int | None:
    """Holds this process to so much memory (Linux), and to no core dumps; returns the limit."""
    if not _HAVE_RUSAGE:
        return None
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if most is None:
        total = available_memory_bytes()
        if total is None:
            return None
        most = int(MEMORY_SHARE * total)
    # RLIMIT_AS would count what is only reserved: threads and arenas reserve gigabytes.
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
    return most


class WorkerProcess:
    """The loaded models and the requests on them.

    Attributes:
        leaving: Whether it was asked to end.
    """

    def __init__(self) -> None:
        self._options = RuntimeOptions()
        self._limits = WorkerLimits()
        self._runtime: Runtime | None = None
        self._models: dict[str, tuple[RuntimeSession, dict[str, Any]]] = {}
        self._clock = "wall"
        self._gpu: Gpu | None = None
        self._settled = True
        self.leaving = False

    def _start(self, request: dict[str, Any]) -> dict[str, Any]:
        self._options = RuntimeOptions.from_dict(request["options"])
        self._limits = WorkerLimits(**request.get("limits", {}))
        if self._options.cores is not None:
            if not hasattr(os, "sched_setaffinity"):
                raise Failure("request", "this system cannot pin a process to cores")
            try:
                os.sched_setaffinity(0, self._options.cores)
            except OSError as error:
                raise Failure(
                    "request",
                    f"cores {list(self._options.cores)} cannot be used: {error.strerror}; this "
                    f"process may run on {sorted(os.sched_getaffinity(0))}",
                ) from error
        use_bus_order()
        try:
            self._runtime = get_runtime(self._options.runtime)
            check_settings(self._runtime, self._options)
            if self._options.accelerator != CPU:
                self._gpu, self._settled = find_gpu(), False
            precisions = self._precisions(self._runtime, read_context()["cpu"]["flags"])
        except (RuntimeMissing, DeviceUnreachable) as error:
            raise Failure("runtime", str(error)) from error
        except InvalidSetting as error:
            raise Failure("request", str(error)) from error
        _allow_memory(self._limits.memory_bytes)
        context = read_context()
        context["worker"] = "python"
        context["runtime"] = self._options.runtime
        context["runtime_version"] = self._runtime.version()
        context["precisions"] = list(precisions)
        if self._gpu is not None:
            context["accelerator"] = self._gpu.identity
            context["fingerprint"] = fingerprint(context["cpu"] | {"gpu": self._gpu.identity})
        return {
            "protocol": PROTOCOL,
            "clock": self._clock,
            "context": context,
            "base_bytes": peak_memory_bytes(),
        }

    def _precisions(self, runtime: Runtime, flags: list[str]) -> tuple[str, ...]:
        """What the runtime computes in on the device; decides by which clock, too.

        Raises:
            RuntimeMissing: The runtime, or what is installed of it, does not compute on its
                accelerator.
        """
        if self._gpu is None:
            self._clock = "thread" if self._options.threads == 1 else "wall"
            return runtime.precisions(flags)
        there: object = runtime
        if not isinstance(there, AcceleratedRuntime):
            those = computing_on(self._options.accelerator)
            raise RuntimeMissing(
                f"the runtime {self._options.runtime!r} does not compute on "
                f"{self._options.accelerator}. Those that do: {', '.join(those)}. Take one: "
                f"--runtime {those[0]}"
            )
        self._clock = "cuda-event" if there.has_device_clock() else "wall"
        return there.precisions_on(self._gpu.identity)

    def _open(self, path: str) -> RuntimeSession:
        """Loads a model, which computes on the device's accelerator where that has one.

        Without one a model is opened also where it says itself that a GPU computes it: what it
        gives is looked at then, as `nasc verify` does, and it is not measured.
        """
        if self._runtime is None:
            raise Failure("request", "the first request must be 'start'")
        try:
            with self.loading():
                session = self._runtime.open_session(Path(path), self._options)
        except InvalidSetting as error:  # of `RuntimeOptions`
            raise Failure("request", str(error)) from error
        except Exception as error:  # any failure of the runtime concerns this file
            raise self._failure(error) from error
        if self._options.accelerator != CPU:
            self._check_accelerator(session)
        return session

    def _check_accelerator(self, session: RuntimeSession) -> None:
        """Raise where something else computes a model than the device computes on."""
        on = session.accelerator if isinstance(session, AcceleratedSession) else CPU
        if on != self._options.accelerator:
            raise Failure(
                "model", f"it is computed on {on}, and the device on {self._options.accelerator}"
            )

    def _failure(self, error: Exception, name: str | None = None) -> Failure:
        """What the runtime raised, of any kind, as being about its model."""
        full = isinstance(error, MemoryError) or (
            self._runtime is not None and self._runtime.is_out_of_memory(error)
        )
        kind = "" if isinstance(error, ProfilerError) else f"{type(error).__name__}: "
        return Failure("memory" if full else "model", f"{kind}{error}", name)

    def _load(self, request: dict[str, Any]) -> dict[str, Any]:
        feeds = {name: decode_array(array) for name, array in request["inputs"].items()}
        session = self._open(request["path"])
        self._check_accelerator(session)
        wanted = session.describe_inputs()
        if set(wanted) != set(feeds):
            raise Failure(
                "model", f"it has the inputs {sorted(wanted)}, but {sorted(feeds)} were described"
            )
        self._models[request["name"]] = (session, feeds)
        return {}

    def _visit(self, request: dict[str, Any]) -> dict[str, Any]:
        done = [self._step(str(n), int(warmup), int(runs)) for n, warmup, runs in request["steps"]]
        return {"visits": [visit for visit in done if visit["wall_ns"]]}

    def _step(self, name: str, warmup: int, runs: int) -> dict[str, Any]:
        session, feeds = self._models[name]
        told: object = session
        device = told if isinstance(told, AcceleratedSession) else None
        clock, own_clock = time.perf_counter_ns, time.thread_time_ns
        wall: list[int] = []
        own: list[int] = []
        preempted: list[int] = []
        limit_s = self._limits.run_s
        try:
            self._settle(session, feeds)
            for _ in range(warmup):
                _arm(limit_s)
                session.run(feeds)
            start = clock()
            for _ in range(runs):
                _arm(limit_s)
                switches = _involuntary_switches()
                before, own_before = clock(), own_clock()
                session.run(feeds)
                own_after, after = own_clock(), clock()
                wall.append(after - before)
                by_thread = own_after - own_before
                taken = by_thread if self._gpu is None or device is None else device.device_ns()
                own.append(min(after - before, after - before if taken is None else taken))
                preempted.append(_involuntary_switches() - switches)
        except Exception as error:  # any failure of the runtime concerns this model
            raise self._failure(error, name) from error
        finally:
            _arm(0)
        visit = {
            "name": name,
            "start_s": start * 1e-9,
            "end_s": clock() * 1e-9,
            "wall_ns": wall,
            "own_ns": wall if self._clock == "wall" else own,
            "preempted": preempted,
        }
        return visit if self._gpu is None else visit | {"state": self._gpu.state()}

    def _settle(self, session: RuntimeSession, feeds: dict[str, Any]) -> None:
        """Wakes a GPU up, before anything is timed in this process."""
        if self._gpu is None or self._settled:
            return

        def run() -> None:
            _arm(self._limits.run_s)
            session.run(feeds)

        settle(self._gpu, run, time.monotonic)
        self._settled = True

    def _describe(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"inputs": self._open(request["path"]).describe_inputs()}

    def _open_model(self, request: dict[str, Any]) -> dict[str, Any]:
        session = self._open(request["path"])
        self._models[request["name"]] = (session, {})
        return {
            "inputs": session.describe_inputs(),
            "outputs": session.describe_outputs(),
            "metadata": session.metadata(),
        }

    def _run(self, request: dict[str, Any]) -> dict[str, Any]:
        session, _ = self._models[request["name"]]
        feeds = {name: decode_array(data) for name, data in request["inputs"].items()}
        try:
            with _within(self._limits.run_s):
                outputs = session.outputs(feeds)
            size = sum(getattr(value, "nbytes", 0) for value in outputs)
            if size > MAX_OUTPUT_BYTES:
                raise ValueError(f"it gives {size:,} bytes, at most {MAX_OUTPUT_BYTES:,} are taken")
            return {"outputs": [encode_array(value) for value in outputs]}
        except Exception as error:  # any failure of the runtime concerns this model
            raise self._failure(error, request["name"]) from error

    def _kernels(self, request: dict[str, Any]) -> dict[str, Any]:
        feeds = {name: decode_array(data) for name, data in request["inputs"].items()}
        without = self._open(request["path"])
        runtime: object = self._runtime
        limit_s = self._limits.run_s
        if not isinstance(runtime, CountingRuntime):
            raise Failure(
                "runtime",
                f"the runtime {self._options.runtime!r} tells nothing of its kernels. Look at a "
                "package for one that does: onnxruntime, openvino, tvm",
            )
        plain: list[int] = []
        profiled: list[int] = []
        try:
            with self.loading():
                counted = runtime.open_profiled(Path(request["path"]), self._options)
            for _ in range(1 + int(request["turns"])):
                for session, taken in ((without, plain), (counted, profiled)):
                    for _ in range(KERNEL_RUNS):
                        _arm(limit_s)
                        before = time.perf_counter_ns()
                        session.run(feeds)
                        taken.append(time.perf_counter_ns() - before)
            _arm(limit_s)
            kernels = counted.kernels()
        except Exception as error:  # any failure of the runtime concerns this model
            raise self._failure(error) from error
        finally:
            _arm(0)
        # The first turn makes all ready; the first run of each brings the weights into the caches.
        counting = [n for n in range(KERNEL_RUNS, len(plain)) if n % KERNEL_RUNS]
        return {
            "plain_ns": [plain[n] for n in counting],
            "profiled_ns": [profiled[n] for n in counting],
            "kernels": [
                kernel | {"us": [kernel["us"][n] for n in counting]}
                for kernel in kernels
                if len(kernel["us"]) == len(plain)  # what ran in the first run alone is none
            ],
        }

    def _memory(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"peak_bytes": peak_memory_bytes()}

    def _unload(self, request: dict[str, Any]) -> dict[str, Any]:
        self._models.pop(request["name"], None)
        return {}

    def _quit(self, request: dict[str, Any]) -> dict[str, Any]:
        self.leaving = True
        return {}

    def loading(self) -> contextlib.AbstractContextManager[None]:
        """Within it, a file is opened: held to `WorkerLimits.load_s`."""
        return _within(self._limits.load_s)

    def operations(self) -> dict[str, Callable[[dict[str, Any]], dict[str, Any]]]:
        """What can be asked for, by its "op"."""
        return {
            "start": self._start,
            "load": self._load,
            "visit": self._visit,
            "describe": self._describe,
            "open": self._open_model,
            "run": self._run,
            "kernels": self._kernels,
            "memory": self._memory,
            "unload": self._unload,
            "quit": self._quit,
        }

    def answer(self, line: str) -> dict[str, Any]:
        """Carries out one request."""
        operations = self.operations()
        try:
            request = json.loads(line)
            if request["op"] not in operations:
                raise Failure("request", f"unknown op {request['op']!r}")
            return {"ok": True, **operations[request["op"]](request)}
        except Failure as failure:
            return _failed(failure.kind, str(failure), failure.name)
        except _WRONG_REQUEST as error:
            kind = type(error).__name__
            return _failed("request", f"{kind}: {error} in {line.strip()[:500]}")
        except MemoryError:
            return _failed("memory", "it needs more memory than it may have")


def die_with_parent(parent: int) -> None:
    """Ends this process when the one that started it ends, even in the middle of a run.

    On Linux the system does it, when the thread that started this process ends. Elsewhere a thread
    waits for the end of stdin; it needs a runtime that lets Python's other threads run.

    Args:
        parent: The process that started this one.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            prctl = ctypes.CDLL(None).prctl
            if prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) == 0:
                if os.getppid() != parent:  # it ended before the system was asked
                    os._exit(1)
                return
    threading.Thread(target=leave_with_stdin, daemon=True).start()


def leave_with_stdin() -> None:
    """Waits for the other end of stdin to be closed and ends this process then."""
    waiter = select.poll()
    waiter.register(0, 0)  # nothing but its end, which is always told
    while not waiter.poll():
        pass
    os._exit(0)


def serve(worker: WorkerProcess) -> None:
    """Answers requests until "quit" or the end of stdin.

    The only argument of the program is the process that started it; without one, whoever holds the
    other end of stdin.
    """
    if hasattr(signal, "SIGALRM"):  # an inherited setting would void the limits of time
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
    if len(sys.argv) > 1:
        die_with_parent(int(sys.argv[1]))
    else:
        threading.Thread(target=leave_with_stdin, daemon=True).start()
    # Answers get a private copy of stdout; whatever a runtime prints goes to stderr instead.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="replace")
    for line in sys.stdin:
        if not line.strip():
            continue
        answer = worker.answer(line)
        try:
            answers.write(json.dumps(answer) + "\n")
            answers.flush()
        except BrokenPipeError:  # the caller is gone
            os._exit(1)
        if worker.leaving:
            break


if __name__ == "__main__":
    serve(WorkerProcess())
