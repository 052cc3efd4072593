"""What keeps searches short: bounds that hold, and what one variant leaves to the others."""

import dataclasses

import numpy as np
import pytest
from search_toy import FP32, INT8, STREAMED, ToyCosts, every_network, random_problem, within

from nasc.solver import Limits, front, solve
from nasc.solver.chain import completion_bounds
from nasc.solver.costs import LOSS, price
from nasc.solver.lagrangian import Relaxation
from nasc.solver.pareto_sweep import Incumbents
from nasc.solver.sweep import Sweep


def test_incumbents_are_a_falling_staircase() -> None:
    known = Incumbents()
    assert known.least_at(np.array([0.0])).tolist() == [np.inf]
    known.add(np.array([3.0, 1.0, 3.0, 2.0]), np.array([4.0, 7.0, 5.0, 8.0]))
    known.add(np.array([2.0, 9.0]), np.array([6.0, 4.0]))
    known.add(np.zeros(0), np.zeros(0))
    points = np.array([0.5, 1.0, 1.5, 2.0, 2.9, 3.0, 99.0])
    assert known.least_at(points).tolist() == [np.inf, 7.0, 7.0, 6.0, 6.0, 4.0, 4.0]


@pytest.mark.parametrize("seed", range(6))
def test_a_bound_holds_under_any_limits_though_the_cuts_are_of_others(seed: int) -> None:
    costs = ToyCosts(seed, spread=40, metrics=STREAMED)
    problem = random_problem(seed, variants=(FP32,), costs=costs, loss_spread=100)
    prices = price(problem, FP32)
    chain = prices.chain(LOSS, ("latency_ms", "size_bytes"))
    relaxation = Relaxation(chain, completion_bounds(chain))
    networks = every_network(problem)
    rng = np.random.default_rng(seed)
    for _ in range(10):
        sample = rng.choice(len(networks), 2)
        caps = [networks[i].upper for i in sample]
        latency = caps[0]["latency_ms"]
        size = caps[1]["size_bytes"]
        limits = np.array([np.inf, latency / 1.5, size])
        limited = dataclasses.replace(chain, limits=limits)
        found = relaxation.bound(limited)
        met = within(networks, Limits(latency_ms=latency, size_bytes=size))
        if found is None:
            assert not met
        elif met:
            fresh = Relaxation(limited, completion_bounds(limited)).bound(limited)
            assert found.bound - found.slack <= met[0].loss
            assert fresh is not None
            assert found.bound == pytest.approx(fresh.bound, abs=0.1)


def test_a_variant_that_cannot_reach_the_k_best_is_not_swept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    swept: list[float] = []
    sweep = Sweep.up_to

    def recorded(self: Sweep, *limits: float) -> object:
        swept.append(self.relaxed.bound)
        return sweep(self, *limits)

    monkeypatch.setattr(Sweep, "up_to", recorded)
    problem = random_problem(3, positions=3, loss_spread=100)
    problem = dataclasses.replace(problem, variants={INT8: 1e6, FP32: 0.0})
    assert all(s.variant == FP32 for s in solve(problem, 20))
    assert swept
    assert max(swept) < 1e5


def test_what_one_variant_reaches_ends_the_sweeps_of_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    thresholds: list[float] = []
    sweep = Sweep.up_to

    def recorded(self: Sweep, threshold: float, *rest: float) -> object:
        if self.relaxed.bound > 1e5:
            thresholds.append(threshold - self.relaxed.bound)
        return sweep(self, threshold, *rest)

    monkeypatch.setattr(Sweep, "up_to", recorded)
    problem = random_problem(3, positions=3, loss_spread=100)
    costs = ToyCosts(3, spread=1)  # every network of a variant takes the same time
    problem = dataclasses.replace(problem, variants={FP32: 1e6, INT8: 0.0}, costs=costs)
    assert all(s.variant == INT8 for s in front(problem))
    assert len(thresholds) <= 1
