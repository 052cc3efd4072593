"""Load before a measurement, on made-up devices whose clock is known."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from device_profiles import DeviceProfile, Noise, find
from profilers import (
    Heat,
    InputSpec,
    InvalidSetting,
    Measurement,
    ModelJob,
    Protocol,
    RecordDamaged,
    RuntimeOptions,
    load_or_record_baseline,
    measure,
)
from profilers.heating import AGAIN, SHORT_PAUSE_S, SustainedLoad, told_of_load
from profilers.protocol import run_rounds
from profilers.reference import REFERENCE_NAME
from profilers.samples import Step, Visit
from profilers.telemetry import VisitState
from profilers.testing import SyntheticMachine, SyntheticWorker

PROTOCOL = Protocol(min_rounds=6, max_rounds=6, rounds_per_instance=3)
HOT = RuntimeOptions(sustained_minutes=0.1)
INPUTS = {"input_ids": InputSpec((1, 8), high=100)}


class Telling(SyntheticWorker):
    """Tells what it was asked for, and wants to rest before every round.

    A machine of it warms by a tenth of a degree with every visit.
    """

    def __init__(self, machine: SyntheticMachine, log: list[tuple[str, float]], warm: bool) -> None:
        super().__init__(machine)
        self.log = log
        self.warm = warm

    def visit(self, steps: Sequence[Step]) -> list[Visit]:
        found = []
        for visit in super().visit(steps):
            self.log.append((visit.name, visit.end_s))
            state = (
                VisitState(0, 2_000_000, min(90_000, 30_000 + 100 * len(self.log)))
                if self.warm
                else None
            )
            found.append(dataclasses.replace(visit, state=state))
        return found

    def why_rest(self) -> str | None:
        self.log.append(("asked whether to rest", 0.0))
        return None


def opener(log: list[tuple[str, float]], warm: bool = True) -> Any:
    machine = SyntheticMachine({REFERENCE_NAME: 4.0, "small": 2.0})

    def start(device: object, options: RuntimeOptions) -> Telling:
        return Telling(machine, log, warm)

    return start


@pytest.fixture
def device() -> DeviceProfile:
    return find("host")


@pytest.fixture
def job(tmp_path: Path) -> ModelJob:
    path = tmp_path / "small.onnx"
    path.write_bytes(b"small")
    return ModelJob("small", path, INPUTS)


def test_the_device_is_under_load_before_the_first_visit_and_does_not_rest(
    device: DeviceProfile, job: ModelJob
) -> None:
    log: list[tuple[str, float]] = []
    said: list[str] = []
    found = measure(
        [job],
        device,
        options=HOT,
        protocol=PROTOCOL,
        opener=opener(log),
        progress=lambda done, total, text: said.append(text),
    )
    names = [name for name, _ in log]
    assert "asked whether to rest" not in names
    first = next(i for i, name in enumerate(names) if not name.startswith(REFERENCE_NAME))
    assert log[first][1] - log[0][1] >= 6.0
    assert len(found["small"].samples) == 18  # load is no sample
    assert any("keeping the device under load: 6 of 6 s" in text for text in said)
    told = found.context["sustained"]
    assert told["minutes"] == 0.1
    assert told["load_s"] >= 6.0
    assert told["cold"]["temperature_c"] < told["begin"]["temperature_c"]
    assert told["begin"]["temperature_c"] < told["end"]["temperature_c"]
    assert any("after 0.1 minutes of load: 30.1 C before it" in text for text in found.warnings())
    again = Measurement.from_dict(json.loads(json.dumps(found.to_dict(), allow_nan=False)))
    assert again == found


def test_without_it_a_device_rests_and_nothing_is_said(
    device: DeviceProfile, job: ModelJob
) -> None:
    log: list[tuple[str, float]] = []
    found = measure([job], device, protocol=PROTOCOL, opener=opener(log))
    assert ("asked whether to rest", 0.0) in log
    assert "sustained" not in found.context
    assert not any("load" in text for text in found.warnings())


def test_a_device_without_sensors_says_that_its_temperatures_are_not_known(
    device: DeviceProfile, job: ModelJob
) -> None:
    found = measure([job], device, options=HOT, protocol=PROTOCOL, opener=opener([], warm=False))
    assert found.context["sustained"]["end"]["temperature_c"] is None
    assert any("its temperatures are not known" in text for text in found.warnings())


def test_a_baseline_and_a_journal_are_of_a_load(
    device: DeviceProfile, job: ModelJob, tmp_path: Path
) -> None:
    log: list[tuple[str, float]] = []
    start = opener(log)
    plain = load_or_record_baseline(tmp_path, device, opener=start)
    before = len(log)
    hot = load_or_record_baseline(tmp_path, device, options=HOT, opener=start)
    assert hot.path != plain.path
    assert log[before + 13][1] - log[before][1] >= 6.0
    again = load_or_record_baseline(tmp_path, device, options=HOT, opener=start)
    assert not again.fresh
    journal = tmp_path / "rounds"
    measure([job], device, options=HOT, protocol=PROTOCOL, journal=journal, opener=start)
    with pytest.raises(RecordDamaged, match="another options"):
        measure([job], device, protocol=PROTOCOL, journal=journal, opener=start)
    measure([job], device, options=HOT, protocol=PROTOCOL, journal=journal, opener=start)


def test_what_it_has_heated_up_by_is_not_spent_again() -> None:
    heat, other = Heat(), dataclasses.replace(HOT, threads=4)
    assert heat.missing_s(HOT, 0.0) == 6.0
    heat.loaded(HOT, 100.0)
    assert heat.missing_s(HOT, 100.0 + SHORT_PAUSE_S) == 0.0
    assert heat.missing_s(HOT, 100.0 + SHORT_PAUSE_S + 1) == 6.0
    assert heat.missing_s(other, 100.0) == 6.0
    long = RuntimeOptions(sustained_minutes=10)
    heat.loaded(long, 100.0)
    assert heat.missing_s(long, 120.0) == AGAIN * 20


def test_the_load_takes_none_of_the_time_to_measure() -> None:
    machine = SyntheticMachine({REFERENCE_NAME: 4.0, "small": 2.0})
    rounds = run_rounds(
        machine.open,
        [ModelJob("small", Path("small.onnx"), INPUTS)],
        ModelJob(REFERENCE_NAME, Path("reference.onnx"), INPUTS),
        Protocol(min_rounds=5, max_rounds=5, max_seconds=3.0),
        load=SustainedLoad(HOT),
        clock=lambda: machine.now_s,
        pause=machine.pause,
        noise=Noise(),
    )
    assert len(rounds) == 5


@pytest.mark.parametrize("minutes", [0.0, 0.09, 121.0, float("nan"), float("inf"), -1.0])
def test_minutes_are_bounded(minutes: float) -> None:
    with pytest.raises(InvalidSetting, match=r"minutes from 0\.1 to 120"):
        RuntimeOptions(sustained_minutes=minutes)


def test_settings_without_load_are_as_they_were() -> None:
    assert "sustained_minutes" not in RuntimeOptions().to_dict()
    assert RuntimeOptions.from_dict(HOT.to_dict()) == HOT
    assert "sustained_minutes" not in HOT.for_worker()


@pytest.mark.parametrize(
    "told",
    [None, 3, {"minutes": "10"}, {"minutes": True}, {"minutes": 1e9}, {"minutes": float("nan")}],
)
def test_anybodys_context_says_nothing_that_is_no_load(told: Any) -> None:
    assert told_of_load(told) == []


def test_what_a_phone_says_of_its_heat_is_told() -> None:
    end = {"skin_c": 44.0, "thermal_status": 2}
    assert told_of_load({"minutes": 10, "cold": {"skin_c": 30.0}, "end": end}) == [
        "after 10 minutes of load: its skin 30.0 C before it, 44.0 C when it ended; its thermal "
        "status was 2 then"
    ]
