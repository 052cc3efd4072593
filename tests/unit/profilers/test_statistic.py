"""The statistic of record on machines that are shared, and its scale."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from device_profiles import Noise, find
from profilers import (
    MeasurementInconsistent,
    ModelJob,
    ModelMeasurement,
    Protocol,
    RecordDamaged,
    RoundSample,
    Scale,
    Visit,
    extend_baseline,
    load_baseline,
    load_or_record_baseline,
    measure,
)
from profilers.baseline import Window, scale_of, window_of, without_the_past
from profilers.protocol import run_rounds, samples_by_name
from profilers.reference import REFERENCE_NAME
from profilers.statistic import pooled_latencies, quiet_level, relative_latency
from profilers.testing import SyntheticMachine, synthetic_opener

TRUTH_MS = {REFERENCE_NAME: 1.0, "fp32": 30.0, "int8": 10.0}
SLOWED = {REFERENCE_NAME: 1.5, "fp32": 1.38, "int8": 1.6}
"""What a neighbour on the same core costs each: as on two virtual cores with AMX (2026-11)."""

REFERENCE = ModelJob(REFERENCE_NAME, Path("reference.onnx"), {})
PATIENCE_S = 30.0
JOBS = [ModelJob(name, Path(f"{name}.onnx"), {}) for name in ("fp32", "int8")]


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("profilers.protocol.QUIET_PATIENCE_S", PATIENCE_S)


def shared(seed: int, quiet_s: float = 0.4, busy_s: float = 0.6) -> SyntheticMachine:
    return SyntheticMachine(
        TRUTH_MS, seed=seed, noise=0.01, quiet_s=quiet_s, busy_s=busy_s, slowed=SLOWED
    )


def take(
    machine: SyntheticMachine, protocol: Protocol, quiet_ms: float | None = None
) -> dict[str, list[RoundSample]]:
    rounds = run_rounds(
        machine.open,
        JOBS,
        REFERENCE,
        protocol,
        quiet_ms=quiet_ms,
        clock=lambda: machine.now_s,
        pause=machine.pause,
        noise=Noise(),
    )
    return samples_by_name(rounds, ["fp32", "int8"], REFERENCE_NAME)


def test_a_neighbour_that_slows_models_differently_does_not_bias_the_latency() -> None:
    errors: dict[str, list[float]] = {"fp32": [], "int8": []}
    for seed in range(12):
        for name, samples in take(shared(seed), Protocol()).items():
            estimate = relative_latency(samples, 1.0, noise=Noise())
            assert estimate.is_quiet
            errors[name].append(estimate.latency_ms / TRUTH_MS[name] - 1)
    for name, found in errors.items():
        assert abs(np.mean(found)) < 0.02, name
        assert np.std(found) < 0.02, name


def test_measuring_waits_until_the_machine_is_quiet() -> None:
    late = shared(0, quiet_s=20.0, busy_s=30.0)
    late.now_s = 20.0  # busy for half a minute from here
    samples = take(late, Protocol(), 1.0)
    for name, found in samples.items():
        estimate = relative_latency(found, 1.0, noise=Noise())
        assert estimate.is_quiet
        assert estimate.latency_ms == pytest.approx(TRUTH_MS[name], rel=0.03)
    assert 50.0 < late.now_s < 70.0


def test_a_machine_that_is_never_quiet_is_measured_as_it_is() -> None:
    busy = shared(0, quiet_s=1e-9, busy_s=1e9)
    begin = busy.now_s
    for name, samples in take(busy, Protocol(), 1.0).items():
        estimate = relative_latency(samples, 1.0, noise=Noise())
        model = ModelMeasurement.of(
            name, "0", samples, Scale(1.0, 1.02), converged=False, noise=Noise()
        )
        assert not estimate.is_quiet
        assert model.latency_ms == pytest.approx(TRUTH_MS[name] * SLOWED[name], rel=0.03)
        model.check_consistency()
    assert PATIENCE_S < busy.now_s - begin < 2 * PATIENCE_S


@pytest.mark.slow
def test_few_quiet_moments_are_not_lost() -> None:
    """Too few to tell the quiet latency, but the busy machine's median is not the next best."""
    for seed in range(6):
        samples = take(shared(seed, quiet_s=0.03, busy_s=0.2), Protocol(), 1.0)["int8"]
        estimate = relative_latency(samples, 1.0, noise=Noise())
        assert not estimate.is_quiet
        assert 0.98 < estimate.latency_ms / TRUTH_MS["int8"] < 1.5  # the median of all: 1.6
        assert estimate.upper / estimate.value > 1.0 + Noise().busy_spread


def test_a_value_is_never_below_the_fastest_run() -> None:
    """The machine has become 8% slower than its record: quiet still, but not as fast."""
    slower = SyntheticMachine({name: 1.08 * ms for name, ms in TRUTH_MS.items()}, noise=0.002)
    for name, samples in take(slower, Protocol(), 1.0).items():
        model = ModelMeasurement.of(
            name, "0", samples, Scale(1.0, 1.0), converged=True, noise=Noise()
        )
        assert model.is_quiet
        assert model.latency_ms > 1.07 * TRUTH_MS[name]
        model.check_consistency()


def test_a_figure_that_contradicts_the_runs_is_an_error() -> None:
    samples = take(SyntheticMachine(TRUTH_MS), Protocol())["fp32"]
    sound = ModelMeasurement.of("m", "0", samples, Scale(1.0, 1.01), converged=True, noise=Noise())
    sound.check_consistency()
    low = dataclasses.replace(sound, latency_ms=0.9 * sound.latency_ms)
    with pytest.raises(MeasurementInconsistent, match=r"'m' .* latency is .* fastest of \d+ runs"):
        low.check_consistency()
    bound = dataclasses.replace(sound, upper_ms=0.99 * sound.latency_ms)
    with pytest.raises(MeasurementInconsistent, match=r"upper bound is .* fast tenth of"):
        bound.check_consistency()


def test_measure_refuses_what_contradicts_its_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "fp32.onnx"
    path.write_bytes(b"model")
    of = ModelMeasurement.of.__func__  # type: ignore[attr-defined]

    def too_low(cls: type[ModelMeasurement], *about: object, **more: object) -> ModelMeasurement:
        found: ModelMeasurement = of(cls, *about, **more)
        return dataclasses.replace(found, latency_ms=0.8 * found.latency_ms)

    monkeypatch.setattr(ModelMeasurement, "of", classmethod(too_low))
    job = ModelJob("fp32", path, {})
    machine = SyntheticMachine(TRUTH_MS)
    with pytest.raises(MeasurementInconsistent):
        measure([job], find("host"), opener=synthetic_opener(machine))
    measure([job], find("host"), opener=synthetic_opener(machine), strict=False)


def test_models_of_one_kind_are_corrected_by_what_they_share() -> None:
    """Of twenty models, five met only the busy machine."""
    rng = np.random.default_rng(0)

    def sample(index: int, busy: bool, truth: float) -> RoundSample:
        reference = (1.5 if busy else 1.0) * (1 + 0.01 * rng.random())
        run = truth * (1.38 if busy else 1.0) * (1 + 0.01 * rng.random())
        return RoundSample(index, index // 3, (run,), (run,), (0,), True, reference, reference)

    samples = {}
    for model in range(20):
        only_busy = model < 5
        samples[f"m{model}"] = [sample(i, only_busy or i % 2 == 0, 1.0 + model) for i in range(12)]
    found = pooled_latencies(samples, 1.0, noise=Noise())
    for model in range(20):
        one = found[f"m{model}"]
        assert one.quiet_ms == pytest.approx(1.0, rel=0.02)
        assert one.latency_ms == pytest.approx(1.0 + model, rel=0.02)
    alone = relative_latency(samples["m0"], 1.0, noise=Noise())
    assert alone.latency_ms > 1.3
    few = pooled_latencies({name: samples[name] for name in ("m0", "m9")}, 1.0, noise=Noise())
    assert few["m0"].quiet_ms == 1.0  # nothing to correct it by: its ratio then, less sure
    assert few["m0"].value == pytest.approx(alone.value, rel=0.01)
    assert few["m0"].upper / few["m0"].value > found["m0"].upper / found["m0"].value + 0.05


def test_the_quiet_level_is_the_same_however_often_the_machine_is_quiet() -> None:
    rng = np.random.default_rng(0)
    for share in (1.0, 0.6, 0.2, 0.12):
        quiet = 1.0 + 0.02 * rng.standard_normal(int(1000 * share))
        busy = 1.4 + 0.05 * rng.standard_normal(1000 - len(quiet))
        assert quiet_level([*quiet, *busy]) == pytest.approx(1.0, abs=0.02)
    assert quiet_level([*([1.0] * 30), *([1.4] * 970)]) == 1.4  # 3% is no quiet machine
    assert quiet_level([1.0, 1.4], [1.0, 99.0]) == 1.4
    assert quiet_level([2.0]) == 2.0


def window(ms: float, seconds: float = 30.0, noise: float = 0.002, seed: int = 0) -> Window:
    rng = np.random.default_rng([seed, int(1e6 * ms)])
    visits = ms * (1 + noise * rng.standard_normal(50))
    return Window("2026-11-28T00:00:00Z", seconds, tuple(visits))


def test_the_scale_is_as_sure_as_the_device_has_shown() -> None:
    new = scale_of([window(1.0, 5.0)], Noise())
    assert new.quiet_ms == pytest.approx(1.0, rel=0.01)
    assert 0.05 < new.reach < 0.09
    steady = scale_of([window(1.0, seed=i) for i in range(30)], Noise())
    assert steady.reach < 0.02
    restless = scale_of([window(1.0 + 0.2 * (i % 3 == 0), seed=i) for i in range(30)], Noise())
    assert restless.quiet_ms == pytest.approx(1.0, rel=0.01)
    assert 0.15 < restless.reach < 0.35


@pytest.mark.slow
def test_another_stretch_lies_below_the_upper_end() -> None:
    """Devices whose stretches spread by 5%: the next one lies below in about 95 of 100."""
    rng = np.random.default_rng(1)
    for count in (2, 5, 20):
        covered = 0
        for _ in range(400):
            levels = np.exp(0.05 * rng.standard_normal(count + 1))
            scale = scale_of([window(float(one), noise=1e-4) for one in levels[:-1]], Noise())
            covered += levels[-1] <= scale.upper_ms
        assert covered / 400 > (0.90 if count > 2 else 0.86)


def test_a_device_that_has_changed_is_known_by_its_last_stretches() -> None:
    before = [window(1.0, seed=i) for i in range(6)]
    for now in (1.3, 0.7):
        after = [window(now, seed=9 + i) for i in range(3)]
        assert scale_of(without_the_past([*before, *after]), Noise()).quiet_ms == pytest.approx(
            now, rel=0.02
        )
        assert without_the_past([*before, *after[:2]]) == [*before, *after[:2]]
    mixed = [window(1.3), window(1.0), window(1.3)]
    assert without_the_past([*before, *mixed]) == [*before, *mixed]


def test_a_window_keeps_few_visits_evenly() -> None:
    visits = [Visit("r", 0.0, 1.0, (float(i),), (float(i),), (0,)) for i in range(1, 1001)]
    kept = window_of(visits, 3.0, "now").visits_ms
    assert len(kept) == 200
    assert (kept[0], kept[-1]) == (1.0, 1000.0)
    assert max(np.diff(kept)) < 7


def test_measurements_refine_the_record(tmp_path: Path) -> None:
    host = find("host")
    path = tmp_path / "fp32.onnx"
    path.write_bytes(b"model")

    def machine(factor: float) -> SyntheticMachine:
        return SyntheticMachine({name: factor * ms for name, ms in TRUTH_MS.items()}, noise=0.002)

    assert load_baseline(tmp_path, host, opener=synthetic_opener(machine(1.0))) is None
    first = load_or_record_baseline(tmp_path, host, opener=synthetic_opener(machine(1.0)))
    assert first.fresh
    assert first.quiet_ms == pytest.approx(1.0, rel=0.02)
    opener = synthetic_opener(machine(1.04))
    found = measure([ModelJob("fp32", path, {})], host, scale=first.scale, opener=opener)
    second = extend_baseline(first, found)
    assert len(second.windows) == len(first.windows) + 1
    again = load_baseline(tmp_path, host, opener=opener)
    assert again is not None
    assert again.scale == second.scale
    assert not again.fresh


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"format": "profilers.quiet/2", "key": {}, "windows": []}', "[" * 100_000],
)
def test_a_damaged_record_is_one_message(tmp_path: Path, content: str) -> None:
    host = find("host")
    opener = synthetic_opener(SyntheticMachine(TRUTH_MS))
    record = load_or_record_baseline(tmp_path, host, opener=opener)
    record.path.write_text(content)
    with pytest.raises(RecordDamaged, match=r"is damaged: it .*Remove it.*rm "):
        load_or_record_baseline(tmp_path, host, opener=opener)


def test_a_record_of_infinite_times_is_damaged(tmp_path: Path) -> None:
    host = find("host")
    opener = synthetic_opener(SyntheticMachine(TRUTH_MS))
    record = load_or_record_baseline(tmp_path, host, opener=opener)
    text = record.path.read_text()
    for wrong in ("NaN", "Infinity", "-1.0", '"fast"', "null"):
        record.path.write_text(text.replace(str(record.windows[0].visits_ms[3]), wrong, 1))
        with pytest.raises(RecordDamaged):
            load_baseline(tmp_path, host, opener=opener)
    assert math.isfinite(record.quiet_ms)
