"""The whole Pareto front of a chain: column 0 against column 1, under the other limits.

Without other limits a single sweep that thins by column 0 and column 1 finds it. Other limits
make dominance weak, so then the range of column 1 is cut into slices: what lies between a and
b and is not dominated has a column 0 of at most the best at or below a, which bounds a sweep
under the limit b. A slice whose sweep grows too large is cut in two.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from nasc.solver.chain import Chain, Rest, rest
from nasc.solver.dual import Dual, dual
from nasc.solver.kbest import k_best
from nasc.solver.paths import Paths, joined
from nasc.solver.skyband import skyband
from nasc.solver.sweep import Sweep, TooManyPaths

MAX_PATHS = 200_000
"""Paths that the sweep of a slice may make before the slice is cut in two."""

_MAX_CUTS = 20
"""Slices of a millionth of the range are cut no more: what is left in one lies at one latency."""


def skyline(chain: Chain) -> Paths | None:
    """Paths within the limits that none other betters in one of columns 0 and 1 for free.

    Of paths with the same column 0 those stay that come first by rank up to some column 1,
    so that the caller may call different values of column 1 equal.

    Returns:
        Complete paths; None if there is none.
    """
    chain = dataclasses.replace(chain, options=chain.leads)
    ahead = rest(chain)
    low = chain.start_values + ahead.least[0, chain.start_size]
    high = chain.start_values + ahead.most[0, chain.start_size]
    if set(chain.limited.tolist()) <= {1} and not chain.has_peak:
        parts = [_sweep(chain, ahead, _unpriced(chain), float(high[0]), np.inf)]
    else:
        top = min(float(high[1]), float(chain.limits[1]))
        parts = _slices(chain, ahead, (float(low[1]), top), float(high[0]), _MAX_CUTS)
    found = joined(parts) if parts else None
    if found is None or not len(found):
        return None
    return found.take(skyband(found.values[:, 0], found.rank, found.values[:, 1:2], 1))


def _slices(
    chain: Chain, ahead: Rest, ends: tuple[float, float], most: float, cuts: int
) -> list[Paths]:
    """Paths with column 1 up to the upper end whose column 0 is at most `most`."""
    limits = chain.limits.copy()
    limits[1] = ends[1]
    sliced = dataclasses.replace(chain, limits=limits)
    relaxed = dual(sliced, ahead)
    if relaxed is None:
        return []
    try:
        return [_sweep(sliced, ahead, relaxed, most, MAX_PATHS if cuts else np.inf)]
    except TooManyPaths:
        middle = ends[0] + (ends[1] - ends[0]) / 2
    limits[1] = middle
    best = k_best(dataclasses.replace(chain, limits=limits), 1)
    if best is None:
        return _slices(chain, ahead, (middle, ends[1]), most, cuts - 1)
    return [
        *_slices(chain, ahead, (ends[0], middle), most, cuts - 1),
        *_slices(chain, ahead, (middle, ends[1]), float(best.values[0, 0]), cuts - 1),
    ]


def _sweep(chain: Chain, ahead: Rest, relaxed: Dual, most: float, allowed: float) -> Paths:
    return Sweep(chain, ahead, relaxed, 1, (1,)).up_to(most, most, allowed)


def _unpriced(chain: Chain) -> Dual:
    """The bound that prices no limit."""
    weights = np.zeros(len(chain.limits))
    weights[0] = 1.0
    return Dual(weights, np.zeros(len(weights)), -np.inf, np.inf)
