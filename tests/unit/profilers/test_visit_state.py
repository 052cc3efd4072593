"""What a worker reads around visits: kept within bounds, counted, and told where it is much."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from device_profiles import find
from profilers import InputSpec, Measurement, ModelJob, Protocol, RecordDamaged, measure
from profilers.journal import Journal
from profilers.protocol import Round
from profilers.reference import REFERENCE_NAME
from profilers.samples import Step, Visit
from profilers.telemetry import MAX_SENSORS, VisitState, disturbances, read_state, summary
from profilers.testing import SyntheticMachine, SyntheticWorker

SENT = {
    "frequency_khz": {"6": 2_000_000, "7": 2_200_000},
    "temperature_mc": {"big": 41_500, "little": 38_000},
    "migrations": 2,
}


def test_a_reading_is_the_fastest_clock_and_the_warmest_zone() -> None:
    assert read_state(SENT) == VisitState(2, 2_200_000, 41_500)


@pytest.mark.parametrize(
    "sent",
    [
        None,
        [],
        "state",
        {},
        {"migrations": -1},
        {"migrations": True},
        {"migrations": 1e300},
        {"frequency_khz": [1], "temperature_mc": 3},
        {"frequency_khz": {"0": "fast", "1": -5, "2": 10**12}},
        {"temperature_mc": {"broken": -274_000, "other": 10**9}},
        {"temperature_mc": {str(i): 10**9 for i in range(MAX_SENSORS)} | {"last": 1}},
    ],
)
def test_what_is_no_reading_is_left_out(sent: Any) -> None:
    assert read_state(sent) is None


def test_shares_are_of_the_visits_that_told() -> None:
    states = [
        VisitState(0, 1000, 30_000),
        VisitState(1, 899, 45_000),
        VisitState(0, 900, None),
        VisitState(None, 1000, 40_000),
        None,
    ]
    found = summary(states)
    assert found == {
        "visits": 4,
        "migrated_share": 1 / 3,
        "slowed_share": 1 / 4,
        "clock_khz": 1000,
        "temperature_c": [30.0, 40.0, 45.0],
    }
    assert disturbances(found) == [
        "the measuring thread changed its core in 33% of visits",
        "the clock was slowed in 25% of visits",
    ]
    assert summary([None, None]) is None
    assert summary([VisitState(warmest_mc=1000)]) == {
        "visits": 1,
        "migrated_share": None,
        "slowed_share": None,
        "clock_khz": None,
        "temperature_c": [1.0, 1.0, 1.0],
    }


@pytest.mark.parametrize(
    "told", [None, [], {"migrated_share": 0.1}, {"migrated_share": "1"}, {"slowed_share": 7.0}]
)
def test_little_of_it_and_what_cannot_be_is_not_told(told: Any) -> None:
    assert disturbances(told) == []


class Moving(SyntheticWorker):
    """One whose thread changes its core in every fourth visit."""

    count = 0

    def visit(self, steps: Sequence[Step]) -> list[Visit]:
        found = []
        for visit in super().visit(steps):
            Moving.count += 1
            state = VisitState(int(Moving.count % 4 == 0), 1_000_000, None)
            found.append(dataclasses.replace(visit, state=state))
        return found


def measured(tmp_path: Path, worker: Any, **more: Any) -> Measurement:
    path = tmp_path / "small.onnx"
    path.write_bytes(b"small")
    machine = SyntheticMachine({REFERENCE_NAME: 4.0, "small": 2.0})
    return measure(
        [ModelJob("small", path, {"input_ids": InputSpec((1, 8), high=100)})],
        find("host"),
        protocol=Protocol(min_rounds=6, max_rounds=6),
        opener=lambda device, options: worker(machine),
        **more,
    )


def test_a_measurement_tells_it_and_a_resumed_one_too(tmp_path: Path) -> None:
    journal = tmp_path / "rounds"
    found = measured(tmp_path, Moving, journal=journal)
    told = found.context["telemetry"]
    assert told["visits"] == 6 * 7
    assert 0.2 <= told["migrated_share"] <= 0.3
    assert told["slowed_share"] == 0.0
    assert any("changed its core in 2" in text for text in found.warnings())
    again = measured(tmp_path, SyntheticWorker, journal=journal)
    assert again.context["telemetry"] == told
    plain = measured(tmp_path, SyntheticWorker)
    assert "telemetry" not in plain.context
    assert not any("core" in text for text in plain.warnings())


def test_a_journal_holds_no_other_state(tmp_path: Path) -> None:
    visit = Visit("a", 0.0, 1.0, (1.0,), (1.0,), (0,), VisitState(1, None, 30_000))
    plain = dataclasses.replace(visit, state=None)
    path = tmp_path / "rounds"
    rounds = [Round(0, 0, (visit, plain)), Round(1, 0, (plain,))]
    with Journal(path, {}) as journal:
        for one in rounds:
            journal.append(one)
    with Journal(path, {}) as journal:
        assert journal.rounds == rounds
    text = path.read_text()
    for wrong in (
        "[1, null, 30000, 4]",
        '[1, null, 30000, ["x"]]',
        "[-1, null, 3]",
        "[1.5, null, 3]",
        "7",
    ):
        path.write_text(text.replace("[1, null, 30000]", wrong))
        with pytest.raises(RecordDamaged, match="cannot be continued"):
            Journal(path, {})
