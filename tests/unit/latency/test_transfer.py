"""A table from that of another device and a few networks, on devices of known costs."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
from synthetic_device import NOISE, TINY, SyntheticDevice, make_table

from device_profiles import Noise
from nasc.architecture.space import PRESETS, SearchSpace
from nasc.errors import NascError, UsageError
from nasc.latency.cache_misses import Streaming
from nasc.latency.plan import Plan, plan, random_architecture, small_plan
from nasc.latency.predict import Fit, Observation, calibrated, fit
from nasc.latency.table import LatencyTable
from nasc.latency.transfer import Prior, prior_of, transferred_fit

MINILM = PRESETS["minilm-l6"]
STILL = Noise(shift=0.0, jitter_ms=0.0)


@functools.cache
def source(space: SearchSpace = TINY) -> LatencyTable:
    """The table of a device that is like, and not the same as, those of `device`."""
    return make_table(space, seed=100)


def device(seed: int, space: SearchSpace = TINY, noise: float = NOISE) -> SyntheticDevice:
    """Another device than the source's: other factors by kind and by size, and by each layer."""
    made = SyntheticDevice(plan(space, seq_len=32).basis, 100, noise)
    rng = np.random.default_rng([seed, 7])
    kinds = {layer.kind: rng.normal(0, 0.4) for layer in made.basis.unknowns}
    slope = rng.normal(0, 0.2)
    made.costs = made.costs * np.exp(
        [
            1.0 + kinds[u.kind] + slope * np.log(u.hidden_in / 32) + rng.normal(0, 0.05)
            for u in made.basis.unknowns
        ]
    )
    made._rng = rng
    return made


def transferred(
    there: SyntheticDevice, budget: int, seed: int = 0, prior: Prior | None = None
) -> tuple[Plan, Fit]:
    planned = small_plan(there.basis.space, budget, seed, seq_len=32)
    prior = prior or prior_of(source(there.basis.space), there.basis)
    return planned, transferred_fit(prior, there.observe(planned), noise=STILL)


def errors(there: SyntheticDevice, costs: np.ndarray, seed: int = 0) -> np.ndarray:
    """Of predictions, against the truth."""
    rng = np.random.default_rng([seed, 3])
    networks = [random_architecture(there.basis.space, rng) for _ in range(200)]
    exact = np.array([there.exact_ms(network) for network in networks])
    return there.basis.matrix(networks) @ costs / exact - 1


def test_the_same_device_at_another_speed_has_the_same_table_but_for_one_factor() -> None:
    table = source()
    there = SyntheticDevice(plan(TINY, seq_len=32).basis, 0, noise=0.0)
    there.costs = 3.0 * prior_of(table, there.basis).costs
    _, found = transferred(there, 10)
    np.testing.assert_allclose(found.costs, there.costs, rtol=1e-3)
    assert np.abs(found.held_out).max() < 1e-3


def test_a_few_networks_tell_more_than_one_factor_does() -> None:
    by_transfer, by_factor = [], []
    for seed in range(2):
        there = device(seed)
        planned, found = transferred(there, 20)
        prior = prior_of(source(), there.basis)
        by_transfer.append(np.abs(errors(there, found.costs)).mean())
        plain = planned.matrix() @ prior.costs
        measured = np.array([there.exact_ms(a) for a in planned.architectures])
        factor = float(np.median(measured / plain))
        by_factor.append(np.abs(errors(there, factor * prior.costs)).mean())
    assert np.mean(by_transfer) < 0.02
    assert np.mean(by_transfer) < np.mean(by_factor) / 3


@pytest.mark.slow
def test_where_everything_is_measured_the_other_table_hardly_counts() -> None:
    there = device(3)
    planned = plan(TINY, seq_len=32)
    observations = there.observe(planned)
    prior = prior_of(source(), there.basis)
    few = transferred_fit(prior, observations, noise=STILL)
    whole = fit(there.basis, observations, noise=STILL)
    rng = np.random.default_rng(5)
    rows = there.basis.matrix(random_architecture(TINY, rng) for _ in range(200))
    assert np.abs((rows @ few.costs) / (rows @ whole.costs) - 1).mean() < NOISE / 2
    assert few.interval.scale < 1.25 * whole.interval.scale


@pytest.mark.slow
@pytest.mark.parametrize("budget", [5, 10, 20])
def test_intervals_cover_nine_of_ten_networks(budget: int) -> None:
    covered = []
    for seed in range(40):
        there = device(seed)
        _, found = transferred(there, budget, seed)
        rng = np.random.default_rng([seed, 9])
        for _ in range(50):
            network = random_architecture(TINY, rng)
            predicted = found.interval.around(float(there.basis.row(network) @ found.costs))
            covered.append(predicted.low_ms <= there.measure_ms(network) <= predicted.high_ms)
    assert 0.85 <= np.mean(covered) <= 0.95


def test_every_cost_is_above_zero_where_the_other_table_has_none() -> None:
    table = source()
    entries = table.entries.copy()
    entries.loc[entries["kind"] == "border", "cost_ms"] = 0.0
    there = device(1)
    prior = prior_of(dataclasses.replace(table, entries=entries), there.basis)
    _, found = transferred(there, 20, prior=prior)
    assert (found.costs > 0).all()
    assert np.abs(errors(there, found.costs)).mean() < 0.05


def test_a_disturbed_network_bends_nothing() -> None:
    there = device(2)
    planned = small_plan(TINY, 20, seq_len=32)
    observations = there.observe(planned)
    slow = dataclasses.replace(observations[-1], latency_ms=2 * observations[-1].latency_ms)
    found = transferred_fit(
        prior_of(source(), there.basis), [*observations[:-1], slow], noise=STILL
    )
    assert found.weights[-1] < 0.5
    assert np.abs(errors(there, found.costs)).mean() < 0.04


def test_the_price_of_weights_beyond_the_caches_is_carried_over() -> None:
    streaming = Streaming(5_000.0, 2e-6)
    table = make_table(streaming=streaming)
    there = SyntheticDevice(plan(TINY, seq_len=32).basis, 0, 0.0, Streaming(5_000.0, 8e-6))
    prior = prior_of(table, there.basis)
    there.costs = 4.0 * prior.costs[:-1]
    _, found = transferred(there, 20, prior=prior)
    assert found.streaming.beyond_params == 5_000.0
    assert found.streaming.ms_per_param == pytest.approx(8e-6, rel=1e-2)


def test_a_table_of_another_teacher_or_space_is_refused() -> None:
    with pytest.raises(UsageError, match="of a teacher of another shape"):
        prior_of(source(), plan(MINILM, seq_len=32).basis)
    larger = dataclasses.replace(TINY, hidden_sizes=(16, 24, 32))
    with pytest.raises(UsageError, match=r"has no cost of \d+ of \d+ layers of 'tiny': .*24"):
        prior_of(source(), plan(larger, seq_len=32).basis)


def test_measurements_that_do_not_fit_together_are_to_be_measured_again() -> None:
    with pytest.raises(NascError, match=r"do not fit together: .*150%.*quiet: .* --force") as e:
        calibrated(1.5, 4, STILL)
    assert not isinstance(e.value, UsageError)
    there = device(0)
    wild = [
        Observation(a, ms, 0.01, held_out=True)
        for a, ms in zip(small_plan(TINY, 5).architectures, (1.0, 1e4, 1e-2, 1e3, 1.0), strict=True)
    ]
    with pytest.raises(NascError, match="do not fit together"):
        transferred_fit(prior_of(source(), there.basis), wild, noise=STILL)


def test_two_networks_have_to_be_held_out() -> None:
    there = device(0)
    observed = [Observation(a, 1.0, 0.01) for a in small_plan(TINY, 5).architectures]
    with pytest.raises(UsageError, match="0 held-out networks calibrate no interval"):
        transferred_fit(prior_of(source(), there.basis), observed, noise=STILL)


@pytest.mark.parametrize(("budget", "random"), [(5, 4), (10, 8), (20, 16), (40, 32)])
def test_a_small_plan_is_of_so_many_networks(budget: int, random: int) -> None:
    planned = small_plan(MINILM, budget, 3, precision="int8")
    roles = [network.role for network in planned.networks]
    assert len({*planned.architectures}) == budget
    assert (roles[0], roles.count("random"), roles.count("teacher")) == ("teacher", random, 1)
    assert planned.networks == small_plan(MINILM, budget, 3, precision="int8").networks
    assert {a.precision for a in planned.architectures} == {"int8"}


def test_a_small_space_has_a_smaller_plan() -> None:
    space = SearchSpace("small", TINY.geometry, 2, 1, (16,), ("mha", "ffn"))
    planned = small_plan(space, 40, seq_len=32)
    count = space.count_blocks() ** space.n_blocks
    assert sum(network.role == "random" for network in planned.networks) <= count // 2
