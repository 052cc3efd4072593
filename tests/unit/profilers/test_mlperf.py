"""MLPerf's single-stream scenario: loadgen's estimate, and runs on a made-up machine."""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

import device_profiles
from profilers import single_stream as run
from profilers.errors import InvalidSetting, RecordDamaged
from profilers.jobs import InputSpec, ModelJob, RuntimeOptions
from profilers.mlperf import (
    MAX_QUERIES,
    MIN_QUERIES,
    SingleStream,
    discarded,
    early_stopping_estimate,
    least_queries,
)
from profilers.testing import SyntheticMachine, synthetic_opener


def least_passing(t: int, share: float, confidence: float = 0.99) -> int:
    """Loadgen's search, step by step: the fewest queries under the quantile that are enough."""
    h = 1
    while not special.betainc(h, 1 + t, share) < 1 - confidence:
        h += 1
    return h


def as_loadgen_counts(queries: int, share: float) -> int:
    """The loop of loadgen's results.cc."""
    if queries < least_passing(1, share) + 1:
        return 0
    t = 1
    for i in range(2, queries + 1):
        if queries < least_passing(i, share) + i:
            t = i - 1
            break
    return t


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 500), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_as_many_are_left_out_as_loadgen_does(queries: int, share: float) -> None:
    assert discarded(queries, share) == as_loadgen_counts(queries, share)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, MAX_QUERIES), st.sampled_from([0.5, 0.9, 0.99]))
def test_the_estimate_is_as_sure_as_it_says(queries: int, share: float) -> None:
    """The t slowest: that fewer runs than t lie above the quantile is unlikely enough."""
    t = discarded(queries, share)
    assert 0 <= t <= queries
    if t:
        assert special.bdtr(t, queries, 1 - share) < 0.01
    assert not special.bdtr(t + 1, queries, 1 - share) < 0.01 or t == queries


def test_the_least_numbers_of_queries_are_those_of_mlperf() -> None:
    assert least_queries(0.9) == MIN_QUERIES == 64
    assert least_queries(0.99) == 662


@pytest.mark.parametrize(
    ("queries", "share", "t"),
    [(63, 0.9, 0), (64, 0.9, 1), (571, 0.9, 40), (661, 0.99, 0), (662, 0.99, 1), (10000, 0.99, 77)],
)
def test_figures_of_loadgen_itself(queries: int, share: float, t: int) -> None:
    """571 queries: "Would discard 39 highest" (loadgen 6.0.17, 2026)."""
    assert discarded(queries, share) == t


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 10**9), min_size=64, max_size=300), st.randoms())
def test_the_estimate_is_a_query_at_or_above_the_percentile(runs: list[int], random: Any) -> None:
    found = early_stopping_estimate(runs)
    ordered = sorted(runs)
    assert found == ordered[len(runs) - discarded(len(runs), 0.9)]
    assert found >= ordered[min(len(runs) - 1, int(0.9 * len(runs)))]
    random.shuffle(runs)
    assert early_stopping_estimate(runs) == found
    assert early_stopping_estimate(runs[:63]) == math.inf


@pytest.fixture
def job(tmp_path: Path) -> ModelJob:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"model")
    return ModelJob("model", path, {"input_ids": InputSpec((1, 8), "int64", 0, 9)})


Stream = Callable[..., SingleStream]


@pytest.fixture
def stream(job: ModelJob) -> Stream:
    def make(machine: SyntheticMachine | None = None, **about: Any) -> SingleStream:
        machine = machine or SyntheticMachine({"model": 5.0, "reference": 4.0}, drift=1.2)
        host = device_profiles.find("host")
        return run(job, host, RuntimeOptions(), opener=synthetic_opener(machine), **about)

    return make


def test_a_run_lasts_as_long_as_asked_and_keeps_every_query(stream: Stream, job: ModelJob) -> None:
    told: list[tuple[int, int, str]] = []
    found = stream(min_duration_s=20, progress=lambda *about: told.append(about))
    assert found.duration_s >= 20
    assert 3000 < found.queries < 4200
    assert found.is_valid
    assert found.latencies_ns.sum() * 1e-9 == pytest.approx(found.duration_s, rel=1e-6)
    assert 5.0 < found.percentile_ms <= found.estimate_ms < 6.5
    assert found.content_hash == job.content_hash()
    assert told[-1][:2] == (20, 20)
    assert "a run of 20 s where MLPerf's own last 600 s" in found.rules


def test_disturbed_queries_count_as_they_are(stream: Stream) -> None:
    """Wall time, whatever else used the core."""
    machine = SyntheticMachine({"model": 5.0, "reference": 4.0}, spike_share=0.3, spike_factor=3)
    found = stream(machine, min_duration_s=10)
    assert found.estimate_ms > 8


def test_at_least_so_many_queries_are_made(stream: Stream) -> None:
    machine = SyntheticMachine({"model": 500.0, "reference": 4.0})
    found = stream(machine, min_duration_s=0.001)
    assert found.queries == MIN_QUERIES
    assert found.estimate_ms == found.latencies_ns.max() * 1e-6


def test_a_run_that_is_over_its_limit_for_certain_ends(stream: Stream) -> None:
    found = stream(min_duration_s=3600, limit_ms=4.9)
    assert found.queries == MIN_QUERIES
    assert found.estimate_ms > 4.9
    assert not found.is_valid
    assert str(found).endswith("too short to count")
    assert stream(min_duration_s=10, limit_ms=7.0).is_valid


def test_a_record_comes_back_as_it_was(stream: Stream) -> None:
    found = stream(min_duration_s=2)
    data = json.loads(json.dumps(found.to_dict()))
    back = SingleStream.from_dict(data)
    np.testing.assert_array_equal(back.latencies_ns, found.latencies_ns)
    assert back.to_dict() == found.to_dict()


def packed(*values: int) -> str:
    return base64.b64encode(zlib.compress(np.array(values, "<i8").tobytes())).decode()


BOMB = base64.b64encode(zlib.compress(bytes(1 << 24))).decode()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"queries": 63}, "queries = 63; it must be a whole number from 64"),
        ({"queries": 10**9}, "queries = 1000000000"),
        ({"queries": 65}, "does not hold 65 queries"),
        ({"latencies_ns": "x"}, "latencies_ns is no packed list"),
        ({"latencies_ns": "AAAA"}, "latencies_ns is no packed list"),
        ({"latencies_ns": 5}, "latencies_ns is no text"),
        ({"latencies_ns": BOMB}, "does not hold 64 queries"),
        ({"latencies_ns": packed(*[0] * 64)}, "holds a query of 0"),
        ({"latencies_ns": packed(*[-5] * 64)}, "holds a query of -5"),
        ({"latencies_ns": packed(*[10**15] * 64)}, "holds a query of"),
        ({"latencies_ns": packed(*[10**12] * 64)}, "queries that took longer than"),
        ({"estimate_ms": 1.0}, "estimate_ms is 1.0, the queries give"),
        ({"percentile_ms": 1.0}, "percentile_ms is 1.0, the queries give"),
        ({"percentile_ms": float("nan")}, "percentile_ms = nan"),
        ({"duration_s": 0}, "duration_s = 0"),
        ({"min_duration_s": -1}, "min_duration_s = -1"),
        ({"min_duration_s": 1e9}, "min_duration_s = 1000000000"),
        ({"context": []}, "context = "),
        ({"context": {}}, "KeyError"),
    ],
)
def test_a_record_that_is_not_one_is_refused(
    stream: Stream, change: dict[str, Any], message: str
) -> None:
    machine = SyntheticMachine({"model": 5.0, "reference": 4.0})
    data = stream(machine, min_duration_s=0.1).to_dict()
    assert data["queries"] == 64
    with pytest.raises(RecordDamaged) as error:
        SingleStream.from_dict(data | change)
    assert message in str(error.value)


@pytest.mark.parametrize("seconds", [0, -1, math.nan, math.inf, 1e6])
def test_a_duration_that_is_not_to_be_had_is_refused(stream: Stream, seconds: float) -> None:
    with pytest.raises(InvalidSetting, match="--min-duration 600"):
        stream(min_duration_s=seconds)
