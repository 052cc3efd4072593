"""One measurement on several devices, each made up."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

import device_profiles
from profilers import (
    DeviceUnreachable,
    Measurement,
    MeasurementInterrupted,
    ModelJob,
    ModelRejected,
    Protocol,
    Scale,
    measure,
    pooled_latencies,
)
from profilers.reference import REFERENCE_NAME
from profilers.sharing import Measure, Progress, measure_parts, merged
from profilers.testing import SyntheticMachine, synthetic_opener

TRUTH = {f"m{i}": 2.0 + i for i in range(6)}
PROTOCOL = Protocol(min_rounds=3, max_rounds=6, max_seconds=20.0)


@pytest.fixture
def jobs(tmp_path: Path) -> list[ModelJob]:
    for name in TRUTH:
        (tmp_path / f"{name}.onnx").write_text(name)
    return [ModelJob(name, tmp_path / f"{name}.onnx", {}) for name in TRUTH]


def board(slow: float, seed: int, gives_out: int | None = None) -> Measure:
    """A board that is slower by a factor, and dies when it has visited so many models."""
    machine = SyntheticMachine(
        {REFERENCE_NAME: 4.0 * slow, **{name: ms * slow for name, ms in TRUTH.items()}}, seed=seed
    )

    def on(some: Sequence[ModelJob], report: Progress) -> Measurement:
        visited = 0

        def progress(done: int, total: int, message: str) -> None:
            nonlocal visited
            visited += 1
            if gives_out is not None and visited > gives_out:
                raise DeviceUnreachable(f"cannot run a worker on device 'slow {slow}'")
            report(done, total, message)

        return measure(
            some,
            device_profiles.find("host"),
            protocol=PROTOCOL,
            scale=Scale(4.0 * slow, 4.04 * slow),
            progress=progress,
            opener=synthetic_opener(machine),
        )

    return on


def test_boards_measure_as_one(jobs: list[ModelJob]) -> None:
    seen: list[tuple[int, int]] = []
    parts = measure_parts(
        jobs,
        {"a": board(1.0, 1), "b": board(1.3, 2)},
        progress=lambda done, total, message: seen.append((done, total)),
    )
    assert [len(part.measurement.models) for part in parts] == [3, 3]
    assert seen[-1][0] == seen[-1][1] == len(jobs) * PROTOCOL.min_rounds
    found = merged(jobs, parts, Scale(4.0, 4.04))
    assert [model.name for model in found.models] == list(TRUTH)
    pooled = pooled_latencies(
        {m.name: m.samples for m in found.models}, found.reference.quiet_ms, noise=found.noise
    )
    for model in found.models:
        assert model.latency_ms == pytest.approx(TRUTH[model.name], rel=0.02)
        assert pooled[model.name].latency_ms == pytest.approx(TRUTH[model.name], rel=0.02)
    assert found.reference.observed_ms == pytest.approx(4.0, rel=0.02)
    assert [(b["name"], b["models"]) for b in found.context["boards"]] == [("a", 3), ("b", 3)]
    assert Measurement.from_dict(found.to_dict()) == found
    both = {s.round for m in found.models[::2] for s in m.samples}
    assert not both & {s.round for m in found.models[1::2] for s in m.samples}


def test_what_a_board_does_not_finish_goes_to_the_others(jobs: list[ModelJob]) -> None:
    said: list[str] = []
    boards = {"a": board(1.0, 1), "b": board(1.3, 2, gives_out=4), "c": board(0.9, 3)}
    parts = measure_parts(jobs, boards, say=said.append)
    assert {part.device for part in parts} == {"a", "c"}
    assert sorted(m.name for part in parts for m in part.measurement.models) == list(TRUTH)
    (line,) = said
    assert "'b' gave out: cannot run a worker" in line
    assert line.endswith("2 networks of it go to: a, c")
    found = merged(jobs, parts, Scale(4.0, 4.04))
    for model in found.models:
        assert model.latency_ms == pytest.approx(TRUTH[model.name], rel=0.02)


def test_where_all_give_out_the_last_says_why(jobs: list[ModelJob]) -> None:
    boards = {"a": board(1.0, 1, gives_out=4), "b": board(1.3, 2, gives_out=2)}
    with pytest.raises(DeviceUnreachable, match=r"on device 'slow 1\.[03]'"):
        measure_parts(jobs, boards)


def stopped(ends: list[str], some: Sequence[ModelJob], report: Progress) -> Measurement:
    """Measures without an end until it is stopped, as `measure` is."""
    try:
        while True:
            report(0, 1, "")
    except KeyboardInterrupt as error:
        ends.append("stopped")
        raise MeasurementInterrupted("what was measured is kept") from error


def test_a_failure_that_no_other_board_mends_stops_all(jobs: list[ModelJob]) -> None:
    def rejects(some: Sequence[ModelJob], report: Progress) -> Measurement:
        raise ModelRejected("the runtime rejected the model")

    ends: list[str] = []
    with pytest.raises(ModelRejected, match="rejected the model"):
        measure_parts(jobs, {"a": partial(stopped, ends), "b": rejects})
    assert ends == ["stopped"]


def test_ctrl_c_stops_all_and_says_what_is_kept(
    jobs: list[ModelJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: list[str] = []
    waits = iter([KeyboardInterrupt()])

    def wait(futures: object) -> None:
        for error in waits:
            raise error
        for thread in threading.enumerate():
            if thread.name.startswith("ThreadPoolExecutor"):
                thread.join(0.5)

    monkeypatch.setattr("profilers.sharing.wait", wait)
    with pytest.raises(MeasurementInterrupted, match="what was measured is kept"):
        measure_parts(jobs, {name: partial(stopped, ends) for name in "ab"})
    assert ends == ["stopped", "stopped"]
