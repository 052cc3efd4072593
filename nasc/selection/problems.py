"""The searches of a run: its space, prices and scores under some limits."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress

import numpy as np

from nasc.architecture.space import Architecture
from nasc.architecture.variant import LOSSLESS, Variant, truer_of
from nasc.context.context import RunContext
from nasc.errors import InfeasibleLimits
from nasc.latency.costs import TableCosts
from nasc.solver.frontier import solve
from nasc.solver.problem import Limits, Problem, ScoredBlocks, Solution


def problem_of(context: RunContext, limits: Limits, variants: Sequence[Variant]) -> Problem:
    """The search under some limits, among some variants."""
    return Problem(
        context.space.geometry,
        context.graph_head,
        context.supernet.prepare().scores.positions(),
        {variant: context.supernet.measure_variant_loss(variant) for variant in variants},
        context.tables.measure_costs(variants),
        limits,
    )


def check_feasible(
    context: RunContext,
    limits: Limits,
    variants: Sequence[Variant],
    costs: TableCosts | None = None,
) -> Solution:
    """Some network that meets the limits, without looking at quality or training.

    Args:
        context: Geometry, head, blocks.
        limits: What must hold.
        variants: Those that may be chosen.
        costs: By tables; None takes those of the variants.

    Raises:
        InfeasibleLimits: With its certificate, if there is none.
    """
    positions = tuple(ScoredBlocks(b, np.zeros(len(b))) for b in context.inputs.choices)
    costs = costs or context.tables.measure_costs(variants)
    geometry, head = context.space.geometry, context.graph_head
    return solve(Problem(geometry, head, positions, dict.fromkeys(variants, 0.0), costs, limits))[0]


def priced(
    context: RunContext,
    architecture: Architecture,
    variant: Variant,
    limits: Limits,
    costs: TableCosts | None = None,
) -> Solution:
    """What one network costs; its predicted loss is left at 0.

    Args:
        context: Geometry and head.
        architecture: The network, in any precision.
        variant: How it runs.
        limits: What must hold.
        costs: By tables; None takes those of the variant.

    Raises:
        InfeasibleLimits: If it is over a limit.
    """
    alone = tuple(ScoredBlocks((block,), np.zeros(1)) for block in architecture.blocks)
    costs = costs or context.tables.measure_costs([variant])
    geometry, head = context.space.geometry, context.graph_head
    return solve(Problem(geometry, head, alone, {variant: 0.0}, costs, limits))[0]


Missed = Collection[tuple[str, str]]
"""Networks that were measured on the device and did not hold their limits with room for a
repetition: architecture in its precision, and runtime. Of what comes trained they are not tried
again. Those of a search need no such list: the tightened limit is below what is predicted of
them."""

NONE_MISSED: Missed = frozenset()

Pricing = Callable[[RunContext, Architecture, Variant, Limits], Solution]
"""What one network costs in a variant, as `priced` tells."""


def fastest(
    context: RunContext,
    architecture: Architecture,
    limits: Limits,
    variants: Sequence[Variant],
    price: Pricing = priced,
) -> Solution | None:
    """The variant in which a network is predicted to be fastest within limits, if any is.

    Args:
        context: Geometry, head and tables.
        architecture: The network, in any precision.
        limits: What must hold.
        variants: Those that may be chosen.
        price: What it costs in one of them.
    """
    found = []
    for variant in variants:
        with suppress(InfeasibleLimits):
            found.append(price(context, architecture, variant, limits))
    return min(found, key=lambda s: s.upper_latency_ms, default=None)


def whole_teacher(
    context: RunContext, limits: Limits, variants: Sequence[Variant]
) -> Solution | None:
    """The full-size network where it is predicted to fit: the fastest of the truest, if any."""
    if not context.space.keep:
        return None
    loss = context.supernet.measure_whole_loss
    return truest(context, context.space.teacher, limits, variants, loss)


def truest(
    context: RunContext,
    architecture: Architecture,
    limits: Limits,
    variants: Sequence[Variant],
    loss: Callable[[Variant], float],
    price: Pricing = priced,
) -> Solution | None:
    """The fastest of the truest variants in which a network is predicted to fit, if any.

    All of `LOSSLESS` count as equally true; of the others the one that loses least goes first.

    Args:
        context: Geometry, head and tables.
        architecture: The network, in any precision.
        limits: What must hold.
        variants: Those that may be chosen.
        loss: What a variant loses; asked where several fit that lose something.
        price: What it costs in one of them.
    """

    def within(variants: Sequence[Variant]) -> Solution | None:
        return fastest(context, architecture, limits, variants, price)

    found = within([v for v in variants if v.precision in LOSSLESS])
    if found is not None:
        return found
    lossy = [v for v in variants if v.precision not in LOSSLESS]
    fitting = [v for v in lossy if within([v]) is not None]
    fitting = [v for v in fitting if truer_of(v) not in fitting]
    if len(fitting) > 1:
        fitting = sorted(fitting, key=loss)[:1]
    return within(fitting)


def at_equal_quality(
    context: RunContext, solution: Solution, limits: Limits, variants: Sequence[Variant]
) -> Solution:
    """The same blocks in the variant that is fastest among those that lose no quality.

    Its predicted loss stays what it is.

    Args:
        context: Geometry, head and tables.
        solution: Whose blocks are kept; in a precision that loses quality it stays as it is.
        limits: What must hold.
        variants: Those that may be chosen.
    """
    if solution.architecture.precision not in LOSSLESS:
        return solution
    true = [v for v in variants if v.precision in LOSSLESS]
    found = fastest(context, solution.architecture, limits, true)
    return solution if found is None else found.with_loss(solution.predicted_loss)
