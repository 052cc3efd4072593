"""The paper's selection: the top T by the sum of block losses, then their true loss."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from search_toy import FP32, INT8, ToyCosts, every_network, random_limits, random_problem, within

from nasc.architecture.space import Architecture, Block
from nasc.context.context import RunContext
from nasc.context.settings import Settings
from nasc.errors import InfeasibleLimits
from nasc.selection.problems import problem_of
from nasc.selection.true_loss import by_enumeration
from nasc.solver import Limits
from nasc.supernet.scores import Scores

LOSSES = {FP32: 0.0, INT8: 0.25}


def true_loss(blocks: tuple[Block, ...]) -> float:
    """Nothing that the sum of the block losses tells."""
    seed = sum(ord(c) * i for i, c in enumerate(" ".join(map(str, blocks)), 1))
    return float(np.random.default_rng(seed).random())


@pytest.fixture
def context(tmp_path: Path) -> RunContext:
    """A context whose space, costs, scores and supernet are made up."""
    problem = random_problem(7, costs=ToyCosts(7, fractions=True))
    context = RunContext(Settings(cache=tmp_path, head=problem.head))
    rng = np.random.default_rng(0)
    scores = Scores(
        None,  # type: ignore[arg-type]
        tuple(s.blocks for s in problem.positions),
        tuple(rng.random(len(s.blocks)) for s in problem.positions),
        (1.0, 50.0),
        {variant.precision: loss for variant, loss in LOSSES.items()},
        1,
    )
    context.__dict__["variants"] = tuple(LOSSES)
    context.inputs.__dict__["space"] = SimpleNamespace(geometry=problem.geometry)
    context.tables.__dict__["measure_costs"] = lambda variants: problem.costs
    context.supernet.__dict__ |= {
        "prepared": SimpleNamespace(scores=scores),
        "load_scorer": lambda: SimpleNamespace(
            final_loss=true_loss, final_losses=lambda *about: None
        ),
    }
    return context


def tried(context: RunContext, limits: Limits, k: int) -> list[tuple[float, Architecture]]:
    """By plain addition of everything."""
    problem = problem_of(context, limits, tuple(LOSSES))
    scores = context.supernet.prepare().scores
    found: list[tuple[float, Architecture]] = []
    for variant, loss in LOSSES.items():
        networks = [
            n for n in every_network(problem) if n.architecture.precision == variant.precision
        ]
        met = [n.architecture for n in within(networks, limits)]

        def total(architecture: Architecture) -> float:
            chosen = zip(scores.blocks, scores.losses, architecture.blocks, strict=True)
            return sum(float(losses[blocks.index(b)]) for blocks, losses, b in chosen)

        top = sorted(met, key=total)[:k]
        found += [(true_loss(a.blocks) + loss, a) for a in top]
    return sorted(found, key=lambda pair: pair[0])


@pytest.mark.parametrize("k", [1, 5, 1000])
def test_it_is_what_the_paper_does(context: RunContext, k: int) -> None:
    limits = random_limits(3, every_network(problem_of(context, Limits(), tuple(LOSSES))), 1)
    expected = tried(context, limits, k)
    found = by_enumeration(context, limits, k)
    assert [(r.true_loss, r.solution.architecture) for r in found] == expected
    assert len(expected) > 1


def test_limits_that_one_variant_misses(context: RunContext) -> None:
    networks = every_network(problem_of(context, Limits(), tuple(LOSSES)))
    least = {
        p: min(n.upper["latency_ms"] for n in networks if n.architecture.precision == p)
        for p in ("fp32", "int8")
    }
    assert len(set(least.values())) == 2
    found = by_enumeration(context, Limits(latency_ms=min(least.values())), 5)
    assert {r.solution.architecture.precision for r in found} == {min(least, key=least.__getitem__)}
    with pytest.raises(InfeasibleLimits):
        by_enumeration(context, Limits(latency_ms=0.5 * min(least.values())), 5)
