"""The noise of a device: it widens what is measured there, and goes with the measurement."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest

from device_profiles import DeviceProfile, Noise, find
from profilers import (
    Measurement,
    ModelJob,
    Protocol,
    RecordDamaged,
    extend_baseline,
    load_baseline,
    load_or_record_baseline,
    measure,
    pooled_latencies,
)
from profilers.reference import REFERENCE_NAME
from profilers.testing import SyntheticMachine, synthetic_opener

WIDE = Noise(process_spread=0.05)
TRUTH_MS = {REFERENCE_NAME: 4.0, "model": 5.0}
BUSY = {"quiet_s": 0.03, "busy_s": 0.2, "slowed": {REFERENCE_NAME: 1.5, "model": 1.6}}


def on_host(noise: Noise) -> DeviceProfile:
    return dataclasses.replace(find("host"), noise=noise)


def job_in(folder: Path) -> ModelJob:
    path = folder / "model.onnx"
    path.write_bytes(b"model")
    return ModelJob("model", path, {})


def taken(folder: Path, noise: Noise, **about: Any) -> Measurement:
    """The same runs whatever the noise is said to be."""
    opener = synthetic_opener(SyntheticMachine(TRUTH_MS, **about))
    protocol = Protocol(min_rounds=12, max_rounds=12)
    return measure([job_in(folder)], on_host(noise), protocol=protocol, opener=opener, strict=False)


def test_a_device_whose_processes_differ_more_gets_wider_bounds(tmp_path: Path) -> None:
    usual, wide = taken(tmp_path, Noise()), taken(tmp_path, WIDE)
    assert (usual.noise, wide.noise) == (Noise(), WIDE)
    one, other = usual["model"], wide["model"]
    assert one.samples == other.samples
    assert one.latency_ms == other.latency_ms
    assert other.upper_ms > one.upper_ms
    assert other.lower_ms < one.lower_ms
    # sqrt(2) x Student's factor of 11 degrees x 5% over the root of 4 processes
    assert other.ratio_upper / other.ratio == pytest.approx(1 + 1.414 * 1.796 * 0.025, rel=2e-3)
    assert (one.converged, other.converged) == (True, False)


def test_what_was_not_measured_before_may_lie_as_far_off_as_the_device_says(tmp_path: Path) -> None:
    assert taken(tmp_path, Noise()).reference.scale.reach == pytest.approx(0.069, abs=5e-4)
    wide = taken(tmp_path, Noise(baseline_spread=0.05)).reference.scale
    assert math.log1p(wide.reach) == pytest.approx(2.5 * math.log(1.0688), rel=1e-3)
    assert taken(tmp_path, Noise(baseline_spread=0.0)).reference.scale.reach == 0.0


def test_a_busy_machine_widens_bounds_as_the_device_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("profilers.protocol.QUIET_PATIENCE_S", 0.0)
    usual = taken(tmp_path, Noise(), **BUSY)
    wide = taken(tmp_path, Noise(busy_spread=0.2), **BUSY)
    samples = {"model": usual["model"].samples}
    assert not usual["model"].is_quiet
    for noise, found in ((usual.noise, usual), (wide.noise, wide)):
        pooled = pooled_latencies(samples, 3.0, noise=noise)["model"]
        assert pooled.deviation == pytest.approx(noise.busy_spread, rel=0.2)
        assert found["model"].samples == samples["model"]
    assert wide["model"].latency_ms == usual["model"].latency_ms


def test_a_baseline_starts_from_the_spread_of_the_device(tmp_path: Path) -> None:
    opener = synthetic_opener(SyntheticMachine(TRUTH_MS, noise=0.001))
    reaches = []
    for spread in (0.02, 0.1, 0.0):
        device = on_host(Noise(baseline_spread=spread))
        baseline = load_or_record_baseline(tmp_path, device, opener=opener)
        assert load_baseline(tmp_path, device, opener=opener) == dataclasses.replace(
            baseline, fresh=False
        )
        found = measure(
            [job_in(tmp_path)],
            device,
            scale=baseline.scale,
            protocol=Protocol(min_rounds=3, max_rounds=3),
            opener=opener,
        )
        reaches.append(extend_baseline(baseline, found).scale.reach)
    assert reaches[1] > 4 * reaches[0] > 40 * reaches[2]
    assert len(list(tmp_path.glob("quiet-*.json"))) == 1  # what was seen belongs to no noise


def test_a_saved_measurement_says_its_noise_where_it_is_not_the_usual(tmp_path: Path) -> None:
    usual, wide = taken(tmp_path, Noise()).to_dict(), taken(tmp_path, WIDE)
    assert "noise" not in usual
    assert Measurement.from_dict(json.loads(json.dumps(usual))).to_dict() == usual
    plain = json.loads(json.dumps(wide.to_dict()))
    assert plain["noise"] == WIDE.to_dict()
    assert Measurement.from_dict(plain) == wide
    plain["noise"] = {"process_spread": 0.05}
    assert Measurement.from_dict(plain) == wide


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        ({"process_spread": -0.01}, "process_spread = -0.01; it must be a number from 0 to 0.25"),
        ({"process_spread": float("nan")}, "process_spread = nan; it must be a number"),
        ({"busy_spread": 1e9}, "busy_spread = 1000000000.0; it must be a number"),
        ({"shift": "0.01"}, "shift = '0.01'; it must be a number"),
        ({"luck": 0.01}, "'luck' is unknown"),
        ([], r"\[\]; it must be a table of process_spread"),
        (None, "None; it must be a table of process_spread"),
    ],
)
def test_a_saved_noise_that_makes_no_sense_is_damage(
    tmp_path: Path, noise: Any, message: str
) -> None:
    plain = copy.deepcopy(taken(tmp_path, Noise()).to_dict())
    with pytest.raises(RecordDamaged, match=message):
        Measurement.from_dict(plain | {"noise": noise})
