"""A latency as it was measured: what of it is held to a limit, and what it may be of."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import pytest

import profilers
from nasc.errors import PackageError
from nasc.package.measured_latency import MAX_INPUT_VALUES, MeasuredLatency
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


def test_a_measurement_of_too_large_inputs_is_refused_before_they_are_drawn(
    packed: Mapping[tuple[str, str], Path],
) -> None:
    measured = read_manifest(packed["fp32", "embed"]).measured
    assert measured is not None
    rows = MAX_INPUT_VALUES // 512
    inputs = {"input_ids": profilers.InputSpec((rows, 512))}
    assert dataclasses.replace(measured, inputs=inputs).inputs == inputs
    inputs = {"input_ids": profilers.InputSpec((rows + 1, 512))}
    with pytest.raises(PackageError, match=r"'input_ids' of shape \[8193, 512\] holds more than"):
        dataclasses.replace(measured, inputs=inputs)
