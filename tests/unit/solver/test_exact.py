"""The search against trying everything, on random small spaces."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from search_toy import (
    BF16,
    FP32,
    GEOMETRY,
    INT8,
    KEPT,
    METRICS,
    OTHER_INT8,
    STREAMED,
    ToyCosts,
    every_network,
    random_limits,
    random_problem,
    within,
)

from nasc.architecture.space import Block, operations_of_text
from nasc.errors import InfeasibleLimits, UsageError
from nasc.solver import (
    Limits,
    Problem,
    ScoredBlocks,
    Solution,
    enumerate,
    enumerate_best,
    front,
    kbest,
    pareto_sweep,
    solve,
    sweep,
)

SEEDS = st.integers(0, 10**6)
VARIANTS = st.sampled_from(
    [(FP32,), (INT8,), (FP32, INT8), (INT8, OTHER_INT8), (FP32, BF16, INT8, OTHER_INT8)]
)
"""Networks of two runtimes in one precision have the same text."""


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    seed = draw(SEEDS)
    positions = draw(st.integers(1, 3))
    costs = ToyCosts(
        seed,
        spread=draw(st.sampled_from([2, 6, 40])),
        plateau=draw(st.integers(1, 4)),
        metrics=draw(st.sampled_from([METRICS, STREAMED])),
    )
    return random_problem(
        seed,
        positions=positions,
        candidates=draw(st.integers(1, 14 if positions < 3 else 8)),
        variants=draw(VARIANTS),
        costs=costs,
        loss_spread=draw(st.sampled_from([1, 4, 100])),
        reordered=draw(st.booleans()),
    )


@pytest.fixture(
    params=[pytest.param("as is", marks=pytest.mark.slow), "thinning everywhere, small lots"]
)
def eager(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small spaces reach the code that only large ones would."""
    if request.param != "as is":
        monkeypatch.setattr(kbest, "_FIRST_STEP", 1.0)
        monkeypatch.setattr(sweep, "THIN_ABOVE", 0)
        monkeypatch.setattr(sweep, "MAX_PAIRS", 7)
        monkeypatch.setattr(pareto_sweep, "MAX_PATHS", 40)
        # More than so many tie where spaces are small: every cut to a millionth would take minutes.
        monkeypatch.setattr(pareto_sweep, "_MAX_CUTS", 6)


def point(solution: Solution) -> tuple[float, float, str]:
    text = f"{solution.architecture} by {solution.runtime}"
    return solution.upper_latency_ms, solution.predicted_loss, text


def brute_front(networks: list, limits: Limits) -> list[tuple[float, float, str]]:
    found: list[tuple[float, float, str]] = []
    for n in sorted(within(networks, limits), key=lambda n: (n.upper["latency_ms"], *n.order)):
        if not found or n.loss < found[-1][1]:
            found.append((n.upper["latency_ms"], n.loss, f"{n.architecture} by {n.runtime}"))
    return found


@pytest.mark.usefixtures("eager")
class TestAgainstEverything:
    @given(problems(), SEEDS, st.integers(1, 30), st.integers(0, 3))
    @settings(max_examples=80, deadline=None)
    def test_k_best(self, problem: Problem, seed: int, k: int, slack: int) -> None:
        networks = every_network(problem)
        limits = random_limits(seed, networks, slack)
        expected = within(networks, limits)[:k]
        if not expected:
            with pytest.raises(InfeasibleLimits):
                solve(problem.with_limits(limits), k)
            return
        found = solve(problem.with_limits(limits), k)
        assert [s.architecture for s in found] == [n.architecture for n in expected]
        for solution, network in zip(found, expected, strict=True):
            assert solution.predicted_loss == network.loss
            assert dict(solution.costs) == network.costs
            assert solution.upper_latency_ms == network.upper["latency_ms"]

    @given(SEEDS, SEEDS, st.integers(1, 3), st.sampled_from([4, 8, 16]))
    @settings(max_examples=60, deadline=None)
    def test_best_under_a_tight_peak(self, seed: int, other: int, k: int, spread: int) -> None:
        costs = ToyCosts(seed, spread=spread)
        problem = random_problem(
            seed, positions=3, candidates=9, variants=(INT8,), costs=costs, loss_spread=60
        )
        networks = every_network(problem)
        rng = np.random.default_rng(other)
        shares = {"peak_memory_bytes": rng.random() * 0.6, "latency_ms": rng.random()}
        values = {m: sorted(n.upper[m] for n in networks) for m in shares}
        picked = {m: values[m][int(q * (len(networks) - 1))] for m, q in shares.items()}
        limits = Limits(**{m: v for m, v in picked.items() if m != "latency_ms" or other % 2})
        expected = within(networks, limits)[:k]
        if expected:
            found = solve(problem.with_limits(limits), k)
            assert [s.architecture for s in found] == [n.architecture for n in expected]

    @given(problems(), SEEDS, st.integers(0, 3), st.booleans())
    @settings(max_examples=50, deadline=None)
    def test_front(self, problem: Problem, seed: int, slack: int, limited: bool) -> None:
        networks = every_network(problem)
        limits = random_limits(seed, networks, slack) if limited else Limits()
        expected = brute_front(networks, limits)
        if not expected:
            with pytest.raises(InfeasibleLimits):
                front(problem.with_limits(limits))
            return
        found = front(problem.with_limits(limits))
        assert [point(s) for s in found] == (expected)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("seed", [22, 24, 54, 115, 150, 223])
def test_live_activation_counts_in_dominance(seed: int) -> None:
    """Seeds where leaving it out of the dominance of paths or of options goes wrong."""
    problem = random_problem(
        seed,
        positions=3,
        candidates=9,
        variants=(INT8,),
        costs=ToyCosts(seed, spread=16, live_scale=6.0),
        loss_spread=60,
    )
    networks = every_network(problem)
    values = sorted(n.upper["peak_memory_bytes"] for n in networks)
    for share in (0.02, 0.1, 0.3, 0.6):
        limits = Limits(peak_memory_bytes=values[int(share * (len(values) - 1))])
        found = solve(problem.with_limits(limits))
        assert found[0].architecture == within(networks, limits)[0].architecture


def scored(losses: dict[str, float]) -> ScoredBlocks:
    """Candidates by their text."""
    blocks = []
    for text in losses:
        hidden, _, operations = text.partition(": ")
        kept = text == str(KEPT)
        blocks.append(KEPT if kept else Block(int(hidden), operations_of_text(operations)))
    return ScoredBlocks(tuple(blocks), np.array(list(losses.values())))


def test_equal_points_of_different_slices_are_told_apart_by_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two networks of one loss have latencies in different slices, and one upper end of both."""
    monkeypatch.setattr(pareto_sweep, "MAX_PATHS", 40)
    monkeypatch.setattr(pareto_sweep, "_MAX_CUTS", 6)
    positions = (
        scored({"4: S3 M F": 0, "2: S3": 0, "2: S3 F M": 0, "4: M S3": -1, "2: M F M": 0}),
        scored({"4: F S3": 0, "4: F F S3": -1, "2: F S3": 0, "keep": -1, "2: F": 0, "4: S3 S3": 0}),
        scored({"4: S3": 0, "keep": 0, "2: M S3": 0, "2: S3 M F": 0, "4: F": 0, "4: F S3 M": -1}),
    )
    costs = ToyCosts(1927, spread=2, plateau=3, metrics=STREAMED)
    problem = Problem(GEOMETRY, "embed", positions, {INT8: 0.0}, costs)
    found = [point(s) for s in front(problem)]
    assert found == brute_front(every_network(problem), Limits())
    assert (3.0, -2.0, "2: M F M | keep | 4: F S3 M @ int8 by onnxruntime") in found


def test_equal_networks_are_told_apart_by_text_where_blocks_share_a_kind() -> None:
    """The best of its kind comes last by text, after more blocks than there are kinds."""
    positions = (
        scored({"4: F": 1, "4: S3": 0}),
        scored({"4: F": 1, "4: M M S3": 9, "4: M S3 M": 9, "4: S3 M M": 0}),
    )
    costs = ToyCosts(6)  # a separable convolution takes longer than an ffn
    problem = Problem(GEOMETRY, "embed", positions, {INT8: 0.0}, costs)
    networks = {str(n.architecture): n for n in every_network(problem)}
    first = networks["4: F | 4: S3 M M @ int8"]
    other = networks["4: S3 | 4: F @ int8"]
    assert first.loss == other.loss
    limit = max(first.upper["latency_ms"], other.upper["latency_ms"])
    best = solve(problem.with_limits(Limits(latency_ms=limit)))[0]
    assert best.architecture == first.architecture


@given(SEEDS, SEEDS, st.integers(1, 12))
@settings(max_examples=40, deadline=None)
def test_fractions_agree_to_rounding(seed: int, other: int, k: int) -> None:
    problem = random_problem(seed, costs=ToyCosts(seed, fractions=True))
    rng = np.random.default_rng(other)
    positions = tuple(ScoredBlocks(s.blocks, rng.random(len(s.blocks))) for s in problem.positions)
    problem = Problem(
        problem.geometry, problem.head, positions, {FP32: 0.0, INT8: 0.1}, problem.costs
    )
    networks = every_network(problem)
    values = sorted(n.upper["latency_ms"] for n in networks)
    limits = Limits(latency_ms=values[int(rng.integers(len(values)))] + 1e-9)
    expected = within(networks, limits)[:k]
    found = solve(problem.with_limits(limits), k)
    assert [s.predicted_loss for s in found] == pytest.approx([n.loss for n in expected], abs=1e-12)
    assert found[0].costs == pytest.approx(expected[0].costs, abs=1e-12)


@given(SEEDS, SEEDS)
@settings(max_examples=30, deadline=None)
def test_a_looser_limit_is_never_worse(seed: int, other: int) -> None:
    problem = random_problem(seed, positions=2)
    limits = random_limits(other, every_network(problem), 1).given()
    loosened = {name: value * 1.3 for name, value in limits.items()}
    try:
        tight = solve(problem.with_limits(Limits(**limits)))[0]
    except InfeasibleLimits:
        return
    assert solve(problem.with_limits(Limits(**loosened)))[0].order <= tight.order


@given(SEEDS)
@settings(max_examples=15, deadline=None)
def test_the_front_holds_the_best_at_every_latency(seed: int) -> None:
    problem = random_problem(seed, costs=ToyCosts(seed, plateau=2))
    points = front(problem)
    for network in every_network(problem)[::29]:
        latency = network.upper["latency_ms"]
        below = [s for s in points if s.upper_latency_ms <= latency]
        best = solve(problem.with_limits(Limits(latency_ms=latency)))[0]
        assert below[-1].predicted_loss == best.predicted_loss


def test_same_inputs_same_result() -> None:
    def found(seed: int) -> list[str]:
        problem = random_problem(seed, positions=3)
        return [str(s.architecture) for s in solve(problem, 25)] + [
            str(s.architecture) for s in front(problem)
        ]

    assert found(11) == found(11)


def test_order_of_candidates_does_not_matter() -> None:
    problem = random_problem(5, positions=3, loss_spread=2)
    turned = tuple(ScoredBlocks(s.blocks[::-1], s.loss[::-1]) for s in problem.positions)
    other = Problem(problem.geometry, problem.head, turned, problem.variants, problem.costs)
    assert [s.architecture for s in solve(problem, 30)] == [
        s.architecture for s in solve(other, 30)
    ]


def test_fewer_networks_than_asked_for() -> None:
    problem = random_problem(4, positions=1, candidates=3)
    n = sum(len(s.blocks) for s in problem.positions) * len(problem.variants)
    assert len(solve(problem, 1000)) == n


@pytest.mark.parametrize(
    "chunk", [7, *(pytest.param(rows, marks=pytest.mark.slow) for rows in (1, 4_000_000))]
)
@given(problems(), SEEDS, st.integers(1, 30), st.integers(0, 3))
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_the_papers_table_holds_what_the_search_finds(
    monkeypatch: pytest.MonkeyPatch, chunk: int, problem: Problem, seed: int, k: int, slack: int
) -> None:
    monkeypatch.setattr(enumerate, "CHUNK_ROWS", chunk)
    limited = problem.with_limits(random_limits(seed, every_network(problem), slack))
    try:
        expected = solve(limited, k)
    except InfeasibleLimits:
        with pytest.raises(InfeasibleLimits):
            enumerate_best(limited, k)
        return
    assert enumerate_best(limited, k) == expected


def test_a_table_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = random_problem(0)
    monkeypatch.setattr(enumerate, "MOST_ROWS", 3)
    with pytest.raises(UsageError, match="combinations are too many to enumerate, 3 at most"):
        enumerate_best(problem)
