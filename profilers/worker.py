"""The process that runs the models: `python -m profilers.worker`.

It reads one JSON object per line from stdin and answers each with one JSON line on stdout, so a
native runner behind adb or ssh can speak the same. Requests, by their "op":

    {"op": "start", "options": {...}}                 -> {"context": {...}, "base_bytes": n}
    {"op": "load", "name": s, "path": s, "inputs": {...}, "seed": n}  -> {}
    {"op": "visit", "steps": [[name, warmup, runs], ...]}    run without a pause between steps
        -> {"visits": [{"name": s, "start_s": f, "end_s": f, "wall_ns": [...], "own_ns": [...],
            "preempted": [...]}, ...]}                       one for each step with runs
    {"op": "describe", "path": s}                     -> {"inputs": {name: [dtype, axes]}}
    {"op": "memory"}                                  -> {"peak_bytes": n}
    {"op": "unload", "name": s}                       -> {}
    {"op": "quit"}                                    -> {}

Every answer has "ok"; a failed one has "error", "kind" ("model", "runtime", "request") and,
where one of several models is to blame, its "name".
The process ends when stdin does, so it never outlives its caller by more than one request.
"""

from __future__ import annotations

import json
import os
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from profilers.context import peak_memory_bytes, read_context
from profilers.errors import RuntimeMissing
from profilers.jobs import INTEGER_DTYPES, InputSpec, RuntimeOptions
from profilers.runtimes import Runtime, RuntimeSession, get_runtime

try:
    import resource
except ImportError:  # Windows
    _HAVE_RUSAGE = False
else:
    _HAVE_RUSAGE = True


class _Failure(Exception):
    """An answer with "ok": false."""

    def __init__(self, kind: str, message: str, name: str | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.name = name


def draw_inputs(inputs: dict[str, InputSpec], seed: int) -> dict[str, Any]:
    """Draws the values of all inputs.

    Args:
        inputs: each input's shape, type and range.
        seed: the same seed gives the same values, whatever the order of the inputs.

    Returns:
        One array per input.
    """
    feeds = {}
    for name, spec in inputs.items():
        value: Any
        generator = np.random.default_rng([seed, zlib.crc32(name.encode())])
        if spec.dtype in INTEGER_DTYPES:
            value = generator.integers(spec.low, spec.high, size=spec.shape, dtype=np.int64)
        elif spec.dtype == "bool":
            value = np.ones(spec.shape, dtype=np.bool_)
        else:
            value = generator.random(size=spec.shape)
        feeds[name] = np.ascontiguousarray(value.astype(spec.dtype))
    return feeds


def _involuntary_switches() -> int:
    """How often the system took a core away from this process, all threads together."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw if _HAVE_RUSAGE else 0


class _Worker:
    """The loaded models and the requests on them."""

    def __init__(self) -> None:
        self._options = RuntimeOptions()
        self._runtime: Runtime | None = None
        self._models: dict[str, tuple[RuntimeSession, dict[str, Any]]] = {}

    def start(self, request: dict[str, Any]) -> dict[str, Any]:
        self._options = RuntimeOptions.from_dict(request["options"])
        if self._options.cores is not None:
            if not hasattr(os, "sched_setaffinity"):
                raise _Failure("request", "this system cannot pin a process to cores")
            try:
                os.sched_setaffinity(0, self._options.cores)
            except OSError as error:
                raise _Failure(
                    "request",
                    f"cores {list(self._options.cores)} cannot be used: {error.strerror}; this "
                    f"process may run on {sorted(os.sched_getaffinity(0))}",
                ) from error
        try:
            self._runtime = get_runtime(self._options.runtime)
        except RuntimeMissing as error:
            raise _Failure("runtime", str(error)) from error
        context = read_context()
        context["runtime"] = self._options.runtime
        context["runtime_version"] = self._runtime.version()
        return {"context": context, "base_bytes": peak_memory_bytes()}

    def _open(self, path: str) -> RuntimeSession:
        if self._runtime is None:
            raise _Failure("request", "the first request must be 'start'")
        try:
            return self._runtime.open_session(Path(path), self._options)
        except Exception as error:  # any failure of the runtime concerns this file
            raise _Failure("model", f"{type(error).__name__}: {error}") from error

    def load(self, request: dict[str, Any]) -> dict[str, Any]:
        inputs = {name: InputSpec.from_dict(spec) for name, spec in request["inputs"].items()}
        session = self._open(request["path"])
        wanted = session.describe_inputs()
        if set(wanted) != set(inputs):
            raise _Failure(
                "model", f"it has the inputs {sorted(wanted)}, but {sorted(inputs)} were described"
            )
        self._models[request["name"]] = (session, draw_inputs(inputs, int(request["seed"])))
        return {}

    def visit(self, request: dict[str, Any]) -> dict[str, Any]:
        done = [self._step(str(n), int(warmup), int(runs)) for n, warmup, runs in request["steps"]]
        return {"visits": [visit for visit in done if visit["wall_ns"]]}

    def _step(self, name: str, warmup: int, runs: int) -> dict[str, Any]:
        session, feeds = self._models[name]
        clock = time.perf_counter_ns
        own_clock = time.thread_time_ns if self._options.threads == 1 else clock
        wall: list[int] = []
        own: list[int] = []
        preempted: list[int] = []
        try:
            for _ in range(warmup):
                session.run(feeds)
            start = clock()
            for _ in range(runs):
                switches = _involuntary_switches()
                before, own_before = clock(), own_clock()
                session.run(feeds)
                own_after, after = own_clock(), clock()
                wall.append(after - before)
                own.append(min(after - before, own_after - own_before))
                preempted.append(_involuntary_switches() - switches)
        except Exception as error:  # any failure of the runtime concerns this model
            raise _Failure("model", f"{type(error).__name__}: {error}", name) from error
        return {
            "name": name,
            "start_s": start * 1e-9,
            "end_s": clock() * 1e-9,
            "wall_ns": wall,
            "own_ns": own,
            "preempted": preempted,
        }

    def describe(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"inputs": self._open(request["path"]).describe_inputs()}

    def memory(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"peak_bytes": peak_memory_bytes()}

    def unload(self, request: dict[str, Any]) -> dict[str, Any]:
        self._models.pop(request["name"], None)
        return {}

    def answer(self, line: str) -> dict[str, Any]:
        """Carries out one request."""
        operations: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "start": self.start,
            "load": self.load,
            "visit": self.visit,
            "describe": self.describe,
            "memory": self.memory,
            "unload": self.unload,
        }
        try:
            request = json.loads(line)
            if request["op"] not in operations:
                raise _Failure("request", f"unknown op {request['op']!r}")
            return {"ok": True, **operations[request["op"]](request)}
        except _Failure as failure:
            return {
                "ok": False,
                "kind": failure.kind,
                "error": str(failure),
                "name": failure.name,
            }
        except (ValueError, KeyError, TypeError) as error:
            kind = type(error).__name__
            return {"ok": False, "kind": "request", "error": f"{kind}: {error} in {line.strip()}"}


def main() -> None:
    """Serves requests until "quit" or the end of stdin."""
    # Answers get a private copy of stdout; whatever a runtime prints goes to stderr instead.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    worker = _Worker()
    for line in sys.stdin:
        if not line.strip():
            continue
        leave = '"quit"' in line and json.loads(line).get("op") == "quit"
        answer = {"ok": True} if leave else worker.answer(line)
        try:
            answers.write(json.dumps(answer) + "\n")
            answers.flush()
        except BrokenPipeError:  # the caller is gone
            os._exit(1)
        if leave:
            break


if __name__ == "__main__":
    main()
