"""Runs schedules, each in a process of its own: a program, started by `trials`.

Reads a request a line from stdin, in JSON: ``module`` and ``target`` (as `tvm.ir.save_json` writes
them), ``timeout_s``, ``duration_s``. Writes a line for each to stdout: ``seconds`` of the fastest
run, or ``error``. TVM is imported once; a schedule is compiled and run in a fork, and what it does
to its memory, or that it never ends, costs that schedule alone.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from collections.abc import Iterable
from typing import Any

import numpy as np
import tvm
from tvm.s_tir.meta_schedule.arg_info import ArgInfo
from tvm.s_tir.transform import RemoveWeightLayoutRewriteBlock

LEAST_RUNS = 3
MOST_RUNS = 1000
MOST_CHARACTERS = 500
"""Of what is told of an error."""


def measure(module: tvm.ir.IRModule, target: tvm.target.Target, duration_s: float) -> float:
    """Seconds of the fastest run of a scheduled kernel, with made-up values.

    Args:
        module: Its function ``main``, scheduled. Constants are taken to be in the order it wants.
        target: What it is compiled for.
        duration_s: It runs so long, after a run that does not count, `LEAST_RUNS` times at least.
    """
    module = RemoveWeightLayoutRewriteBlock(skip_tensor_rewrite=True)(module)
    rng = np.random.default_rng(0)
    arguments = [info.as_json() for info in ArgInfo.from_prim_func(module["main"])]
    values = [_values(str(dtype), shape, rng) for _, dtype, shape in arguments]
    run = tvm.compile(module, target=target)["main"]
    run(*values)
    fastest, runs, start = float("inf"), 0, time.perf_counter()
    while runs < LEAST_RUNS or (runs < MOST_RUNS and time.perf_counter() - start < duration_s):
        before = time.perf_counter()
        run(*values)
        fastest = min(fastest, time.perf_counter() - before)
        runs += 1
    return fastest


def _values(dtype: str, shape: Iterable[int], rng: np.random.Generator) -> Any:
    shape, kind = [int(n) for n in shape], np.dtype(dtype)
    drawn = rng.random(shape) if kind.kind == "f" else rng.integers(0, 2, shape)
    return tvm.runtime.tensor(drawn.astype(kind))


def _child(request: dict[str, Any], out: int) -> None:
    """Measure, write the answer, and end without what a process does at its end."""
    try:
        module = tvm.ir.load_json(request["module"])
        target = tvm.ir.load_json(request["target"])
        answer: dict[str, Any] = {"seconds": measure(module, target, request["duration_s"])}
    except Exception as error:  # whatever a schedule leads to
        answer = {"error": f"{type(error).__name__}: {error}"[-MOST_CHARACTERS:]}
    with os.fdopen(out, "w", encoding="utf-8") as file:
        json.dump(answer, file)
    os._exit(0)


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """What came out of a schedule; it is ended after ``timeout_s``."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _child(request, writing)
    os.close(writing)
    deadline = time.monotonic() + request["timeout_s"]
    text, ended = b"", False
    while not ended and (left := deadline - time.monotonic()) > 0:
        if select.select([reading], [], [], left)[0]:
            part = os.read(reading, 1 << 16)
            text, ended = text + part, not part
    os.close(reading)
    if not ended:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if not ended:
        return {"error": f"no end after {request['timeout_s']:g} s"}
    if os.WIFSIGNALED(status):
        return {"error": f"ended by signal {os.WTERMSIG(status)}"}
    try:
        found: dict[str, Any] = json.loads(text)
    except ValueError:
        return {"error": f"ended with exit code {os.WEXITSTATUS(status)} and no result"}
    return found


def main() -> None:
    """Answer until stdin ends."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a schedule prints is no answer
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=out, flush=True)


if __name__ == "__main__":
    main()
