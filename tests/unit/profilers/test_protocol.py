"""The protocol and the statistic of record, on machines whose truth is known."""

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path

import pytest

from device_profiles import Noise
from profilers import (
    InvalidSetting,
    ModelJob,
    ModelMeasurement,
    Protocol,
    RoundSample,
    Scale,
    Visit,
)
from profilers.errors import DeviceLost, DeviceUnreachable
from profilers.protocol import (
    LOST_PATIENCE_S,
    LOST_PAUSE_S,
    QUANTILE_PATIENCE,
    REST_PATIENCE_S,
    REST_PAUSE_S,
    Round,
    busy_share,
    drift_ratio,
    is_done,
    run_rounds,
    samples_by_name,
)
from profilers.reference import REFERENCE_NAME
from profilers.samples import pair_with_reference
from profilers.statistic import (
    count_rounds,
    observed_quantile,
    observed_upper,
    relative_latency,
    student95,
    usable_samples,
    visits_upper,
)
from profilers.testing import SyntheticMachine

TRUTH_MS = {REFERENCE_NAME: 4.0, "small": 2.0, "large": 20.0}
REFERENCE = ModelJob(REFERENCE_NAME, Path("reference.onnx"), {})
JOBS = [ModelJob(name, Path(f"{name}.onnx"), {}) for name in ("small", "large")]


def rough_machine(seed: int) -> SyntheticMachine:
    """A clock that moves by 1.7x and a tenth of the runs disturbed."""
    return SyntheticMachine(
        TRUTH_MS, seed=seed, drift=1.7, drift_period_s=20.0, spike_share=0.1, noise=0.01
    )


def fixed(rounds: int) -> Protocol:
    return Protocol(min_rounds=rounds, max_rounds=rounds)


def take(machine: SyntheticMachine, protocol: Protocol) -> dict[str, list[RoundSample]]:
    rounds = run_rounds(
        machine.open,
        JOBS,
        REFERENCE,
        protocol,
        clock=lambda: machine.now_s,
        pause=machine.pause,
        noise=Noise(),
    )
    return samples_by_name(rounds, ["small", "large"], REFERENCE_NAME)


@dataclasses.dataclass
class Pulled:
    """A machine whose cable is pulled at some visits, for some looks at it."""

    machine: SyntheticMachine
    at: set[int]
    away: int
    visits: int = 0
    looks: int = 0

    def open(self):  # type: ignore[no-untyped-def]
        if self.looks > 0:
            self.looks -= 1
            raise DeviceUnreachable("not there")
        worker = self.machine.open()
        visit = worker.visit

        def pulled(steps):  # type: ignore[no-untyped-def]
            self.visits += 1
            if self.visits in self.at:
                self.looks = self.away
                raise DeviceLost("the cable was pulled")
            return visit(steps)

        worker.visit = pulled  # type: ignore[method-assign]
        return worker

    def run(self, rounds: int, said: list[str] | None = None) -> list[Round]:
        return run_rounds(
            self.open,
            JOBS,
            REFERENCE,
            fixed(rounds),
            clock=lambda: self.machine.now_s,
            pause=self.machine.pause,
            progress=lambda done, total, text: None if said is None else said.append(text),
            noise=Noise(),
        )


def test_a_measurement_waits_for_a_device_that_is_lost() -> None:
    """Two visits are a round: the fourth is lost, and with it the round that it was in."""
    said: list[str] = []
    pulled = Pulled(SyntheticMachine(TRUTH_MS), {4, 6}, away=3)
    rounds = pulled.run(5, said)
    assert [one.index for one in rounds] == list(range(5))
    assert [len(one.visits) for one in rounds] == [len(rounds[0].visits)] * 5
    assert pulled.visits == 10 + 2 * 2  # a round begins anew
    assert said.count("the device is lost: waiting for it") == 2
    assert len({one.instance for one in rounds}) > 1


def test_a_device_that_is_lost_while_a_worker_starts_is_waited_for() -> None:
    machine = SyntheticMachine(TRUTH_MS)
    said: list[str] = []

    def measured(lost_at: set[int]) -> list[Round]:
        starts = iter(range(99))

        def open_worker():  # type: ignore[no-untyped-def]
            if next(starts) in lost_at:
                raise DeviceLost("not there any more")
            return machine.open()

        return run_rounds(
            open_worker,
            JOBS,
            REFERENCE,
            Protocol(min_rounds=6, max_rounds=6, rounds_per_instance=2),
            clock=lambda: machine.now_s,
            pause=machine.pause,
            progress=lambda done, total, text: said.append(text),
            noise=Noise(),
        )

    assert len(measured({1, 2, 4})) == 6
    assert said.count("the device is lost: waiting for it") == 2
    with pytest.raises(DeviceLost, match="not there any more"):  # it was never there
        measured({0})


def test_waiting_for_a_device_takes_none_of_the_time_to_measure() -> None:
    machine = SyntheticMachine(TRUTH_MS)
    pulled = Pulled(machine, {4}, away=100)
    began = machine.now_s
    protocol = Protocol(min_rounds=5, max_rounds=5, max_seconds=60.0)
    assert len(pulled.run(5)) == 5 == protocol.min_rounds
    assert machine.now_s - began > 100 * LOST_PAUSE_S > protocol.max_seconds


@pytest.mark.parametrize("looks", [3, 10**9])
def test_a_device_that_heats_up_rests_before_a_round(looks: int) -> None:
    """For so many looks at it before the second round, or as long as is waited at most."""
    machine = SyntheticMachine(TRUTH_MS)
    said: list[str] = []
    hot = iter([None, *["hot"] * min(looks, 999)])

    def open_worker():  # type: ignore[no-untyped-def]
        worker = machine.open()
        worker.why_rest = lambda: next(hot, None)  # type: ignore[attr-defined]
        return worker

    began = machine.now_s
    rounds = run_rounds(
        open_worker,
        JOBS,
        REFERENCE,
        Protocol(min_rounds=3, max_rounds=3, max_seconds=5.0),
        clock=lambda: machine.now_s,
        pause=machine.pause,
        progress=lambda done, total, text: said.append(text),
        noise=Noise(),
    )
    assert len(rounds) == 3
    waits = said.count("waiting for the device to cool down: hot")
    most = math.ceil(REST_PATIENCE_S / REST_PAUSE_S)
    assert waits == (looks if looks < most else 2 * most)
    assert machine.now_s - began >= waits * REST_PAUSE_S


def test_a_measurement_gives_up_in_the_end() -> None:
    machine = SyntheticMachine(TRUTH_MS)
    pulled = Pulled(machine, {4}, away=10**9)
    began = machine.now_s
    with pytest.raises(DeviceLost, match="the cable was pulled"):
        pulled.run(5)
    assert LOST_PATIENCE_S <= machine.now_s - began < 2 * LOST_PATIENCE_S
    with pytest.raises(DeviceLost, match="the cable was pulled"):  # there, and lost at once
        Pulled(SyntheticMachine(TRUTH_MS), set(range(4, 99)), away=0).run(5)


@pytest.mark.slow
def test_statistic_is_true_within_a_percent_and_the_bound_covers() -> None:
    covered = total = 0
    errors = []
    for seed in range(100):
        first = take(rough_machine(2 * seed), fixed(12))
        second = take(rough_machine(2 * seed + 1), fixed(12))
        for name in ("small", "large"):
            truth = TRUTH_MS[name] / TRUTH_MS[REFERENCE_NAME]
            estimate = relative_latency(first[name], noise=Noise())
            repetition = relative_latency(second[name], noise=Noise())
            errors.append(abs(estimate.value / truth - 1.0))
            covered += repetition.value <= estimate.upper
            total += 1
    assert sorted(errors)[int(0.95 * total)] < 0.01
    assert covered / total >= 0.90


def test_a_quiet_machine_gives_the_median() -> None:
    machine = SyntheticMachine(TRUTH_MS, noise=0.0, process_spread=0.0)
    for name, samples in take(machine, fixed(6)).items():
        assert relative_latency(samples, noise=Noise()).value == pytest.approx(
            TRUTH_MS[name] / 4.0, rel=1e-12
        )


def test_stopping_rule_ends_early_when_quiet_and_at_the_limit_when_not() -> None:
    quiet = SyntheticMachine(TRUTH_MS, noise=0.001, process_spread=0.001)
    protocol = Protocol(min_rounds=8, max_rounds=24)
    assert {count_rounds(found) for found in take(quiet, protocol).values()} == {8}
    wild = SyntheticMachine(TRUTH_MS, noise=0.3, drift=1.7, drift_period_s=0.5)
    samples = take(wild, protocol)
    assert min(count_rounds(found) for found in samples.values()) == 24
    assert not any(is_done(found, protocol, noise=Noise()) for found in samples.values())


def test_only_models_that_need_it_get_more_rounds() -> None:
    class Uneven(SyntheticMachine):
        __slots__ = ()

        def run(self, speed_ms: float, name: str = "") -> tuple[float, float, int]:
            wall_ms, own_ms, preempted = SyntheticMachine.run(self, speed_ms)
            factor = float(self.random.uniform(1, 2)) if speed_ms > 10 else 1.0
            return wall_ms * factor, own_ms * factor, preempted

    machine = Uneven(TRUTH_MS, noise=0.0005, process_spread=0.0)
    samples = take(machine, Protocol(min_rounds=8, max_rounds=20))
    assert count_rounds(samples["small"]) == 8
    assert count_rounds(samples["large"]) == 20


@pytest.mark.slow
def test_a_quantile_gets_the_runs_that_its_bound_needs() -> None:
    protocol = Protocol(min_rounds=4, max_rounds=6, quantile="p99")
    machine = SyntheticMachine({**TRUTH_MS, "small": 0.5})  # whose visits are four runs
    for samples in take(machine, protocol).values():
        assert 299 <= len(samples) < 303
        assert visits_upper(samples, "p99") < float("inf")


@pytest.mark.slow
def test_the_time_for_a_quantile_s_bound_has_an_end() -> None:
    def rounds(max_seconds: float, quantile: str | None) -> int:
        """How many there are on a machine that takes a second for each."""
        taken: list[Round] = []
        protocol = Protocol(
            min_rounds=3, max_rounds=3, max_seconds=max_seconds, quantile=quantile,
            target_half_width=0.0,
        )  # fmt: skip
        run_rounds(
            SyntheticMachine(TRUTH_MS).open, JOBS, REFERENCE, protocol,
            on_round=taken.append, clock=lambda: float(len(taken)), noise=Noise()
        )  # fmt: skip
        return len(taken)

    assert rounds(1.0, None) == 3
    assert rounds(30.0, "p99") == 100  # of three visits: the bound is there, its 30 s are over
    assert rounds(10.0, "p99") == QUANTILE_PATIENCE * 10


def test_max_seconds_ends_it_after_three_rounds() -> None:
    ticks = itertools.count()
    protocol = Protocol(min_rounds=10, max_rounds=50, max_seconds=1.0)
    machine = SyntheticMachine(TRUTH_MS)
    rounds = run_rounds(
        machine.open, JOBS, REFERENCE, protocol, clock=lambda: 10.0 * next(ticks), noise=Noise()
    )
    assert len(rounds) == 3


def test_same_seed_same_rounds_and_orders_differ_between_rounds() -> None:
    jobs = [ModelJob(f"m{i}", Path("small.onnx"), {}) for i in range(6)]
    first, second = (
        run_rounds(
            SyntheticMachine(TRUTH_MS, seed=3).open, jobs, REFERENCE, fixed(4), noise=Noise()
        )
        for _ in range(2)
    )
    assert first == second
    orders = {
        tuple(visit.name for visit in one.visits if visit.name != REFERENCE_NAME) for one in first
    }
    assert len(orders) > 1


def test_every_visit_is_between_two_of_the_reference() -> None:
    machine = SyntheticMachine(TRUTH_MS)
    for keep_loaded in (True, False):
        rounds = run_rounds(
            machine.open, JOBS, REFERENCE, fixed(3), keep_loaded=keep_loaded, noise=Noise()
        )
        for one in rounds:
            names = [visit.name for visit in one.visits]
            assert sorted(set(names)) == ["large", REFERENCE_NAME, "small"]
            assert names.count("large") == names.count("small") == 3
            for i, name in enumerate(names):
                if name != REFERENCE_NAME:
                    assert names[i - 1] == names[i + 1] == REFERENCE_NAME


def test_short_models_run_longer_in_a_visit() -> None:
    machine = SyntheticMachine({**TRUTH_MS, "small": 0.5})
    samples = take(machine, Protocol(min_rounds=3, max_rounds=3, min_visit_ms=2.0))
    assert [len(one.runs_ms) for one in samples["small"]][3:] == [4] * 6  # known after one round
    assert {len(one.runs_ms) for one in samples["large"]} == {1}


def test_instances_change_and_resumed_rounds_count() -> None:
    protocol = Protocol(min_rounds=6, max_rounds=6, rounds_per_instance=2)
    machine = SyntheticMachine(TRUTH_MS)
    rounds = run_rounds(machine.open, JOBS, REFERENCE, protocol, noise=Noise())
    assert [one.instance for one in rounds] == [0, 0, 1, 1, 2, 2]
    new: list[Round] = []
    resumed = run_rounds(
        machine.open,
        JOBS,
        REFERENCE,
        protocol,
        earlier=rounds[:3],
        on_round=new.append,
        noise=Noise(),
    )
    assert [one.index for one in resumed] == list(range(6))
    assert [one.index for one in new] == [3, 4, 5]
    assert new[0].instance == 2  # a fresh process, never one of the earlier ones


def test_progress_grows_to_its_total() -> None:
    seen: list[tuple[int, int]] = []
    run_rounds(
        SyntheticMachine(TRUTH_MS).open,
        JOBS,
        REFERENCE,
        fixed(5),
        progress=lambda done, total, message: seen.append((done, total)),
        noise=Noise(),
    )
    done = [one for one, _ in seen]
    assert done == sorted(done)
    assert seen[-1] == (10, 10)


def test_workers_are_closed_whatever_happens() -> None:
    opened = []
    machine = SyntheticMachine(TRUTH_MS)

    def open_worker():  # type: ignore[no-untyped-def]
        opened.append(machine.open())
        return opened[-1]

    def fail(one: Round) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_rounds(open_worker, JOBS, REFERENCE, fixed(5), on_round=fail, noise=Noise())
    assert [worker.closed for worker in opened] == [True]


@pytest.mark.slow
def test_busy_and_drift_are_seen() -> None:
    def references(machine: SyntheticMachine) -> list[Visit]:
        rounds = run_rounds(machine.open, JOBS, REFERENCE, fixed(12), noise=Noise())
        visits = [visit for one in rounds for visit in one.visits]
        return [visit for visit in visits if visit.name == REFERENCE_NAME]

    quiet = references(SyntheticMachine(TRUTH_MS))
    assert busy_share(quiet) < 0.01
    assert drift_ratio(quiet) < 1.02
    assert busy_share(references(SyntheticMachine(TRUTH_MS, spike_share=0.4))) > 0.2
    moving = references(SyntheticMachine(TRUTH_MS, drift=1.7, drift_period_s=3.0))
    assert drift_ratio(moving) > 1.1


def sample(
    ratio: float, *, round_index: int = 0, undisturbed: bool = True, reference_ms: float = 1.0
) -> RoundSample:
    return RoundSample(
        round=round_index,
        instance=0,
        runs_ms=(ratio * reference_ms,),
        own_ms=(ratio * reference_ms,),
        preempted=(0,),
        undisturbed=undisturbed,
        reference_before_ms=reference_ms,
        reference_after_ms=reference_ms,
    )


def test_disturbed_visits_are_left_out_while_half_remain() -> None:
    good, cut = sample(1.0), sample(9.0, undisturbed=False)
    assert usable_samples([good, good, cut, cut]) == [good, good]
    assert usable_samples([good, cut, cut]) == [good, cut, cut]


def test_the_statistic_is_the_median_of_all_ratios() -> None:
    ratios = [(1.0, 1.2, 9.0), (1.4, 1.3, 0.1), (5.0, 5.0, 5.0)]
    samples = [sample(r, round_index=i) for i, found in enumerate(ratios) for r in found]
    estimate = relative_latency(samples, noise=Noise())
    assert estimate.value == 1.4
    assert estimate.rounds_used == 3


def test_an_unquiet_reference_widens_the_bound() -> None:
    quiet = [sample(1.0, round_index=i) for i in range(20)]
    unquiet = [sample(1.0, round_index=i, reference_ms=1.0 + 0.3 * (i > 1)) for i in range(20)]
    assert (
        relative_latency(unquiet, noise=Noise()).value
        == relative_latency(quiet, noise=Noise()).value
    )
    assert (
        relative_latency(unquiet, noise=Noise()).upper
        > relative_latency(quiet, noise=Noise()).upper + 0.02
    )


def test_the_reference_around_a_visit_is_the_mean_of_both() -> None:
    def visit(name: str, start_s: float, run_ms: float) -> Visit:
        runs = (run_ms / 2, run_ms, 2 * run_ms)
        return Visit(name, start_s, start_s + 1.0, runs, runs, (0, 0, 0))

    visits = [visit(REFERENCE_NAME, 0.0, 4.0), visit("a", 1.5, 12.0), visit(REFERENCE_NAME, 5, 8.0)]
    (paired,) = pair_with_reference(visits, reference=REFERENCE_NAME, round_index=7, instance=2)[
        "a"
    ]
    assert paired.reference_ms == 6.0
    assert paired.ratio == 2.0
    assert (paired.round, paired.instance) == (7, 2)
    for wrong in (visits[:2], visits[1:], [visits[0], visits[1], visits[1], visits[2]]):
        with pytest.raises(InvalidSetting, match="must be between two of the reference"):
            pair_with_reference(wrong, reference=REFERENCE_NAME, round_index=0, instance=0)


def test_time_of_other_processes_does_not_count() -> None:
    visit = Visit("a", 0.0, 1.0, (5.0, 9.0), (4.0, 3.0), (1, 2))
    assert visit.median_ms == 3.5
    assert not visit.undisturbed
    with pytest.raises(InvalidSetting, match=r"'a' holds \(2, 1, 2\) wall times"):
        Visit("a", 0.0, 1.0, (5.0, 9.0), (4.0,), (1, 2))


def test_a_machine_shared_by_halves_gives_the_quiet_latency() -> None:
    shared = SyntheticMachine(TRUTH_MS, spike_share=0.95, spike_factor=4.0, spike_seen=1.0)
    for name, samples in take(shared, fixed(12)).items():
        assert relative_latency(samples, noise=Noise()).value == pytest.approx(
            TRUTH_MS[name] / 4.0, rel=0.01
        )


def test_observed_quantiles_and_their_bounds() -> None:
    runs = [float(value) for value in range(1, 101)]
    assert observed_quantile(runs, "p50") == pytest.approx(50.5)
    # P(at most 58 of 100 below the median) = 0.9557 and of 57 = 0.9334 (binomial table): the
    # bound is the 59th smallest.
    assert observed_upper(runs, "p50") == 59.0
    assert observed_upper(runs[:28], "p90") == float("inf")
    assert observed_upper(runs[:29], "p90") == 29.0
    assert observed_upper([1.0] * 298, "p99") == float("inf")
    assert observed_upper([1.0] * 299, "p99") == 1.0
    with pytest.raises(InvalidSetting, match=r"quantile 'p95' is not offered; allowed: p50, p90"):
        observed_upper(runs, "p95")


def visit_of(*runs_ms: float) -> RoundSample:
    return dataclasses.replace(
        sample(1.0), runs_ms=runs_ms, own_ms=runs_ms, preempted=(0,) * len(runs_ms)
    )


ONE = Scale(1.0, 1.0)


def test_runs_in_a_row_are_one_for_the_bound_of_a_quantile() -> None:
    model = ModelMeasurement.of(
        "m", "0", [visit_of(*[1.0] * 32)] * 298, ONE, converged=True, noise=Noise()
    )
    assert model.observed_upper_ms("p99") == float("inf")
    model = ModelMeasurement.of(
        "m", "0", [visit_of(*[1.0] * 32)] * 299, ONE, converged=True, noise=Noise()
    )
    assert model.observed_upper_ms("p99") == 1.0


def test_the_bound_of_a_quantile_is_never_below_it() -> None:
    first_fast = [visit_of(1.0, 5.0, 5.0)] * 10
    model = ModelMeasurement.of("m", "0", first_fast, ONE, converged=True, noise=Noise())
    assert observed_upper([1.0] * 10, "p50") == 1.0
    assert model.p50_ms == model.observed_upper_ms("p50") == 5.0


def test_the_standard_error_is_that_of_the_value() -> None:
    samples = take(rough_machine(0), fixed(12))["small"]
    estimate = relative_latency(samples, noise=Noise())
    model = ModelMeasurement.of("m", "0", samples, Scale(4.0, 4.0), converged=True, noise=Noise())
    assert model.deviation == pytest.approx(estimate.deviation)
    assert estimate.half_width == pytest.approx(
        student95(estimate.rounds_used - 1) * estimate.deviation
    )
    assert estimate.deviation >= estimate.round_error > 0
    once = ModelMeasurement.of(
        "m", "0", samples[:3], Scale(4.0, 4.0), converged=False, noise=Noise()
    )
    assert (once.rounds_used, once.deviation) == (1, float("inf"))


def test_a_statistic_of_nothing_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="at least one round"):
        relative_latency([], noise=Noise())


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"min_rounds": 2}, "min_rounds = 2; it must be 3 or more"),
        ({"min_rounds": 9, "max_rounds": 8}, "max_rounds = 8; it must be 9 or more"),
        ({"visits_per_round": 0}, "visits_per_round = 0"),
        ({"max_seconds": float("nan")}, "max_seconds = nan"),
        ({"quantile": "p42"}, "quantile 'p42' is not offered"),
    ],
)
def test_protocol_settings_are_checked(setting: dict[str, float], message: str) -> None:
    with pytest.raises(InvalidSetting, match=message):
        Protocol(**setting)  # type: ignore[arg-type]
