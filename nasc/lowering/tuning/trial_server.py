"""Runs schedules, each in a process of its own: a program (`__main__`), started by `trials`.

Reads a request a line from stdin, in JSON: ``module`` and ``target`` (as `tvm.ir.save_json` writes
them), ``timeout_s``, ``duration_s``. Writes a line for each to stdout: ``seconds`` of the fastest
run, or ``error``. TVM is imported once; a schedule is compiled and run in a fork, and what it does
to its memory, or that it never ends, costs that schedule alone.

With ``farm`` it is compiled here and runs on the next board that is free (`_on_board`); with
``visit`` nothing runs, and boards tell what they are (`_visit`). Then ``lost`` is why a board, and
``refused`` why all of them, cannot be used; ``none_free`` that none was in time.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jsonschema  # noqa: F401  # half a second, which forks need not take
import numpy as np
import tvm
from tvm.s_tir.meta_schedule.arg_info import ArgInfo
from tvm.s_tir.transform import RemoveWeightLayoutRewriteBlock

from device_profiles.temporary import temporary_folder
from nasc.lowering.tuning import board_session
from nasc.lowering.tuning.board_code import BoardCode
from profilers.context import fingerprint
from profilers.devices import tvm_tracker
from profilers.errors import DeviceUnreachable

LEAST_RUNS = 3
MOST_RUNS = 1000
MOST_CHARACTERS = 500
"""Of what is told of an error."""


VISIT_S = 60.0
"""What a board has to tell what it is."""

OTHERS_WAIT_S = 3.0
"""For a further board to become free, when boards are visited; a busy one is looked at later."""

Stage = Callable[[str, float], None]
"""Told what begins, and how many seconds it may take."""


def compiled(module: tvm.ir.IRModule, target: tvm.target.Target) -> tuple[Any, list[Any]]:
    """A scheduled kernel as it is measured, and the data types and shapes that it takes.

    Args:
        module: Its function ``main``, scheduled. Constants are taken to be in the order it wants.
        target: What it is compiled for.
    """
    module = RemoveWeightLayoutRewriteBlock(skip_tensor_rewrite=True)(module)
    arguments = [info.as_json() for info in ArgInfo.from_prim_func(module["main"])]
    taken = [(str(dtype), [int(n) for n in shape]) for _, dtype, shape in arguments]
    return tvm.compile(module, target=target), taken


def measure(module: tvm.ir.IRModule, target: tvm.target.Target, duration_s: float) -> float:
    """Seconds of the fastest run of a scheduled kernel here, with made-up values.

    Args:
        module: See `compiled`.
        target: What it is compiled for.
        duration_s: It runs so long, after a run that does not count, `LEAST_RUNS` times at least.
    """
    executable, arguments = compiled(module, target)
    rng = np.random.default_rng(0)
    values = [_values(dtype, shape, rng) for dtype, shape in arguments]
    run = executable["main"]
    run(*values)
    fastest, runs, start = float("inf"), 0, time.perf_counter()
    while runs < LEAST_RUNS or (runs < MOST_RUNS and time.perf_counter() - start < duration_s):
        before = time.perf_counter()
        run(*values)
        fastest = min(fastest, time.perf_counter() - before)
        runs += 1
    return fastest


def _values(dtype: str, shape: Iterable[int], rng: np.random.Generator) -> Any:
    shape, kind = tuple(shape), np.dtype(dtype)
    drawn = rng.random(shape) if kind.kind == "f" else rng.integers(0, 2, shape)
    return tvm.runtime.tensor(drawn.astype(kind))


def _on_board(request: dict[str, Any], stage: Stage) -> dict[str, Any]:
    """Seconds of a schedule on a board of a farm.

    Args:
        request: ``farm`` has ``host`` and ``port`` of the tracker, ``key``, ``fingerprint`` of the
            boards' processor, ``threads``, ``wait_s`` for a board, and ``code`` as `BoardCode` has
            it.
        stage: See `Stage`.
    """
    farm, limit_s = request["farm"], request["timeout_s"]
    code = BoardCode(
        farm["code"]["arch"],
        Path(farm["code"]["about"]),
        Path(farm["code"]["timed"]),
        tuple(farm["code"]["linker"]),
    )
    module, target = (tvm.ir.load_json(request[name]) for name in ("module", "target"))
    executable, arguments = compiled(module, target)
    with temporary_folder() as folder:
        path = folder / "candidate.so"
        executable.export_library(
            str(path),
            workspace_dir=str(folder),
            fcompile=lambda output, objects, **_: code.link(output, [*objects, str(code.timed)]),
        )
        library = path.read_bytes()
    stage("wait", farm["wait_s"] + tvm_tracker.TIMEOUT_S)
    tracker = tvm_tracker.TrackerAddress(farm["host"], farm["port"])
    offer = tvm_tracker.request(tracker, farm["key"], farm["wait_s"])
    if offer is None:
        return {"none_free": True}
    stage(offer.address, VISIT_S + 2 * limit_s)
    told = {"board": offer.address}
    try:
        session = board_session.opened(offer, VISIT_S + 2 * limit_s)
        board = board_session.describe(session, offer, [code.about])
        board_session.check_versions(board)
        if fingerprint(board.cpu) != farm["fingerprint"]:
            return told | {"differs": board.cpu}
        found = board_session.seconds(
            session, library, arguments, farm["threads"], request["duration_s"], limit_s
        )
    except board_session.BoardLost as error:
        return told | {"lost": str(error)}
    except board_session.BoardRefused as error:
        return told | {"refused": str(error)}
    except board_session.CandidateFailed as error:
        return told | {"error": str(error)[-MOST_CHARACTERS:]}
    return told | {"seconds": found}


def _visit(request: dict[str, Any], stage: Stage) -> dict[str, Any]:
    """What the boards of a farm are that are free, all at once.

    Args:
        request: ``visit`` has ``host`` and ``port`` of the tracker, ``key``, ``wait_s`` for the
            first board, ``boards`` at most, and ``about``: see `board_session.describe`.
        stage: See `Stage`.
    """
    farm = request["visit"]
    tracker = tvm_tracker.TrackerAddress(farm["host"], farm["port"])
    held, found, lost = [], [], []
    for index in range(farm["boards"]):
        wait_s = OTHERS_WAIT_S if index else farm["wait_s"]
        stage("wait", wait_s + tvm_tracker.TIMEOUT_S)
        offer = tvm_tracker.request(tracker, farm["key"], wait_s)
        if offer is None:
            break
        stage(offer.address, VISIT_S)
        try:
            # Held until all were asked, so that each is asked once.
            held.append(board_session.opened(offer, VISIT_S * farm["boards"]))
            board = board_session.describe(held[-1], offer, [Path(p) for p in farm["about"]])
            board_session.check_versions(board)
        except board_session.BoardLost as error:
            lost.append(str(error))
            continue
        except board_session.BoardRefused as error:
            return {"refused": str(error)}
        found.append({"address": board.address, "cpu": board.cpu})
    return {"boards": found, "lost": lost}


def _answer_to(request: dict[str, Any], stage: Stage) -> dict[str, Any]:
    if "visit" in request:
        return _visit(request, stage)
    if "farm" in request:
        return _on_board(request, stage)
    module, target = (tvm.ir.load_json(request[name]) for name in ("module", "target"))
    return {"seconds": measure(module, target, request["duration_s"])}


def _child(request: dict[str, Any], out: int) -> None:
    """Measure, write the answer, and end without what a process does at its end."""
    with os.fdopen(out, "w", encoding="utf-8") as file:

        def stage(name: str, timeout_s: float) -> None:
            print(json.dumps({"stage": name, "timeout_s": timeout_s}), file=file, flush=True)

        try:
            answer = _answer_to(request, stage)
        except DeviceUnreachable as error:
            answer = {"unreachable": str(error)}
        except Exception as error:  # whatever a schedule leads to
            answer = {"error": f"{type(error).__name__}: {error}"[-MOST_CHARACTERS:]}
        json.dump(answer, file)
    os._exit(0)


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """What came out of a schedule; it is ended after ``timeout_s``, or what a stage may take."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _child(request, writing)
    os.close(writing)
    limit_s, stage = request["timeout_s"], None
    deadline = time.monotonic() + limit_s
    text, ended = b"", False
    while not ended and (left := deadline - time.monotonic()) > 0:
        if not select.select([reading], [], [], left)[0]:
            continue
        part = os.read(reading, 1 << 16)
        text, ended = text + part, not part
        while b"\n" in text:
            line, _, text = text.partition(b"\n")
            begun = json.loads(line)
            stage, limit_s = begun["stage"], begun["timeout_s"]
            deadline = time.monotonic() + limit_s
    os.close(reading)
    if not ended:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if not ended and stage == "wait":
        return {"none_free": True}
    if not ended and stage is not None:
        return {"board": stage, "lost": f"{stage} gave no answer within {limit_s:g} s"}
    if not ended:
        return {"error": f"no end after {limit_s:g} s"}
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
