"""Exact search: the k best networks under all limits, and the whole Pareto front."""

from __future__ import annotations

import bisect
import itertools
import math

from nasc.errors import UsageError
from nasc.solver.certificate import infeasible
from nasc.solver.chain import rest
from nasc.solver.costs import LOSS, Prices, price
from nasc.solver.kbest import k_best
from nasc.solver.pareto_sweep import MostAt, skyline
from nasc.solver.paths import Paths
from nasc.solver.problem import LATENCY, Problem, Solution, columns_of


def solve(problem: Problem, k: int = 1) -> list[Solution]:
    """The k networks with the least predicted loss among those that meet all limits.

    Exact: no network within the limits that is left out comes before one that is returned.
    Networks of equal loss come in the order of their blocks' texts, then of their precision,
    then by latency.

    Args:
        problem: What to search.
        k: How many networks, >= 1. Fewer come back if fewer meet the limits.

    Returns:
        At least one network, in order.

    Raises:
        InfeasibleLimits: With its certificate, if no network meets the limits.
        UsageError: If k < 1 or a price is not finite.
        LookupMiss: From the cost model.
    """
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise UsageError(f"search: the number of networks must be a whole number >= 1, got {k!r}")
    priced = [price(problem, variant) for variant in problem.variants]
    found: list[Solution] = []
    cutoff = math.inf
    for prices in priced:
        chain = prices.limited_chain(LOSS, problem.limits.given())
        if chain is None:
            continue
        found += _solutions(prices, k_best(chain, k, cutoff))
        found = sorted(found, key=lambda s: s.order)[:k]
        if len(found) == k:
            cutoff = found[-1].predicted_loss
    if not found:
        raise infeasible(problem, priced)
    return found


def front(problem: Problem) -> list[Solution]:
    """Every network that is best at some latency, under the other limits.

    Best means: none has a smaller loss at the same or a smaller upper end of the latency's
    interval. The upper end is what `solve` holds to the limit, so for every latency limit
    the front holds `solve`'s loss. Of networks equal in both the first by text is taken.

    Returns:
        Networks by latency ascending and loss strictly descending, over all variants.

    Raises:
        InfeasibleLimits: With its certificate, if no network meets the limits.
        UsageError: If the costs hold no latency or a price is not finite.
        LookupMiss: From the cost model.
    """
    if LATENCY not in problem.costs.metrics:
        raise UsageError("search: a front needs latencies, and the costs hold none")
    priced = [price(problem, variant) for variant in problem.variants]
    found: list[Solution] = []
    for prices in sorted(priced, key=_least_ms):  # the fastest leaves least to the others
        axes = columns_of(LATENCY, prices.metrics)
        chain = prices.limited_chain(LOSS, problem.limits.given(), extra=axes)
        if chain is not None:
            found += _solutions(prices, skyline(chain, len(axes), _bettered(found, prices)))
    if not found:
        raise infeasible(problem, priced)
    kept: list[Solution] = []
    for solution in sorted(found, key=lambda s: (s.upper_latency_ms, *s.order)):
        if not kept or solution.predicted_loss < kept[-1].predicted_loss:
            kept.append(solution)
    return kept


def _least_ms(prices: Prices) -> float:
    """No network of the variant has an upper end of its latency below it."""
    chain = prices.chain(LOSS, (LATENCY,))
    total = chain.start_values[1] + rest(chain).least[0, chain.start_size, 1]
    return prices.problem.costs.upper(LATENCY, float(total), prices.variant)


def _bettered(found: list[Solution], prices: Prices) -> MostAt:
    """The least loss of what is at least as fast as a network of the variant at some latency."""
    ordered = sorted(found, key=lambda s: s.upper_latency_ms)
    uppers = [s.upper_latency_ms for s in ordered]
    least = list(itertools.accumulate((s.predicted_loss for s in ordered), min))

    def most_at(total: float) -> float:
        upper = prices.problem.costs.upper(LATENCY, total, prices.variant)
        count = bisect.bisect_right(uppers, upper)
        return least[count - 1] if count else math.inf

    return most_at


def _solutions(prices: Prices, paths: Paths | None) -> list[Solution]:
    trails = [] if paths is None else paths.trail.tolist()
    return [prices.solution(tuple(trail)) for trail in trails]
