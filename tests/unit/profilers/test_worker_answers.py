"""What comes from a worker that is another program, or whose clock jumps: one message each."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import device_profiles
from profilers import (
    InputSpec,
    ModelJob,
    Protocol,
    Round,
    RuntimeOptions,
    Visit,
    WorkerDied,
    WorkerUnreliable,
    measure,
)
from profilers.devices import client
from profilers.devices.client import WorkerClient
from profilers.samples import Step

CONTEXT = {
    **dict.fromkeys(("fingerprint", "runtime", "runtime_version"), "made-up"),
    "time_utc": "2026-01-01T00:00:00Z",
}
START = {"ok": True, "protocol": 1, "clock": "thread", "context": CONTEXT, "base_bytes": 1}
STEPS = [Step("a", 1, 0), Step("a", 0, 2)]
VISIT = {
    "name": "a",
    "start_s": 5.0,
    "end_s": 5.1,
    "wall_ns": [2_000_000, 3_000_000],
    "own_ns": [1_000_000, 3_000_000],
    "preempted": [0, 1],
}


@contextmanager
def answering(*answers: Any, start: Any = START, end: str = "cat") -> Iterator[WorkerClient]:
    """A shell that gives an answer to each request, and then does something else.

    Args:
        answers: Plain data, or text as it is.
        start: The one to the first request.
        end: A script.
    """
    texts = [one if isinstance(one, str) else f"{json.dumps(one)}\n" for one in (start, *answers)]
    script = f'for text; do read -r line || exit 1; printf %s "$text"; done; {{ {end}; }} >&2'
    worker = WorkerClient(["sh", "-c", script, "sh", *texts], RuntimeOptions())
    try:
        yield worker
    finally:
        worker.close()


def visited(*visits: Any) -> dict[str, Any]:
    return {"ok": True, "visits": list(visits)}


def test_a_visit_is_as_it_was_sent() -> None:
    with answering(visited(VISIT | {"state": {"migrations": 1}, "more": 1})) as worker:
        (visit,) = worker.visit(STEPS)
        assert visit.state is not None
        assert visit.state.migrations == 1
        assert visit == Visit("a", 5.0, 5.1, (2.0, 3.0), (1.0, 3.0), (0, 1), visit.state)
        assert worker.base_bytes == 1


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"ok": True}, "it lacks 'visits'"),
        ({"ok": True, "visits": None}, "visits = None; it must be a list"),
        (visited(), "visits has 0 entries; it must have 1 to 1"),
        (visited(VISIT, VISIT), "visits has 2 entries"),
        (visited(1), "a visit = 1; it must be an object"),
        (visited(VISIT | {"name": "b"}), "a visit is of 'b', asked for was 'a'"),
        (visited({k: v for k, v in VISIT.items() if k != "own_ns"}), "it lacks 'own_ns'"),
        (visited(VISIT | {"wall_ns": [1]}), "wall_ns of 'a' has 1 entries; it must have 2 to 2"),
        (visited(VISIT | {"wall_ns": ["1", 2]}), "wall_ns = '1'; it must be a number"),
        (visited(VISIT | {"wall_ns": [10**400, 2]}), "int too large"),
        (visited(VISIT | {"own_ns": [float("nan"), 2]}), "own_ns = nan; it must be a finite"),
        (visited(VISIT | {"preempted": [0]}), "has 2 entries; it must have 1 to 1"),
        (visited(VISIT | {"preempted": [0, -1]}), "preempted = -1; it must be a whole number"),
        # A clock that jumps, or stands
        (visited(VISIT | {"wall_ns": [-5_000_000, 3_000_000]}), "wall_ns = -5000000; it must be"),
        (visited(VISIT | {"own_ns": [0, 3_000_000]}), "own_ns = 0; it must be .* above 0"),
        (
            visited(VISIT | {"own_ns": [9_000_000, 1]}),
            "own_ms = 9.0 of a run that took runs_ms = 2",
        ),
        (visited(VISIT | {"start_s": 9.0}), r"a visit of 'a' from 9.0 to 5.1 s holds runs of 5 ms"),
        (
            visited(VISIT | {"end_s": 3605.0}),
            r"the runs took 3\d\d\d\.\d s more than it was waited",
        ),
        (visited(VISIT | {"start_s": float("inf")}), "start_s = inf; it must be a finite number"),
    ],
)
def test_a_visit_that_cannot_be_is_asked_for_again_and_then_told(
    answer: dict[str, Any], message: str
) -> None:
    again = r"\. It was ended: its clock jumps, .* the same again.* the same release"
    with answering(answer, answer) as worker:
        with pytest.raises(
            WorkerUnreliable, match=rf"'visit' cannot be right: .*{message}.*{again}"
        ):
            worker.visit(STEPS)
        assert not worker.alive
    with answering(answer, visited(VISIT)) as worker:
        assert worker.visit(STEPS)[0].runs_ms == (2.0, 3.0)


@pytest.mark.parametrize(
    ("answer", "ask", "message"),
    [
        ({}, lambda w: w.peak_bytes(), "'memory' cannot be right: it lacks 'peak_bytes'"),
        ({"peak_bytes": "1"}, lambda w: w.peak_bytes(), "peak_bytes = '1'; it must be a whole"),
        ({"inputs": []}, lambda w: w.describe(__file__), "'describe' .*: inputs = .*; it must be"),
        ({"inputs": {"x": "y"}}, lambda w: w.describe(__file__), "inputs.x = 'y'; it must be a l"),
        ({"inputs": {"x": ["int64", [-1]]}}, lambda w: w.describe(__file__), "axis .* = -1; it"),
        ({"inputs": {"x": ["int64", [True]]}}, lambda w: w.describe(__file__), "axis .* = True"),
        ({"inputs": {"x": ["int64", [1.5]]}}, lambda w: w.describe(__file__), "axis .* = 1.5; it"),
        ({"inputs": {"x": ["int64", "ab"]}}, lambda w: w.describe(__file__), "axes of inputs.x ="),
        ({"inputs": {"x": [1, []]}}, lambda w: w.describe(__file__), "inputs.x = 1; it must be t"),
        (
            {"inputs": {"x": ["int64", [1] * 65]}},
            lambda w: w.describe(__file__),
            "axes of inputs.x has 65 entries.* ended: it is of another release",
        ),
        ({"inputs": {}, "outputs": {}}, lambda w: w.open("a", __file__), "'open' .*'metadata'"),
        ({}, lambda w: w.run("a", {}), "'run' cannot be right: it lacks 'outputs'"),
        (
            {"outputs": [{"dtype": "int8", "shape": [9], "data": ""}]},
            lambda w: w.run("a", {}),
            "'run",
        ),
        ({"outputs": 1}, lambda w: w.run("a", {}), "'run' cannot be right"),
    ],
)
def test_other_answers_that_cannot_be_are_told(answer: Any, ask: Any, message: str) -> None:
    with answering({"ok": True, **answer}) as worker:
        with pytest.raises(WorkerUnreliable, match=message):
            ask(worker)
        assert not worker.alive


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"context": {**CONTEXT, "fingerprint": None}}, "context.fingerprint = None; it must be"),
        ({"context": {"fingerprint": "x"}}, "'start' cannot be right: it lacks 'runtime'"),
        ({"base_bytes": 1.5}, "base_bytes = 1.5"),
    ],
)
def test_a_worker_that_does_not_say_where_it_is_is_told(
    changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(WorkerDied, match=message), answering(start={**START, **changed}):
        pass


def test_visits_follow_each_other() -> None:
    """One that began before the one before it ended is of a clock that jumped."""
    steps = [Step("a", 0, 2), Step("b", 0, 2)]

    def second(start_s: float) -> dict[str, Any]:
        return VISIT | {"name": "b", "start_s": start_s, "end_s": start_s + 0.1}

    late, early = (visited(VISIT, second(start_s)) for start_s in (5.1, 5.05))
    with answering(early, late) as worker:
        assert [visit.start_s for visit in worker.visit(steps)] == [5.0, 5.1]
    with answering(early, early) as worker:
        message = r"a visit of 'b' began at 5\.05 s, before the one of 'a' ended, at 5\.1 s"
        with pytest.raises(WorkerUnreliable, match=message):
            worker.visit(steps)


def test_what_a_model_takes_is_described() -> None:
    inputs = {"x": ["int64", ["batch", 128, None, "a\nb"]], "s": ["string", []]}
    with answering({"ok": True, "inputs": inputs}) as worker:
        assert worker.describe(__file__) == {
            "x": ("int64", ["batch", 128, None, "a\nb"]),
            "s": ("string", []),
        }


def test_half_a_line_is_no_answer() -> None:
    with (
        answering('{"ok": tr', end="echo out of memory; exit 3") as worker,
        pytest.raises(WorkerDied, match=r"ended \(exit status 3\).*last words: out of memory"),
    ):
        worker.visit(STEPS)


def test_a_line_without_an_end_is_not_read_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MAX_ANSWER_BYTES", 1 << 20)
    flood = [
        "sh",
        "-c",
        'read -r line; printf %s "$0"; exec cat /dev/zero',
        f"{json.dumps(START)}\n",
    ]
    with WorkerClient(flood, RuntimeOptions()) as worker:
        with pytest.raises(WorkerDied, match=r"has more than 1,048,576 bytes; it was ended"):
            worker.visit(STEPS)
        assert not worker.alive


def test_a_worker_that_reads_no_more_is_not_waited_for() -> None:
    """A request that is longer than a pipe holds is not written for ever either."""
    with answering(end="exec sleep 60") as worker:
        worker._timeout_s = 0.2
        with pytest.raises(WorkerUnreliable, match=r"did not answer within 0\.2 s; it was ended"):
            worker.unload("a" * (1 << 20))
        assert not worker.alive


MADE_UP = """
import json, sys
jump, now = int(sys.argv[2]), 100.0
for number, line in enumerate(sys.stdin):
    request, answer = json.loads(line), {"ok": True}
    if request["op"] == "start":
        answer = json.loads(sys.argv[1])
    if request["op"] == "visit":
        answer["visits"] = []
        for name, _, runs in request["steps"]:
            if runs:
                now += 1e-3
                took = [1_000_000] * runs
                answer["visits"].append({
                    "name": name, "start_s": now, "end_s": now + 2e-3 * runs,
                    "wall_ns": took, "own_ns": took, "preempted": [0] * runs})
                now += 2e-3 * runs
                if 0 <= jump <= number:
                    answer["visits"][-1]["end_s"] -= 50
    print(json.dumps(answer), flush=True)
"""


def test_where_the_clock_of_a_device_jumps_nothing_is_lost(tmp_path: Path) -> None:
    """What was measured before is in the journal, which can be read: the next run goes on."""
    path, journal = tmp_path / "m.onnx", tmp_path / "rounds.jsonl"
    path.write_bytes(b"model")
    job = ModelJob("m", path, {"x": InputSpec((1, 2))})

    def taken(jump: int, rounds: list[int]) -> None:
        words = [sys.executable, "-S", "-c", MADE_UP, json.dumps(START), str(jump)]

        def keep(one: Round) -> None:
            rounds.append(one.index)

        measure(
            [job],
            device_profiles.find("host"),
            protocol=Protocol(min_rounds=4, max_rounds=4),
            journal=journal,
            on_round=keep,
            opener=lambda device, options: WorkerClient(words, options),
        )

    first: list[int] = []
    with pytest.raises(WorkerDied, match="cannot be right: a visit of"):
        taken(8, first)
    assert first
    again = list(first)
    taken(-1, again)
    assert again == list(range(4))
