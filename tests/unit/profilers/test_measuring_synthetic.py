"""`measure` and its journal, on a made-up device."""

from __future__ import annotations

import json
import math
from pathlib import Path

import filelock
import pytest

from device_profiles import DeviceProfile, find
from profilers import (
    DeviceUnreachable,
    InputSpec,
    InvalidSetting,
    Measurement,
    MeasurementInterrupted,
    ModelJob,
    ModelRejected,
    ProfilerError,
    Protocol,
    RecordBusy,
    RecordDamaged,
    Round,
    RuntimeOptions,
    Scale,
    load_or_record_baseline,
    measure,
)
from profilers.reference import REFERENCE_NAME
from profilers.testing import SyntheticMachine, SyntheticWorker, synthetic_opener

PROTOCOL = Protocol(min_rounds=6, max_rounds=6, rounds_per_instance=3)


@pytest.fixture
def device() -> DeviceProfile:
    return find("host")


@pytest.fixture
def jobs(tmp_path: Path) -> list[ModelJob]:
    found = []
    for name in ("small", "large"):
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(name.encode())
        found.append(ModelJob(name, path, {"input_ids": InputSpec((1, 8), high=100)}))
    return found


def machine(seed: int = 0) -> SyntheticMachine:
    return SyntheticMachine({REFERENCE_NAME: 4.0, "small": 2.0, "large": 20.0}, seed=seed)


def test_latencies_are_true_and_raw_samples_round_trip(
    device: DeviceProfile, jobs: list[ModelJob]
) -> None:
    result = measure(jobs, device, protocol=PROTOCOL, opener=synthetic_opener(machine()))
    assert [model.name for model in result.models] == ["small", "large"]
    assert result["large"].latency_ms == pytest.approx(20.0, rel=0.01)
    assert result["large"].lower_ms < result["large"].latency_ms < result["large"].upper_ms
    assert result["small"].ratio == pytest.approx(0.5, rel=0.01)
    assert len(result["small"].samples_ms) == 18  # three visits in each of six rounds
    assert not result.busy
    assert not result.drift
    assert result.context["device"] == "host"
    again = Measurement.from_dict(json.loads(json.dumps(result.to_dict(), allow_nan=False)))
    assert again == result


def test_a_given_quiet_time_is_the_scale(device: DeviceProfile, jobs: list[ModelJob]) -> None:
    own, given = (
        measure(
            jobs,
            device,
            protocol=PROTOCOL,
            scale=scale,
            opener=synthetic_opener(machine()),
        )
        for scale in (None, Scale(8.0, 9.0))
    )
    assert (own.reference.given, given.reference.given) == (False, True)
    assert given["large"].ratio == own["large"].ratio
    assert given["large"].latency_ms == pytest.approx(8.0 * own["large"].ratio)
    assert given.reference.observed_ms == own.reference.quiet_ms
    reach = given["large"].upper_ms / given["large"].latency_ms - 1
    assert reach == pytest.approx(
        math.hypot(given["large"].ratio_upper / given["large"].ratio - 1, 1 / 8)
    )


def test_a_bound_of_a_quantile_is_of_runs_as_observed(
    device: DeviceProfile, jobs: list[ModelJob]
) -> None:
    large = measure(jobs, device, protocol=PROTOCOL, opener=synthetic_opener(machine()))["large"]
    assert large.latency_ms < large.upper_ms
    assert large.observed_upper_ms("p50") <= 30.0
    assert math.isinf(large.observed_upper_ms("p99"))  # 18 runs cannot bound p99
    with pytest.raises(InvalidSetting, match="quantile 'p10' is not offered"):
        large.observed_upper_ms("p10")


def test_an_interrupted_measurement_goes_on_from_its_journal(
    device: DeviceProfile, jobs: list[ModelJob], tmp_path: Path
) -> None:
    journal = tmp_path / "cache" / "rounds.jsonl"

    def stop(one: Round) -> None:
        if one.index == 3:
            raise KeyboardInterrupt

    with pytest.raises(MeasurementInterrupted, match=r"after 4 finished rounds.*the same again"):
        measure(
            jobs,
            device,
            protocol=PROTOCOL,
            journal=journal,
            on_round=stop,
            opener=synthetic_opener(machine()),
        )
    with journal.open("a") as file:
        file.write('{"index": 4, "insta')  # as a killed writer leaves it
    new: list[int] = []
    result = measure(
        jobs,
        device,
        protocol=PROTOCOL,
        journal=journal,
        on_round=lambda one: new.append(one.index),
        opener=synthetic_opener(machine(1)),
    )
    assert new == [4, 5]
    assert len(result["small"].samples) == 18
    # Everything is there now: asking again measures nothing, and a model asked for alone neither.
    for wanted in (jobs, jobs[1:]):
        measure(
            wanted,
            device,
            protocol=PROTOCOL,
            journal=journal,
            on_round=lambda one: pytest.fail("measured again"),
            opener=synthetic_opener(machine(2)),
        )


def test_a_measurement_is_of_one_phone(
    device: DeviceProfile, jobs: list[ModelJob], tmp_path: Path
) -> None:
    """Neither goes on with another in the middle of it, nor from another's journal or baseline."""
    phones: list[str] = []
    made_up = machine()

    def opener(*_: object) -> SyntheticWorker:
        worker = made_up.open()
        worker.context["phone_id"] = phones.pop(0) if len(phones) > 1 else phones[0]
        return worker

    journal = tmp_path / "journal"
    phones[:] = ["a", "b"]  # the second process finds another
    with pytest.raises(DeviceUnreachable, match=r"another phone .* what was measured is kept"):
        measure(jobs, device, protocol=PROTOCOL, journal=journal, opener=opener)
    phones[:] = ["b"]
    with pytest.raises(RecordDamaged, match="another phone_id"):
        measure(jobs, device, protocol=PROTOCOL, journal=journal, opener=opener)
    first = load_or_record_baseline(tmp_path, device, opener=opener)
    phones[:] = ["a"]
    assert load_or_record_baseline(tmp_path, device, opener=opener).path != first.path
    found = measure(jobs, device, protocol=PROTOCOL, journal=journal, opener=opener)
    assert "phone_id" not in found.context


@pytest.mark.parametrize("content", ["one line of a thesis", "a thesis\n", '{"format": "other"}'])
def test_a_file_that_is_no_journal_is_not_touched(
    content: str, device: DeviceProfile, jobs: list[ModelJob], tmp_path: Path
) -> None:
    path = tmp_path / "thesis.txt"
    path.write_text(content)
    with pytest.raises(RecordDamaged, match=r"thesis\.txt' cannot be continued"):
        measure(jobs, device, journal=path, opener=synthetic_opener(machine()))
    assert path.read_text() == content


def test_a_changed_model_is_measured_anew(
    device: DeviceProfile, jobs: list[ModelJob], tmp_path: Path
) -> None:
    journal = tmp_path / "rounds.jsonl"
    opener = synthetic_opener(machine())
    measure(jobs, device, protocol=PROTOCOL, journal=journal, opener=opener)
    jobs[0].path.write_bytes(b"other weights")
    new: list[set[str]] = []
    measure(
        jobs,
        device,
        protocol=PROTOCOL,
        journal=journal,
        opener=opener,
        on_round=lambda one: new.append({visit.name for visit in one.visits}),
    )
    assert new == [{REFERENCE_NAME, jobs[0].content_hash()}] * 6


def test_a_journal_of_other_conditions_or_damaged_or_in_use_is_refused(
    device: DeviceProfile, jobs: list[ModelJob], tmp_path: Path
) -> None:
    journal = tmp_path / "rounds.jsonl"
    opener = synthetic_opener(machine())

    def again(options: RuntimeOptions | None = None) -> Measurement:
        return measure(
            jobs, device, protocol=PROTOCOL, journal=journal, opener=opener, options=options
        )

    again()
    with pytest.raises(RecordDamaged, match=r"begun under another options.*rm "):
        again(RuntimeOptions(threads=2))
    with filelock.FileLock(f"{journal}.lock"), pytest.raises(RecordBusy, match="in use by another"):
        again()
    lines = journal.read_text().splitlines()
    journal.write_text("\n".join([lines[0], lines[1][:40], *lines[2:]]) + "\n")
    with pytest.raises(RecordDamaged, match="cannot be continued"):
        again()
    journal.write_text("hello\n")
    with pytest.raises(RecordDamaged, match="Remove it to measure anew"):
        again()


def test_a_journal_that_cannot_be_written_is_one_message(
    device: DeviceProfile, jobs: list[ModelJob], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ProfilerError, match="cannot write the journal"):
        measure(
            jobs,
            device,
            protocol=PROTOCOL,
            journal=tmp_path / "file" / "rounds.jsonl",
            opener=synthetic_opener(machine()),
        )


def test_twins_are_two_models(device: DeviceProfile, jobs: list[ModelJob]) -> None:
    twins = [jobs[0], ModelJob("twin", jobs[0].path, jobs[0].inputs)]
    result = measure(twins, device, protocol=PROTOCOL, opener=synthetic_opener(machine()))
    assert result["small"].content_hash == result["twin"].content_hash
    assert result["small"].samples != result["twin"].samples


def test_what_cannot_be_measured_is_refused_first(
    device: DeviceProfile, jobs: list[ModelJob], tmp_path: Path
) -> None:
    opener = synthetic_opener(machine())
    with pytest.raises(InvalidSetting, match="nothing to measure"):
        measure([], device, opener=opener)
    with pytest.raises(InvalidSetting, match="two jobs are named 'small'"):
        measure([jobs[0], jobs[0]], device, opener=opener)
    for wrong in ((0.0, 1.0), (2.0, 1.0), (float("nan"), 1.0), (1.0, float("inf"))):
        with pytest.raises(InvalidSetting, match="a quiet time of"):
            Scale(*wrong)
    missing = ModelJob("gone", tmp_path / "gone.onnx", {})
    with pytest.raises(ModelRejected, match=r"cannot read the model .*gone\.onnx.*No such file"):
        measure([missing], device, opener=opener)


def test_a_saved_measurement_of_another_version_or_damaged_is_refused(
    device: DeviceProfile, jobs: list[ModelJob]
) -> None:
    result = measure(jobs, device, protocol=PROTOCOL, opener=synthetic_opener(machine()))
    data = result.to_dict()
    with pytest.raises(RecordDamaged, match="version 99"):
        Measurement.from_dict({**data, "version": 99})
    del data["context"]
    with pytest.raises(RecordDamaged, match="KeyError: 'context'"):
        Measurement.from_dict(data)
    with pytest.raises(InvalidSetting, match="no model 'huge' in this measurement; it has: small"):
        result["huge"]
