"""Saved measurements: what makes no sense in them is refused, whoever wrote it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

import device_profiles
from profilers import (
    InputSpec,
    InvalidSetting,
    Measurement,
    ModelJob,
    Protocol,
    RecordDamaged,
    RuntimeOptions,
    measure,
)
from profilers.testing import SyntheticMachine, synthetic_opener

NAN, INFINITY = float("nan"), float("inf")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A measurement on a made-up machine, as plain data."""
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    path.write_bytes(b"model")
    found = measure(
        [ModelJob("model", path, {"x": InputSpec((1, 4))})],
        device_profiles.find("host"),
        protocol=Protocol(min_rounds=6, max_rounds=6),
        opener=synthetic_opener(SyntheticMachine({"model": 1.0, "reference": 4.0})),
    )
    plain: dict[str, Any] = json.loads(json.dumps(found.to_dict()))
    assert Measurement.from_dict(plain) == found
    return plain


def put(*path: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    """A change of one value."""

    def change(raw: Any) -> None:
        for name in path[:-1]:
            raw = raw[name]
        raw[path[-1]] = value

    return change


SAMPLE = ("models", 0, "samples", 0)
VISIT = ("reference", "samples", 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put(*SAMPLE, "runs_ms", 0, value=NAN), "runs_ms = nan; it must be a finite number above"),
        (put(*SAMPLE, "own_ms", 0, value=INFINITY), "own_ms = inf"),
        (put(*SAMPLE, "own_ms", 0, value=0), "own_ms = 0; it must be a finite number above 0"),
        (put(*SAMPLE, "own_ms", 0, value=-1.0), "own_ms = -1.0"),
        (put(*SAMPLE, "own_ms", 0, value=1e3), "own_ms = 1000.0 of a run that took runs_ms"),
        (put(*SAMPLE, "own_ms", value=[]), "own_ms has 0 entries"),
        (put(*SAMPLE, "runs_ms", value="12"), "runs_ms = '12'; it must be a list"),
        (put(*SAMPLE, "runs_ms", 0, value=True), "runs_ms = True; it must be a number"),
        (put(*SAMPLE, "preempted", 0, value=0.5), "preempted = 0.5; it must be a whole number"),
        (put(*SAMPLE, "reference_before_ms", value=NAN), "reference_before_ms = nan"),
        (put(*SAMPLE, "reference_after_ms", value=0), "reference_after_ms = 0"),
        (put(*SAMPLE, "undisturbed", value="no"), "undisturbed = 'no'; it must be true or false"),
        (put(*SAMPLE, "round", value=10**9), "round = 1000000000; it must be a whole number from"),
        (put(*SAMPLE, "round", value=4), "round 0 comes after round 4"),
        (put(*SAMPLE, "instance", value=1), "comes after"),
        (put(*SAMPLE, value=[1, 2]), "a sample = .*; it must be an object"),
        (put("models", 0, "samples", value=[]), "samples has 0 entries"),
        (put("models", 0, "latency_ms", value=NAN), "a model.latency_ms = nan"),
        (put("models", 0, "converged", value=1), "a model.converged = 1"),
        (put("models", 0, "name", value="\x1b[31m"), r"a model.name = '\\x1b\[31m'"),
        (put("models", value={}), "models = {}; it must be a list"),
        (put(*VISIT, 3, 0, value=NAN), "runs_ms = nan"),
        (put(*VISIT, 2, value=0.0), "holds runs of"),
        (put(*VISIT, value=[1]), "a visit has 1 entries"),
        (put("reference", "quiet_ms", value=-1.0), "a quiet time of -1.0 ms"),
        (put("reference", "quiet_ms", value="4"), "reference.quiet_ms = '4'"),
        (put("options", "threads", value=10**9), "threads = 1000000000; it must be at most 1024"),
        (put("options", "threads", value="1"), "options.threads = '1'"),
        (put("options", "cores", value=[2**40]), "a core = 1099511627776"),
        (put("options", "arena", value=None), "options.arena = None"),
        (put("options", "nice", value=1), "unknown field 'nice'"),
        (put("context", value=[]), r"context = \[\]; it must be an object"),
        (put("rounds", value=10**60), "rounds = 10+"),
        (put("duration_s", value=None), "duration_s = None"),
        (lambda raw: raw.pop("duration_s"), "lacks duration_s"),
        (put("version", value="2"), "version = '2'"),
        (put("version", value=99), "no measurement of version"),
    ],
)
def test_what_makes_no_sense_is_named(
    saved: dict[str, Any], change: Callable[[dict[str, Any]], object], message: str
) -> None:
    forged = copy.deepcopy(saved)
    change(forged)
    with pytest.raises(RecordDamaged, match=message):
        Measurement.from_dict(forged)


@pytest.mark.parametrize("data", [None, [], "text", 1, {}])
def test_what_is_no_measurement_is_a_message(data: Any) -> None:
    with pytest.raises(RecordDamaged):
        Measurement.from_dict(data)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("shape", [1.5, 2], "an axis of shape = 1.5"),
        ("shape", [True], "an axis of shape = True"),
        ("shape", [1] * 17, "shape has 17 entries"),
        ("shape", [10**12], "an axis of shape = 1000000000000"),
        ("shape", "12", "shape = '12'; it must be a list"),
        ("dtype", "object", "'object' cannot be drawn"),
        ("low", "0", "low = '0'"),
        ("high", 2**70, "high = "),
    ],
)
def test_inputs_out_of_a_file_are_checked(field: str, value: Any, message: str) -> None:
    data = InputSpec((1, 4), "int64", 0, 9).to_dict() | {field: value}
    with pytest.raises(ValueError, match=message):
        InputSpec.from_dict(data)


def test_counts_that_no_machine_has_are_refused() -> None:
    with pytest.raises(InvalidSetting, match="threads = 5000; it must be at most 1024"):
        RuntimeOptions(threads=5000)
    with pytest.raises(InvalidSetting, match="each from 0 to 65535"):
        RuntimeOptions(cores=(2**20,))
