"""What of a measurement is held to a limit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import profilers
from nasc.package.measured_latency import MeasuredLatency
from nasc.package.read_manifest import read_manifest
from profilers.statistic import observed_upper


def test_the_bound_that_is_held_to_the_limit(packed: Mapping[tuple[str, str], Path]) -> None:
    measured = read_manifest(packed["fp32", "embed"]).measured
    assert isinstance(measured, MeasuredLatency)
    assert measured.held_ms(None) == measured.model.upper_ms
    assert measured.held_ms("p50") == measured.model.observed_upper_ms("p50")
    visits = [runs[0] for runs in measured.model.samples_ms]
    assert measured.held_ms("p50") == max(observed_upper(visits, "p50"), measured.model.p50_ms)
    assert measured.held_ms("p99") == float("inf")  # under 299 visits
    assert isinstance(measured.measurement, profilers.Measurement)
