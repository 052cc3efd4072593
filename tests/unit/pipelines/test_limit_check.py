"""Limits against what was measured: which hold, and what to search under where they do not."""

from __future__ import annotations

import math

import pytest

from nasc.pipelines.limit_check import MeasuredLimit, check_limits
from nasc.solver.problem import Limits

LIMITS = Limits(latency_ms=10.0, size_bytes=1000)
SMALL = MeasuredLimit(900.0)


def test_limits_that_hold_with_their_repetition_stay() -> None:
    found = check_limits(
        LIMITS, LIMITS, {"latency_ms": MeasuredLimit(9.0, 8.5, 9.9), "size_bytes": SMALL}
    )
    assert (dict(found.tighter), found.over, found.note) == ({}, False, "")


def test_a_repetition_over_the_limit_tightens_but_is_not_over() -> None:
    found = check_limits(
        LIMITS, LIMITS, {"latency_ms": MeasuredLimit(9.8, 9.0, 10.2), "size_bytes": SMALL}
    )
    assert not found.over
    # A network of this error, and whose repetition is as far above, will come to the limit.
    assert found.tighter == {"latency_ms": pytest.approx(9.0 * 10.0 / 10.2)}
    assert found.note == "latency_ms 9.8 leaves less than 4.1% to 10"


def test_what_was_off_is_told_by_limit_and_never_loosens() -> None:
    searched = Limits(latency_ms=8.0, size_bytes=1000)
    held = {"latency_ms": MeasuredLimit(10.1, 9.9), "size_bytes": MeasuredLimit(1001.0)}
    found = check_limits(LIMITS, searched, held)
    assert found.over
    assert found.tighter["latency_ms"] == pytest.approx(0.995 * 8.0)
    assert found.tighter["size_bytes"] == pytest.approx(0.995 * 1000)
    assert found.note.count("is over") == 2


def test_without_a_bound_it_is_over_and_what_is_not_told_holds() -> None:
    memory = Limits(latency_ms=10.0, peak_memory_bytes=1)
    held = {
        "latency_ms": MeasuredLimit(math.inf, 9.0, 9.5),
        "peak_memory_bytes": MeasuredLimit(None),
    }
    found = check_limits(memory, memory, held)
    assert found.over
    assert list(found.tighter) == ["latency_ms"]
