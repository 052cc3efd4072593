"""The least that one metric can be while limits on others hold."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from nasc.solver.blocks import Floats, Mask
from nasc.solver.chain import BlockOptions, Chain
from nasc.solver.costs import VariantCosts
from nasc.solver.kbest import k_best
from nasc.solver.problem import LATENCY, PEAK_MEMORY, STREAMING, WEIGHTS, Solution


def least(prices: list[VariantCosts], metric: str, limits: Mapping[str, float]) -> Solution | None:
    """The network with the least upper end of a metric, over all variants.

    Args:
        prices: Per variant.
        metric: Name of a limit.
        limits: What must hold on other metrics, by name.

    Returns:
        The network; None if the limits exclude every network.
    """
    found = [s for p in prices if (s := _least(p, metric, limits)) is not None]
    return min(found, key=lambda s: (s.upper[metric], *s.order), default=None)


def _least(prices: VariantCosts, metric: str, limits: Mapping[str, float]) -> Solution | None:
    if metric == PEAK_MEMORY:
        return _least_peak(prices, limits)
    if metric == LATENCY and STREAMING in prices.metrics:
        return _least_latency(prices, limits)
    chain = prices.limited_chain(metric, limits)
    return None if chain is None else _first(prices, chain)


def _first(prices: VariantCosts, chain: Chain) -> Solution | None:
    found = k_best([chain], 1)[0]
    return None if found is None else prices.solution(tuple(found.trail[0].tolist()))


def _least_latency(prices: VariantCosts, limits: Mapping[str, float]) -> Solution | None:
    """Least of the larger of both columns of a latency.

    From the least first column on, the second is lowered while the first stays below the best so
    far, until there is nothing lower.
    """
    chain = prices.limited_chain(LATENCY, limits)
    lowered = prices.limited_chain(STREAMING, limits, extra=(LATENCY,))
    if chain is None or lowered is None:
        return None
    best, unit = _first(prices, chain), prices.units[LATENCY]
    while best is not None:
        caps = lowered.limits.copy()
        caps[1] = (math.ceil(best.costs[LATENCY] / unit) - 1) * unit
        lower = _first(prices, dataclasses.replace(lowered, limits=caps))
        if lower is None or lower.costs[LATENCY] >= best.costs[LATENCY]:
            break
        best = lower
    return best


def _least_peak(prices: VariantCosts, limits: Mapping[str, float]) -> Solution | None:
    """Least weights under every possible cap on live activation, the lowest cap first."""
    chain = prices.limited_chain(WEIGHTS, limits)
    if chain is None:
        return None
    best: Solution | None = None
    for cap in sorted({v for v in prices.live.values() if v >= chain.start_live}):
        capped = _capped(chain, cap)
        solution = None if capped is None else _first(prices, capped)
        if solution is not None and (
            best is None or solution.costs[PEAK_MEMORY] < best.costs[PEAK_MEMORY]
        ):
            best = solution
    return best


def _capped(chain: Chain, cap: float) -> Chain | None:
    """Only what keeps live activation at or below the cap; None if nothing does.

    A further column, whose limit is 0, counts the borders and heads above the cap.
    """
    options: list[BlockOptions] = []
    for some in chain.options:
        fits = some.live <= cap
        if not fits.any():
            return None
        options.append(_with_column(some.take(fits)))
    return dataclasses.replace(
        chain,
        options=tuple(options),
        start_values=np.append(chain.start_values, 0.0),
        border_values=_flagged(chain.border_values, chain.border_live > cap),
        end_values=_flagged(chain.end_values, chain.end_live > cap),
        limits=np.append(chain.limits, 0.0),
        best_per_stratum=(),
    )


def _with_column(options: BlockOptions) -> BlockOptions:
    zeros = np.zeros((len(options.rank), 1))
    return dataclasses.replace(options, values=np.hstack([options.values, zeros]))


def _flagged(values: Floats, above: Mask) -> Floats:
    return np.concatenate([values, above[..., None].astype(np.float64)], axis=-1)
