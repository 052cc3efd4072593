"""Networks ranked by their loss as complete networks of the supernet."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from nasc.context.context import RunContext
from nasc.errors import InfeasibleLimits
from nasc.selection.problems import problem_of
from nasc.solver.enumerate import enumerate_best
from nasc.solver.problem import Limits, Solution
from nasc.solver.select import Ranked, select
from nasc.supernet.scorer import Scorer

PAPERS_T = 100
"""Networks whose true loss is taken (NAS-BERT, Section 3.3: T)."""

ROUGH_SENTENCES = 32
"""Held-out sentences on which the true losses of many networks are taken."""


def by_true_loss(context: RunContext, solutions: Sequence[Solution]) -> list[Ranked]:
    """Networks ranked by their loss as complete networks, with what their variants cost."""
    scorer = context.supernet.load_scorer()
    _take(context, scorer, solutions)
    return select(solutions, lambda solution: _loss(context, scorer, solution))


def shortlist(context: RunContext, solutions: Sequence[Solution], count: int) -> list[Solution]:
    """So many networks of the least true loss on few sentences, the best first.

    Of networks that differ in the runtime alone the first one counts.
    """
    scorer = context.supernet.load_scorer(ROUGH_SENTENCES)
    distinct = list({s.architecture: s for s in reversed(solutions)}.values())[::-1]
    _take(context, scorer, distinct)
    return sorted(distinct, key=lambda solution: _loss(context, scorer, solution))[:count]


def _take(context: RunContext, scorer: Scorer, solutions: Sequence[Solution]) -> None:
    """Have a scorer take the losses of some networks together."""
    progress = context.reporter.stage("True loss of the best candidates")
    with context.timed("true loss"):
        scorer.final_losses([s.architecture.blocks for s in solutions], progress)


def _loss(context: RunContext, scorer: Scorer, solution: Solution) -> float:
    added = context.supernet.measure_variant_loss(solution.variant)
    return scorer.final_loss(solution.architecture.blocks) + added


def by_enumeration(context: RunContext, limits: Limits, k: int = PAPERS_T) -> list[Ranked]:
    """The paper's selection (NAS-BERT, Section 3.3): the top k, ranked by their true loss.

    Those are the k networks within limits with the least plain sum of block losses, among
    all combinations. The paper has one precision; here each variant has k of its own, since what
    it costs is no loss of a block.

    Raises:
        InfeasibleLimits: If no network meets the limits.
        UsageError: See `nasc.solver.enumerate.enumerate_best`.
    """
    positions = context.supernet.prepare().scores.unweighted_positions()
    whole = problem_of(context, limits, context.variants)
    found: list[Solution] = []
    for last, variant in enumerate(context.variants, 1):
        problem = dataclasses.replace(whole, positions=positions, variants={variant: 0.0})
        try:
            with context.timed("search"):
                found += enumerate_best(problem, k)
        except InfeasibleLimits:
            if last == len(context.variants) and not found:
                raise
    return by_true_loss(context, found)
