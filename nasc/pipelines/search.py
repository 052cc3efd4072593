"""What `nasc search` does: the best architectures within limits, predicted."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import profilers
from nasc.architecture.space import SMALLER
from nasc.architecture.variant import Variant
from nasc.context.context import RunContext
from nasc.context.settings import Settings
from nasc.errors import UsageError
from nasc.selection.problems import check_feasible, problem_of
from nasc.selection.true_loss import PAPERS_T, by_enumeration
from nasc.selection.variants import NEAR, promising_variants
from nasc.solver.frontier import front as solve_front
from nasc.solver.frontier import solve
from nasc.solver.problem import Limits, Solution
from nasc.utils.progress import Reporter

STRATEGIES = ("exact", "enumerate")


def search(
    limits: Limits | None = None,
    settings: Settings | None = None,
    *,
    best: int = 5,
    front: bool = False,
    strategy: str = "exact",
    reporter: Reporter | None = None,
    opener: profilers.Opener | None = None,
) -> list[Solution]:
    """The best architectures within limits, or the whole Pareto front.

    A device that cannot be reached is known by its latency tables in the cache: every solution says
    so then (`Solution.latency_table`).

    Args:
        limits: What must hold; None holds nothing.
        settings: Conditions; None takes the defaults.
        best: How many.
        front: All that are best at some latency instead.
        strategy: ``exact``: by predicted loss; or ``enumerate``, as the paper: out of the table
            of all combinations the 100 (or `best`) of each variant with the least sum of block
            losses, by their true loss.
        reporter: Told of the progress.
        opener: Starts a worker on the device; None is `profilers.open_worker`.

    Returns:
        At most `best`, the least loss first; with `front` all of it.

    Raises:
        TableMissing: If it cannot be reached, and has none that answers.
        UsageError: On an unknown strategy, or more combinations than can be enumerated.
        InfeasibleLimits: With its certificate, before anything is trained.
    """
    if strategy not in STRATEGIES:
        raise UsageError(f"unknown strategy {strategy!r}; known: {', '.join(STRATEGIES)}")
    limits = limits or Limits()
    context = RunContext(
        settings or Settings(),
        reporter,
        opener=opener,
        predicts_alone=True,
        limits_bytes=limits.limits_bytes,
    )
    context.check_inputs()
    variants: Sequence[Variant] = context.variants
    several = len({variant.runtime for variant in variants}) > 1
    several |= any(variant.precision in SMALLER for variant in variants)
    if several and limits.given() and strategy == "exact" and not front:
        near = max(best, NEAR)
        variants = promising_variants(context, limits, variants, near, list_wanted=True)
    check_feasible(context, limits, variants)
    if strategy == "enumerate" and not front:
        ranked = by_enumeration(context, limits, max(best, PAPERS_T))
        chosen = ranked[:best]
        found = [dataclasses.replace(r.solution, true_loss=r.true_loss) for r in chosen]
    else:
        problem = problem_of(context, limits, variants)
        found = solve_front(problem) if front else solve(problem, best)
    mixture = None if context.mixture is None else context.mixture.words()
    return [
        dataclasses.replace(s, latency_table=context.tables.note(s.variant), mixture=mixture)
        for s in found
    ]
