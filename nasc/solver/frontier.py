"""Exact search: the k best networks under all limits, and the whole Pareto front."""

from __future__ import annotations

from collections.abc import Callable

from nasc.errors import UsageError
from nasc.solver.certificate import infeasible
from nasc.solver.chain import Chain
from nasc.solver.costs import LOSS, VariantCosts, price
from nasc.solver.kbest import k_best
from nasc.solver.pareto_sweep import pareto_sweep
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
    some = _chains(problem, priced)
    found = _solutions(some, k_best([chain for _, chain in some], k))
    if not found:
        raise infeasible(problem, priced)
    return sorted(found, key=lambda s: s.order)[:k]


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
    axes = columns_of(LATENCY, problem.costs.metrics)
    some = _chains(problem, priced, axes)
    paths = pareto_sweep([(chain, _upper_latency(p)) for p, chain in some], len(axes))
    found = _solutions(some, paths)
    if not found:
        raise infeasible(problem, priced)
    kept: list[Solution] = []
    for solution in sorted(found, key=lambda s: (s.upper_latency_ms, *s.order)):
        if not kept or solution.predicted_loss < kept[-1].predicted_loss:
            kept.append(solution)
    return kept


def _upper_latency(prices: VariantCosts) -> Callable[[float], float]:
    return lambda total: prices.problem.costs.upper(LATENCY, total, prices.variant)


def _chains(
    problem: Problem, priced: list[VariantCosts], extra: tuple[str, ...] = ()
) -> list[tuple[VariantCosts, Chain]]:
    """The chains of those variants that no limit alone excludes."""
    limits = problem.limits.given()
    chains = [(prices, prices.limited_chain(LOSS, limits, extra)) for prices in priced]
    return [(prices, chain) for prices, chain in chains if chain is not None]


def _solutions(
    chains: list[tuple[VariantCosts, Chain]], paths: list[Paths | None]
) -> list[Solution]:
    return [
        prices.solution(tuple(trail))
        for (prices, _), some in zip(chains, paths, strict=True)
        for trail in ([] if some is None else some.trail.tolist())
    ]
