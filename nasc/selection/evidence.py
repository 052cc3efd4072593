"""What a package states of the search that it came from: what was optimal, over what, what next."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from nasc.architecture.space import Architecture
from nasc.architecture.variant import Variant
from nasc.context.context import RunContext
from nasc.selection.problems import problem_of
from nasc.solver.frontier import front, solve
from nasc.solver.problem import Limits, Problem, Solution

BEST = 3
"""Networks that are stated: the best, and what comes next."""

MOST_POINTS = 100
"""Points of the front that are stated, spread over it."""

_COMPARED = (
    "best: the least predicted loss of all networks of the space within the limits, found exactly, "
    "and the next. compared: of the best of each depth and hidden size by true loss the six "
    "that agree best with the teacher before training"
)
_OTHERS = "networks that come trained with nasc. Those behind the first need not be of the space"
SEARCHED = (
    f"{_COMPARED} and, where they fit, a pruned teacher and the teacher narrowed to one hidden "
    f"size, trained for a while, and {_OTHERS}. chosen: the one of them that then agreed best with "
    "the teacher"
)
UNTRAINED = (
    f"{_COMPARED}, a pruned teacher, unless it is far behind what comes trained, and {_OTHERS}. "
    "chosen: the one of them that agrees best with the teacher as it is, as nothing was to be "
    "trained"
)
WHOLE = (
    "the full-size network fits the limits and nothing is truer: nothing was searched or trained; "
    "of its variants within the limits the fastest of the truest"
)


def searched(
    context: RunContext,
    limits: Limits,
    variants: Sequence[Variant],
    compared: Sequence[Solution],
    chosen: Architecture,
    runtime: str,
    trained: bool,
) -> dict[str, Any]:
    """Of a search, as plain data.

    Args:
        context: Space, scores and prices.
        limits: That were searched under.
        variants: Of which one was to be chosen.
        compared: Networks that were trained for a while, or compared without.
        chosen: The one that was taken, in its precision.
        runtime: What runs it.
        trained: Whether they were trained.
    """
    problem = problem_of(context, limits, variants)

    def told(architecture: Architecture, runtime: str) -> dict[str, Any]:
        return _told(context, problem, architecture, runtime)

    points = front(problem.with_limits(Limits()))
    return _about(context, limits, variants, SEARCHED if trained else UNTRAINED) | {
        "networks": math.prod(len(p.blocks) for p in problem.positions) * len(variants),
        "best": [told(one.architecture, one.runtime) for one in solve(problem, BEST)],
        "compared": [told(one.architecture, one.runtime) for one in compared],
        "chosen": told(chosen, runtime),
        "front": [told(one.architecture, one.runtime) for one in _spread(points)],
    }


def whole(
    context: RunContext,
    limits: Limits,
    variants: Sequence[Variant],
    chosen: Architecture,
    runtime: str,
) -> dict[str, Any]:
    """Of a full-size network that fits, as plain data: see `searched`.

    Args:
        context: Geometry, head and tables.
        limits: That it fits.
        variants: That it was compared in.
        chosen: It, in its precision.
        runtime: Which runs it.
    """

    def told(variant: Variant) -> dict[str, Any]:
        return _told(context, None, chosen.with_precision(variant.precision), variant.runtime)

    return _about(context, limits, variants, WHOLE) | {
        "compared": [told(variant) for variant in variants],
        "chosen": told(Variant(runtime, chosen.precision)),
    }


def _about(
    context: RunContext, limits: Limits, variants: Sequence[Variant], statement: str
) -> dict[str, Any]:
    return {
        "statement": statement,
        "space": context.space.name,
        "limits": limits.given(),
        "variants": [str(variant) for variant in variants],
    }


def _told(
    context: RunContext, problem: Problem | None, architecture: Architecture, runtime: str
) -> dict[str, Any]:
    variant = Variant(runtime, architecture.precision)
    costs = context.tables.measure_costs([variant])
    return {
        "architecture": str(architecture),
        "runtime": runtime,
        "predicted_loss": None if problem is None else _loss(problem, architecture, variant),
        "latency_ms": costs.predict(architecture, runtime).latency_ms,
    }


def _loss(problem: Problem, architecture: Architecture, variant: Variant) -> float | None:
    """Predicted loss of a network; None of one with a block that was not scored."""
    if len(architecture.blocks) != len(problem.positions):
        return None
    total = problem.variants.get(variant, 0.0)
    for scored, block in zip(problem.positions, architecture.blocks, strict=True):
        if block not in scored.blocks:
            return None
        total += float(scored.loss[scored.blocks.index(block)])
    return total


def _spread(points: Sequence[Solution]) -> list[Solution]:
    """At most `MOST_POINTS` of a front, both ends among them."""
    if len(points) <= MOST_POINTS:
        return list(points)
    step = (len(points) - 1) / (MOST_POINTS - 1)
    return [points[round(number * step)] for number in range(MOST_POINTS)]
