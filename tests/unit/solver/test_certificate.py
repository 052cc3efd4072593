"""Impossible limits end in a certificate that can be trusted."""

import math
import shlex

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from search_toy import (
    METRICS,
    STREAMED,
    ToyCosts,
    every_network,
    random_limits,
    random_problem,
    within,
)

from nasc.errors import InfeasibleLimits
from nasc.solver import Certificate, Limits, Problem, front, solve
from nasc.solver.certificate import rounded_up

SEEDS = st.integers(0, 10**6)


def certificate_of(problem: Problem) -> Certificate:
    with pytest.raises(InfeasibleLimits) as raised:
        solve(problem)
    certificate = raised.value.certificate
    assert isinstance(certificate, Certificate)
    assert raised.value.message == certificate.message
    return certificate


def limits_in(suggestion: str) -> Limits:
    words = shlex.split(suggestion)
    pairs = zip(words[::2], words[1::2], strict=True)
    return Limits(**{name[2:].replace("-", "_"): float(value) for name, value in pairs})


PROBLEMS = given(SEEDS, SEEDS, st.booleans(), st.sampled_from([METRICS, STREAMED]))


@PROBLEMS
@settings(max_examples=8, deadline=None)
def test_everything_it_claims_is_true(
    seed: int, other: int, fractions: bool, metrics: tuple[str, ...]
) -> None:
    check_claims(seed, other, fractions, metrics, candidates=4)


@pytest.mark.slow
@PROBLEMS
@settings(max_examples=60, deadline=None)
def test_everything_it_claims_is_true_of_many(
    seed: int, other: int, fractions: bool, metrics: tuple[str, ...]
) -> None:
    check_claims(seed, other, fractions, metrics, candidates=6)


def check_claims(
    seed: int, other: int, fractions: bool, metrics: tuple[str, ...], candidates: int
) -> None:
    costs = ToyCosts(seed, fractions=fractions, spread=12, metrics=metrics)
    problem = random_problem(seed, positions=1 + seed % 3, candidates=candidates, costs=costs)
    networks = every_network(problem)
    limits = random_limits(other, networks, 0)
    if other % 2:
        shrunk = {m: v * 0.8 for m, v in limits.given().items()}
        limits = Limits(**shrunk)
    assume(not within(networks, limits))

    certificate = certificate_of(problem.with_limits(limits))
    by_text = {str(n.architecture): n for n in networks}
    given_limits = limits.given()
    assert {r.metric for r in certificate.reports} == set(given_limits)
    for report in certificate.reports:
        least = min(n.upper[report.metric] for n in networks)
        assert report.minimum == pytest.approx(least, rel=1e-12)
        reached = by_text[str(report.architecture)]
        assert reached.upper[report.metric] == pytest.approx(least, rel=1e-12)
        assert sum(p.value for p in report.parts) == pytest.approx(least, rel=1e-9)
        assert report.feasible_alone == (least <= report.limit)

        others = {m: v for m, v in given_limits.items() if m != report.metric}
        held = within(networks, Limits(**others))
        if not held:
            assert report.nearest is None
            continue
        nearest = min(n.upper[report.metric] for n in held)
        assert report.nearest == pytest.approx(nearest, rel=1e-12)
        assert report.nearest is not None
        raised = problem.with_limits(Limits(**{**others, report.metric: report.nearest}))
        assert solve(raised)
        if report.nearest > 0.002:
            lowered = report.nearest * (1 - 1e-9)
            with pytest.raises(InfeasibleLimits):
                solve(problem.with_limits(Limits(**{**others, report.metric: lowered})))

    suggested = limits_in(certificate.suggestion)
    assert suggested.given() == dict(certificate.feasible)
    assert solve(problem.with_limits(suggested))
    assert all(v >= given_limits[m] for m, v in suggested.given().items())


def test_one_impossible_limit_reads_well() -> None:
    problem = random_problem(3, costs=ToyCosts(3, fractions=True))
    certificate = certificate_of(problem.with_limits(Limits(latency_ms=0.01)))
    assert certificate.message.startswith("no network meets --latency-ms 0.01: the least")
    last = certificate.message.splitlines()[-1]
    assert last == f"Try the same command with {certificate.suggestion}"
    assert certificate.suggestion.startswith("--latency-ms ")  # no command: conditions would go
    assert certificate.message in str(certificate)
    assert "embedding 8" in str(certificate)
    with pytest.raises(InfeasibleLimits, match="no network meets --latency-ms"):
        front(problem.with_limits(Limits(latency_ms=0.01)))


def test_only_the_combination_is_impossible() -> None:
    for seed in range(200):
        problem = random_problem(seed, costs=ToyCosts(seed, spread=30))
        networks = every_network(problem)
        limits = Limits(
            latency_ms=min(n.upper["latency_ms"] for n in networks),
            params=min(n.upper["params"] for n in networks),
        )
        if not within(networks, limits):
            break
    certificate = certificate_of(problem.with_limits(limits))
    assert all(r.feasible_alone for r in certificate.reports)
    assert "at once, though each alone can be met" in certificate.message
    assert certificate.message.count("with the others as they are") == 2


@given(st.floats(1e-300, 1e12))
@settings(deadline=None)
def test_rounding_up_is_short_and_never_below(value: float) -> None:
    rounded = rounded_up("latency_ms", value)
    assert value <= rounded <= value * 1.011
    assert float(f"{rounded:.3g}") == rounded
    assert value <= rounded_up("params", value) <= math.ceil(value) + value * 1e-14
